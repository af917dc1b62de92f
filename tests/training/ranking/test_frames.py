from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.batches.batch import Batch
from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.ranking.din import DIN
from adwright.training.loop.optimisers import row_sums
from adwright.training.ranking.frames import (
    Occurrence,
    batches_of,
    check_rows,
    item_names,
    needed_columns,
    training_counts,
)
from adwright.training.ranking.predict import open_stream
from tests.support.data.ranking_task import FIT, ITEMS, START, shop_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop") / "task", users=12)


@pytest.fixture(scope="module")
def rows(task: Task) -> pl.DataFrame:
    return task.rows("test").collect()


@pytest.fixture(scope="module")
def events(task: Task) -> pl.DataFrame:
    return pl.read_parquet(task.events_path("test"))


def seen_by_row(batch: Batch) -> dict[int, tuple[object, ...]]:
    """Everything that a row of a batch tells a model, by the row's number."""
    found: dict[int, tuple[object, ...]] = {}
    histories = batch.history.to_lists()
    owner = torch.repeat_interleave(torch.arange(len(batch.history)), batch.group_sizes)
    for at in range(len(batch)):
        history = histories[int(owner[at])][int(batch.begin[at]) : int(batch.end[at])]
        codes = tuple(int(codes[at]) for _, codes in sorted(batch.categorical.items()))
        numbers = tuple(batch.numeric[at].tolist())
        found[int(batch.row[at])] = (int(batch.item[at]), tuple(history), codes, numbers)
    return found


def all_seen(batches: list[Batch]) -> dict[int, tuple[object, ...]]:
    return {row: seen for batch in batches for row, seen in seen_by_row(batch).items()}


def frames(task: Task, rows: pl.DataFrame, events: pl.DataFrame, **more: int) -> list[Batch]:
    found = batches_of(rows, events, spec=task.spec, items=task.item_table, **more)
    return list(found)


@pytest.mark.parametrize("max_history", [0, 3])
def test_tables_give_the_same_as_the_files_of_a_task(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame, max_history: int
) -> None:
    from dataclasses import replace

    config = replace(FIT.stream, negative_rate=1.0, shuffle=False, max_history=max_history)
    stream = open_stream(task, "test", config)
    expected = all_seen([batch for batch, _ in stream.epoch()])
    assert all_seen(frames(task, rows, events, max_history=max_history)) == expected


