"""Checks that every measure makes of its inputs, with errors that name the row.

Each function takes anything numpy can read as a one-dimensional array, checks it once and
returns it in the one type that the measures work on. A view is returned where possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, SchemaError, ValueInvalidError

__all__ = [
    "Array",
    "Codes",
    "as_codes",
    "as_labels",
    "as_offsets",
    "as_probabilities",
    "as_scores",
    "as_weights",
    "check_positive_integer",
    "check_same_length",
    "normal_quantile",
    "refuse",
]

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
