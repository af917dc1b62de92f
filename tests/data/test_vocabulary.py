from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.data import vocabulary
from adwright.data.vocabulary import Vocabulary

WORDS = st.text(alphabet="abcé ", max_size=3)


@given(st.lists(WORDS, unique=True, max_size=20), st.lists(st.none() | WORDS, max_size=20))
def test_codes_equal_a_dictionary_by_either_way(known: list[str], asked: list[str | None]) -> None:
    expected = [known.index(value) + 1 if value in known else 0 for value in asked]
    column = pa.array(asked, pa.string())
    assert Vocabulary(known).codes(column).tolist() == expected
    repeated = pa.concat_arrays([column] * 300)
    assert Vocabulary(known).codes(repeated).tolist() == expected * 300


def test_equal_hashes_do_not_confuse_two_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pl.Series, "hash", lambda column: pl.Series([7] * len(column), dtype=pl.UInt64)
    )
    monkeypatch.setattr(vocabulary, "_FEW", 0)
    assert Vocabulary(["a", "b"]).codes(pa.array(["b", "c", "a"])).tolist() == [2, 0, 1]
    # One known value, and an unknown one of the same hash.
    assert Vocabulary(["a"]).codes(pa.array(["b", "a"])).tolist() == [0, 1]


@pytest.mark.parametrize("rows", [3, 600])
def test_nothing_is_known_to_an_empty_vocabulary(rows: int) -> None:
    column = pa.array(["a", None, "b"] * (rows // 3))
    codes = Vocabulary([]).codes(column)
    assert codes.dtype == np.int64
    assert codes.tolist() == [0] * rows


@given(st.permutations(["a", "b", "c", "d"]))
def test_codes_count_from_one_in_the_order_given(known: list[str]) -> None:
    for repeats in (1, 100):
        column = pa.array(known * repeats)
        assert Vocabulary(known).codes(column).tolist() == [1, 2, 3, 4] * repeats
