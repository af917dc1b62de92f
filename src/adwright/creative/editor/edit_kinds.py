"""What an edit has to know of its picture, beside its pixels.

    context = EditContext(protected=protected_mask([box], picture.shape), places=places)

    protected   pixels that no edit changes: texts, logo, price, legal line
    whole       pixels that no frame cuts and nothing covers, whatever their tone: faces
    still       how far a tone stays as it was: 1 where protected, and on even grounds around that,
                falling to 0 over some pixels, so that nothing stands out as a box
    subject     how much each pixel belongs to what the ad shows, for a blur of the rest
    places      where faces are
    mover       moves crops of faces, see `faces.aligning.mover`

A context belongs to a picture of one size; where an edit cuts the picture, it cuts the context.

Knobs: the numbers of an edit, each with its bounds and the value that changes nothing.

A search moves an edit by its knobs alone:

    edit.knobs()                     # (Knob("stops", -1.0, 1.0, 0.0),)
    edit.values()                    # (0.0,)
    edit.with_values((0.3,))         # the same edit, otherwise set

Light and colours of the whole picture: exposure, contrast, saturation, colour temperature.

Values v are 0 to 1. "Linear" means light: the sRGB curve undone (IEC 61966-2-1). Luma and
luminance Y have the weights of Rec. 709 (.2126, .7152, .0722).

    Exposure(stops)        linear v times 2^stops
    Contrast(amount)       .5 + (v - .5) (1 + amount)
    Saturation(amount)     luma + (v - luma) (1 + amount)
    Temperature(warmth)    linear red times 2^(warmth / 2), blue times 2^(-warmth / 2), then all
                           three scaled so that Y stays

What leaves 0 to 1 is cut off. Bounds are our choice: what still looks like the same ad.

The frame: a part of the picture, of another shape where asked for.

    Crop(aspect=0.8, keep=0.9, x=0.5)       # narrower, closer, from the right

Nothing is scaled, so every pixel that stays is as it was. The frame is made larger where it would
cut what is protected or a face: it holds both whole, and then its shape is not quite what was asked
for.

A blur of the background, as of a lens that is wide open.

    BackgroundBlur(0.01)        # standard deviation, share of the shorter side

Background is what the context's `subject` s is not: of people `SubjectFinder` finds it. Blurred is
the background alone, so that the subject leaves no halo:

    blurred = G(v (1 - s)) / G(1 - s),      new = s v + (1 - s) blurred

with a Gaussian G. Faces whose places are known count as subject.

Faces moved along named directions, and put back.

    FaceMove(("smile",), amounts=((0.5,), (0.0,)))      # the first of two faces smiles more

The context's `places` say where the faces are, its `mover` moves their crops. Bounds are AdSEE's:
-1.5 to 1.5. Whether a face may be moved at all, and along what, is for the guard to say, see
`editor.guards`; an edit does not ask.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import check_literals, settings
from adwright.core.errors import ConfigError, DataError, needing
from adwright.creative.faces.aligning import (
    AlignedFace,
    Blend,
    FacePlace,
    cut_at,
    face_mask,
    pasted,
    require_picture,
)

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class FaceMover(Protocol):
    """Moves crops along named directions. names: of K directions. side: of its crops, pixels."""

    names: tuple[str, ...]
    side: int

    def moved(self, crops: Pixels, amounts: NDArray[np.float64]) -> Pixels:
        """uint8 [N, side, side, 3] of crops of that shape and amounts [N, K]."""
        ...

    def vector(self, name: str) -> NDArray[np.float64]:
        """float64 [D]: the direction of one of its names, in the space in which it moves faces."""
        ...


@settings
class ProtectedBox:
    """A box that stays: edges as in slices, pixels. what: it shows."""

    left: int
    top: int
    right: int
    bottom: int
    what: Literal["logo", "price", "legal", "other"] = "other"

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise ConfigError(
                "the box has no area, or begins outside the picture",
                where=f"ProtectedBox {self.what}",
                hint="0 <= left < right, 0 <= top < bottom",
            )


@dataclass(frozen=True, eq=False)
class EditContext:
    """See the module. protected, whole: bool [H, W]. subject, still: float [H, W], 0 to 1. blend:
    how faces are put back."""

    protected: Mask | None = None
    subject: NDArray[np.float32] | None = None
    places: tuple[FacePlace, ...] = ()
    mover: FaceMover | None = None
    blend: Blend = "seamless"
    whole: Mask | None = None
    still: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        check_literals(self)

    def require_size_of(self, picture: Pixels) -> None:
        """Raise DataError where a picture is none, or of another size than the context."""
        require_picture(picture)
        for name in ("protected", "subject", "whole", "still"):
            mask = getattr(self, name)
            if mask is not None and mask.shape != picture.shape[:2]:
                raise DataError(
                    f"{name} has shape {mask.shape}",
                    hint=f"pass one of {picture.shape[:2]}, the picture's",
                )
        if self.protected is not None and self.protected.dtype != bool:
            raise DataError(f"protected has type {self.protected.dtype}", hint="pass truth values")

    def cut(self, left: int, top: int, right: int, bottom: int) -> EditContext:
        """The context of the part of the picture with these edges, as in slices."""
        part = (slice(top, bottom), slice(left, right))
        cut: dict[str, Any] = {}
        for name in ("protected", "subject", "whole", "still"):
            mask = getattr(self, name)
            cut[name] = None if mask is None else mask[part]
        return replace(self, **cut, places=tuple(one.moved(left, top) for one in self.places))

    @property
    def taken(self) -> Mask | None:
        """bool [H, W]: what no frame cuts and nothing covers, but for faces at known places."""
        if self.protected is None or self.whole is None:
            return self.whole if self.protected is None else self.protected
        return self.protected | self.whole


def protected_mask(boxes: Iterable[ProtectedBox], shape: tuple[int, ...]) -> Mask:
    """bool [H, W]: the pixels of the boxes in a picture of shape (H, W, ...).

    Raises DataError for a box that ends outside it: it was measured on another picture.
    """
    made = np.zeros(shape[:2], bool)
    for box in boxes:
        if box.right > shape[1] or box.bottom > shape[0]:
            raise DataError(
                f"the box of the {box.what} ends outside the picture",
                value=(box.right, box.bottom),
                hint=f"the picture has {shape[1]} x {shape[0]} pixels",
            )
        made[box.top : box.bottom, box.left : box.right] = True
    return made


def kept(picture: Pixels, new: Pixels, context: EditContext) -> Pixels:
    """The new picture, with the old one's pixels where they are protected, and where its tone
    stays as far as it does."""
    if context.still is not None:
        share = context.still[..., None]
        mixed = np.rint(share * picture + (1 - share) * new).astype(np.uint8)
        new = np.where(share > 0, mixed, new)
    if context.protected is None or not context.protected.any():
        return new
    return np.where(context.protected[..., None], picture, new)


E = TypeVar("E", bound="PictureEdit")


@dataclass(frozen=True)
class Knob:
    """name: of the number. low, high: its bounds, both allowed. neutral: changes nothing."""

    name: str
    low: float
    high: float
    neutral: float = 0.0

    def __post_init__(self) -> None:
        if not self.low <= self.neutral <= self.high or not self.low < self.high:
            raise ConfigError(
                f"bounds {self.low} to {self.high} with neutral {self.neutral}",
                where=f"knob {self.name}",
                hint="low <= neutral <= high",
            )


class PictureEdit:
    """What all edits share; an edit is a frozen dataclass whose fields its knobs name.

    An edit never changes a pixel that the context protects. It says by `why_not` where it cannot do
    anything, and then leaves the picture as it is. KNOBS: its numbers, where these are always the
    same.
    """

    KNOBS: ClassVar[tuple[Knob, ...]] = ()

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        """Its numbers, in their order."""
        return self.KNOBS

    def values(self) -> tuple[float, ...]:
        """The value of each knob."""
        return tuple(float(getattr(self, knob.name)) for knob in self.knobs())

    def with_values(self: E, values: Sequence[float]) -> E:
        """The same edit with these values. Raises ConfigError where they are not within bounds."""
        knobs = self.knobs()
        if len(values) != len(knobs):
            raise ConfigError(
                f"{len(values)} values for {len(knobs)} knobs",
                where=type(self).__name__,
                hint=f"pass {', '.join(knob.name for knob in knobs)}",
            )
        # A search does this for each edit of each plan. What the knobs do not name was checked when
        # `self` was made, so the bounds alone are checked again.
        made: E = object.__new__(type(self))
        told = {knob.name: float(value) for knob, value in zip(knobs, values, strict=True)}
        vars(made).update(vars(self) | told)
        _check_bounds(made)
        return made

    def is_neutral(self) -> bool:
        """Whether it changes nothing, whatever the picture."""
        return all(getattr(self, knob.name) == knob.neutral for knob in self.knobs())

    def why_not(self, picture: NDArray[np.uint8], context: EditContext) -> str:
        """Why it cannot be done to this picture; empty where it can."""
        return ""

    def apply(self, picture: NDArray[np.uint8], context: EditContext) -> NDArray[np.uint8]:
        """The picture uint8 [H, W, 3], edited; the argument stays as it is."""
        raise NotImplementedError

    def followed(self, picture: NDArray[np.uint8], context: EditContext) -> EditContext:
        """The context of the edited picture, where that has other places."""
        return context


def check_values(edit: PictureEdit) -> None:
    """Raise ConfigError where a value of an edit is outside its bounds, or no number."""
    check_literals(edit)
    _check_bounds(edit)


def _check_bounds(edit: PictureEdit) -> None:
    for knob, value in zip(edit.knobs(), edit.values(), strict=True):
        if not math.isfinite(value) or not knob.low <= value <= knob.high:
            raise ConfigError(
                f"{knob.name} {value:g} is not in [{knob.low:g}, {knob.high:g}]",
                where=f"{type(edit).__name__}.{knob.name}",
                hint=f"{knob.neutral:g} changes nothing",
            )


Floats = NDArray[np.float32]

_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)
#: Steps in which linear values are turned back: fine enough for every one of 256.
_STEPS = 1 << 14


class ToneEdit(PictureEdit):
    """Another tone of the whole picture, by the one number that it has."""

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        return kept(picture, self.toned(picture), context)

    def toned(self, picture: Pixels) -> Pixels:
        """The picture in that tone, whatever is protected."""
        raise NotImplementedError


@dataclass(frozen=True)
class Exposure(ToneEdit):
    """stops: of a camera, 1 is twice the light."""

    KNOBS = (Knob("stops", -1.0, 1.0),)
    stops: float = 0.0
    kind: Literal["exposure"] = "exposure"

    def toned(self, picture: Pixels) -> Pixels:
        gain = (2.0 ** np.array([self.stops])).astype(np.float32)
        return _to_pixels(_linear() * gain)[picture]


@dataclass(frozen=True)
class Contrast(ToneEdit):
    """amount: -.5 is half the contrast, .5 half as much more."""

    KNOBS = (Knob("amount", -0.5, 0.5),)
    amount: float = 0.0
    kind: Literal["contrast"] = "contrast"

    def toned(self, picture: Pixels) -> Pixels:
        return _rounded(127.5 + (np.arange(256) - 127.5) * (1 + self.amount))[picture]


@dataclass(frozen=True)
class Saturation(ToneEdit):
    """amount: -1 is grey, 1 twice the colour."""

    KNOBS = (Knob("amount", -1.0, 1.0),)
    amount: float = 0.0
    kind: Literal["saturation"] = "saturation"

    def toned(self, picture: Pixels) -> Pixels:
        seen = picture.astype(np.float32)
        luma = _weighed(seen)
        return _rounded(luma + (seen - luma) * np.float32(1 + self.amount))


@dataclass(frozen=True)
class Temperature(ToneEdit):
    """warmth: above 0 redder, below bluer."""

    KNOBS = (Knob("warmth", -1.0, 1.0),)
    warmth: float = 0.0
    kind: Literal["temperature"] = "temperature"

    def toned(self, picture: Pixels) -> Pixels:
        light = _linear()[picture]
        half = np.array([self.warmth]) / 2
        new = light * np.concatenate([2**half, [1.0], 2**-half]).astype(np.float32)
        scale = _weighed(light) / np.maximum(_weighed(new), np.float32(1e-9))
        return _to_pixels(np.asarray(new * scale, np.float32))


def _weighed(values: Floats) -> Floats:
    """float32 [..., 1]: luma or luminance of [..., 3]. Summed in one order, so that a picture has
    the same bits among others as alone."""
    red, green, blue = (values[..., at : at + 1] * _WEIGHTS[at] for at in range(3))
    made: Floats = red + green + blue
    return made


@lru_cache(maxsize=1)
def _linear() -> Floats:
    """float32 [256]: the light of each value."""
    v = np.arange(256) / 255
    made = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return made.astype(np.float32)


@lru_cache(maxsize=1)
def _back() -> Pixels:
    """uint8 [_STEPS + 1]: the value of each light. Linear steps are coarsest for dark values, so
    the square root of the light is looked up."""
    light = (np.arange(_STEPS + 1) / _STEPS) ** 2
    v = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return _rounded(255 * v)


def _to_pixels(light: Floats) -> Pixels:
    found: Pixels = _back()[np.rint(np.sqrt(np.clip(light, 0, 1)) * _STEPS).astype(np.int32)]
    return found


def _rounded(values: NDArray[np.floating]) -> Pixels:
    made: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return made


_LEAST_SIDE = 16


@dataclass(frozen=True)
class Crop(PictureEdit):
    """aspect: width over height, as a multiple of the picture's. keep: share of the largest such
    frame's sides. x, y: where it lies, -1 at the left or top, 1 at the right or bottom.

        w = keep min(W, aspect W),    h = w H / (aspect W)
        left = (W - w) (1 + x) / 2,   top = (H - h) (1 + y) / 2
    """

    KNOBS = (
        Knob("aspect", 0.5, 2.0, 1.0),
        Knob("keep", 0.6, 1.0, 1.0),
        Knob("x", -1.0, 1.0),
        Knob("y", -1.0, 1.0),
    )
    aspect: float = 1.0
    keep: float = 1.0
    x: float = 0.0
    y: float = 0.0
    kind: Literal["crop"] = "crop"

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
        whole = self.frame(picture.shape, context) == (0, 0, wide, high)
        if self.aspect == self.keep == 1 or not whole:
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
    made, taken = [], context.taken
    if taken is not None and taken.any():
        rows, columns = (np.flatnonzero(taken.any(axis)) for axis in (1, 0))
        made.append((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    found = (place.pixels(shape) for place in context.places)
    made += [box for box in found if box[0] < box[2] and box[1] < box[3]]
    return made


@dataclass(frozen=True)
class BackgroundBlur(PictureEdit):
    """spread: standard deviation of the Gaussian, share of the picture's shorter side."""

    KNOBS = (Knob("spread", 0.0, 0.03),)
    spread: float = 0.0
    kind: Literal["background_blur"] = "background_blur"

    def why_not(self, picture: Pixels, context: EditContext) -> str:
        if context.subject is None:
            return "it is not known what the background is: the context has no subject"
        if not self.is_neutral() and not (context.subject < 1).any():
            return "all of the picture is subject"
        return ""

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral() or context.subject is None:
            return picture.copy()
        with needing("edits of pictures", "creative"):
            import cv2
        share = np.clip(context.subject.astype(np.float32), 0, 1)
        if context.whole is not None:
            share[context.whole] = 1
        for place in context.places:
            share[face_mask(place, picture.shape, shrink=0)] = 1
        spread = max(0.1, self.spread * min(picture.shape[:2]))
        rest, values = 1 - share, picture.astype(np.float32)
        over = cv2.GaussianBlur(values * rest[..., None], (0, 0), spread)
        below = cv2.GaussianBlur(rest, (0, 0), spread)
        blurred = np.where(
            below[..., None] > 1e-6, over / np.maximum(below, 1e-6)[..., None], values
        )
        new = share[..., None] * values + rest[..., None] * blurred
        return kept(picture, np.clip(np.rint(new), 0, 255).astype(np.uint8), context)


