from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from adwright.delivery.stages.protocols import ExcludedCodes


class Table:
    """Codes of three items, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def codes(self, ids: Sequence[str]) -> NDArray[np.int64]:
        self.asked.append(sorted(ids))
        return np.array(["?abc".find(one) if one in "abc" else 0 for one in ids], np.int64)


def test_each_id_is_looked_up_once() -> None:
    table = Table()
    excluded = ExcludedCodes(table.codes)
    assert excluded.of(frozenset("cax")).tolist() == [1, 3]
    assert excluded.of(frozenset("abx")).tolist() == [1, 2]
    assert excluded.of(frozenset("abc")).tolist() == [1, 2, 3]
    assert excluded.of(frozenset()).tolist() == []
    assert table.asked == [["a", "c", "x"], ["b"]]


def test_the_same_set_gets_the_same_codes_which_nobody_may_change() -> None:
    excluded, both = ExcludedCodes(Table().codes), frozenset("ab")
    found = excluded.of(both)
    assert excluded.of(both) is found
    assert found.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 5


def test_it_does_not_remember_without_end() -> None:
    table = Table()
    excluded = ExcludedCodes(table.codes, most=3)
    for ids in ("ab", "xy", "ab", "abcxyz"):
        assert len(excluded.of(frozenset(ids))) == len(set("abc") & set(ids))
    assert table.asked == [["a", "b"], ["x", "y"], ["a", "b"], ["a", "b", "c", "x", "y", "z"]]
