"""The row hash is pinned, uniform, and blind to row order and numeric width."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import SchemaError
from adwright.data.hashing import hash_expr, hash_order

_U64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(x: int) -> int:
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & _U64
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & _U64
    return x ^ (x >> 31)


def _slow_hash(keys: tuple[int | str | None, ...], seed: int) -> int:
    """The documented recurrence, in Python integers."""
    state = _mix(seed & _U64)
    for key in keys:
        if key is None:
            word = 0x6E756C6C20726F77
        elif isinstance(key, int):
            word = key & _U64
        else:
            word = 0xCBF29CE484222325
            data = key.encode()
            for byte in data:
                word = (word ^ byte) * 0x100000001B3 & _U64
            word = _mix(word ^ len(data))
        state = _mix((state + _GOLDEN & _U64) ^ word)
    return state


def test_the_hash_is_pinned_forever() -> None:
    # Orders and splits of published results hang on these values: a change here breaks them.
    frame = pl.DataFrame({"event_id": ["a", "b", "c"], "n": [1, 2, None]})
    assert hash_order(frame, ["event_id"], 7).to_list() == [
        17545369242282715455,
        3469077134080914404,
        3072157459561237575,
    ]
    assert hash_order(frame, ["n"], 0)[2] == _slow_hash((None,), 0)


@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=20)),
        ),
        max_size=20,
    ),
    seed=st.integers(-(2**70), 2**70),
)
def test_equals_a_slow_reference(rows: list[tuple[int | None, str | None]], seed: int) -> None:
    schema = {"n": pl.Int64, "text": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    expected = [_slow_hash(row, seed) for row in rows]
    assert hash_order(frame, ["n", "text"], seed).to_list() == expected
    assert frame.lazy().select(hash_expr(["n", "text"], seed)).collect()["hash"].to_list() == (
        expected
    )


@given(st.permutations(range(30)))
def test_belongs_to_values_not_to_rows(order: list[int]) -> None:
    frame = pl.DataFrame({"id": [f"e{i}" for i in range(30)]})
    hashed = frame.with_columns(hash_order(frame, ["id"], 1))
    shuffled = frame[order]
    assert hash_order(shuffled, ["id"], 1).to_list() == hashed[order]["hash"].to_list()


def test_streams_in_chunks_to_the_same_values() -> None:
    frame = pl.DataFrame({"id": [f"event {i}" for i in range(200_000)]})
    streamed = frame.lazy().select(hash_expr(["id"], 3)).collect(engine="streaming")
    assert streamed["hash"].equals(hash_order(frame, ["id"], 3))


def test_usable_to_sort_inside_groups() -> None:
    frame = pl.DataFrame({"basket": [1, 1, 1, 2, 2], "item": [5, 6, 7, 5, 6]})
    first = frame.sort("basket", hash_expr(["basket", "item"], 0))
    assert first["basket"].to_list() == [1, 1, 1, 2, 2]
    orders = {
        tuple(frame.sort("basket", hash_expr(["basket", "item"], seed))["item"])
        for seed in range(40)
    }
    assert len(orders) == 12  # all 3! x 2! orders turn up


def test_numbers_hash_by_value_and_other_types_by_their_bits() -> None:
    small = pl.DataFrame({"x": pl.Series([1, -2], dtype=pl.Int8)})
    wide = pl.DataFrame({"x": pl.Series([1, -2], dtype=pl.Int64)})
    assert hash_order(small, ["x"], 0).equals(hash_order(wide, ["x"], 0))
    zeros = pl.DataFrame({"x": [0.0, -0.0, math.nan, -math.nan]})
    hashes = hash_order(zeros, ["x"], 0).to_list()
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[3] != hashes[0]
    big = pl.DataFrame({"x": pl.Series([2**64 - 1], dtype=pl.UInt64)})
    assert hash_order(big, ["x"], 0)[0] == _slow_hash((2**64 - 1,), 0)


def test_times_hash_as_microseconds_since_1970() -> None:
    moment = datetime(2017, 1, 1, 12, tzinfo=UTC)
    frame = pl.DataFrame({"x": [moment]})
    micros = int(moment.timestamp() * 1_000_000)
    for unit in ("ms", "us", "ns"):
        cast = frame.with_columns(pl.col("x").dt.cast_time_unit(unit))
        assert hash_order(cast, ["x"], 0)[0] == _slow_hash((micros,), 0)
    days = pl.DataFrame({"x": [date(1970, 1, 11)]})
    assert hash_order(days, ["x"], 0)[0] == _slow_hash((10,), 0)


def test_categories_hash_as_their_text() -> None:
    text = pl.DataFrame({"x": ["a", "b", None]})
    expected = hash_order(text, ["x"], 0)
    assert hash_order(text.cast(pl.Categorical), ["x"], 0).equals(expected)
    assert hash_order(text.cast(pl.Enum(["b", "a"])), ["x"], 0).equals(expected)
    assert hash_order(text.cast(pl.Binary), ["x"], 0).equals(expected)


def test_seed_and_key_order_change_the_hash_and_bits_are_balanced() -> None:
    frame = pl.DataFrame({"a": np.arange(20_000), "b": np.arange(20_000)[::-1]})
    one, two = hash_order(frame, ["a", "b"], 1), hash_order(frame, ["a", "b"], 2)
    assert (one == two).sum() == 0
    assert not one.equals(hash_order(frame, ["b", "a"], 1))
    bits = np.unpackbits(one.to_numpy().view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.02  # five standard errors of 0.0035
    assert one.n_unique() == frame.height


def test_null_and_boolean_columns_and_no_rows() -> None:
    assert hash_order(pl.DataFrame({"x": [None]}), ["x"], 0)[0] == _slow_hash((None,), 0)
    assert hash_order(pl.DataFrame({"x": [True]}), ["x"], 0)[0] == _slow_hash((1,), 0)
    empty = pl.DataFrame(schema={"x": pl.String, "n": pl.Int64})
    assert hash_order(empty, ["x", "n"], 0).len() == 0


def test_refusals_name_the_column() -> None:
    frame = pl.DataFrame({"id": ["a"], "tags": [["x"]]})
    with pytest.raises(SchemaError, match=r"not in the table \[column other\] -> .*id, tags"):
        hash_order(frame, ["other"], 0)
    with pytest.raises(SchemaError, match=r"List.*cannot be hashed \[column tags\]"):
        hash_order(frame, ["tags"], 0)
    with pytest.raises(SchemaError, match="at least one"):
        hash_order(frame, [], 0)
    with pytest.raises(SchemaError, match="at least one"):
        hash_expr([], 0)
