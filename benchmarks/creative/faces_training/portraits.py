"""Portraits that a program draws, with labels that are true by construction.

    drawn = draw_portraits(1000, seed=0)
    drawn.pictures          # uint8 [1000, 32, 32, 3]
    drawn.labels["smile"]   # 0 or 1 of each

Each portrait is of the style pixel-art of `dicebear-styles` (CC0 1.0), which is drawn on a grid of
16 x 16, and enlarged from that with soft edges: with hard ones, every picture that a generator
makes differs from every real one in the same way, by its edges, whatever it shows. Parts and
colours are drawn here from a seeded generator and passed on, so their names are known. What a label
says is read from the options that were drawn, never from the picture.

    smile          the mouth is one of the happy ones
    glasses        it wears some; dark_glasses: with dark lenses
    beard, hat     it has one
    long_hair      the hair is one of the long ones
    skin, hair, clothes, background   lightness of the colour, 0 (black) to 1 (white)

`redrawn` changes one label of a portrait and leaves all else, so what a change of that label moves
is known to the pixel.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.core.progress import progress

STYLE = "pixel-art"
#: Of each portrait, in this order.
LABELS = (
    "smile",
    "glasses",
    "dark_glasses",
    "beard",
    "hat",
    "long_hair",
    "skin",
    "hair",
    "clothes",
    "background",
)
#: Squares of the style, along one side.
_GRID = 16
#: How often a portrait has the part.
_SHARES = {"glasses": 0.3, "beard": 0.2, "hat": 0.2}
_BACKGROUNDS = (
    "#ffffff",
    "#e8eef7",
    "#c9d8ee",
    "#f7e6cf",
    "#d8c3a5",
    "#9fb6cd",
    "#6b7f99",
    "#3b4a5e",
)
#: Colours of the eyes stand on white, of the mouth on the skin.
_COLOURED = {"hair": "hairColor", "clothes": "clothingColor", "skin": "skinColor"}


@dataclass(frozen=True, eq=False)
class DrawnPortraits:
    """N portraits. pictures: uint8 [N, side, side, 3]. labels: of each name float32 [N]. options:
    of each, what the style was told."""

    pictures: NDArray[np.uint8]
    labels: Mapping[str, NDArray[np.float32]]
    options: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        """N."""
        return len(self.pictures)


def draw_portraits(count: int, *, seed: int, side: int = 32) -> DrawnPortraits:
    """So many portraits; the same seed draws the same, and a longer series begins with a shorter.

    side: pixels. About 3 CPU-ms each. Raises MissingExtraError without what draws them, ConfigError
    for a side below 16.
    """
    if side < _GRID:
        raise ConfigError(f"side {side} is below {_GRID}", where="side", hint="take 32")
    told = tuple(drawn_options(np.random.default_rng([seed, at])) for at in range(count))
    pictures = np.empty((count, side, side, 3), np.uint8)
    with progress(count, "draw portraits", "portraits") as bar:
        for at, options in enumerate(told):
            pictures[at] = draw_one(options, side)
            bar.advance(1)
    labels = np.array([_labels(options) for options in told], np.float32).reshape(count, -1)
    return DrawnPortraits(pictures, dict(zip(LABELS, labels.T, strict=True)), told)


def drawn_options(rng: np.random.Generator) -> dict[str, Any]:
    """What one portrait is told: a variant of each part and a colour of each."""
    style = _definition()
    told: dict[str, Any] = {}
    for part, variants in style.variants.items():
        share = _SHARES.get(part, 0.0 if part == "accessories" else 1.0)
        shown, which = rng.random() < share, _one_of(variants, rng)
        told |= {f"{part}Variant": [which], f"{part}Probability": 100 if shown else 0}
    if told["hatProbability"]:
        # Of the style: a hat takes the place of the hair.
        told["hairProbability"] = 100
    for name, values in style.colours.items():
        told[f"{name}Color"] = [_one_of(values, rng)]
    told["backgroundColor"] = [_one_of(_BACKGROUNDS, rng)]
    return told


def redrawn(options: Mapping[str, Any], label: str, value: object) -> dict[str, Any]:
    """The options with one label changed. value: a bool, of colours one of the style's.

    Raises ConfigError for a label that is none.
    """
    changed, variants = dict(options), _definition().variants
    if label in ("glasses", "beard", "hat"):
        changed[f"{label}Probability"] = 100 if value else 0
    elif label in ("smile", "long_hair", "dark_glasses"):
        part, prefix = {
            "smile": ("mouth", "happy" if value else "sad"),
            "long_hair": ("hair", "long" if value else "short"),
            "dark_glasses": ("glasses", "dark" if value else "light"),
        }[label]
        changed[f"{part}Variant"] = [next(v for v in variants[part] if v.startswith(prefix))]
        if label == "dark_glasses":
            changed["glassesProbability"] = 100
    elif label in (*_COLOURED, "background"):
        changed[_COLOURED.get(label, "backgroundColor")] = [value]
    else:
        raise ConfigError(
            f"a portrait has no label {label!r}", where="label", hint=f"choose among {LABELS}"
        )
    return changed


def _one_of(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def _labels(options: Mapping[str, Any]) -> list[float]:
    glasses = options["glassesProbability"] > 0
    return [
        float(options["mouthVariant"][0].startswith("happy")),
        float(glasses),
        float(glasses and options["glassesVariant"][0].startswith("dark")),
        float(options["beardProbability"] > 0),
        float(options["hatProbability"] > 0),
        float(options["hairVariant"][0].startswith("long")),
        *(_lightness(options[_COLOURED[name]][0]) for name in ("skin", "hair", "clothes")),
        _lightness(options["backgroundColor"][0]),
    ]


def _lightness(colour: str) -> float:
    """Rec. 709 luma of a colour as "#rrggbb", 0 to 1."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@dataclass(frozen=True)
class _Definition:
    style: Any
    variants: Mapping[str, Sequence[str]]
    colours: Mapping[str, Sequence[str]]


@lru_cache(maxsize=1)
def _definition() -> _Definition:
    try:
        from dicebear import Style
    except ImportError as error:
        raise MissingExtraError("portraits that are drawn", "creative") from error
    text = files("dicebear_styles").joinpath(f"{STYLE}.json").read_text("utf-8")
    told = json.loads(text)
    variants = {part: tuple(found["variants"]) for part, found in told["components"].items()}
    colours = {name: tuple(found["values"]) for name, found in told["colors"].items()}
    return _Definition(Style(told), variants, colours)


def draw_one(options: Mapping[str, Any], side: int) -> NDArray[np.uint8]:
    """uint8 [side, side, 3] of one portrait, told so."""
    import resvg_py
    from dicebear import Avatar
    from PIL import Image

    svg = Avatar(_definition().style, dict(options)).to_string()
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=_GRID, height=_GRID))
    with Image.open(io.BytesIO(data)) as image:
        enlarged = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(enlarged, np.uint8)
