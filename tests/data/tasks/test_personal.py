from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.data.tasks.personal import PERSONAL_FEATURES, RECENT_DAYS, Personal, personal

DAY = 86_400_000_000


def by_hand(
    events: list[list[tuple[int, int]]], pairs: list[tuple[int, int, int, int]]
) -> Personal:
    """events: (item, day) a person. pairs: person, item, number of events seen, day."""
    rows = []
    for person, item, end, day in pairs:
        days = [d for i, d in events[person][:end] if i == item]
        recent = [d for d in days if day - d <= RECENT_DAYS]
        rows.append((len(days), len(recent), float(day - days[-1]) if days else np.nan))
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return Personal(*(np.array(column) for column in columns))


@given(st.data())
def test_equals_counting_by_hand(data: st.DataObject) -> None:
    event = st.tuples(st.integers(0, 4), st.integers(0, 200))
    people = data.draw(st.lists(st.lists(event, max_size=8), min_size=1, max_size=4))
    events = [sorted(one, key=lambda e: e[1]) for one in people]
    pairs = []
    for _ in range(data.draw(st.integers(0, 8))):
        person = data.draw(st.integers(0, len(events) - 1))
        end = data.draw(st.integers(0, len(events[person])))
        last = events[person][end - 1][1] if end else 0
        day = last + data.draw(st.integers(0, 100))
        pairs.append((person, data.draw(st.integers(0, 5)), end, day))
    offsets = np.cumsum([0, *map(len, events)])
    flat = [e for one in events for e in one]
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 4).T
    found = personal(
        np.array([i for i, _ in flat], np.int64),
        np.array([d for _, d in flat], np.int64) * DAY,
        offsets,
        owner=columns[0],
        asked=columns[1],
        end=offsets[columns[0]] + columns[2],
        at=columns[3] * DAY,
    )
    for got, wanted in zip(found, by_hand(events, pairs), strict=True):
        np.testing.assert_allclose(got, wanted)


def test_what_comes_after_the_place_is_not_seen() -> None:
    time = np.array([1, 2, 3]) * DAY
    ask = {"owner": np.array([0]), "asked": np.array([7]), "at": np.array([3 * DAY])}
    item, offsets = np.array([7, 8, 7]), np.array([0, 3])
    before = personal(item, time, offsets, end=np.array([2]), **ask)
    assert before.frequency.tolist() == [1]
    assert before.recency.tolist() == [2.0]
    assert personal(item, time, offsets, end=np.array([3]), **ask).recency.tolist() == [0.0]


def test_a_recent_event_is_one_of_the_last_weeks() -> None:
    time = np.array([0, 1]) * DAY
    found = personal(
        np.array([7, 7]),
        time,
        np.array([0, 2]),
        owner=np.array([0]),
        asked=np.array([7]),
        end=np.array([2]),
        at=np.array([(RECENT_DAYS + 1) * DAY]),
    )
    assert found.frequency.tolist() == [2]
    assert found.recent.tolist() == [1]


def test_nobody_and_nothing_is_allowed() -> None:
    nothing = np.zeros(0, np.int64)
    found = personal(
        nothing, nothing, np.array([0, 0]), owner=nothing, asked=nothing, end=nothing, at=nothing
    )
    assert [len(column) for column in found] == [0, 0, 0]


@pytest.mark.parametrize("name", ["frequency", "recent", "recency"])
def test_each_number_has_a_feature(name: str) -> None:
    assert name in {feature.name for feature in PERSONAL_FEATURES}
