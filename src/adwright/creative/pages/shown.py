"""An ad as a page shows it: what it says, its picture, and what each judge answered."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adwright.core.errors import FileUnreadableError
from adwright.creative.records.encoders.images import opened_image
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["Answer", "Moved", "Neighbour", "ShownAd", "thumbnail"]

_SIDE = 320


@dataclass(frozen=True)
class Moved:
    """What the answer loses where a field is left out: `change` in the judge's unit."""

    field: str
    change: float


@dataclass(frozen=True)
class Neighbour:
    """A past ad that is near: what it says, what came of it, and how near (a cosine)."""

    text: str
    outcome: float
    similarity: float


@dataclass(frozen=True)
class Answer:
    """Of one judge on one ad. judge: its name. percent: whether values are shares, to be shown as
    such. better: share of the judge's training ads that it answers lower values for; None where
    nobody knows. unlike: the ad is unlike anything seen in training."""

    judge: str
    value: float
    low: float
    high: float
    unlike: bool = False
    coverage: float = 0.9
    percent: bool = True
    better: float | None = None
    moved: tuple[Moved, ...] = ()
    near: tuple[Neighbour, ...] = ()

    def said(self, value: float) -> str:
        """A number of this judge, as people read it."""
        return f"{value:.2%}" if self.percent else f"{value:.3g}"


@dataclass(frozen=True)
class ShownAd:
    """name: of the ad, its id. picture: a data address of a small picture, empty for none."""

    name: str
    record: AdRecord
    picture: str = ""
    answers: tuple[Answer, ...] = ()

    def answer(self, judge: str) -> Answer | None:
        """Of the judge with this name."""
        return next((one for one in self.answers if one.judge == judge), None)


def thumbnail(path: Path | None, frames: Sequence[bytes] = ()) -> str:
    """A small JPEG of an image file as a data address; empty where there is none to show.

    frames: bytes of images to show instead where the file is a film.
    """
    data = frames[0] if frames else (path.read_bytes() if path is not None else b"")
    if not data:
        return ""
    try:
        image = opened_image(data, "" if path is None else str(path))
    except FileUnreadableError:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    small = io.BytesIO()
    image.save(small, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode('ascii')}"
