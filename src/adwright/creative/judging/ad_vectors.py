"""Vectors of what ads show, for judges that were trained with them.

    vectors = image_vectors(table.media, store)           # {"image": float32 [N, 1280]}, or {}
    judge = WithVectors(fitted, vectors)                   # answers on these N ads, in their order

A judge that was trained with vectors is asked with those of the ads; `of_row` answers on variants
of one ad, whose vectors stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import AdwrightError
from adwright.creative.judging.judgement import AdJudge, Judgements
from adwright.creative.judging.nearest import PastAd
from adwright.creative.records.encoders.images import ImageEncoder, opened_image
from adwright.creative.records.encoders.store import VectorStore
from adwright.creative.records.verbal.ad_media import media_kind
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["IMAGE", "VectorJudge", "WithVectors", "image_vectors"]

#: Name of the vectors of images.
IMAGE = "image"

Vectors = Mapping[str, NDArray[np.float32]]


class VectorJudge(Protocol):
    """A judge that may be given vectors. name: of what is judged."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def judge(self, ads: Sequence[AdRecord], vectors: Vectors | None = None) -> Judgements:
        """The answers on N ads with their vectors, name -> float32 [N, W]."""
        ...

    def nearest(
        self, ads: Sequence[AdRecord], count: int = 3, vectors: Vectors | None = None
    ) -> Sequence[Sequence[PastAd]]:
        """Of each ad the nearest past ones."""
        ...


class WithVectors:
    """`judge` with the vectors of N ads, about which alone, in their order, it is asked."""

    def __init__(self, judge: VectorJudge, vectors: Vectors) -> None:
        self._judge, self._vectors = judge, vectors
        self.name = judge.name

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """The answers on all N ads."""
        return self._judge.judge(ads, self._vectors)

    def nearest(self, ads: Sequence[AdRecord], /, count: int = 3) -> Sequence[Sequence[PastAd]]:
        """Of the first ads the nearest past ones."""
        some = {name: one[: len(ads)] for name, one in self._vectors.items()}
        return self._judge.nearest(ads, count, some)

    def of_row(self, row: int) -> AdJudge:
        """A judge of variants of one ad."""
        return _OfRow(self._judge, {name: some[row] for name, some in self._vectors.items()})


class _OfRow:
    def __init__(self, judge: VectorJudge, own: Vectors) -> None:
        self._judge, self._own, self.name = judge, own, judge.name

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """The answers on variants of the ad."""
        repeated = {name: np.tile(one, (len(ads), 1)) for name, one in self._own.items()}
        return self._judge.judge(ads, repeated)


def image_vectors(
    media: Sequence[Path | None], store: VectorStore, *, offline: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Vectors of the images among N files, NaN for other ads and for images that cannot be read;
    empty where there is no image. Raises as `VectorStore.vectors` and `core.assets.asset`."""
    files = [_image(path) for path in media]
    if not any(files):
        return {}
    return {IMAGE: store.vectors(files, ImageEncoder(offline=offline))}


def _image(path: Path | None) -> bytes | None:
    if path is None or media_kind(path) != "image":
        return None
    try:
        data = path.read_bytes()
        opened_image(data, str(path))
    except (OSError, AdwrightError):
        return None
    return data
