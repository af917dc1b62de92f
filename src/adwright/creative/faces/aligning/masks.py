"""Which pixels of a picture a face covers: what may be exchanged, and what must stay.

    mask = face_mask(place, picture.shape, shrink=3 / 256)      # bool [H, W]

The mask is the place's outline where it has one (the convex hull of its points), else the ellipse
in its square, or the square itself. It is shrunk from its edge inwards, so that the seam lies on
the skin, not on the hair behind it: AdSEE shrinks by 3 pixels of a crop of 256.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.creative.faces.aligning.places import FacePlace

__all__ = ["face_mask"]

_CORNERS = 96
#: Bits behind the point of OpenCV's coordinates.
_SHIFT = 4


def face_mask(
    place: FacePlace, shape: tuple[int, ...], *, shrink: float = 3 / 256
) -> NDArray[np.bool_]:
    """bool [H, W]: the pixels of the face in a picture of shape (H, W, ...).

    shrink: share of the square's side, 0 to .25. Raises ConfigError for another.
    """
    if not 0 <= shrink <= 0.25:
        raise ConfigError(f"shrink {shrink} is not in [0, .25]", where="shrink", hint="take 3/256")
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("faces in pictures", "creative") from error
    high, wide = shape[:2]
    corners = _corners(place)
    # Far outside is cut: OpenCV's coordinates have 32 bits.
    corners = np.clip(corners, -4 * max(high, wide), 5 * max(high, wide))
    drawn = np.zeros((high, wide), np.uint8)
    whole = np.round(corners * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(drawn, [whole[:, None]], 1, shift=_SHIFT)
    steps = round(shrink * place.side)
    if steps:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * steps + 1, 2 * steps + 1))
        # The picture's edge is no edge of the face.
        less = cv2.erode(drawn, kernel, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(less, bool)
    return np.asarray(drawn, bool)


def _corners(place: FacePlace) -> NDArray[np.float64]:
    """float64 [N, 2]: of the face's outline, in pixels of the picture."""
    if place.outline:
        return np.array(place.outline)
    if place.shape == "square":
        # The edge of the square; a pixel that it only touches is not filled.
        middle = np.array(place.middle)
        return np.asarray(middle + (place.corners() - middle) * max(0.0, 1 - 1 / place.side))
    angles = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1) * (0.5 - 0.5 / place.side)
    matrix = place.matrix(1)
    return np.asarray(circle @ matrix[:, :2].T + matrix[:, 2])
