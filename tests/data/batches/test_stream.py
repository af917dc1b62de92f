"""What is promised of these, and what is refused."""

from __future__ import annotations

import math
import shutil
import weakref
from collections import Counter
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.batches.batch import Batch
from adwright.data.batches.stream import (
    Piece,
    Position,
    Stream,
    StreamConfig,
    encode_rows,
    to_batch,
)
from adwright.data.features import Feature, FeatureSpec, ItemTable
from adwright.data.tasks.split import SPLITS, Split
from adwright.data.tasks.task import Task
from tests.support.data.small_log import Tables

CONFIG = StreamConfig(groups_per_batch=5, rows_per_group=4, window=2, seed=3)
ORDERED = replace(CONFIG, shuffle=False)


def stream(task: Task, config: StreamConfig = CONFIG, split: Split = "train") -> Stream:
    return Stream(
        task.rows_path(split),
        task.events_path(split),
        spec=task.spec,
        items=task.item_table,
        config=config,
    )


def batches(
    task: Task, config: StreamConfig = CONFIG, split: Split = "train", epoch: int = 0
) -> list[Batch]:
    return [batch for batch, _ in stream(task, config, split).epoch(Position(epoch))]


def content(made: list[Batch]) -> dict[int, tuple[Any, ...]]:
    """Row number to all that the row holds, its history as the items it sees."""
    found: dict[int, tuple[Any, ...]] = {}
    for batch in made:
        histories, lists = (
            batch.history.to_lists(),
            {n: j.to_lists() for n, j in batch.multi.items()},
        )
        owner = torch.repeat_interleave(torch.arange(len(batch.history)), batch.group_sizes)
        for t, row in enumerate(batch.row.tolist()):
            assert row not in found
            seen = histories[int(owner[t])][int(batch.begin[t]) : int(batch.end[t])]
            found[row] = (
                seen,
                int(batch.item[t]),
                {name: int(codes[t]) for name, codes in batch.categorical.items()},
                {name: one[t] for name, one in lists.items()},
                batch.numeric[t].tolist(),
                float(batch.label[t]),
            )
    return found


def same(left: list[Batch], right: list[Batch]) -> bool:
    """Whether the batches hold the same rows in the same order."""
    rows = [[batch.row.tolist() for batch in made] for made in (left, right)]
    return rows[0] == rows[1] and content(left) == content(right)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("config", [CONFIG, ORDERED])
def test_each_row_comes_once_an_epoch(small_task: Task, split: Split, config: StreamConfig) -> None:
    rows = [row for batch in batches(small_task, config, split) for row in batch.row.tolist()]
    assert sorted(rows) == list(range(small_task.n_rows(split)))
    assert (rows == sorted(rows)) is not config.shuffle
    assert stream(small_task, config, split).n_rows == small_task.n_rows(split)


@pytest.mark.parametrize("split", SPLITS)
def test_rows_hold_what_a_literal_encoding_gives(
    small_task: Task, tables: Tables, split: Split
) -> None:
    rows = small_task.rows(split).collect()
    codes = {item: i + 1 for i, item in enumerate(tables.items["item_id"])}
    log = tables.events.rows()
    spec = {f.name: f for f in small_task.spec.features}
    found = content(batches(small_task, split=split))
    arrow = rows.to_arrow()
    coded = {f.name: f.codes(arrow[f.name]) for f in small_task.spec.coded_rows}
    numbers = [f.numbers(arrow[f.name]) for f in small_task.spec.numeric_rows]
    for number, row in enumerate(rows.iter_rows(named=True)):
        history, item, categorical, multi, numeric, label = found[number]
        mine = [event for event in log if event[0] == row["user_id"]]
        mine.sort(key=lambda event: event[2])  # stable: ties keep the order given
        assert history == [codes.get(i, 0) for _, i, time in mine if time < row["time"]]
        assert item == codes.get(row["item_id"], 0)
        assert label == row["label"]
        assert categorical == {name: int(values[number]) for name, values in coded.items()}
        store = row["store"]
        known = spec["store"].vocabulary
        assert categorical["store"] == (known.index(store) + 1 if store in known else 0)
        known = spec["labels"].vocabulary
        assert multi == {"labels": [known.index(v) + 1 for v in row["labels"] if v in known]}
        assert numeric == [float(values[number]) for values in numbers]
        price = spec["price"]
        expected = (
            0.0 if row["price"] is None else (math.log1p(row["price"]) - price.mean) / price.scale
        )
        assert numeric[0] == pytest.approx(expected, abs=1e-6)


