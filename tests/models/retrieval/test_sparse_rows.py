"""Products of sparse rows against dense ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adwright.models.retrieval.sparse_rows import SparseRows, sparse_table, times


def rows(seed: int, number: int, columns: int) -> SparseRows:
    """Rows of zero to six numbers; a column may come twice."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 7, number)
    size = int(lengths.sum())
    return SparseRows(
        np.concatenate(([0], np.cumsum(lengths))),
        rng.integers(0, columns, size),
        rng.random(size).astype(np.float32),
    )


def dense(sparse: SparseRows, columns: int) -> np.ndarray:
    found = np.zeros((len(sparse), columns))
    np.add.at(found, (sparse.owner, sparse.columns), sparse.values)
    return found


def table() -> SparseRows:
    """Seven rows over nine columns, each column once a row and in order."""
    full = np.random.default_rng(5).random((7, 9)) * (np.random.default_rng(6).random((7, 9)) < 0.4)
    row, column = np.nonzero(full)
    offsets = np.searchsorted(row, np.arange(8))
    return SparseRows(offsets, column, full[row, column].astype(np.float32))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("compressed", [True, False])
def test_the_product_is_the_dense_one(
    seed: int, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = rows(seed, 11, 7), table()
    ready = sparse_table(right, 9)
    if not compressed:
        # As in a build of torch without a library for it.
        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError("not built for this")

        monkeypatch.setattr(torch, "sparse_csr_tensor", refuse)
    found = times(left, ready)
    np.testing.assert_allclose(dense(found, 9), dense(left, 7) @ dense(right, 9), rtol=1e-5)
    cells = found.owner * 9 + found.columns
    assert len(cells) == len({*cells.tolist()})
    assert (found.offsets.dtype, found.columns.dtype) == (np.int64, np.int64)


def test_rows_of_nothing_give_nothing() -> None:
    none = np.zeros(0, np.int64)
    found = times(
        SparseRows(np.zeros(4, np.int64), none, np.zeros(0, np.float32)), sparse_table(table(), 9)
    )
    assert (len(found), len(found.values)) == (3, 0)
