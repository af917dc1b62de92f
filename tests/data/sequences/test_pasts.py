"""Histories by moment, against loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adwright.data.sequences.pasts import Pasts, moment_numbers

# Two users: moments of 2, 1 and 2 events, and of 1.
ITEM = np.array([3, 1, 2, 3, 5, 4])
OFFSETS = np.array([0, 5, 6])
INSTANT = np.array([10, 10, 20, 30, 30, 30])


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=5))
def test_moments_are_numbered_in_order(users: list[list[int]]) -> None:
    users = [sorted(one) for one in users]
    offsets = np.cumsum([0, *(len(one) for one in users)])
    flat = [(u, t) for u, one in enumerate(users) for t in one]
    instant = np.array([t for _, t in flat], dtype=np.int64)
    expected = [sorted(set(flat)).index(one) for one in flat]
    assert moment_numbers(offsets, instant).tolist() == expected
    assert moment_numbers(offsets, None).tolist() == list(range(len(flat)))


def test_events_count_the_moments_back() -> None:
    moment = moment_numbers(OFFSETS, INSTANT)
    found = Pasts.between(ITEM, moment, np.array([0, 5, 0, 0]), np.array([5, 6, 3, 0]))
    assert found.item.tolist() == [3, 1, 2, 3, 5, 4, 3, 1, 2]
    assert found.back.tolist() == [2, 2, 1, 0, 0, 0, 1, 1, 0]
    assert found.offsets.tolist() == [0, 5, 6, 9, 9]
    assert found.owner.tolist() == [0] * 5 + [1] + [2] * 3
    assert len(found) == 4


def test_an_empty_log_has_empty_histories() -> None:
    none = np.zeros(0, np.int64)
    found = Pasts.between(none, none, np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert (len(found), len(found.item)) == (2, 0)


def test_some_and_until_cut_histories_and_events() -> None:
    moment = moment_numbers(OFFSETS, INSTANT)
    whole = Pasts.between(ITEM, moment, np.array([0, 5, 0]), np.array([5, 6, 3]))
    some = whole.some(1, 3)
    assert (some.item.tolist(), some.offsets.tolist()) == ([4, 3, 1, 2], [0, 1, 4])
    turned = whole.take(np.array([2, 1]))
    assert (turned.item.tolist(), turned.offsets.tolist()) == ([3, 1, 2, 4], [0, 3, 4])
    assert turned.back.tolist() == [1, 1, 0, 0]
    latest = whole.until(1)
    assert (latest.item.tolist(), latest.offsets.tolist()) == ([3, 5, 4, 2], [0, 2, 3, 4])
    assert latest.back.tolist() == [0, 0, 0, 0]