def test_rows_and_events_may_come_in_any_order(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    order = np.random.default_rng(1).permutation(rows.height)
    shuffled = all_seen(frames(task, rows[order], events.sort("time", descending=True)))
    plain = all_seen(frames(task, rows, events))
    sets = {r: (i, sorted(h), c, n) for r, (i, h, c, n) in plain.items()}
    assert {int(order[r]): (i, sorted(h), c, n) for r, (i, h, c, n) in shuffled.items()} == sets


def test_counts_in_the_rows_are_not_believed(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    lying = rows.with_columns(visible=pl.lit(10_000, pl.Int32), frequency=pl.lit(7, pl.Int32))
    without = rows.drop("visible", "frequency")
    plain = all_seen(frames(task, rows, events))
    assert all_seen(frames(task, lying, events)) == plain
    assert all_seen(frames(task, without, events)) == plain


def test_an_event_at_the_time_of_a_row_is_not_its_history(task: Task, rows: pl.DataFrame) -> None:
    row = rows[:1].with_columns(time=pl.lit(START))
    events = pl.DataFrame(
        {
            "user_id": [row["user_id"][0]] * 3,
            "item_id": ["i1", "i2", "i3"],
            "time": [START - timedelta(seconds=1), START, START + timedelta(seconds=1)],
        }
    )
    (batch,) = frames(task, row, events)
    assert batch.history.to_lists() == [task.item_table.rows(pl.Series(["i1"]).to_arrow()).tolist()]


def test_without_a_time_all_events_are_history(task: Task, rows: pl.DataFrame) -> None:
    row = rows[:1].drop("time")
    events = pl.DataFrame(
        {"user_id": row["user_id"].to_list() * 2, "item_id": ["i1", "i2"], "time": [START] * 2}
    )
    (batch,) = frames(task, row, events)
    assert batch.history.lengths.tolist() == [2]


def test_the_unknown_is_code_zero(task: Task, rows: pl.DataFrame, events: pl.DataFrame) -> None:
    odd = rows[:1].with_columns(
        user_id=pl.lit("nobody"), item_id=pl.lit("nothing"), store=pl.lit("nowhere")
    )
    (batch,) = frames(task, odd, events)
    assert batch.item.tolist() == [0]
    assert batch.categorical["store"].tolist() == [0]
    assert batch.categorical["user_id"].tolist() == [0]
    assert batch.history.lengths.tolist() == [0]


def test_no_rows_and_no_events(task: Task, rows: pl.DataFrame, events: pl.DataFrame) -> None:
    assert frames(task, rows[:0], events) == []
    (batch,) = frames(task, rows[:5], events[:0])
    assert batch.history.values.numel() == 0


def test_many_rows_of_one_person_are_cut_into_groups(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    user = rows["user_id"][0]
    many = pl.concat([rows.filter(user_id=user)] * 40)
    batches = frames(task, many, events)
    assert max(int(batch.group_sizes.max()) for batch in batches) <= 512
    assert sum(len(batch) for batch in batches) == many.height


def test_missing_columns_are_all_named(task: Task, rows: pl.DataFrame) -> None:
    assert needed_columns(task.spec) == ("user_id", "item_id", "store", "popularity", "price")
    with pytest.raises(SchemaError, match=r"store, price.*my\.csv"):
        check_rows(rows.drop("store", "price").columns, task.spec, file="my.csv")


@pytest.mark.parametrize("column", ["user_id", "item_id", "time"])
def test_bad_cells_and_columns_are_refused(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame, column: str
) -> None:
    empty = pl.when(pl.int_range(pl.len()) != 3).then(pl.col(column)).alias(column)
    with pytest.raises(ValueInvalidError, match=f"rows hold.*row 3, column {column}"):
        frames(task, rows.with_columns(empty), events)
    with pytest.raises(ValueInvalidError, match=f"events hold.*row 3, column {column}"):
        frames(task, rows, events.with_columns(empty))
    with pytest.raises(SchemaError, match=column):
        frames(task, rows, events.drop(column))


def test_a_time_must_be_a_timestamp(task: Task, rows: pl.DataFrame, events: pl.DataFrame) -> None:
    with pytest.raises(SchemaError, match="timestamp"):
        frames(task, rows.with_columns(time=pl.lit("today")), events)


def test_whole_numbers_may_stand_for_times(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    count = pl.col("time").dt.epoch("s")
    numbered = frames(task, rows.with_columns(count), events.with_columns(count))
    assert all_seen(numbered) == all_seen(frames(task, rows, events))
    timeless = frames(task, rows[:1].drop("time"), events.with_columns(count))
    assert timeless[0].history.lengths.tolist() == [
        events.filter(user_id=rows["user_id"][0]).height
    ]
    with pytest.raises(SchemaError, match="like that of the events"):
        frames(task, rows, events.with_columns(count))


def test_rows_that_were_drawn_say_so(task: Task, rows: pl.DataFrame, events: pl.DataFrame) -> None:
    drawn = rows.with_columns(draw_offset=pl.int_range(pl.len()) / 10)
    for batch in frames(task, drawn, events):
        assert batch.offset is not None
        np.testing.assert_allclose(batch.offset.numpy(), batch.row.numpy() / 10, rtol=1e-6)
    assert all(batch.offset is None for batch in frames(task, rows, events))


def brute_force_events(
    task: Task, rate: float, max_history: int
) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """Weighted occurrences of each value of each row feature, and of each item, by loops."""
    rows = task.rows("train").collect().to_dicts()
    histories: dict[str, list[str]] = defaultdict(list)
    for event in pl.read_parquet(task.events_path("train")).iter_rows(named=True):
        histories[event["user_id"]].append(event["item_id"])
    seen: dict[str, set[int]] = defaultdict(set)
    values: dict[str, Counter[str]] = defaultdict(Counter)
    items: Counter[str] = Counter()
    for row in rows:
        weight = 1.0 if row["label"] == 1 else rate
        items[row["item_id"]] += weight
        for name in ("user_id", "store"):
            values[name][row[name]] += weight
        for value in row["shelves"]:
            values["shelves"][value] += weight
        first = max(row["visible"] - max_history, 0) if max_history else 0
        seen[row["user_id"]] |= set(range(first, row["visible"]))
    for user, places in seen.items():
        # From the first to the last that a row sees.
        for place in range(min(places, default=0), max(places, default=-1) + 1):
            items[histories[user][place]] += 1
    return values, items


@pytest.mark.parametrize(("rate", "max_history"), [(1.0, 0), (0.25, 0), (1.0, 3)])
def test_counts_of_events_equal_brute_force(
    task: Task, make_din: Callable[..., DIN], rate: float, max_history: int
) -> None:
    model = make_din(task)
    counts = training_counts(model, task, rate, max_history=max_history, occurrence="events")
    values, items = brute_force_events(task, rate, max_history)
    features = {feature.name: feature for feature in task.spec.features}
    for name, part in zip(model.row.names, model.row.tables, strict=True):
        expected = [0.0, *(values[name][v] for v in features[name].vocabulary)]
        assert isinstance(part, nn.Embedding)
        assert torch.allclose(counts[part.weight], torch.tensor(expected))
    catalogue = {row["item_id"]: row for row in task.items.to_dicts()}
    names = [*model.item.names, *model.item.multi_names]
    for name, part in zip(names, model.item.tables, strict=True):
        tally: Counter[str] = Counter()
        for item, number in items.items():
            value = catalogue[item][name]
            for one in value if isinstance(value, list) else [value]:
                tally[one] += number
        expected = [0.0, *(tally[v] for v in features[name].vocabulary)]
        assert isinstance(part, nn.Embedding)
        assert torch.allclose(counts[part.weight], torch.tensor(expected)), name


def brute_force_rows(task: Task, rate: float, max_history: int) -> dict[str, Counter[str]]:
    """Equation 4 by loops: per feature and value, the weight of the rows that have the value."""
    catalogue = {row["item_id"]: row for row in task.items.to_dicts()}
    histories: dict[str, list[str]] = defaultdict(list)
    for event in pl.read_parquet(task.events_path("train")).iter_rows(named=True):
        histories[event["user_id"]].append(event["item_id"])
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for row in task.rows("train").collect().to_dicts():
        weight = 1.0 if row["label"] == 1 else rate
        first = max(row["visible"] - max_history, 0) if max_history else 0
        seen = histories[row["user_id"]][first : row["visible"]]
        has: dict[str, set[str]] = {name: {row[name]} for name in ("user_id", "store")}
        has["shelves"] = set(row["shelves"])
        for name in ("item_id", "type"):
            has[name] = {catalogue[item][name] for item in (row["item_id"], *seen)}
        tags = (catalogue[item]["tags"] for item in (row["item_id"], *seen))
        has["tags"] = {tag for some in tags for tag in some}
        for name, some in has.items():
            values[name].update(dict.fromkeys(some, weight))
    return values


@pytest.mark.parametrize(("rate", "max_history"), [(1.0, 0), (0.25, 0), (1.0, 3), (0.5, 1)])
def test_counts_of_rows_equal_brute_force(
    task: Task, make_din: Callable[..., DIN], rate: float, max_history: int
) -> None:
    model = make_din(task)
    counts = training_counts(model, task, rate, max_history=max_history)
    values = brute_force_rows(task, rate, max_history)
    features = {feature.name: feature for feature in task.spec.features}
    names = [*model.item.names, *model.item.multi_names, *model.row.names]
    assert set(names) == set(values)
    for name, part in zip(names, [*model.item.tables, *model.row.tables], strict=True):
        expected = [0.0, *(values[name][v] for v in features[name].vocabulary)]
        assert isinstance(part, nn.Embedding)
        assert torch.allclose(counts[part.weight], torch.tensor(expected)), name


def test_an_epoch_decays_a_row_by_lambda_at_most_where_rows_are_counted(
    task: Task, make_din: Callable[..., DIN]
) -> None:
    """The sum of alpha_mj / n_j over the batches m of an epoch; small batches of many users."""
    model = make_din(task)
    table = model.item.tables[0].weight
    kinds: tuple[Occurrence, ...] = ("rows", "events")
    counts = [training_counts(model, task, occurrence=kind)[table] for kind in kinds]  # type: ignore[index]
    by_rows, by_events = decays = [torch.zeros(len(each)) for each in counts]
    stream = StreamConfig(groups_per_batch=3, rows_per_group=2)
    for batch, _ in open_stream(task, "train", stream).epoch():
        model.zero_grad()
        model.loss(batch).backward()
        rows = row_sums(table.grad)[0]  # type: ignore[arg-type]
        for decay, number in zip(decays, counts, strict=True):
            decay[rows] += 1 / number[rows].clamp(min=1)
    assert 0.1 < float(by_rows.max()) <= 1 + 1e-5
    assert float(by_events.max()) > 2


def test_every_sparse_table_is_counted(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task)
    tables = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    counts = training_counts(model, task)
    assert set(counts) == tables
    for weight, number in counts.items():
        assert number.shape == weight.shape[:1]
        assert number.dtype == torch.float32


def test_events_after_the_training_period_do_not_count(
    task: Task, make_din: Callable[..., DIN]
) -> None:
    model = make_din(task)
    all_events = pl.read_parquet(task.events_path("train")).height
    counts = training_counts(model, task, occurrence="events")
    number = counts[model.item.tables[0].weight]
    events = float(number.sum()) - task.n_rows("train")
    assert 0 < events < 0.9 * all_events


def test_a_model_without_tables_has_no_counts(task: Task) -> None:
    assert training_counts(nn.Linear(1, 1), task) == {}
    assert training_counts(nn.Linear(1, 1), task, occurrence="events") == {}


IDS = pl.Series("item_id", [f"i{n}" for n in range(4)])
CODES = pl.Series("category", ["c1", "c2", "c1", "c2"])
WORDS = pl.Series("text", ["Green tea", "Black tea", "Oat milk", None])


@pytest.mark.parametrize(
    ("columns", "first", "last"),
    [
        ([pl.Series("Title", ["Tea", "b", "c", ""]), CODES], "Tea", "i3"),
        ([CODES, pl.Series("product_name", ["Tea", "b", "c", "d"])], "Tea", "d"),
        # The category alone names no item.
        ([CODES], "i0, c1", "i3, c2"),
        ([CODES, pl.Series("brand", ["own", "b", "c", " "])], "c1, own", "c2"),
        # A text column that reads like titles, whatever it is called.
        ([CODES, WORDS], "Green tea", "i3"),
        # One of few values, or of single words, does not.
        ([CODES, pl.Series("shelf", ["to the left", "to the left"] * 2)], "i0, c1", "i3, c2"),
        ([CODES, pl.Series("code", ["a", "b", "c", "d"])], "i0, c1", "i3, c2"),
        ([pl.Series("title", [1, 2, 3, 4]), CODES], "i0, c1", "i3, c2"),
        ([], "i0", "i3"),
    ],
)
def test_the_column_that_reads_like_a_title(
    columns: list[pl.Series], first: str, last: str
) -> None:
    found = item_names(pl.DataFrame([IDS, *columns]))
    assert found.columns == ["item_id", "name"]
    assert (found["name"][0], found["name"][-1]) == (first, last)


def test_type_brand_and_size_name_an_item_together() -> None:
    assert item_names(ITEMS)["name"][1] == "rice, own, 1 g"