_MOST = 1.5


@dataclass(frozen=True, eq=False)
class FacesToMove:
    """N faces cut out of a picture. amounts: float64 [N, K], of all directions of the mover."""

    faces: tuple[AlignedFace, ...]
    amounts: NDArray[np.float64]

    @property
    def crops(self) -> Pixels:
        """uint8 [N, side, side, 3]: what the mover is asked to move."""
        return np.stack([face.crop for face in self.faces])


@settings
class FaceMove(PictureEdit):
    """names: of K directions. amounts: of each of N faces, K numbers."""

    names: tuple[str, ...]
    amounts: tuple[tuple[float, ...], ...]
    kind: Literal["face_move"] = "face_move"

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise ConfigError(
                "directions are missing or named twice", where="FaceMove.names", hint="name each"
            )
        if not self.amounts or any(len(one) != len(self.names) for one in self.amounts):
            raise ConfigError(
                f"a face has not {len(self.names)} amounts",
                where="FaceMove.amounts",
                hint="pass one tuple a face, with one number a direction",
            )
        check_values(self)

    @classmethod
    def neutral(cls, names: Sequence[str], faces: int) -> FaceMove:
        """The move of so many faces that changes none."""
        return cls(tuple(names), tuple((0.0,) * len(names) for _ in range(faces)))

    def knobs(self) -> tuple[Knob, ...]:
        return tuple(
            Knob(f"face {at} {name}", -_MOST, _MOST)
            for at in range(len(self.amounts))
            for name in self.names
        )

    def values(self) -> tuple[float, ...]:
        return tuple(float(value) for one in self.amounts for value in one)

    def with_values(self, values: Sequence[float]) -> FaceMove:
        many = len(self.names)
        if len(values) != many * len(self.amounts):
            raise ConfigError(
                f"{len(values)} values for {many * len(self.amounts)} knobs",
                where="FaceMove",
                hint="pass K numbers of each face",
            )
        rows = [tuple(map(float, values[at : at + many])) for at in range(0, len(values), many)]
        return replace(self, amounts=tuple(rows))

    def is_neutral(self) -> bool:
        return not self.moved_faces

    @property
    def moved_faces(self) -> tuple[int, ...]:
        """Numbers of the faces that it changes."""
        return tuple(at for at, one in enumerate(self.amounts) if any(one))

    def why_not(self, picture: Pixels, context: EditContext) -> str:
        if self.is_neutral():
            return ""
        if context.mover is None:
            return "there is no model of faces: the context has no mover"
        if len(self.amounts) > len(context.places):
            return f"{len(self.amounts)} faces are moved, and {len(context.places)} are known"
        unknown = [name for name in self.names if name not in context.mover.names]
        if unknown:
            return f"the model knows no direction {unknown[0]!r}"
        places = tuple(context.places[at] for at in self.moved_faces)
        cut = cut_at(picture, places, 8)
        return f"a face is {cut.skipped[0].reason}: {cut.skipped[0].detail}" if cut.skipped else ""

    def to_move(self, picture: Pixels, context: EditContext) -> FacesToMove | None:
        """The faces that it moves, cut out, for a mover that is asked about many pictures at once;
        None where it changes nothing."""
        mover = context.mover
        if self.is_neutral() or mover is None or self.why_not(picture, context):
            return None
        places = tuple(context.places[at] for at in self.moved_faces)
        faces = cut_at(picture, places, mover.side).faces
        told = np.zeros((len(faces), len(mover.names)))
        for row, at in enumerate(self.moved_faces):
            for name, amount in zip(self.names, self.amounts[at], strict=True):
                told[row, mover.names.index(name)] = amount
        return FacesToMove(tuple(faces), told)

    def put_back(
        self, picture: Pixels, context: EditContext, asked: FacesToMove, moved: Pixels
    ) -> Pixels:
        """The picture with the faces that the mover made of `asked.crops`. Raises DataError for
        crops of another shape."""
        if moved.shape != asked.crops.shape:
            raise DataError(
                f"the model of faces gave crops of shape {moved.shape}", hint=f"{asked.crops.shape}"
            )
        back = pasted(picture, asked.faces, moved, context.blend, protected=context.protected)
        return kept(picture, back.picture, context)

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        asked = self.to_move(picture, context)
        if asked is None or context.mover is None:
            return picture.copy()
        moved = context.mover.moved(asked.crops, asked.amounts)
        return self.put_back(picture, context, asked, moved)
