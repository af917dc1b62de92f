"""Checks that every measure makes of its inputs, with errors that name the row.

Each function takes anything numpy can read as a one-dimensional array, checks it once and
returns it in the one type that the measures work on. A view is returned where possible.

Sort keys: group, score and label of a row packed into one 64-bit integer.

Sorting values is several times faster than sorting indices (numpy sorts plain integers with
AVX-512), so everything a measure needs after the sort travels inside the key:

    bit 63 ............ 33 | 32 ............... 1 | 0
    code of the group      | order of the score   | label

The order of a score is its float32 bit pattern, changed so that unsigned comparison of the
bits agrees with comparison of the numbers. Rounding float64 to float32 never reverses an
order, but it can merge two scores; `dense_order` is the exact, slower substitute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, SchemaError, ValueInvalidError

Array = npt.NDArray[Any]

_LARGEST_EXACT_INTEGER = 2**53  # beyond it float64 would merge neighbouring integers


def as_labels(labels: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Labels [N] of 0 and 1 (bool, integer or float) as uint8.

    Raises ValueInvalidError that names the first row which holds anything else.
    """
    array = _one_dimension(labels, "labels")
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if array.dtype.kind not in "iuf":
        raise SchemaError(
            "labels must be numbers or booleans",
            column="labels",
            value=str(array.dtype),
            hint="pass 1 for a response and 0 for none",
        )
    as_bytes: npt.NDArray[np.uint8] = (array == 1).view(np.uint8)
    wrong = (array != 0) != as_bytes.view(np.bool_)  # NaN != 0 and NaN != 1, so it is caught
    hint = "pass 1 for a response and 0 for none"
    refuse(wrong, "a label is neither 0 nor 1", "labels", array, hint)
    return as_bytes


def as_scores(scores: npt.ArrayLike, *, name: str = "scores") -> Array:
    """Scores [N] as float32 or float64 without loss; infinite scores are allowed.

    Raises ValueInvalidError that names the first row with NaN, and for integers too large
    for float64 to keep apart.
    """
    array = _one_dimension(scores, name)
    if array.dtype.kind in "iu" and array.size:
        largest = max(abs(int(array.max())), abs(int(array.min())))
        if largest > _LARGEST_EXACT_INTEGER:
            raise ValueInvalidError(
                "integer scores are too large to be compared exactly",
                column=name,
                value=largest,
                hint="replace them by their ranks",
            )
    return _as_float(array, name)


def as_probabilities(probabilities: npt.ArrayLike, *, name: str = "probabilities") -> Array:
    """Probabilities [N] in 0..1 as float32 or float64; names the first row outside."""
    array = _as_float(_one_dimension(probabilities, name), name)
    hint = "apply the logistic function to logits first"
    refuse((array < 0) | (array > 1), "a probability lies outside 0..1", name, array, hint)
    return array


def as_weights(weights: npt.ArrayLike | None, rows: int) -> npt.NDArray[np.float64] | None:
    """Weights [N], finite and not negative, as float64; None stays None (all weights 1)."""
    if weights is None:
        return None
    array = _one_dimension(weights, "weights").astype(np.float64, copy=False)
    check_same_length(rows, {"weights": array})
    wrong = ~(np.isfinite(array) & (array >= 0))
    hint = "a weight says how many rows a row stands for"
    refuse(wrong, "a weight is negative or not finite", "weights", array, hint)
    if rows and not array.any():
        raise ValueInvalidError(
            "all weights are zero", column="weights", hint="give some row a positive weight"
        )
    return array


def as_offsets(offsets: npt.ArrayLike, values: int) -> npt.NDArray[np.int64]:
    """Offsets [U + 1] of ragged rows: from 0 up to `values`, never falling, as int64."""
    array = _one_dimension(offsets, "offsets")
    if array.dtype.kind not in "iu":
        raise SchemaError("offsets must be integers", column="offsets", value=str(array.dtype))
    array = array.astype(np.int64, copy=False)
    if array.size == 0 or array[0] != 0 or array[-1] != values:
        raise DataError(
            f"offsets must run from 0 to the number of values, {values}",
            column="offsets",
            value=array[[0, -1]].tolist() if array.size else [],
        )
    refuse(np.diff(array, prepend=0) < 0, "offsets fall", "offsets", array)
    return array


@dataclass(frozen=True)
class Codes:
    """Groups of rows as small whole numbers.

    codes: [N] integers, from 0 to `span` - 1; a smaller code is a smaller group id.
    ids: [span] group ids by code, or None where the id is simply `code + base`.
    base: the smallest id where `ids` is None.
    """

    codes: Array
    span: int
    ids: Array | None = None
    base: int = 0

    def ids_of(self, codes: Array) -> Array:
        """The group ids of the given codes."""
        if self.ids is not None:
            return self.ids[codes.astype(np.intp)]
        wide = np.uint64 if self.base + self.span > 2**63 else np.int64
        return codes.astype(wide) + wide(self.base)


