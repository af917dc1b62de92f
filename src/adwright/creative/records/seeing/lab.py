"""Colours in Lab, in which equal distances look about equally large (CIE 1976, white D65).

X, Y, Z = M rgb', rgb' the linear values of sRGB (IEC 61966-2-1)
L = 116 f(Y) - 16,  a = 500 (f(X) - f(Y)),  b = 200 (f(Y) - f(Z)),  X, Y, Z over those of white
f(t) = t^(1/3) where t > (6/29)^3, else t / (3 (6/29)^2) + 4/29
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["lab_of"]

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
