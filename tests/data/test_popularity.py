"""Counts of pairs before a moment, against counting by hand, and the order of popularity."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adwright.data.popularity import PairCounts, most_popular

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 9)), max_size=30)


def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    return tuple(np.array([row[n] for row in rows], np.int64) for n in range(3))


@given(EVENTS, EVENTS)
def test_counts_are_what_one_counts_by_hand(
    rows: list[tuple[int, int, int]], asked: list[tuple[int, int, int]]
) -> None:
    counts = PairCounts(*columns(rows), things=5)
    count, last = counts.before(*columns(asked))
    for place, (user, thing, time) in enumerate(asked):
        times = [t for u, x, t in rows if (u, x) == (user, thing) and t < time]
        assert (count[place], last[place]) == (len(times), max(times, default=0))


@given(EVENTS)
def test_things_of_a_user(rows: list[tuple[int, int, int]]) -> None:
    counts = PairCounts(*columns(rows), things=5)
    first, end = counts.things_of(np.arange(4))
    for user in range(4):
        found = counts.things[first[user] : end[user]]
        assert found.tolist() == sorted({x for u, x, _ in rows if u == user})


@given(EVENTS, st.permutations(range(30)))
def test_the_order_of_the_events_does_not_matter(
    rows: list[tuple[int, int, int]], order: list[int]
) -> None:
    shuffled = [rows[place] for place in order if place < len(rows)]
    asked = columns([(user, thing, 5) for user in range(5) for thing in range(5)])
    found = [PairCounts(*columns(some), things=5).before(*asked) for some in (rows, shuffled)]
    assert np.array_equal(found[0], found[1])


def test_moments_outside_the_events_and_users_without_any() -> None:
    counts = PairCounts(*columns([(1, 2, 100), (1, 2, 200)]), things=5)
    asked = columns([(1, 2, -(10**15)), (1, 2, 100), (1, 2, 10**15), (0, 2, 300), (7, 0, 300)])
    count, last = counts.before(*asked)
    assert count.tolist() == [0, 0, 2, 0, 0]
    assert last.tolist() == [0, 0, 200, 0, 0]
    first, end = counts.things_of(np.array([0, 1, 7]))
    assert (end - first).tolist() == [0, 1, 0]


def test_nothing_happened_at_all() -> None:
    nothing = np.zeros(0, np.int64)
    counts = PairCounts(nothing, nothing, nothing, things=3)
    assert [found.tolist() for found in counts.before(*columns([(0, 1, 2)]))] == [[0], [0]]
    assert counts.things.tolist() == []


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_popular_items_come_first_and_ties_by_code(count: list[int]) -> None:
    found = most_popular(np.array(count)).tolist()
    assert found == sorted(range(1, len(count)), key=lambda code: (-count[code], code))
