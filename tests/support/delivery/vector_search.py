"""What the tests of the vector indexes share: a literal search, and configs that build at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.delivery.index.index import ExactConfig, FaissConfig, Found, IndexConfig

Floats = NDArray[np.float32]

#: One of each kind and structure; the structure is built from the first vectors on.
CONFIGS: dict[str, IndexConfig] = {
    "exact": ExactConfig(),
    **{
        structure: FaissConfig(structure, lists=4, candidates=1, exact_below=0)
        for structure in ("ivf_fast", "ivf_flat", "hnsw", "hnsw_bf16", "hnsw_int8")
    },
}


def gaussian(number: int, dimension: int = 8, seed: int = 0) -> Floats:
    """Vectors [number, dimension]."""
    return np.random.default_rng(seed).standard_normal((number, dimension), np.float32)


def literal(
    present: dict[int, Floats], queries: Floats, k: int, allowed: NDArray[np.bool_] | None = None
) -> Found:
    """What the exact index promises, one product at a time."""
    ids = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    may = [one for one in present if allowed is None or (one < len(allowed) and bool(allowed[one]))]
    for row, query in enumerate(queries.astype(np.float64)):
        products = {one: np.float32((present[one].astype(np.float64) * query).sum()) for one in may}
        best = sorted(may, key=lambda one: (-products[one], one))[:k]
        ids[row, : len(best)] = best
        scores[row, : len(best)] = [products[one] for one in best]
    return Found(ids, scores)


def equal(one: Found, other: Found) -> bool:
    """Whether both are the same to the last bit."""
    return bool(np.array_equal(one.ids, other.ids) and np.array_equal(one.scores, other.scores))


def parts(found: Found) -> list[Any]:
    """Ids as lists, without the padding."""
    return [[one for one in row if one >= 0] for row in found.ids.tolist()]
