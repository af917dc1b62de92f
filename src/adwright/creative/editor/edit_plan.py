"""A plan: edits in their order, as one thing that is applied, searched, written and read.

plan = EditPlan((Exposure(0.2), Crop(keep=0.9), FaceMove.neutral(("smile",), 1)))
done = plan.apply(picture, context)        # done.picture, done.context, done.skipped
plan.bounds(), plan.neutral()              # float64 [K, 2], [K]: what a search may choose
plan.with_values(vector)                   # the same plan, otherwise set
EditPlan.of_json(plan.to_json()) == plan

A line of text over the picture: where, how large, and how much it stands out.

    TextOverlay("Fresh today", x=0.5, y=0.9, size=0.08, opacity=1, contrast=0.6)

It never lies over what is protected or over a face: where it would, the nearest free place is taken
(on a grid of half its height); where there is none, it is made smaller, to 3% of the picture's
height and 12 pixels, and where it still finds no place, it is not written, and `why_not` says so.
It is written whole or not at all: from an opacity of one half on. Ink is black or white, whichever
has the higher contrast with what is below it, by WCAG 2:

    contrast ratio = (L1 + .05) / (L2 + .05),    L the relative luminance of the lighter and darker

A plate of the other of the two lies below the text, of the opacity `contrast`, or as much more as
the least contrast of 4.5 needs with every pixel that it lies over.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, needing
from adwright.core.hashing import content_hash
from adwright.creative.editor.edit_kinds import (
    BackgroundBlur,
    Contrast,
    Crop,
    EditContext,
    Exposure,
    FaceMove,
    Knob,
    PictureEdit,
    Saturation,
    Temperature,
)

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont


Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]

_MOST_CHARACTERS = 200
_LEAST_SIZE, _LEAST_PIXELS, _MOST_SIZE = 0.03, 12, 0.2
_WIDEST = 0.96
#: Opacity from which on it is written; of a contrast that is read; steps of the plate up to it.
_WRITTEN, LEGIBLE, _PLATES = 0.5, 4.5, 21
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class TextOverlay(PictureEdit):
    """text: one line. x, y: of its middle, 0 at the left and top, 1 at the right and bottom of what
    room there is. size: of the letters, share of the picture's height; less where there is no room.
    opacity: below one half there is no text. contrast: opacity of the plate, at least. font: path
    of a TrueType file; Pillow's own by default, which has Latin letters only.
    """

    KNOBS = (
        Knob("x", 0.0, 1.0, 0.5),
        Knob("y", 0.0, 1.0, 0.9),
        Knob("size", _LEAST_SIZE, _MOST_SIZE, 0.08),
        Knob("opacity", 0.0, 1.0),
        Knob("contrast", 0.0, 1.0, 0.5),
    )
    text: str
    x: float = 0.5
    y: float = 0.9
    size: float = 0.08
    opacity: float = 0.0
    contrast: float = 0.5
    font: str = ""
    kind: Literal["text"] = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        odd = [one for one in self.text if unicodedata.category(one)[0] == "C"]
        if not self.text.strip() or odd or len(self.text) > _MOST_CHARACTERS:
            raise ConfigError(
                f"the text is empty, longer than {_MOST_CHARACTERS}, or has control characters",
                where="TextOverlay.text",
                hint="pass one line",
            )

    def is_neutral(self) -> bool:
        return self.opacity < _WRITTEN

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
        for plate in np.linspace(self.contrast, 1, _PLATES):
            shown = np.rint(below * (1 - plate) + (255 - ink) * plate)
            if _least_contrast(ink, shown) >= LEGIBLE:
                break
        share = np.asarray(drawn, np.float64)[..., None] / 255
        new = picture.copy()
        new[top:bottom, left:right] = np.rint(shown * (1 - share) + ink * share).astype(np.uint8)
        return new

    def _laid_out(
        self, picture: Pixels, context: EditContext
    ) -> tuple[FreeTypeFont | Any, Box | None, str]:
        """Its font and its box, or why it has none."""
        high, wide = picture.shape[:2]
        least = max(_LEAST_PIXELS, round(_LEAST_SIZE * high))
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
    light = _luminance(np.stack([one, other]))
    return float((light.max() + 0.05) / (light.min() + 0.05))


def _least_contrast(ink: float, ground: NDArray[np.float64]) -> float:
    """Of a grey 0 to 255 and every pixel of [H, W, 3]."""
    own, light = float(_luminance(np.full(3, ink))), _luminance(ground)
    high, low = np.maximum(own, light), np.minimum(own, light)
    return float(((high + 0.05) / (low + 0.05)).min())


def _luminance(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    v = colours / 255
    made = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ _WEIGHTS
    return np.asarray(made)


def _taken(shape: tuple[int, ...], context: EditContext) -> NDArray[np.bool_]:
    found = context.taken
    taken = np.zeros(shape[:2], bool) if found is None else found.copy()
    for place in context.places:
        left, top, right, bottom = place.pixels(shape)
        taken[top:bottom, left:right] = True
    return taken


def _font(path: str, pixels: int) -> FreeTypeFont | Any:
    with needing("text over pictures", "creative"):
        from PIL import ImageFont
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


#: Every edit that there is; JSON names it by its `kind`.
AnyEdit = (
    Exposure | Contrast | Saturation | Temperature | Crop | BackgroundBlur | TextOverlay | FaceMove
)

_MOST_EDITS = 32


@dataclass(frozen=True)
class SkippedEdit:
    """An edit that could not be done. at: its number in the plan."""

    at: int
    kind: str
    why: str


@dataclass(frozen=True, eq=False)
class EditedPicture:
    """picture: uint8 [H, W, 3]. context: of it. skipped: edits that left it as it was."""

    picture: NDArray[np.uint8]
    context: EditContext
    skipped: tuple[SkippedEdit, ...] = ()


@dataclass(frozen=True)
class EditPlan:
    """edits: at most 32, done one after the other."""

    edits: tuple[AnyEdit, ...] = ()

    def __post_init__(self) -> None:
        if len(self.edits) > _MOST_EDITS:
            raise ConfigError(
                f"{len(self.edits)} edits are too many", where="EditPlan.edits", hint="32 at most"
            )

    def knobs(self) -> tuple[Knob, ...]:
        """All K knobs, edit by edit; names begin with the edit's number and kind."""
        return tuple(
            Knob(f"{at} {edit.kind} {knob.name}", knob.low, knob.high, knob.neutral)
            for at, edit in enumerate(self.edits)
            for knob in edit.knobs()
        )

    def bounds(self) -> NDArray[np.float64]:
        """float64 [K, 2]: lowest and highest value of each knob."""
        return np.array([(knob.low, knob.high) for knob in self.knobs()]).reshape(-1, 2)

    def neutral(self) -> NDArray[np.float64]:
        """float64 [K]: the values that change nothing. Of a text, its opacity decides."""
        return np.array([knob.neutral for knob in self.knobs()], float)

    def values(self) -> NDArray[np.float64]:
        """float64 [K]: the values as they are."""
        return np.array([value for edit in self.edits for value in edit.values()], float)

    def with_values(self, vector: Sequence[float] | NDArray[np.float64]) -> EditPlan:
        """The same plan with these K values. Raises ConfigError for fewer, more, or others than
        the bounds allow."""
        rest = [float(value) for value in vector]
        counts = [len(edit.knobs()) for edit in self.edits]
        if len(rest) != sum(counts):
            raise ConfigError(
                f"{len(rest)} values for {sum(counts)} knobs", where="vector", hint="see knobs()"
            )
        made: list[Any] = []
        begin = 0
        for edit, many in zip(self.edits, counts, strict=True):
            made.append(edit.with_values(rest[begin : begin + many]))
            begin += many
        return EditPlan(tuple(made))

    def apply(
        self, picture: NDArray[np.uint8], context: EditContext | None = None
    ) -> EditedPicture:
        """The picture uint8 [H, W, 3] with all edits that can be done. Raises DataError where the
        context belongs to a picture of another size."""
        context = context or EditContext()
        context.require_size_of(picture)
        made, skipped = picture.copy(), []
        for at, edit in enumerate(self.edits):
            why = edit.why_not(made, context)
            if why:
                skipped.append(SkippedEdit(at, edit.kind, why))
                continue
            made, context = edit.apply(made, context), edit.followed(made, context)
        return EditedPicture(made, context, tuple(skipped))

    def face_moves(self) -> tuple[FaceMove, ...]:
        """Those of its edits that move faces, and change one."""
        found = (edit for edit in self.edits if isinstance(edit, FaceMove))
        return tuple(edit for edit in found if not edit.is_neutral())

    def without_faces(self) -> EditPlan:
        """The same plan but for all moves of faces."""
        return EditPlan(tuple(edit for edit in self.edits if not isinstance(edit, FaceMove)))

    @property
    def digest(self) -> str:
        """SHA-256 of what it does."""
        return content_hash(to_jsonable(self))

    def to_json(self) -> str:
        """As JSON that `of_json` reads."""
        return json.dumps(to_jsonable(self), ensure_ascii=False)

    @classmethod
    def of_json(cls, text: str, *, source: str = "plan") -> EditPlan:
        """The plan of a JSON text. source: its name, for errors.

        Raises ConfigError where it is no JSON, or an edit is none that there is, or out of bounds.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"it is no JSON: {error}", where=source) from error
        if not isinstance(values, dict):
            raise ConfigError("it is no JSON object", where=source, hint='{"edits": [...]}')
        return from_jsonable(cls, values, source=source)
