from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adwright.data.ranges import distinct, ranges, run_starts

RANGES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8)


@given(RANGES)
def test_ranges_equal_a_loop(pairs: list[tuple[int, int]]) -> None:
    starts = np.array([start for start, _ in pairs], dtype=np.int64)
    lengths = np.array([length for _, length in pairs], dtype=np.int64)
    positions, offsets = ranges(starts, lengths)
    assert positions.tolist() == [p for s, n in pairs for p in range(s, s + n)]
    assert offsets.tolist() == [sum(n for _, n in pairs[:r]) for r in range(len(pairs) + 1)]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=12))
def test_runs_equal_a_loop(rows: list[tuple[int, int]]) -> None:
    left, right = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    expected = [i for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]]
    assert run_starts(left, right).tolist() == [*expected, len(rows)]


def test_runs_of_text() -> None:
    assert run_starts(np.array(["a", "a", "b"])).tolist() == [0, 2, 3]


@given(st.lists(st.lists(st.integers(0, 4), max_size=6), max_size=5), st.integers(5, 9))
def test_distinct_values_of_each_list(lists: list[list[int]], width: int) -> None:
    values = np.array([value for one in lists for value in one], np.int64)
    found, bounds = distinct(values, np.cumsum([0, *map(len, lists)]), width)
    assert bounds.dtype == np.int64
    pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    assert [found[a:b].tolist() for a, b in pairs] == [sorted(set(one)) for one in lists]