def test_a_request_built_by_hand_gets_the_features_of_the_file(
    small_task: Task, tables: Tables
) -> None:
    found = content(batches(small_task))
    rows = small_task.rows("train").collect()
    for number in (0, 100, rows.height - 1):
        request = rows[number : number + 1]
        before = tables.events.filter(
            (pl.col("user_id") == request["user_id"][0]) & (pl.col("time") < request["time"][0])
        ).sort("time", maintain_order=True)
        piece = encode_rows(
            request.to_arrow(),
            before.to_arrow(),
            np.array([number]),
            spec=small_task.spec,
            items=small_task.item_table,
            rows_per_group=1,
        )
        online = to_batch([piece.group(0)], small_task.spec)
        assert content([online]) == {number: found[number]}


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 1},
        {"window": 99},
        {"rows_per_group": 1},
        {"rows_per_group": 1000},
        {"groups_per_batch": 1},
        {"groups_per_batch": 1000},
        {"seed": 4},
        {"shuffle": False},
    ],
    ids=str,
)
def test_the_arrangement_changes_batches_and_no_row(
    small_task: Task, changes: dict[str, Any]
) -> None:
    before, after = batches(small_task), batches(small_task, replace(CONFIG, **changes))
    assert [b.row.tolist() for b in before] != [b.row.tolist() for b in after]
    assert content(before) == content(after)


def test_each_setting_is_flipped_somewhere_here() -> None:
    arrangement = {"window", "rows_per_group", "groups_per_batch", "seed", "shuffle"}
    content_settings = {"negative_rate", "max_history"}
    assert {field.name for field in fields(StreamConfig)} == arrangement | content_settings


def test_a_seed_and_epoch_give_the_same_batches_again(small_task: Task) -> None:
    assert same(batches(small_task), batches(small_task))
    rows = [[b.row.tolist() for b in batches(small_task, epoch=epoch)] for epoch in range(3)]
    assert rows[0] != rows[1] != rows[2] != rows[0]


