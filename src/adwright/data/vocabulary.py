"""Values to codes, fast for a few values of a request and for the columns of a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Below so many values a dictionary of Python is quicker than hashing them all at once.
_FEW = 256


class Vocabulary:
    """Codes from 1 for known values, in the order given; 0 for all others.

    Columns are looked up by 64-bit hashes in one go and compared with the value found, so the
    codes are those of a dictionary, whatever the hashes.

    >>> Vocabulary(["b", "a"]).codes(pa.array(["a", None, "c", "b"])).tolist()
    [2, 0, 0, 1]
    """

    def __init__(self, values: Sequence[str]) -> None:
        self._values = values

    def codes(self, column: pa.Array) -> NDArray[np.int64]:
        """A string array [N] to int64 codes [N]."""
        if len(column) < _FEW or self._hashed is None:
            known = self._known
            return np.fromiter((known.get(v, 0) for v in column.to_pylist()), np.int64, len(column))
        hashes, order, values = self._hashed
        asked = pl.Series(column).hash().to_numpy()
        found = order[np.searchsorted(hashes, asked).clip(max=len(hashes) - 1)]
        same = pc.fill_null(pc.equal(values.take(pa.array(found)), column), False)
        return np.where(np.asarray(same), found + 1, 0)

    @cached_property
    def _known(self) -> dict[str, int]:
        return {value: code for code, value in enumerate(self._values, start=1)}

    @cached_property
    def _hashed(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], pa.Array] | None:
        """(hashes ascending, their values' positions, values); None where two hashes are equal
        or nothing is known."""
        values = pa.array(self._values, pa.string())
        hashes = pl.Series(values).hash().to_numpy()
        order = np.argsort(hashes)
        hashes = hashes[order]
        if len(hashes) == 0 or (hashes[1:] == hashes[:-1]).any():
            return None
        return hashes, order, values
