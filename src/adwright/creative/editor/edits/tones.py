"""Light and colours of the whole picture: exposure, contrast, saturation, colour temperature.

Values v are 0 to 1. "Linear" means light: the sRGB curve undone (IEC 61966-2-1). Luma and
luminance Y have the weights of Rec. 709 (.2126, .7152, .0722).

    Exposure(stops)        linear v times 2^stops
    Contrast(amount)       .5 + (v - .5) (1 + amount)
    Saturation(amount)     luma + (v - luma) (1 + amount)
    Temperature(warmth)    linear red times 2^(warmth / 2), blue times 2^(-warmth / 2), then all
                           three scaled so that Y stays

What leaves 0 to 1 is cut off. Bounds are our choice: what still looks like the same ad.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.creative.editor.edits.context import EditContext, kept
from adwright.creative.editor.edits.knobs import Knob, PictureEdit, check_values

__all__ = ["Contrast", "Exposure", "Saturation", "Temperature"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)
#: Steps in which linear values are turned back: fine enough for every one of 256.
_STEPS = 1 << 14


@dataclass(frozen=True)
class Exposure(PictureEdit):
    """stops: of a camera, 1 is twice the light."""

    stops: float = 0.0
    kind: Literal["exposure"] = "exposure"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return (Knob("stops", -1.0, 1.0),)

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        table = _to_pixels(_linear() * np.float32(2.0**self.stops))
        return kept(picture, table[picture], context)


@dataclass(frozen=True)
class Contrast(PictureEdit):
    """amount: -.5 is half the contrast, .5 half as much more."""

    amount: float = 0.0
    kind: Literal["contrast"] = "contrast"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return (Knob("amount", -0.5, 0.5),)

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        table = 127.5 + (np.arange(256) - 127.5) * (1 + self.amount)
        return kept(picture, _rounded(table)[picture], context)


@dataclass(frozen=True)
class Saturation(PictureEdit):
    """amount: -1 is grey, 1 twice the colour."""

    amount: float = 0.0
    kind: Literal["saturation"] = "saturation"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return (Knob("amount", -1.0, 1.0),)

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        values = picture.astype(np.float32)
        luma = (values @ _WEIGHTS)[..., None]
        new = luma + (values - luma) * np.float32(1 + self.amount)
        return kept(picture, _rounded(new), context)


@dataclass(frozen=True)
class Temperature(PictureEdit):
    """warmth: above 0 redder, below bluer."""

    warmth: float = 0.0
    kind: Literal["temperature"] = "temperature"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return (Knob("warmth", -1.0, 1.0),)

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral():
            return picture.copy()
        light = _linear()[picture]
        gains = np.array([2 ** (self.warmth / 2), 1, 2 ** (-self.warmth / 2)], np.float32)
        new = light * gains
        scale = (light @ _WEIGHTS) / np.maximum(new @ _WEIGHTS, 1e-9)
        return kept(picture, _to_pixels(np.asarray(new * scale[..., None], np.float32)), context)


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
