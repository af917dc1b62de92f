"""Rows of few numbers, and their product: what sums the neighbours of many histories at once.

torch multiplies compressed rows in compiled code where it was built with a library for it, as it
is for most processors; elsewhere its product of lists of cells does the same, some three times as
slowly.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SparseRows", "sparse_table", "times"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SparseRows:
    """R rows of M columns: row r has the numbers values[offsets[r] : offsets[r + 1]] in the columns
    of the same places. offsets: int64 [R + 1]; columns: [E]; values: float32 [E]."""

    offsets: Ints
    columns: NDArray[np.integer]
    values: Floats

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owner(self) -> Ints:
        """int64 [E], the row of each number."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def sparse_table(rows: SparseRows, columns: int) -> Tensor:
    """The rows as torch's compressed rows: what `times` multiplies with."""
    with warnings.catch_warnings():
        # Torch says once that the layout is in beta.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(rows.offsets.astype(np.int32)),
            torch.from_numpy(rows.columns.astype(np.int32)),
            torch.from_numpy(rows.values),
            size=(len(rows), columns),
            check_invariants=False,
        )


def times(rows: SparseRows, table: Tensor) -> SparseRows:
    """The product of rows [R, M] with a table [M, N], each column of a row once, in any order.

    A column may stand several times in a row of `rows`, whose numbers then add up.
    """
    if not len(rows.values):
        none = np.zeros(0, np.int64)
        return SparseRows(np.zeros_like(rows.offsets), none, np.zeros(0, np.float32))
    try:
        found = sparse_table(rows, table.shape[0]) @ table
    except RuntimeError:
        return _by_cells(rows, table)
    parts = (found.crow_indices(), found.col_indices(), found.values())
    offsets, columns, values = (part.numpy() for part in parts)
    return SparseRows(offsets.astype(np.int64), columns, values)


def _by_cells(rows: SparseRows, table: Tensor) -> SparseRows:
    """The same where torch cannot multiply compressed rows."""
    cells = torch.from_numpy(np.stack((rows.owner, rows.columns)))
    size = (len(rows), table.shape[0])
    numbers = torch.from_numpy(rows.values)
    left = torch.sparse_coo_tensor(cells, numbers, size, check_invariants=False).coalesce()
    found = torch.sparse.mm(left, table.to_sparse(layout=torch.sparse_coo)).coalesce()
    row, columns = found.indices().numpy()
    offsets = np.searchsorted(row, np.arange(len(rows) + 1))
    return SparseRows(offsets, columns, found.values().numpy())
