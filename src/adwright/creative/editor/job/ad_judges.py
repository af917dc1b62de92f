"""Trained judges of ads, asked about edited pictures of one ad.

    eyes = PictureEyes(ImageEncoder())
    asked = AdOnPictures("click_rate", judge, record, eyes)
    asked.judge(pictures)       # float64 [N] of uint8 [N, H, W, 3]

A judge reads the ad's record and, where it was trained so, a vector of its picture. Both are made
anew for every edited picture: the vector by EfficientNet-Lite0, and of the record the colours, the
tone and the complexity. Title, words, faces and tags stay those of the ad: edits do not change
them. A judge that reads none of what an edit changes is blind to edits, and refused.

What was seen of a picture, and answered, is kept by its pixels, so that several judges, penalties
and the unedited picture cost one look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.core.hashing import sha256_bytes
from adwright.creative.editor.search.picture_judge import Floats, Pixels
from adwright.creative.editor.search.population import EditedBatch
from adwright.creative.judging.ad_vectors import IMAGE
from adwright.creative.judging.judgement import AdJudge, Judgements
from adwright.creative.lifetime.picture_life import PictureLife
from adwright.creative.records.seeing.colours import Colours, colours_of
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.creative.response.fitted import FittedClickRate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL.Image import Image

__all__ = ["AdOnPictures", "Encodes", "PictureEyes", "Unlikeness", "sees_pictures"]

_COLOUR_BAGS = frozenset(("foreground", "background", "tone", "complexity"))


class Encodes(Protocol):
    """Makes vectors of pictures, as `ImageEncoder` does."""

    def encode_pictures(self, pictures: Iterable[Image], count: int, /) -> NDArray[np.float32]:
        """float32 [B, D] of B pictures, RGB."""
        ...


class PictureEyes:
    """Looks at pictures of one ad, at each once. encoder: None where no judge reads vectors.
    looked: pictures that were encoded so far."""

    def __init__(self, encoder: Encodes | None, *, colours: bool = True) -> None:
        self._encoder, self._colours = encoder, colours
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._seen: dict[str, Colours] = {}
        self.looked = 0

    def vectors(self, pictures: Pixels) -> NDArray[np.float32] | None:
        """float32 [N, D] of uint8 [N, H, W, 3]; None without an encoder."""
        if self._encoder is None:
            return None
        keys = [_key_of(picture) for picture in pictures]
        new = {key: at for at, key in enumerate(keys) if key not in self._vectors}
        if new:
            images = [_image(pictures[at]) for at in new.values()]
            found = self._encoder.encode_pictures(images, len(images))
            self._vectors |= dict(zip(new, found, strict=True))
            self.looked += len(new)
        return np.stack([self._vectors[key] for key in keys])

    def record(self, record: AdRecord, picture: Pixels) -> AdRecord:
        """The record of the ad with another picture uint8 [H, W, 3]."""
        if not self._colours:
            return record
        key = _key_of(picture)
        if key not in self._seen:
            self._seen[key] = colours_of(_image(picture))
        seen = self._seen[key]
        first, *rest = record.scenes or (Scene(),)
        scene = replace(
            first,
            foreground=seen.foreground,
            background=seen.background,
            tone=seen.tone,
            complexity=seen.complexity,
        )
        return replace(record, scenes=(scene, *rest))


class AdOnPictures:
    """A judge of the pictures that an ad might have. name: of what is judged. record: of the ad."""

    def __init__(self, name: str, trained: AdJudge, record: AdRecord, eyes: PictureEyes) -> None:
        self.name = name
        self._trained, self._record, self._eyes = trained, record, eyes
        self._known: dict[str, tuple[float, bool]] = {}

    def judge(self, pictures: Pixels) -> Floats:
        """float64 [N]: the judge's value."""
        return np.array([value for value, _ in self._answers(pictures)], np.float64)

    def unlike(self, pictures: Pixels) -> NDArray[np.bool_]:
        """bool [N]: whether the ad with each picture is unlike all that the judge knows."""
        return np.array([unlike for _, unlike in self._answers(pictures)], bool)

    def _answers(self, pictures: Pixels) -> list[tuple[float, bool]]:
        keys = [_key_of(picture) for picture in pictures]
        new = {key: at for at, key in enumerate(keys) if key not in self._known}
        if new:
            found = self._asked(pictures[list(new.values())])
            for at, key in enumerate(new):
                self._known[key] = float(found.value[at]), bool(found.unlike[at])
        return [self._known[key] for key in keys]

    def _asked(self, pictures: Pixels) -> Judgements:
        records = [self._eyes.record(self._record, picture) for picture in pictures]
        vectors = self._eyes.vectors(pictures)
        if vectors is None or not isinstance(self._trained, FittedClickRate | PictureLife):
            return self._trained.judge(records)
        return self._trained.judge(records, {IMAGE: vectors})


@dataclass(frozen=True, eq=False)
class Unlikeness:
    """A penalty: the share of judges to which an edited picture is unlike all that they know, less
    that of the unedited one, 0 at least."""

    judges: Sequence[AdOnPictures]
    name: str = "unlikeness"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        if not self.judges:
            return np.zeros(len(batch))
        seen = np.concatenate([batch.unedited[None], batch.pictures])
        share = np.mean([judge.unlike(seen) for judge in self.judges], 0)
        return np.asarray(np.maximum(share[1:] - share[0], 0), np.float64)


def sees_pictures(judge: AdJudge, name: str) -> Mapping[str, bool]:
    """What a judge reads of a picture: "vectors" and "colours". name: of it, for the error.

    Raises ConfigError for one that reads neither: no edit changes what it says.
    """
    if isinstance(judge, PictureLife):
        return {"vectors": True, "colours": False}
    if not isinstance(judge, FittedClickRate):
        return {"vectors": False, "colours": True}
    features = judge.features
    bags = {bag.name for bag in features.bags}
    found = {"vectors": judge.reads(IMAGE), "colours": bool(bags & _COLOUR_BAGS)}
    if not any(found.values()):
        raise ConfigError(
            "this judge does not look at pictures, so no edit changes what it says",
            where=name,
            hint="train it on ads with pictures: adwright creative train clicks --image COLUMN",
        )
    return found


def _key_of(picture: Pixels) -> str:
    """Of its size and pixels."""
    return f"{picture.shape[0]}x{picture.shape[1]} {sha256_bytes(picture.tobytes())}"


def _image(picture: Pixels) -> Image:
    try:
        from PIL.Image import fromarray
    except ImportError as error:
        raise MissingExtraError("images of ads", "creative") from error
    return fromarray(picture)
