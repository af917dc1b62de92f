"""Is an ad unlike anything seen in training? Its distance to the nearest vectors says so.

    novelty = Novelty.fit(vectors, stories, seed=0)      # of training ads
    novelty.unlike(new_vectors)                          # bool [N]

The distance of an ad is that to its k-th nearest of the kept training ads, Euclidean (Ramaswamy et
al., SIGMOD 2000). It is unlike them where that is above the `quantile` of the distances that the
training ads have to those of other groups: variants of one story lie close together, and a new ad
has no variants in training. At most `most` ads are kept, drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.config import require_count
from adwright.core.errors import ConfigError, DataError

__all__ = ["Novelty"]

_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Novelty:
    """kept: float16 [K, W] of training ads. rows: int64 [K], which of them. k: of the nearest.
    threshold: distances above it are unlike."""

    kept: npt.NDArray[np.float16]
    rows: npt.NDArray[np.int64]
    k: int
    threshold: float

    @classmethod
    def fit(
        cls,
        vectors: npt.NDArray[np.float32],
        groups: npt.NDArray[np.int64] | None = None,
        *,
        k: int = 5,
        quantile: float = 0.99,
        most: int = 4096,
        seed: int = 0,
    ) -> Novelty:
        """Of vectors [N, W] of training ads. groups: [N], of which each ad is; by default each is
        alone. Raises ConfigError for settings out of range, DataError for other lengths and where
        too few ads are of other groups."""
        for name, value in (("k", k), ("most", most)):
            require_count(name, value)
        if not 0 < quantile <= 1:
            raise ConfigError("a quantile lies in (0, 1]", where=f"quantile {quantile}")
        own = np.arange(len(vectors)) if groups is None else groups
        if len(own) != len(vectors):
            raise DataError("expected a group of each ad", value=(len(own), len(vectors)))
        drawn = np.random.default_rng(seed).permutation(len(vectors))[:most]
        rows = np.sort(drawn).astype(np.int64)
        kept = vectors[rows].astype(np.float16)
        distances = _distances(kept.astype(np.float32), kept, own[rows], own[rows])
        fewest = min((np.isfinite(one).sum() for one in distances), default=0)
        if fewest < k:
            raise DataError(
                f"{k} nearest ads of other stories are looked for",
                value=int(fewest),
                hint="pass more ads, or a smaller k",
            )
        nearest = np.concatenate([_kth(one, k) for one in _parts(distances)])
        return cls(kept, rows, k, float(np.quantile(nearest, quantile)))

    def distance(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 [N], to the k-th nearest of the kept ads."""
        made = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            made[part] = _kth(_distances(vectors[part], self.kept), self.k)
        return made

    def unlike(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """bool [N]."""
        found: npt.NDArray[np.bool_] = self.distance(vectors) > self.threshold
        return found

    def nearest(
        self, vectors: npt.NDArray[np.float32], count: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """(places among the kept ads, distances), [N, count] each, the nearest first."""
        require_count("count", count)
        distances = _distances(vectors, self.kept)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return order.astype(np.int64), np.take_along_axis(distances, order, 1)


def _distances(
    left: npt.NDArray[np.float32],
    right: npt.NDArray[np.float16],
    left_groups: npt.NDArray[np.int64] | None = None,
    right_groups: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float32]:
    """float32 [N, K]; infinite between ads of one group."""
    other = right.astype(np.float32)
    squares = (left**2).sum(1)[:, None] + (other**2).sum(1) - 2 * left @ other.T
    found: npt.NDArray[np.float32] = np.sqrt(np.maximum(squares, 0))
    if left_groups is not None and right_groups is not None:
        found[left_groups[:, None] == right_groups] = np.inf
    return found


def _parts(distances: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return [distances[start : start + _AT_ONCE] for start in range(0, len(distances), _AT_ONCE)]


def _kth(distances: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    """[N]."""
    k = min(k, distances.shape[1])
    found: npt.NDArray[np.float32] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return found
