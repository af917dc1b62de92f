from __future__ import annotations

import numpy as np
import pytest

from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.knobs import PictureEdit
from adwright.creative.editor.edits.tones import (
    TONES,
    Contrast,
    Exposure,
    Saturation,
    Temperature,
)

PICTURE = np.random.default_rng(5).integers(0, 256, (16, 16, 3), dtype=np.uint8)
WEIGHTS = (0.2126, 0.7152, 0.0722)


def linear(v: float) -> float:
    v /= 255
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def pixel(light: float) -> float:
    light = min(max(light, 0), 1)
    v = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return 255 * v


def literal(edit: PictureEdit, rgb: np.ndarray) -> list[float]:
    """One pixel as the formulas say."""
    r, g, b = (float(v) for v in rgb)
    match edit:
        case Exposure(stops):
            return [pixel(linear(v) * 2**stops) for v in (r, g, b)]
        case Contrast(amount):
            return [127.5 + (v - 127.5) * (1 + amount) for v in (r, g, b)]
        case Saturation(amount):
            luma = sum(w * v for w, v in zip(WEIGHTS, (r, g, b), strict=True))
            return [luma + (v - luma) * (1 + amount) for v in (r, g, b)]
        case Temperature(warmth):
            light = [linear(v) for v in (r, g, b)]
            new = [light[0] * 2 ** (warmth / 2), light[1], light[2] * 2 ** (-warmth / 2)]
            before, after = (
                sum(w * v for w, v in zip(WEIGHTS, one, strict=True)) for one in (light, new)
            )
            return [pixel(v * before / max(after, 1e-9)) for v in new]
    raise AssertionError


@pytest.mark.parametrize(
    "edit",
    [
        *(Exposure(v) for v in (-1, -0.3, 0.4, 1)),
        *(Contrast(v) for v in (-0.5, 0.2, 0.5)),
        *(Saturation(v) for v in (-1, 0.5, 1)),
        *(Temperature(v) for v in (-1, 0.3, 1)),
    ],
    ids=repr,
)
def test_each_pixel_is_what_the_formula_says(edit: PictureEdit) -> None:
    made = edit.apply(PICTURE, EditContext()).reshape(-1, 3)
    wanted = [np.clip(literal(edit, rgb), 0, 255) for rgb in PICTURE.reshape(-1, 3)]
    assert np.abs(made - np.array(wanted)).max() < 0.75
    assert not np.array_equal(made.reshape(PICTURE.shape), PICTURE)


@pytest.mark.parametrize("kind", [Exposure, Contrast, Saturation, Temperature])
def test_neutral_is_the_same_picture_and_near_it_nearly(kind: type[PictureEdit]) -> None:
    same = kind().apply(PICTURE, EditContext())
    np.testing.assert_array_equal(same, PICTURE)
    assert same is not PICTURE
    tiny = kind().with_values((1e-6,)).apply(PICTURE, EditContext())
    assert np.abs(tiny.astype(int) - PICTURE).max() <= 1


@pytest.mark.parametrize("tone", TONES)
def test_many_at_once_are_each_as_alone(tone: type) -> None:
    rng = np.random.default_rng(4)
    pictures = rng.integers(0, 256, (5, 7, 9, 3)).astype(np.uint8)
    (knob,) = tone().knobs()
    values = rng.uniform(knob.low, knob.high, 5)
    together = tone.over(values, pictures)
    for at, value in enumerate(values):
        alone = tone().with_values((value,)).apply(pictures[at], EditContext())
        np.testing.assert_array_equal(together[at], alone)
        np.testing.assert_array_equal(
            tone.over(values[at : at + 1], pictures[at : at + 1])[0], alone
        )
    assert len({one.tobytes() for one in together}) == 5