def as_codes(groups: npt.ArrayLike, rows: int) -> Codes:
    """Groups [N] (integers, texts, anything numpy can sort) as Codes.

    Integers whose range fits 31 bits are used as they are, less their minimum, so no sort
    is paid for. Everything else is coded by np.unique.
    """
    array = _one_dimension(groups, "groups")
    check_same_length(rows, {"groups": array})
    if array.dtype.kind == "f":
        refuse(np.isnan(array), "a group is not a number", "groups")
    if array.dtype.kind in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        if high - low < 2**31:
            # Eight-byte types subtract in place of themselves; narrower ones might overflow.
            dtype = array.dtype if array.dtype.itemsize == 8 else np.int64
            codes = np.subtract(array, low, dtype=dtype) if low else array
            return Codes(codes, high - low + 1, None, low)
    ids, codes = np.unique(array, return_inverse=True)
    return Codes(codes, len(ids), ids)


def refuse(
    wrong: npt.NDArray[np.bool_],
    what: str,
    column: str,
    values: Array | None = None,
    hint: str = "",
) -> None:
    """Raise ValueInvalidError for the first row that is `wrong` [N], with its value of `values`."""
    if wrong.any():
        row = int(np.argmax(wrong))
        value = None if values is None else values[row].tolist()
        raise ValueInvalidError(what, row=row, column=column, value=value, hint=hint)


def normal_quantile(confidence: float) -> float:
    """Half the width of a two-sided normal interval in standard errors, 1.96 for 0.95.

    Raises ValueInvalidError unless 0 < confidence < 1.
    """
    if not 0 < confidence < 1:
        raise ValueInvalidError("confidence must lie strictly between 0 and 1", value=confidence)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def check_same_length(rows: int, arrays: Mapping[str, Array]) -> None:
    """Raises DataError that names the array whose length is not `rows`."""
    for name, array in arrays.items():
        if len(array) != rows:
            raise DataError(
                f"expected {rows} rows and found {len(array)}",
                column=name,
                hint="all arrays must describe the same rows",
            )


def check_positive_integer(value: int, name: str) -> None:
    """Raises ValueInvalidError unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueInvalidError(f"{name} must be a whole number of at least 1", value=value)


def _as_float(array: Array, name: str) -> Array:
    if array.dtype.kind not in "biuf":
        raise SchemaError(f"{name} must be numbers", column=name, value=str(array.dtype))
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    hint = "a model that emits NaN has diverged; lower its learning rate"
    refuse(np.isnan(array), "a score is not a number (NaN)", name, hint=hint)
    return array


def _one_dimension(values: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(
            f"expected one dimension and found shape {array.shape}",
            column=name,
            hint="flatten it to one value a row",
        )
    return array


_SIGN = np.uint32(0x80000000)


def float_order(scores: Array) -> npt.NDArray[np.uint32]:
    """float32 order of scores [N] as uint32: a < b exactly where order(a) < order(b).

    -0.0 and 0.0 get the same order. float64 scores are rounded to float32 first.
    """
    with np.errstate(over="ignore", under="ignore"):
        single = scores.astype(np.float32) + np.float32(0)  # + 0 turns -0.0 into 0.0
    bits = single.view(np.uint32)
    # All ones for a negative number (flip everything), the sign bit alone for the others.
    flip = (single.view(np.int32) >> 31).view(np.uint32) | _SIGN
    bits ^= flip
    return bits


def is_lossless(scores: Array) -> bool:
    """Whether float32 holds every one of the scores [N] exactly."""
    if scores.dtype == np.float32:
        return True
    with np.errstate(over="ignore", under="ignore"):
        return bool((scores.astype(np.float32) == scores).all())


def dense_order(scores: Array) -> npt.NDArray[np.uint32]:
    """Dense ranks of scores [N], from 0: equal scores share a rank, exact for float64."""
    order = np.argsort(scores)
    ordered = scores[order]
    new = np.empty(len(scores), np.uint32)
    new[:1] = 0
    new[1:] = ordered[1:] != ordered[:-1]
    ranks = np.empty(len(scores), np.uint32)
    ranks[order] = np.cumsum(new, dtype=np.uint32)
    return ranks


def pack(
    codes: Array, order: npt.NDArray[np.uint32], labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint64]:
    """Keys [N] of (group code below 2**31, score order, label), as drawn above."""
    keys = codes.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= order
    keys <<= np.uint64(1)
    keys |= labels
    return keys


def run_starts(ordered: Array) -> npt.NDArray[np.int64]:
    """Positions at which a run of equal values starts in a sorted array [N]."""
    if len(ordered) == 0:
        return np.zeros(0, np.int64)
    inner = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return np.concatenate((np.zeros(1, np.int64), inner))


def hash_order(positions: Array, *, seed: int = 0) -> npt.NDArray[np.uint64]:
    """A fixed pseudo-random order of row positions [N], to break ties without a preference.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection of 64-bit numbers:
    two positions never collide, and the same seed gives the same order everywhere.
    """
    start = (seed * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) % 2**64
    mixed = positions.astype(np.uint64) + np.uint64(start)  # wraps around, as intended
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
