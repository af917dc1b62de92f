"""Rows in which a value occurs: against loops, on what is empty, ragged and repeated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from adwright.data.sequences.rows_with import ItemValues, SeenRows

#: Items 0 to 4: no value, one, several, all.
LISTS = ([], [2], [0, 3], [3], [0, 1, 2, 3, 4])


def values() -> ItemValues:
    offsets = np.cumsum([0, *(len(some) for some in LISTS)])
    return ItemValues(np.array([v for some in LISTS for v in some]), offsets, 6)


def literal(seen: SeenRows, of: ItemValues) -> NDArray[np.float64]:
    counts = np.zeros(of.width)
    for user, visible, item, weight in zip(
        seen.user, seen.visible, seen.item, seen.weight, strict=True
    ):
        history = seen.event_item[seen.event_user == user][:visible]
        if seen.max_history:
            history = history[-seen.max_history :]
        has = {v for one in (item, *history) for v in LISTS[one]}
        counts[list(has)] += weight
    return counts


def drawn(seed: int, max_history: int, rows: int = 60, users: int = 7) -> SeenRows:
    """Users of 0 to 12 events; the last one has none."""
    rng = np.random.default_rng(seed)
    number = np.append(rng.integers(0, 13, users - 1), 0)
    user = rng.integers(0, users, rows)
    return SeenRows(
        user=user,
        visible=rng.integers(0, number[user] + 1),
        item=rng.integers(0, len(LISTS), rows),
        weight=rng.choice([1.0, 0.05], rows),
        event_user=np.repeat(np.arange(users), number),
        event_item=rng.integers(0, len(LISTS), number.sum()),
        max_history=max_history,
    )


@pytest.mark.parametrize("max_history", [0, 1, 2, 5, 20])
def test_it_is_a_loop_over_rows(max_history: int) -> None:
    for seed in range(40):
        seen = drawn(seed, max_history)
        np.testing.assert_allclose(seen.count(values()), literal(seen, values()), atol=1e-9)


@pytest.mark.parametrize(("rows", "users"), [(0, 4), (5, 1), (0, 1)])
def test_without_rows_or_events_there_is_little_to_count(rows: int, users: int) -> None:
    seen = drawn(0, 0, rows, users)
    np.testing.assert_allclose(seen.count(values()), literal(seen, values()), atol=1e-9)


def test_values_of_items_stand_end_to_end() -> None:
    found, place = values().of(np.array([2, 0, 1, 2]))
    assert found.tolist() == [0, 3, 2, 0, 3]
    assert place.tolist() == [0, 0, 2, 3, 3]
