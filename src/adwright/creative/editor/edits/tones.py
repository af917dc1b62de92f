"""Light and colours of the whole picture: exposure, contrast, saturation, colour temperature.

Values v are 0 to 1. "Linear" means light: the sRGB curve undone (IEC 61966-2-1). Luma and
luminance Y have the weights of Rec. 709 (.2126, .7152, .0722).

    Exposure(stops)        linear v times 2^stops
    Contrast(amount)       .5 + (v - .5) (1 + amount)
    Saturation(amount)     luma + (v - luma) (1 + amount)
    Temperature(warmth)    linear red times 2^(warmth / 2), blue times 2^(-warmth / 2), then all
                           three scaled so that Y stays

What leaves 0 to 1 is cut off. Bounds are our choice: what still looks like the same ad.

Each class has `over`, which does the same to many pictures at once, each by a value of its own: a
population of small copies takes a fraction of the time of one by one, and bit for bit the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.creative.editor.edits.context import EditContext, kept
from adwright.creative.editor.edits.knobs import Knob, PictureEdit, check_values

__all__ = ["TONES", "Contrast", "Exposure", "Saturation", "Temperature"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)
#: Steps in which linear values are turned back: fine enough for every one of 256.
_STEPS = 1 << 14
_STOPS = (Knob("stops", -1.0, 1.0),)
_CONTRAST = (Knob("amount", -0.5, 0.5),)
_SATURATION = (Knob("amount", -1.0, 1.0),)
_WARMTH = (Knob("warmth", -1.0, 1.0),)


@dataclass(frozen=True)
class Exposure(PictureEdit):
    """stops: of a camera, 1 is twice the light."""

    stops: float = 0.0
    kind: Literal["exposure"] = "exposure"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return _STOPS

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        return kept(picture, self.over(np.array([self.stops]), picture[None])[0], context)

    @staticmethod
    def over(values: NDArray[np.float64], pictures: Pixels) -> Pixels:
        """uint8 [N, H, W, 3] of pictures of that shape, each with the value [N] of its own."""
        gains = (2.0**values).astype(np.float32)
        return _looked_up(_to_pixels(_linear() * gains[:, None]), pictures)


@dataclass(frozen=True)
class Contrast(PictureEdit):
    """amount: -.5 is half the contrast, .5 half as much more."""

    amount: float = 0.0
    kind: Literal["contrast"] = "contrast"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return _CONTRAST

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        return kept(picture, self.over(np.array([self.amount]), picture[None])[0], context)

    @staticmethod
    def over(values: NDArray[np.float64], pictures: Pixels) -> Pixels:
        """As of `Exposure`."""
        tables = 127.5 + (np.arange(256) - 127.5) * (1 + values[:, None])
        return _looked_up(_rounded(tables), pictures)


@dataclass(frozen=True)
class Saturation(PictureEdit):
    """amount: -1 is grey, 1 twice the colour."""

    amount: float = 0.0
    kind: Literal["saturation"] = "saturation"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return _SATURATION

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        return kept(picture, self.over(np.array([self.amount]), picture[None])[0], context)

    @staticmethod
    def over(values: NDArray[np.float64], pictures: Pixels) -> Pixels:
        """As of `Exposure`."""
        seen = pictures.astype(np.float32)
        luma = _weighed(seen)
        return _rounded(luma + (seen - luma) * _each(1 + values))


@dataclass(frozen=True)
class Temperature(PictureEdit):
    """warmth: above 0 redder, below bluer."""

    warmth: float = 0.0
    kind: Literal["temperature"] = "temperature"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return _WARMTH

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        return kept(picture, self.over(np.array([self.warmth]), picture[None])[0], context)

    @staticmethod
    def over(values: NDArray[np.float64], pictures: Pixels) -> Pixels:
        """As of `Exposure`."""
        light = _linear()[pictures]
        gains = np.stack([2 ** (values / 2), np.ones(len(values)), 2 ** (-values / 2)], 1)
        new = light * gains.astype(np.float32)[:, None, None]
        scale = _weighed(light) / np.maximum(_weighed(new), np.float32(1e-9))
        return _to_pixels(np.asarray(new * scale, np.float32))


#: The edits that have `over`.
TONES = (Exposure, Contrast, Saturation, Temperature)


def _each(values: NDArray[np.float64]) -> Floats:
    """float32 [N, 1, 1, 1]."""
    return values.astype(np.float32)[:, None, None, None]


def _weighed(values: Floats) -> Floats:
    """float32 [..., 1]: luma or luminance of [..., 3]. Summed in one order, so that a picture has
    the same bits among others as alone."""
    red, green, blue = (values[..., at : at + 1] * _WEIGHTS[at] for at in range(3))
    made: Floats = red + green + blue
    return made


def _looked_up(tables: Pixels, pictures: Pixels) -> Pixels:
    """uint8 [N, H, W, 3]: of each picture its values in a table [N, 256] of its own."""
    made = np.empty_like(pictures)
    for at, table in enumerate(tables):
        made[at] = table[pictures[at]]
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
