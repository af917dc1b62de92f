"""How light and how warm the skin of a face is, measured on its pixels: a reader for drift.

    skin_tone(crop)                                # {"skin_light": .61, "skin_warm": .12}
    DriftCheck(skin_tone, SKIN_LIMITS)

Read is the middle of the crop, the ellipse of half its width and height below the eyes, in which
there is cheek, nose and mouth; the median, so that lashes, lips and teeth count little.

    skin_light   median luma of Rec. 709, 0 to 1
    skin_warm    median of red less blue, 0 to 1

No model is asked, so there is nothing that could be fooled; nor does it know what lies beside skin.
Limits are our choice: about what the same photograph differs by under another light of a room.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adwright.creative.faces.aligning import require_picture

__all__ = ["SKIN_LIMITS", "skin_tone"]

SKIN_LIMITS: Mapping[str, float] = {"skin_light": 0.06, "skin_warm": 0.06}
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
#: Middle and half axes of the ellipse, shares of the crop's sides.
_MIDDLE, _AXES = (0.5, 0.58), (0.22, 0.2)


def skin_tone(crop: NDArray[np.uint8]) -> dict[str, float]:
    """Of a crop uint8 [S, S, 3] of a face. Raises DataError where it is none."""
    require_picture(crop, "crop")
    high, wide = crop.shape[:2]
    y = ((np.arange(high) + 0.5) / high - _MIDDLE[1]) / _AXES[1]
    x = ((np.arange(wide) + 0.5) / wide - _MIDDLE[0]) / _AXES[0]
    inside = y[:, None] ** 2 + x[None] ** 2 <= 1
    seen = crop[inside].astype(np.float64) / 255
    if not len(seen):
        seen = crop.reshape(-1, 3).astype(np.float64) / 255
    return {
        "skin_light": float(np.median(seen @ _WEIGHTS)),
        "skin_warm": float(np.median(seen[:, 0] - seen[:, 2])),
    }
