"""What became of the ads that are most like this one: nearest past creatives, with outcomes.

    past = PastAds(novelty, ids, titles, values, weights)     # of the ads that `novelty` kept
    past.nearest(vectors, 3)[0]         # (PastAd(id="7", title=..., value=.021, ...), ...)

It explains a value by examples: a value that is far from those of the nearest ads, or ads that have
nothing in common with the one that is asked about, are reasons to doubt it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.creative.judging.novelty import Novelty

__all__ = ["PastAd", "PastAds"]


@dataclass(frozen=True)
class PastAd:
    """An ad of the training data. value: what became of it, in the judge's unit. weight: of how
    many impressions, answers or views that is. distance: to the ad that was asked about."""

    id: str
    title: str
    value: float
    weight: float
    distance: float


@dataclass(frozen=True, eq=False)
class PastAds:
    """The K ads that `novelty` kept: their ids, titles, values and weights, [K] each.

    Raises DataError for another number of them."""

    novelty: Novelty
    ids: tuple[str, ...]
    titles: tuple[str, ...]
    values: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("ids", "titles", "values", "weights"):
            if len(getattr(self, name)) != len(self.novelty.kept):
                raise DataError(
                    f"expected {len(self.novelty.kept)} of the ads that are kept",
                    column=name,
                    value=len(getattr(self, name)),
                )

    def nearest(
        self, vectors: npt.NDArray[np.float32], count: int = 3
    ) -> Sequence[tuple[PastAd, ...]]:
        """The `count` nearest of each of N ads, the nearest first; an ad of the same title as a
        nearer one is left out, so that variants of one ad do not fill the list."""
        places, distances = self.novelty.nearest(vectors, len(self.ids))
        found = []
        for row, far in zip(places, distances, strict=True):
            titles: set[str] = set()
            some: list[PastAd] = []
            for place, distance in zip(row.tolist(), far.tolist(), strict=True):
                if len(some) == count:
                    break
                if self.titles[place] in titles:
                    continue
                titles.add(self.titles[place])
                some.append(self._ad(place, distance))
            found.append(tuple(some))
        return tuple(found)

    def _ad(self, place: int, distance: float) -> PastAd:
        return PastAd(
            self.ids[place],
            self.titles[place],
            float(self.values[place]),
            float(self.weights[place]),
            distance,
        )
