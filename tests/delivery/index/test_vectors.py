"""Vectors by id: slots, replacement, filters, and what is refused."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.delivery.index import exact as module
from adwright.delivery.index.exact import LARGEST_ID, VectorRows, checked_count, checked_queries
from tests.support.delivery.vector_search import gaussian

IDS = st.lists(st.integers(0, 12), max_size=8)


def test_example() -> None:
    assert doctest.testmod(module).failed == 0


@given(st.lists(st.tuples(st.booleans(), IDS), max_size=12))
def test_rows_are_a_dictionary(steps: list[tuple[bool, list[int]]]) -> None:
    rows, present = VectorRows(3), dict[int, Any]()
    for number, (adding, ids) in enumerate(steps):
        if adding:
            vectors = gaussian(len(ids), 3, seed=number)
            slots = rows.add(ids, vectors)
            present |= dict(zip(ids, vectors, strict=True))
            assert len(slots) == len(set(ids))
        else:
            assert rows.remove(ids) == len(set(ids) & set(present))
            present = {one: vector for one, vector in present.items() if one not in ids}
        restored = VectorRows.restored(rows.ids.copy(), rows.vectors.copy())
        for one in (rows, rows.compacted(), restored):
            alive = one.ids >= 0
            assert len(one) == len(present) == alive.sum()
            assert one.dead == len(one.ids) - len(present)
            assert set(one.ids[alive].tolist()) == set(present)
            for code, vector, norm in zip(one.ids, one.vectors, one.norms, strict=True):
                if code >= 0:
                    np.testing.assert_array_equal(vector, present[int(code)])
                    assert norm == pytest.approx(np.linalg.norm(vector), rel=1e-6)
        np.testing.assert_array_equal(restored.ids, rows.ids)


def test_slots_stay_and_of_one_id_the_last_vector_counts() -> None:
    rows = VectorRows(1)
    assert rows.add([4, 2, 4], [[1], [2], [3]]).tolist() == [0, 1]
    assert rows.ids.tolist() == [2, 4]
    assert rows.vectors.ravel().tolist() == [2, 3]
    assert rows.add([2], [[9]]).tolist() == [2]
    assert rows.ids.tolist() == [-1, 4, 2]


def test_a_filter_names_ids_and_those_beyond_it_are_not_allowed() -> None:
    rows = VectorRows(1)
    rows.add([5, 0, 2], [[1], [1], [1]])
    assert rows.selected(None) is None
    assert rows.selected(np.array([True, True, False])).tolist() == [1]
    assert rows.selected(np.zeros(0, np.bool_)).tolist() == []
    rows.remove([0])
    assert rows.selected(None).tolist() == [0, 2]
    allowed = np.ones(6, np.bool_)
    assert rows.selected(allowed).tolist() == [0, 2]
    slots = np.array([[0, 1], [-1, 2]])
    assert rows.may_return(slots, allowed).tolist() == [[True, False], [False, True]]
    assert rows.may_return(slots, None).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("allowed", [[True], np.ones(3), np.ones((2, 2), np.bool_)])
def test_what_is_no_filter(allowed: Any) -> None:
    rows = VectorRows(1)
    rows.add([0], [[1]])
    with pytest.raises(SchemaError, match="one boolean an id"):
        rows.selected(allowed)


@pytest.mark.parametrize(
    ("ids", "vectors", "error", "words"),
    [
        ([1], [[1, 2, 3]], SchemaError, r"numbers \[N, 2\]"),
        ([1], [1, 2], SchemaError, r"numbers \[N, 2\]"),
        ([1], [["a", "b"]], SchemaError, r"numbers \[N, 2\]"),
        ([1, 2], [[1, 2]], SchemaError, "one id per vector"),
        ([1.0], [[1, 2]], SchemaError, "one integer"),
        ([[1]], [[1, 2]], SchemaError, "one integer"),
        ([-1], [[1, 2]], ValueInvalidError, "row 0, column ids, value -1"),
        ([0, LARGEST_ID + 1], [[1, 2]] * 2, ValueInvalidError, "row 1, column ids"),
        ([0], [[1, np.nan]], ValueInvalidError, "row 0, column vectors"),
        ([0, 1], [[1, 1], [1, np.inf]], ValueInvalidError, "row 1, column vectors"),
        ([0], [[1, -1e300]], ValueInvalidError, "row 0, column vectors"),
    ],
)
def test_what_cannot_be_added(ids: Any, vectors: Any, error: type[Exception], words: str) -> None:
    rows = VectorRows(2)
    with pytest.raises(error, match=words):
        rows.add(ids, vectors)
    assert len(rows) == 0


def test_queries_and_counts() -> None:
    assert checked_queries([[1, 2]], 2).dtype == np.float32
    with pytest.raises(ValueInvalidError, match="column queries"):
        checked_queries([[np.nan, 0]], 2)
    assert checked_count(np.int64(3), "k") == 3
    for wrong in (0, -1, True, 1.5, "2"):
        with pytest.raises(ValueInvalidError, match="k must be a positive integer"):
            checked_count(wrong, "k")  # type: ignore[arg-type]