@pytest.mark.parametrize("config", [CONFIG, ORDERED, replace(CONFIG, negative_rate=0.4)])
def test_a_stream_goes_on_from_any_position(small_task: Task, config: StreamConfig) -> None:
    whole = list(stream(small_task, config).epoch(Position(epoch=2)))
    assert whole[-1][1].batch == 0
    for number, (_, position) in enumerate(whole):
        rest = [batch for batch, _ in islice(stream(small_task, config).epoch(position), 3)]
        expected = [batch for batch, _ in whole[number + 1 : number + 4]]
        assert same(rest, expected)
    halfway = whole[len(whole) // 2][1]
    assert same(
        [batch for batch, _ in stream(small_task, config).epoch(halfway)],
        [batch for batch, _ in whole[len(whole) // 2 + 1 :]],
    )
    assert list(stream(small_task, config).epoch(whole[-1][1])) == []


def test_history_is_cut_to_the_most_recent(small_task: Task) -> None:
    whole, cut = (
        content(batches(small_task)),
        content(batches(small_task, replace(CONFIG, max_history=3))),
    )
    assert max(len(row[0]) for row in whole.values()) > 3
    assert {n: (row[0][-3:], *row[1:]) for n, row in whole.items()} == cut


def test_negatives_are_dropped_at_the_rate_and_positives_never(small_task: Task) -> None:
    rate, epochs = 0.3, 40
    rows = small_task.rows("train").collect()
    labels = rows["label"].to_numpy()
    whole = content(batches(small_task))
    kept: Counter[int] = Counter()
    drawn = []
    for epoch in range(epochs):
        found = content(batches(small_task, replace(CONFIG, negative_rate=rate), epoch=epoch))
        assert all(found[n] == whole[n] for n in found)
        assert set(np.flatnonzero(labels == 1)) <= set(found)
        drawn.append(frozenset(found))
        kept.update(list(found))
    assert len(set(drawn)) == epochs
    negatives = int((labels == 0).sum())
    total = sum(kept[n] for n in np.flatnonzero(labels == 0))
    deviation = math.sqrt(negatives * epochs * rate * (1 - rate))
    assert abs(total - negatives * epochs * rate) < 4 * deviation
    # Each row is drawn on its own: none is always kept or always dropped.
    assert all(0 < kept[n] < epochs for n in np.flatnonzero(labels == 0))


def test_drawn_negatives_depend_on_the_seed_alone(small_task: Task) -> None:
    config = replace(CONFIG, negative_rate=0.5)
    rows = set(content(batches(small_task, config)))
    assert set(content(batches(small_task, replace(config, window=1, shuffle=False)))) == rows
    assert set(content(batches(small_task, replace(config, seed=9)))) != rows


def test_a_window_is_let_go_before_the_next_one_is_read(
    small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Piece]] = []
    alive: list[int] = []

    def counted(*args: Any, **settings: Any) -> Piece:
        alive.append(sum(piece() is not None for piece in made))
        piece = encode_rows(*args, **settings)
        made.append(weakref.ref(piece))
        return piece

    monkeypatch.setattr("adwright.data.batches.stream.encode_rows", counted)
    assert len(batches(small_task)) > 3
    assert alive == [0, 1] * (len(alive) // 2) + [0] * (len(alive) % 2)
    assert len(alive) > 2


def copy_of(task: Task, folder: Path) -> Task:
    shutil.copytree(task.folder, folder)
    return Task.open(folder)


def test_files_that_are_missing_or_damaged_are_named(small_task: Task, tmp_path: Path) -> None:
    task = copy_of(small_task, tmp_path / "task")
    path = task.rows_path("train")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileUnreadableError, match="not a readable Parquet file") as caught:
        stream(task)
    assert caught.value.file == str(path)
    path.unlink()
    with pytest.raises(FileUnreadableError, match="does not exist"):
        stream(task)


def test_files_that_do_not_belong_together_are_refused(small_task: Task, tmp_path: Path) -> None:
    task = copy_of(small_task, tmp_path / "task")
    shutil.copy(task.events_path("test"), task.events_path("train"))
    with pytest.raises(FileUnreadableError, match="different numbers of row groups"):
        stream(task)


@pytest.mark.parametrize("column", ["store", "price", "item_id", "visible"])
def test_a_missing_column_is_named(small_task: Task, tmp_path: Path, column: str) -> None:
    task = copy_of(small_task, tmp_path / "task")
    rows = pq.read_table(small_task.rows_path("valid")).drop_columns(column)
    pq.write_table(rows, task.rows_path("valid"))
    pq.write_table(pq.read_table(small_task.events_path("valid")), task.events_path("valid"))
    with pytest.raises(SchemaError, match=f"column {column}") as caught:
        stream(task, split="valid")
    assert caught.value.file == str(task.rows_path("valid"))


def test_labels_may_be_absent(small_task: Task, tmp_path: Path) -> None:
    task = copy_of(small_task, tmp_path / "task")
    for path in (task.rows_path("test"), task.events_path("test")):
        table = pq.read_table(path)
        pq.write_table(
            table.drop_columns("label") if "label" in table.column_names else table, path
        )
    config = replace(CONFIG, negative_rate=0.5)
    found = content(batches(task, CONFIG, "test"))
    assert {row[-1] for row in found.values()} == {0.0}
    assert 0 < len(content(batches(task, config, "test"))) < len(found)


def test_features_that_a_spec_leaves_out_are_not_read(small_task: Task) -> None:
    spec = FeatureSpec(tuple(f for f in small_task.spec.features if f.name != "store"))
    made = Stream(
        small_task.rows_path("train"),
        small_task.events_path("train"),
        spec=spec,
        items=small_task.item_table,
        config=CONFIG,
    )
    batch, _ = next(made.epoch())
    assert set(batch.categorical) == {"user_id", "device", "hour"}


def test_damaged_pages_inside_a_sound_file_are_named(tmp_path: Path) -> None:
    """The footer is sound, so the damage shows only when the row group is read."""
    rows, events = tmp_path / "rows.parquet", tmp_path / "events.parquet"
    ids = pl.DataFrame({"user_id": ["u"] * 2000, "item_id": [f"i{n}" for n in range(2000)]})
    ids.with_columns(visible=pl.lit(0, pl.Int32), label=pl.lit(0, pl.Int8)).write_parquet(rows)
    ids.write_parquet(events)
    damaged = bytearray(rows.read_bytes())
    damaged[60:1500] = bytes(1440)
    rows.write_bytes(damaged)
    spec = FeatureSpec(())
    items = spec.encode_items(pl.DataFrame({"item_id": ["i0"]}))
    stream = Stream(rows, events, spec=spec, items=items, config=StreamConfig())
    with pytest.raises(FileUnreadableError, match="row group 0 is damaged"):
        next(stream.epoch())


def test_the_offset_of_drawn_rows_is_read(small_task: Task, tmp_path: Path) -> None:
    shutil.copytree(small_task.folder, tmp_path / "task")
    task = Task.open(tmp_path / "task")
    rows = task.rows("train").collect()
    groups = pq.ParquetFile(task.rows_path("train"))
    sizes = [groups.metadata.row_group(g).num_rows for g in range(groups.num_row_groups)]
    drawn = rows.with_columns(draw_offset=pl.int_range(pl.len()).cast(pl.Float32) / 8)
    with pq.ParquetWriter(task.rows_path("train"), drawn.to_arrow().schema) as writer:
        for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            writer.write_table(
                drawn[int(start) : int(start) + size].to_arrow(), row_group_size=size
            )
    for batch in batches(task):
        assert batch.offset is not None
        assert torch.equal(batch.offset, batch.row / 8)
    assert all(batch.offset is None for batch in batches(small_task))


SPEC = FeatureSpec(
    (
        Feature("history", "sequence", "user"),
        Feature("user_id", "categorical", "user", vocabulary=("u1", "u0")),
        Feature("price", "numeric", "context", mean=1.0),
        Feature("tags", "multi", "context", vocabulary=("a", "b")),
    )
)
IDS = [f"i{n}" for n in range(6)]
ITEMS = ItemTable(tuple(IDS), {}, {}, np.zeros((7, 0), np.float32))
PEOPLE = st.lists(
    st.tuples(
        st.lists(st.integers(0, 7), max_size=6),  # events
        st.lists(st.floats(0, 1), min_size=1, max_size=7),  # rows: share of the history seen
    ),
    min_size=1,
    max_size=4,
)
People = list[tuple[list[int], list[float]]]


def tables(people: People, *, encoded: bool) -> tuple[pa.Table, pa.Table]:
    """Rows and events of users u0, u1, ...; items above i5 are unknown."""
    rows, events = [], []
    for u, (history, shares) in enumerate(people):
        events += [{"user_id": f"u{u}", "item_id": f"i{item}"} for item in history]
        for r, share in enumerate(sorted(shares)):
            rows.append(
                {
                    "user_id": f"u{u}",
                    "item_id": f"i{(u + r) % 7}",
                    "visible": round(share * len(history)),
                    "label": r % 2,
                    "price": float(r),
                    "tags": ["a", "b", "c"][: r % 4],
                }
            )
    schema = pa.schema([("user_id", pa.string()), ("item_id", pa.string())])
    table, log = pa.Table.from_pylist(rows), pa.Table.from_pylist(events, schema)
    if encoded:
        return tuple(
            t.set_column(0, "user_id", t["user_id"].dictionary_encode()) for t in (table, log)
        )
    return table, log


def encode(people: People, *, encoded: bool = True, most: int = 3, history: int = 0) -> Piece:
    table, log = tables(people, encoded=encoded)
    return encode_rows(
        table,
        log,
        np.arange(table.num_rows) + 1000,
        spec=SPEC,
        items=ITEMS,
        rows_per_group=most,
        max_history=history,
    )


@given(PEOPLE, st.booleans(), st.integers(1, 8), st.integers(0, 4))
def test_groups_equal_a_literal_cut(people: People, encoded: bool, most: int, history: int) -> None:
    piece = encode(people, encoded=encoded, most=most, history=history)
    expected = []
    for u, (log, shares) in enumerate(people):
        ends = [round(share * len(log)) for share in sorted(shares)]
        for start in range(0, len(ends), most):
            expected.append((u, range(start, min(start + most, len(ends))), ends, log))
    assert len(piece) == len(expected)
    first_row = np.cumsum([0, *(len(shares) for _, shares in people)])
    for number, (u, rows, ends, log) in enumerate(expected):
        _, taken, events = piece.group(number)
        assert range(taken.start, taken.stop) == range(
            first_row[u] + rows.start, first_row[u] + rows.stop
        )
        seen = piece.events[events].tolist()
        item, begin, end, label, user = piece.codes[:, taken].tolist()
        for k, r in enumerate(rows):
            visible = log[max(ends[r] - history, 0) if history else 0 : ends[r]]
            assert seen[begin[k] : end[k]] == [i + 1 if i < 6 else 0 for i in visible]
            assert item[k] == ((u + r) % 7 + 1 if (u + r) % 7 < 6 else 0)
            assert label[k] == r % 2
            assert user[k] == {0: 2, 1: 1}.get(u, 0)
            assert piece.numeric[taken][k].tolist() == [r - 1.0]
            codes, offsets = piece.multi["tags"]
            place = taken.start + k
            assert codes[offsets[place] : offsets[place + 1]].tolist() == [1, 2, 3][: r % 4][:2]
        # Nothing is held that no row of the group sees.
        assert begin[0] == 0
        assert end[-1] == len(seen)
    assert piece.row.tolist() == list(range(1000, 1000 + len(piece.row)))


def test_a_row_that_sees_too_much_is_refused() -> None:
    table, log = tables([([1, 2], [1.0]), ([3], [1.0])], encoded=True)
    for short in (log[:2], log[1:]):
        with pytest.raises(ValueInvalidError, match="more events than its person has"):
            encode_rows(table, short, np.arange(2), spec=SPEC, items=ITEMS, rows_per_group=9)
