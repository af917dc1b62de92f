"""The frame: a part of the picture, of another shape where asked for.

    Crop(aspect=0.8, keep=0.9, x=0.5)       # narrower, closer, from the right

Nothing is scaled, so every pixel that stays is as it was. The frame is made larger where it would
cut what is protected or a face: it holds both whole, and then its shape is not quite what was asked
for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.knobs import Knob, PictureEdit, check_values

__all__ = ["Crop"]

Pixels = NDArray[np.uint8]
_LEAST_SIDE = 16
_KNOBS = (
    Knob("aspect", 0.5, 2.0, 1.0),
    Knob("keep", 0.6, 1.0, 1.0),
    Knob("x", -1.0, 1.0),
    Knob("y", -1.0, 1.0),
)


@dataclass(frozen=True)
class Crop(PictureEdit):
    """aspect: width over height, as a multiple of the picture's. keep: share of the largest such
    frame's sides. x, y: where it lies, -1 at the left or top, 1 at the right or bottom.

        w = keep min(W, aspect W),    h = w H / (aspect W)
        left = (W - w) (1 + x) / 2,   top = (H - h) (1 + y) / 2
    """

    aspect: float = 1.0
    keep: float = 1.0
    x: float = 0.0
    y: float = 0.0
    kind: Literal["crop"] = "crop"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return _KNOBS

    def frame(self, shape: tuple[int, ...], context: EditContext) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in a picture of shape (H, W, ...), edges as in slices."""
        high, wide = shape[:2]
        w = self.keep * min(1.0, self.aspect) * wide
        h = self.keep * min(1.0, 1 / self.aspect) * high
        w, h = min(wide, max(w, _LEAST_SIDE)), min(high, max(h, _LEAST_SIDE))
        left, top = round((wide - w) * (1 + self.x) / 2), round((high - h) * (1 + self.y) / 2)
        right, bottom = min(wide, left + round(w)), min(high, top + round(h))
        for one in _whole(shape, context):
            left, top = min(left, one[0]), min(top, one[1])
            right, bottom = max(right, one[2]), max(bottom, one[3])
        return left, top, right, bottom

    def why_not(self, picture: Pixels, context: EditContext) -> str:
        high, wide = picture.shape[:2]
        if self.aspect == self.keep == 1 or self.frame(picture.shape, context) != (
            0,
            0,
            wide,
            high,
        ):
            return ""
        return "what is protected, and the faces, reach over the whole picture"

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        left, top, right, bottom = self.frame(picture.shape, context)
        return picture[top:bottom, left:right].copy()

    def followed(self, picture: Pixels, context: EditContext) -> EditContext:
        return context.cut(*self.frame(picture.shape, context))


def _whole(shape: tuple[int, ...], context: EditContext) -> list[tuple[int, int, int, int]]:
    """Boxes in the picture that no frame may cut."""
    made = []
    if context.protected is not None and context.protected.any():
        rows, columns = (np.flatnonzero(context.protected.any(axis)) for axis in (1, 0))
        made.append((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    found = (place.pixels(shape) for place in context.places)
    made += [box for box in found if box[0] < box[2] and box[1] < box[3]]
    return made
