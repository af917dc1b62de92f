"""A line of text over the picture: where, how large, and how much it stands out.

    TextOverlay("Fresh today", x=0.5, y=0.9, size=0.08, opacity=1, contrast=0.6)

It never lies over what is protected or over a face: where it would, the nearest free place is taken
(on a grid of half its height); where there is none, it is made smaller, and where it still finds no
place, it is not written, and `why_not` says so. Ink
is black or white, whichever has the higher contrast with what is below it, by WCAG 2:

    contrast ratio = (L1 + .05) / (L2 + .05),    L the relative luminance of the lighter and darker

`contrast` lays a plate of the other of the two below the text, with that opacity.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.creative.editor.edits.context import EditContext, kept
from adwright.creative.editor.edits.knobs import Knob, PictureEdit, check_values

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["TextOverlay", "contrast_ratio"]

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]

_MOST_CHARACTERS = 200
_LEAST_SIZE, _MOST_SIZE = 0.03, 0.2
_WIDEST = 0.96
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class TextOverlay(PictureEdit):
    """text: one line. x, y: of its middle, 0 at the left and top, 1 at the right and bottom of what
    room there is. size: of the letters, share of the picture's height; less where there is no room.
    opacity: of ink and plate, 0 is no text. contrast: opacity of the plate. font: path of a
    TrueType file; Pillow's own by default, which has Latin letters only.
    """

    text: str
    x: float = 0.5
    y: float = 0.9
    size: float = 0.08
    opacity: float = 0.0
    contrast: float = 0.5
    font: str = ""
    kind: Literal["text"] = "text"

    def __post_init__(self) -> None:
        check_values(self)
        odd = [one for one in self.text if unicodedata.category(one)[0] == "C"]
        if not self.text.strip() or odd or len(self.text) > _MOST_CHARACTERS:
            raise ConfigError(
                f"the text is empty, longer than {_MOST_CHARACTERS}, or has control characters",
                where="TextOverlay.text",
                hint="pass one line",
            )

    def knobs(self) -> tuple[Knob, ...]:
        return (
            Knob("x", 0.0, 1.0, 0.5),
            Knob("y", 0.0, 1.0, 0.9),
            Knob("size", _LEAST_SIZE, _MOST_SIZE, 0.08),
            Knob("opacity", 0.0, 1.0),
            Knob("contrast", 0.0, 1.0, 0.5),
        )

    def is_neutral(self) -> bool:
        return self.opacity == 0

    def why_not(self, picture: Pixels, context: EditContext) -> str:
        return "" if self.is_neutral() else self._laid_out(picture, context)[2]

    def box(self, picture: Pixels, context: EditContext) -> Box | None:
        """Where its plate is: left, top, right and bottom; None where it is not written."""
        return None if self.is_neutral() else self._laid_out(picture, context)[1]

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        font, box, _ = self._laid_out(picture, context)
        if font is None or box is None:
            return picture.copy()
        from PIL import Image, ImageDraw

        left, top, right, bottom = box
        below = picture[top:bottom, left:right].astype(np.float64)
        ground = below.reshape(-1, 3).mean(0)
        ink = max((0.0, 255.0), key=lambda v: contrast_ratio(np.full(3, v), ground))
        drawn = Image.new("L", (right - left, bottom - top))
        pen = ImageDraw.Draw(drawn)
        pen.text(
            ((right - left) / 2, (bottom - top) / 2), self.text, fill=255, font=font, anchor="mm"
        )
        plate = self.contrast * self.opacity
        shown = below * (1 - plate) + (255 - ink) * plate
        share = np.asarray(drawn, np.float64)[..., None] / 255 * self.opacity
        new = picture.copy()
        new[top:bottom, left:right] = np.rint(shown * (1 - share) + ink * share).astype(np.uint8)
        return kept(picture, new, context)

    def _laid_out(
        self, picture: Pixels, context: EditContext
    ) -> tuple[FreeTypeFont | Any, Box | None, str]:
        """Its font and its box, or why it has none."""
        high, wide = picture.shape[:2]
        least = max(6, round(_LEAST_SIZE * high))
        pixels = max(least, round(self.size * high))
        missing = _missing(_font(self.font, pixels), self.text)
        if missing:
            return None, None, f"the font lacks {missing!r}"
        taken = _taken(picture.shape, context)
        while True:
            font, why = _font(self.font, pixels), "the text is too long for the picture"
            left, top, right, bottom = font.getbbox(self.text, anchor="mm")
            margin = max(2, pixels // 4)
            width, height = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
            if width <= _WIDEST * wide and height <= _WIDEST * high:
                box = self._free(taken, width, height)
                if box is not None:
                    return font, box, ""
                why = "there is no room beside what is protected and the faces"
            if pixels <= least:
                return None, None, why
            pixels = max(least, int(0.9 * pixels))

    def _free(self, taken: NDArray[np.bool_], width: int, height: int) -> Box | None:
        """The free box nearest to the place that was asked for."""
        high, wide = taken.shape
        sums = np.zeros((high + 1, wide + 1), np.int64)
        sums[1:, 1:] = taken.cumsum(0).cumsum(1)
        x, y = round(self.x * (wide - width)), round(self.y * (high - height))
        step = max(1, height // 2)
        lefts = np.unique(np.clip(np.arange(x % step, wide - width + step, step), 0, wide - width))
        tops = np.unique(np.clip(np.arange(y % step, high - height + step, step), 0, high - height))
        top, left = (each.ravel() for each in np.meshgrid(tops, lefts, indexing="ij"))
        bottom, right = top + height, left + width
        count = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        free = np.flatnonzero(count == 0)
        if not len(free):
            return None
        at = free[np.argmin((left[free] - x) ** 2 + (top[free] - y) ** 2)]
        return int(left[at]), int(top[at]), int(right[at]), int(bottom[at])


def contrast_ratio(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """WCAG's, of two sRGB colours [3], 0 to 255: 1 (alike) to 21 (black on white)."""
    v = np.stack([one, other]) / 255
    light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ _WEIGHTS
    return float((light.max() + 0.05) / (light.min() + 0.05))


def _taken(shape: tuple[int, ...], context: EditContext) -> NDArray[np.bool_]:
    taken = np.zeros(shape[:2], bool)
    if context.protected is not None:
        taken |= context.protected
    for place in context.places:
        left, top, right, bottom = place.pixels(shape)
        taken[top:bottom, left:right] = True
    return taken


def _font(path: str, pixels: int) -> FreeTypeFont | Any:
    try:
        from PIL import ImageFont
    except ImportError as error:
        raise MissingExtraError("text over pictures", "creative") from error
    if not path:
        return ImageFont.load_default(pixels)
    try:
        return ImageFont.truetype(path, pixels)
    except OSError as error:
        raise ConfigError(
            f"the font cannot be read: {error}", where=path, hint="pass a TrueType file"
        ) from error


def _missing(font: FreeTypeFont | Any, text: str) -> str:
    """The first character that the font shows as it shows what no font has; empty for none."""
    none = bytes(font.getmask("\uffff"))
    return next((one for one in text if not one.isspace() and bytes(font.getmask(one)) == none), "")
