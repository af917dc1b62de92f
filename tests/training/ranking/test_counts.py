from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

import polars as pl
import pytest
import torch
from torch import nn

from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.ranking.din import DIN
from adwright.training.loop.distributed import row_sums
from adwright.training.ranking.fit import open_stream
from adwright.training.ranking.frames import Occurrence, training_counts


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


def test_events_after_the_training_period_do_not_count(
    task: Task, make_din: Callable[..., DIN]
) -> None:
    model = make_din(task)
    all_events = pl.read_parquet(task.events_path("train")).height
    counts = training_counts(model, task, occurrence="events")
    number = counts[model.item.tables[0].weight]
    events = float(number.sum()) - task.n_rows("train")
    assert 0 < events < 0.9 * all_events
