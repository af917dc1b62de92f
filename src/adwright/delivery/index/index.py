"""The nearest vectors by inner product: one `Index`, three ways to keep it.

- `ExactConfig`: every vector is scored. The default, and the oracle of the others. A thousand
  vectors of 64 numbers take 2 microseconds per query in a batch.
- `FaissConfig`, `UsearchConfig`: approximate structures, which pay from some hundred thousand
  vectors on. Filters and removals are exact with them too: what may not be returned never is,
  and nothing is lost to a filter.

Which vectors are near enough to matter is the business of whoever made them; here the best k by
inner product are found, each id once. Letters: N vectors, D numbers each, Q queries, K vectors
a query.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ArtifactError, SchemaError, ValueInvalidError
from adwright.delivery.index.base import Index
from adwright.delivery.index.exact import ExactConfig, ExactIndex
from adwright.delivery.index.faiss_index import FaissConfig, FaissIndex
from adwright.delivery.index.ordering import best_distinct
from adwright.delivery.index.usearch_index import UsearchConfig, UsearchIndex
from adwright.delivery.index.vectors import LARGEST_ID, Found, checked_count

__all__ = [
    "ExactConfig",
    "FaissConfig",
    "Found",
    "Index",
    "IndexConfig",
    "IndexKind",
    "UsearchConfig",
    "build_index",
    "load_index",
    "recall_against_exact",
    "search_many",
]

IndexConfig = ExactConfig | FaissConfig | UsearchConfig
IndexKind = Literal["exact", "faiss", "usearch"]

Mask = NDArray[np.bool_]


def build_index(config: IndexConfig | IndexKind, dimension: int) -> Index:
    """An empty index of vectors of `dimension` numbers.

    config: its settings, or the name of a kind for that kind's own.
    Raises MissingExtraError where the kind needs a package that is not installed.

    >>> index = build_index("exact", 2)
    >>> index.add([5, 7], [[1.0, 0.0], [0.0, 1.0]])
    >>> index.search([[0.5, 1.0]], 2).ids
    array([[7, 5]])
    """
    match config:
        case ExactConfig():
            return ExactIndex(dimension, config)
        case FaissConfig():
            return FaissIndex(dimension, config)
        case UsearchConfig():
            return UsearchIndex(dimension, config)
        case "exact":
            return ExactIndex(dimension)
        case "faiss":
            return FaissIndex(dimension)
        case "usearch":
            return UsearchIndex(dimension)


def load_index(folder: str | Path) -> Index:
    """The index that `save` wrote, of whatever kind.

    Raises ArtifactError where the folder holds none, ArtifactCorruptError where a file was
    changed, MissingExtraError where its kind needs a package that is not installed.
    """
    artifact = load_artifact(folder)
    for kind in (ExactIndex, FaissIndex, UsearchIndex):
        if kind.kind == artifact.kind:
            return kind.of_artifact(artifact)
    raise ArtifactError(
        f"the artifact is of kind {artifact.kind!r}, no index",
        where=str(folder),
        hint="pass the folder of an index",
    )


def search_many(
    index: Index, queries: npt.ArrayLike, k: int, *, allowed: Mask | None = None
) -> Found:
    """The k best items of users with K vectors each, queries [Q, K, D].

    An item's score is the best of its K inner products; each id comes once. With an exact
    index the result is exact: an item among the best k of a user is among the best k of the
    vector that it is nearest to.
    Raises as `Index.search`, and SchemaError where `queries` has not three axes.
    """
    queries = np.asarray(queries)
    if queries.ndim != 3 or queries.shape[1] == 0:
        raise SchemaError(
            "users are vectors [Q, K, D] with K from 1 on",
            column="queries",
            value=list(queries.shape),
            hint="use Index.search for one vector a query",
        )
    users, vectors, width = queries.shape
    found = index.search(queries.reshape(-1, width), k, allowed=allowed)
    ids = found.ids.reshape(users, vectors * k)
    scores = found.scores.reshape(users, vectors * k)
    return best_distinct(ids, scores, k)


def recall_against_exact(index: Index, exact: Index, queries: npt.ArrayLike, k: int) -> float:
    """Share of the exact k best that `index` finds too, averaged over queries [Q, D].

    exact: an exact index of the same vectors.
    Raises ValueInvalidError where there is nothing to find.
    """
    checked_count(k, "k")
    truth, found = exact.search(queries, k).ids, index.search(queries, k).ids
    if not (truth >= 0).any():
        raise ValueInvalidError(
            "there is nothing to recall",
            value=f"{len(truth)} queries, {len(exact)} vectors",
            hint="add vectors, and pass at least one query",
        )
    query = np.arange(len(truth))[:, None] * (LARGEST_ID + 1)
    there = np.isin(truth + query, (found + query)[found >= 0]) & (truth >= 0)
    return float((there.sum(axis=1) / (truth >= 0).sum(axis=1)).mean())
