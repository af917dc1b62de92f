"""A stable 64-bit hash of table rows, for orders and splits that owe nothing to file order.

Many logs give one timestamp to many events (all products of a basket, all ratings of one
sitting). Any order among them is made up, and an order that follows the file or the ids lets
a model learn the file. Sorting by a seeded hash of the event's own identity is arbitrary in
the same way on every machine, and another seed gives another order.

The hash is our own few lines of numpy on unsigned 64-bit integers, so it does not change with
the version of polars, numpy or Python, the operating system or the number of threads. It
depends on values, not on rows: shuffling the rows shuffles the hashes with them.

    state = mix(seed)
    for each key column:  state = mix(state + 0x9E3779B97F4A7C15 ^ word)
    mix = the splitmix64 finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom
          number generators", OOPSLA 2014; constants of Stafford's variant 13)
    word = integers: two's complement; booleans 0 or 1; dates: days, times: microseconds,
           both since 1970; floats: IEEE bits with -0.0 as 0.0 and one NaN;
           text and bytes: FNV-1a of the UTF-8 bytes, then mix with the length;
           null: a fixed word.

It is not cryptographic: do not use it to hide an identity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import SchemaError

_U64 = np.uint64
_MASK = (1 << 64) - 1
_GOLDEN = _U64(0x9E3779B97F4A7C15)
_MIX_1 = _U64(0xBF58476D1CE4E5B9)
_MIX_2 = _U64(0x94D049BB133111EB)
_FNV_OFFSET = _U64(0xCBF29CE484222325)
_FNV_PRIME = _U64(0x100000001B3)
_NULL_WORD = _U64(0x6E756C6C20726F77)
_NAN_BITS = _U64(0x7FF8000000000000)


def hash_order(frame: pl.DataFrame, keys: Sequence[str], seed: int) -> pl.Series:
    """Hash of each row over the columns `keys`: a UInt64 series of frame.height values.

    Sort by it to get an order that is the same everywhere and belongs to the values, not to
    the file. Equal keys give equal hashes, so include a unique column to break every tie.

    seed: any integer; taken modulo 2**64.
    Raises SchemaError for an absent column or one of a type that has no stable bytes (lists,
    structs, objects).

    >>> frame = pl.DataFrame({"event_id": ["a", "b", "c"]})
    >>> frame.sort(hash_order(frame, ["event_id"], 7))["event_id"].to_list()
    ['c', 'b', 'a']
    """
    if not keys:
        raise SchemaError("hash_order needs at least one key column", hint="name a column")
    for key in keys:
        if key not in frame.columns:
            raise SchemaError(
                "key column is not in the table",
                column=key,
                hint=f"choose among {', '.join(frame.columns)}",
            )
    return _hash_columns([frame.get_column(key) for key in keys], seed)


def hash_expr(keys: Sequence[str], seed: int) -> pl.Expr:
    """The same hash as `hash_order`, as an expression for lazy and streamed tables.

    Usable inside `sort_by`, `over` and `with_columns`; the values equal those of `hash_order`.
    """
    if not keys:
        raise SchemaError("hash_expr needs at least one key column", hint="name a column")
    return (
        pl.struct(*keys)
        .map_batches(
            lambda rows: _hash_columns(rows.struct.unnest().get_columns(), seed),
            return_dtype=pl.UInt64(),
            is_elementwise=True,
        )
        .alias("hash")
    )


def sum_of_hashes(hashes: pl.Series) -> int:
    """The sum of UInt64 hashes modulo 2**64, which owes nothing to their order."""
    with np.errstate(over="ignore"):
        return int(np.add.reduce(hashes.to_numpy(), dtype=np.uint64)) if len(hashes) else 0


def _hash_columns(columns: list[pl.Series], seed: int) -> pl.Series:
    state = np.full(len(columns[0]), _U64(seed & _MASK), dtype=_U64)
    state = mix64(state)
    for column in columns:
        state = mix64((state + _GOLDEN) ^ _words(column))
    return pl.Series("hash", state)


def mix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 finaliser; arithmetic wraps modulo 2**64."""
    x = x ^ (x >> _U64(30))
    x = x * _MIX_1
    x = x ^ (x >> _U64(27))
    x = x * _MIX_2
    mixed: NDArray[np.uint64] = x ^ (x >> _U64(31))
    return mixed


def _words(column: pl.Series) -> NDArray[np.uint64]:
    """One 64-bit word per row, before it is mixed into the state."""
    dtype = column.dtype
    if dtype == pl.Categorical or isinstance(dtype, pl.Enum):
        column, dtype = column.cast(pl.String), pl.String()
    if dtype in (pl.String, pl.Binary):
        words = _text_words(column)
    elif dtype.is_integer() or dtype == pl.Boolean:
        wide = pl.UInt64 if dtype == pl.UInt64 else pl.Int64
        words = column.cast(wide).fill_null(0).to_numpy().astype(_U64)
    elif dtype == pl.Date:
        words = column.to_physical().cast(pl.Int64).fill_null(0).to_numpy().astype(_U64)
    elif isinstance(dtype, pl.Datetime):
        micros = column.dt.epoch("us")
        words = micros.fill_null(0).to_numpy().astype(_U64)
    elif dtype.is_float():
        # Adding 0.0 turns -0.0 into 0.0, which compares equal and so must hash equal.
        floats = column.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0
        words = np.where(np.isnan(floats), _NAN_BITS, floats.view(_U64))
    elif dtype == pl.Null:
        words = np.zeros(len(column), dtype=_U64)
    else:
        raise SchemaError(
            f"a column of type {dtype} cannot be hashed",
            column=column.name,
            hint="use text, integer, float, boolean, date or time columns as keys",
        )
    nulls = column.is_null().to_numpy()
    return np.where(nulls, _NULL_WORD, words)


def _text_words(column: pl.Series) -> NDArray[np.uint64]:
    """FNV-1a of the bytes of each value, mixed with its length in bytes."""
    binary = column.cast(pl.Binary).fill_null(b"")
    lengths = binary.bin.size("b").cast(pl.Int64).to_numpy()
    data = np.frombuffer(b"".join(binary.to_list()), dtype=np.uint8)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64)
    words = np.full(len(column), _FNV_OFFSET, dtype=_U64)
    # One pass a byte position over the values that are that long: vectorised over rows.
    active = np.flatnonzero(lengths > 0)
    position = 0
    while active.size:
        byte = data[starts[active] + position].astype(_U64)
        words[active] = (words[active] ^ byte) * _FNV_PRIME
        position += 1
        active = active[lengths[active] > position]
    return mix64(words ^ lengths.astype(_U64))
