"""Colours of a picture by name, its tone, and how much there is to see in it.

    colours_of(image)        # Colours(foreground=("orange",), background=("off white",), ...)

All of it is our choice, as no paper says how. A picture is shrunk to 96 pixels, so that a texture
counts as its mean. Colours are compared in Lab.

Background: the colours of a frame around it, a tenth of its sides wide. Foreground: what lies in
the middle, without the outer fifth, and differs by at least 20 from each main colour of the
background; where that is less than a hundredth of the picture, the whole middle. Main colours are
names with at least a tenth of their part, the largest first, four at most.

Tone: the mean of a cos 60 + b sin 60 degrees over the picture, which is how far it leans from blue
to orange: warm from 12 on, cool from -6 down, else neutral. A picture without a lean of light is
slightly warm, since skin, wood and food are, so the bounds are not alike.

Complexity: bits a pixel of the picture as a grey JPEG of quality 75, at 256 pixels, without what a
flat one takes: low below 0.8, high from 1.4 on. A compressed size follows what people call complex
(Machado et al., Acta Psychologica 2015). The bounds, our choice, part the 18 photographs of
scikit-image into 5, 8 and 5; benchmarks/results/verbaliser.json has the value of each, and those of
ads with flat colours, which all are low.

Forty names of colours that people use, and which colours each stands for.

The names are those that public descriptions of ads use (Harini S I et al., WACV 2025), so that a
picture that is measured here reads as theirs. Each of CSS's colours (W3C; by the package webcolors)
belongs to one of them; for those that CSS has no word for, or means otherwise (its dark grey is
lighter than its grey), the colour is that of the XKCD survey of names (2010, CC0).

Colours in Lab, in which equal distances look about equally large (CIE 1976, white D65).

X, Y, Z = M rgb', rgb' the linear values of sRGB (IEC 61966-2-1)
L = 116 f(Y) - 16,  a = 500 (f(X) - f(Y)),  b = 200 (f(Y) - f(Z)),  X, Y, Z over those of white
f(t) = t^(1/3) where t > (6/29)^3, else t / (3 (6/29)^2) + 4/29
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import needing
from adwright.creative.records.media import bounded, seeing_table

if TYPE_CHECKING:
    from PIL.Image import Image


_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = _TO_XYZ.sum(axis=1)
_STEP = 6 / 29


def lab_of(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64 [..., 3], L, a and b, of sRGB [..., 3] from 0 to 255."""
    part = rgb.astype(np.float64) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    share = linear @ _TO_XYZ.T / _WHITE
    f = np.where(share > _STEP**3, np.cbrt(share), share / (3 * _STEP**2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_PIXELS_AT_A_TIME = 8192


def names_of(lab: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each of N colours in Lab [N, 3] the place of the nearest name, by distance in Lab.

    Raises MissingExtraError without webcolors.
    """
    colours, owners = palette()
    made = np.empty(len(lab), np.intp)
    for start in range(0, len(lab), _PIXELS_AT_A_TIME):
        some = lab[start : start + _PIXELS_AT_A_TIME]
        far = (colours**2).sum(1) - 2 * some @ colours.T
        made[start : start + len(some)] = owners[far.argmin(axis=1)]
    return made


@cache
def palette() -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Lab [P, 3] of all colours and the places of their names [P]. Raises as `names_of`."""
    with needing("names of colours", "creative"):
        from webcolors import hex_to_rgb, name_to_rgb
    rgb, owners = [], []
    for place, words in enumerate(seeing_table("colours").values()):
        for word in words.split():
            rgb.append(hex_to_rgb(word) if word.startswith("#") else name_to_rgb(word))
            owners.append(place)
    return lab_of(np.array(rgb, np.uint8)), np.array(owners, np.intp)


_SIDE, _BITS_SIDE = 96, 256
_FRAME, _OUTER = 0.1, 0.2
_UNLIKE = 20.0
_LEAST_FOREGROUND = 0.01
_MAIN_SHARE, _MOST_NAMES = 0.1, 4
_WARM, _COOL = 12.0, -6.0
_LOW_BITS, _HIGH_BITS = 0.8, 1.4
_QUALITY = 75
#: Longer by this share, a picture is no square any more.
_OBLONG = 1.05


@settings
class Colours:
    """Names of colours, the largest first; tone; complexity. See the module."""

    foreground: tuple[str, ...]
    background: tuple[str, ...]
    tone: Literal["warm", "cool", "neutral"]
    complexity: Literal["low", "medium", "high"]


def colours_of(image: Image) -> Colours:
    """Of a picture, RGB. Raises MissingExtraError without webcolors."""
    lab = lab_of(np.asarray(bounded(image, _SIDE)))
    height, width = lab.shape[:2]
    names = names_of(lab.reshape(-1, 3)).reshape(height, width)
    frame = ~_middle(height, width, _FRAME)
    if not frame.any():  # of one or two pixels
        frame[:] = True
    middle = _middle(height, width, _OUTER)
    background = _main(names[frame])
    means = [lab[frame & (names == name)].mean(axis=0) for name in background]
    far = np.min([np.linalg.norm(lab - mean, axis=-1) for mean in means], axis=0)
    unlike = middle & (far >= _UNLIKE)
    foreground = unlike if unlike.mean() >= _LEAST_FOREGROUND else middle
    warmth, bits = lean(lab), bits_a_pixel(image)
    return Colours(
        foreground=_words(_main(names[foreground])),
        background=_words(background),
        tone="warm" if warmth >= _WARM else "cool" if warmth <= _COOL else "neutral",
        complexity="low" if bits < _LOW_BITS else "high" if bits >= _HIGH_BITS else "medium",
    )


def bits_a_pixel(image: Image) -> float:
    """Bits a pixel of a picture as a small grey JPEG, without those of an empty one."""
    small = bounded(image.convert("L"), _BITS_SIDE)
    mean = round(float(np.asarray(small).mean()))
    empty = _jpeg_bytes(small.point([mean] * 256))
    return max(0, _jpeg_bytes(small) - empty) * 8 / (small.width * small.height)


def orientation_of(width: int, height: int) -> Literal["landscape", "portrait", "square"]:
    """Of a picture: square where its sides differ by less than a twentieth."""
    if max(width, height) < _OBLONG * min(width, height):
        return "square"
    return "landscape" if width > height else "portrait"


def lean(lab: NDArray[np.float64]) -> float:
    """How far a picture [..., 3] in Lab leans to orange (above 0) or to blue, in units of Lab."""
    mean = lab.reshape(-1, 3).mean(axis=0)
    turn = np.deg2rad(60)
    return float(mean[1] * np.cos(turn) + mean[2] * np.sin(turn))


def _jpeg_bytes(image: Image) -> int:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.tell()


def _middle(height: int, width: int, outer: float) -> NDArray[np.bool_]:
    """True [height, width] but for `outer` of each side; at least one pixel is."""
    inside = np.zeros((height, width), bool)
    top, left = (min(max(1, round(n * outer)), (n - 1) // 2) for n in (height, width))
    inside[top : height - top, left : width - left] = True
    return inside


def _main(names: NDArray[np.intp]) -> NDArray[np.intp]:
    """The names with the largest shares."""
    counts = np.bincount(names, minlength=len(seeing_table("colours")))
    order = np.argsort(-counts, kind="stable")[:_MOST_NAMES]
    large = order[counts[order] >= max(1, _MAIN_SHARE * len(names))]
    return large if len(large) else order[:1]


def _words(places: NDArray[np.intp]) -> tuple[str, ...]:
    every = tuple(seeing_table("colours"))
    return tuple(every[place] for place in places)
