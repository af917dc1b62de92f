"""The next-basket task against what a reader of the log would write down."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.data.tasks.next_basket import NextBasket, build_visits, moment, reordered
from adwright.data.time import MICROSECONDS_PER_DAY
from tests.support.data.small_next_basket import FEATURES, catalogue, events_of, small_task

VISITS = [
    ("ua", 0, ["i1", "i2"], "train"),
    ("ua", 3, ["i2", "i2", "i3"], "train"),
    ("ua", 3, ["i4"], "train"),  # another request of the same instant
    ("ua", 5, ["i1"], "test"),
    ("ub", 1, ["i5"], "train"),
]


def _task(seed: int = 0) -> NextBasket:
    return build_visits(
        events_of(VISITS),
        catalogue(),
        name="t",
        protocol="p",
        data_hash="h",
        features=FEATURES,
        seed=seed,
    )


def _ids(task: NextBasket, codes: list[int]) -> list[str]:
    return [task.items.ids[code - 1] for code in codes]


def test_history_is_what_happened_before_the_instant() -> None:
    task = _task()
    batch = task.batch(np.arange(len(task)))
    histories = [sorted(_ids(task, [int(c) for c in one])) for one in batch.history.to_lists()]
    first = ["i1", "i2"]
    assert histories == [[], first, first, ["i1", "i2", "i2", "i2", "i3", "i4"], []]
    targets = {tuple(_ids(task, [int(c) for c in one])) for one in batch.targets.to_lists()}
    assert targets == {("i1", "i2"), ("i2", "i3"), ("i4",), ("i1",), ("i5",)}
    assert batch.age[:2].tolist() == [3, 3]
    assert sorted(batch.age[4:].tolist()) == [2, 2, 2, 2, 5, 5]


def test_only_the_most_recent_events_where_asked() -> None:
    task = _task()
    last = np.array([3])
    assert task.batch(last, max_history=4).history.values.numel() == 4
    assert float(task.batch(last, max_history=4).age.max()) == 2


def test_counts_are_of_training_events_alone() -> None:
    task = _task()
    assert task.count[1 + 1] == 1  # i1 was bought twice, once in a test week
    assert task.count[1 + 2] == 3
    assert task.count.sum() == 7
    assert list(task.visits("test")) == [3]


def test_seen_is_the_whole_history_once() -> None:
    task = _task()
    codes, bounds = task.seen(np.array([3, 0]))
    assert _ids(task, codes[: bounds[1]].tolist()) == ["i1", "i2", "i3", "i4"]
    assert bounds[2] == bounds[1]


def test_profile_codes_follow_the_visit() -> None:
    task = _task()
    names = [f.name for f in task.profile_features]
    assert names == ["town", "weekday", "hour"]
    weekday = task.profile_features[1].vocabulary
    assert weekday[task.profile[1, 1] - 1] == "4"


def test_order_in_a_request_is_the_seed_s() -> None:
    orders = {tuple(_task(seed).item.tolist()) for seed in range(6)}
    assert len(orders) > 1


def test_items_in_another_order_are_the_same_task() -> None:
    task = _task()
    ids = [*task.items.ids[3:], *task.items.ids[:3]]
    other = reordered(task, ids)
    assert list(other.items.ids) == other.catalogue["item_id"].to_list() == ids
    assert _ids(other, other.item.tolist()) == _ids(task, task.item.tolist())
    visits = np.arange(len(task))
    sets = [
        [sorted(_ids(one, [int(c) for c in row])) for row in one.batch(visits).targets.to_lists()]
        for one in (task, other)
    ]
    assert sets[0] == sets[1]
    for n, item in enumerate(ids, start=1):
        assert other.count[n] == task.count[1 + task.items.ids.index(item)]
    expected = task.items.categorical["kind"][[task.items.ids.index(i) + 1 for i in ids]]
    assert other.items.categorical["kind"][1:].tolist() == expected.tolist()
    assert reordered(task, task.items.ids) is task
    with pytest.raises(ConfigError, match="the log has"):
        reordered(task, [*ids[1:], "another"])


def test_the_moment_of_a_query() -> None:
    assert moment(datetime(2026, 1, 5, 9, tzinfo=UTC)) == {"weekday": "1", "hour": "9"}


def test_a_missing_column_an_unknown_item_and_no_training_are_named() -> None:
    events = events_of(VISITS)
    kept = {"name": "t", "protocol": "p", "data_hash": "h", "features": FEATURES}
    with pytest.raises(SchemaError, match="split"):
        build_visits(events.drop("split"), catalogue(), **kept)  # type: ignore[arg-type]
    with pytest.raises(ValueInvalidError, match="i5"):
        build_visits(events, catalogue(5), **kept)  # type: ignore[arg-type]
    with pytest.raises(ValueInvalidError, match="training split"):
        build_visits(
            events.with_columns(split=pl.lit("test")),
            catalogue(),
            **kept,  # type: ignore[arg-type]
        )


def test_a_task_of_many_people() -> None:
    task = small_task()
    assert len(task.users) == 10
    assert len(task.visits("train")) == 60


def test_batches_equal_a_walk_through_the_log() -> None:
    task = small_task(people=4, seed=3)
    visits = np.arange(len(task))[::-1].copy()
    batch = task.batch(visits)
    ends = batch.history.offsets.tolist()
    for row, visit in enumerate(visits.tolist()):
        first = int(task.user_offsets[task.visit_user[visit]])
        mine = slice(first, int(task.user_offsets[task.visit_user[visit] + 1]))
        before = task.time[mine] < task.visit_time[visit]
        assert batch.history.to_lists()[row] == task.item[mine][before].tolist()
        ages = (task.visit_time[visit] - task.time[mine][before]) / MICROSECONDS_PER_DAY
        assert batch.age[ends[row] : ends[row + 1]].tolist() == pytest.approx(ages.tolist())
        wanted = np.unique(task.item[mine][task.time[mine] == task.visit_time[visit]])
        assert batch.targets.to_lists()[row] == wanted.tolist()


def test_a_position_stands_for_a_day() -> None:
    events = events_of(VISITS)
    days = events.with_columns(time=(pl.col("time") - pl.col("time").min()).dt.total_days())
    kept = {"name": "t", "protocol": "p", "data_hash": "h", "features": FEATURES}
    by_time = build_visits(events, catalogue(), **kept)  # type: ignore[arg-type]
    by_day = build_visits(days, catalogue(), **kept)  # type: ignore[arg-type]
    assert (np.diff(by_day.time) == np.diff(by_time.time)).all()
    every = np.arange(len(by_day))
    # Nobody knows the time in between: events are as old as there are later ones.
    assert (by_day.timeless, by_time.timeless) == (True, False)
    assert by_day.batch(every).age.tolist() == by_time.batch(every).by_place().age.tolist()


@pytest.mark.parametrize("column", ["user_id", "request_id", "item_id", "time", "split"])
def test_each_column_is_needed(column: str) -> None:
    with pytest.raises(SchemaError, match=f"the events lack a column .*column {column}"):
        build_visits(
            events_of(VISITS).drop(column),
            catalogue(),
            name="t",
            protocol="p",
            data_hash="h",
            features=FEATURES,
        )
