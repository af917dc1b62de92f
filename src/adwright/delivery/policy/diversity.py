"""Variety down the slate: maximal marginal relevance, determinantal point processes, and a limit
per category.

The first two lower the utility of an item that resembles those already placed above it. All are
adjustments of a policy (see `delivery.policy.slate_policy`): functions of the items above, without
chance. With the greedy policy the first two are the published greedy algorithms; with any other
the propensities stay exact, since the chances of each place are computed from the adjusted
utilities.

Letters: C candidates, D width of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.pacing import Allowance
from adwright.delivery.policy.slate_policy import Running

__all__ = [
    "CategoryLimit",
    "CategorySimilarity",
    "Diversity",
    "DiversityConfig",
    "Similarity",
    "VectorSimilarity",
]

Floats = NDArray[np.float64]

_LEAST = 1e-10  # of an item that the slate above explains in full; keeps its utility finite


@settings
class DiversityConfig:
    """Method and weight of variety.

    method: "mmr", utility - weight max over the items above of the similarity (Carbonell and
        Goldstein, SIGIR 1998; their lambda is 1 / (1 + weight)), or
        "dpp", utility + weight / 2 log of the share of the item that the items above do not
        explain: greedily the slate of highest sum of utilities + weight / 2 log det of its
        similarities (Chen, Zhang and Zhou, NeurIPS 2018).
    weight: 0 or above, in units of the utility.
    """

    method: Literal["mmr", "dpp"] = "mmr"
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and math.isfinite(self.weight)):
            raise ConfigError("the weight must be 0 or above", where=f"weight {self.weight}")


class Similarity(Protocol):
    """Similarity of items."""

    def matrix(self, item_ids: Sequence[str]) -> Floats:
        """[C, C], symmetric, positive semidefinite, 1 on the diagonal, at most 1 elsewhere."""


class CategorySimilarity:
    """Items of one category are alike, others are not."""

    def __init__(self, category: Mapping[str, str], *, same: float = 1.0) -> None:
        """category: of each item; an item without one is like no other. same: similarity
        within a category, 0 to 1.
        """
        if not 0 <= same <= 1:
            raise ConfigError("a similarity lies between 0 and 1", where=f"same {same}")
        self._category, self._same = category, same

    def matrix(self, item_ids: Sequence[str]) -> Floats:
        """As in Similarity."""
        numbers: dict[str, int] = {}
        codes = np.empty(len(item_ids), np.int64)
        for row, item_id in enumerate(item_ids):
            category = self._category.get(item_id)
            # A code of its own, below 0, for an item without a category.
            codes[row] = (
                -1 - row if category is None else numbers.setdefault(category, len(numbers))
            )
        matrix = np.where(codes[:, None] == codes[None, :], self._same, 0.0)
        np.fill_diagonal(matrix, 1.0)
        return matrix


class VectorSimilarity:
    """Cosine of item vectors, for example those of the item tower."""

    def __init__(self, item_ids: Sequence[str], vectors: NDArray[np.floating]) -> None:
        """vectors: [N, D], finite, of these N items; an item that is not among them, or whose
        vector is zero, is like no other.

        Raises DataError for another shape and ValueInvalidError for a vector not finite.
        """
        if vectors.ndim != 2 or len(vectors) != len(item_ids):
            raise DataError(
                f"expected {len(item_ids)} vectors and found shape {vectors.shape}",
                column="vectors",
                hint="one row per item",
            )
        wrong = ~np.isfinite(vectors).all(1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueInvalidError("a vector is not finite", row=row, column="vectors")
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._unit = np.divide(
            vectors, length, out=np.zeros(vectors.shape, np.float64), where=length > 0
        )
        self._row = {item_id: row for row, item_id in enumerate(item_ids)}

    def matrix(self, item_ids: Sequence[str]) -> Floats:
        """As in Similarity."""
        rows = np.array([self._row.get(item_id, -1) for item_id in item_ids], np.int64)
        unit = np.where((rows >= 0)[:, None], self._unit[rows], 0.0)
        matrix = unit @ unit.T
        np.fill_diagonal(matrix, 1.0)
        return matrix


@dataclass(frozen=True, eq=False)
class Diversity:
    """The adjustment: see DiversityConfig for what it does to utilities."""

    config: DiversityConfig
    similarity: Similarity
    name: str = "diversity"

    def begin(self, request: Request, candidates: Candidates) -> Running:
        """Start down a slate with nothing placed."""
        matrix = self.similarity.matrix(candidates.item_ids)
        weight = self.config.weight
        return _MMR(matrix, weight) if self.config.method == "mmr" else _DPP(matrix, weight)


@dataclass(frozen=True, eq=False)
class CategoryLimit:
    """At most `most` items (at least 1) of a category in a slate; an item without one always
    fits. category: of each item."""

    most: int
    category: Mapping[str, str]
    name: str = "category limit"

    def begin(self, request: Request, candidates: Candidates) -> Running:
        """Start down a slate with nothing placed."""
        keys = [self.category.get(item_id) for item_id in candidates.item_ids]
        return Allowance(keys, {key: self.most for key in keys if key is not None})


class _MMR:
    def __init__(self, matrix: Floats, weight: float) -> None:
        self._matrix, self._weight = matrix, weight
        self._nearest: Floats | None = None

    def adjust(self, utility: Floats) -> Floats:
        return utility if self._nearest is None else utility - self._weight * self._nearest

    def place(self, row: int) -> None:
        alike = self._matrix[row]
        self._nearest = alike if self._nearest is None else np.maximum(self._nearest, alike)


class _DPP:
    """Keeps, of each candidate, the variance that the items above leave unexplained.

    That is a Cholesky factorisation of the similarities, one row per place, so a place costs C
    times the places above instead of a determinant per candidate.
    """

    def __init__(self, matrix: Floats, weight: float) -> None:
        self._matrix, self._weight = matrix, weight
        self._left = np.ones(len(matrix))
        self._factor = np.empty((len(matrix), 0))

    def adjust(self, utility: Floats) -> Floats:
        adjusted: Floats = utility + self._weight / 2 * np.log(np.maximum(self._left, _LEAST))
        return adjusted

    def place(self, row: int) -> None:
        left = max(float(self._left[row]), _LEAST)
        explained = self._factor @ self._factor[row]
        column = (self._matrix[row] - explained) / math.sqrt(left)
        self._factor = np.column_stack([self._factor, column])
        self._left = self._left - column**2
