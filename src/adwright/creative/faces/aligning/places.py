"""Where a face is in a picture: a square, turned as the head is, and an outline.

    place = FacePlace.of_box(40, 30, 104, 94)       # a drawn portrait, whose box is known
    crop = place.cut(picture, 32)                   # uint8 [32, 32, 3]
    back = place.matrix(32)                         # float64 [2, 3]: crop pixels to picture pixels

Coordinates are pixels of the picture, x to the right and y down; the middle of the top left pixel
is (0, 0). The matrix is a similarity (turn, scale, shift), so its inverse is exact, and a crop can
be put back where it came from, see paste.py.

What a crop shows beyond the picture's edge is the picture mirrored there. Where a crop is smaller
than its square, it is cut larger and shrunk by areas, so that nothing aliases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, DataError, MissingExtraError

__all__ = ["FacePlace", "Point", "require_picture"]

Point = tuple[float, float]
Pixels = NDArray[np.uint8]

_MOST_CUT = 4096


@dataclass(frozen=True)
class FacePlace:
    """middle: of the square. side: its length, pixels. turn: degrees, clockwise as seen.

    outline: corners of the face's convex hull; empty where it is not known, then `shape` says what
    of the square is the face: the ellipse that fits into it, or all of it.
    """

    middle: Point
    side: float
    turn: float = 0.0
    outline: tuple[Point, ...] = ()
    shape: Literal["ellipse", "square"] = "ellipse"

    def __post_init__(self) -> None:
        check_literals(self)
        numbers = (*self.middle, self.side, self.turn, *(n for one in self.outline for n in one))
        if not all(map(math.isfinite, numbers)):
            raise ConfigError("a number of the place is not finite", where="FacePlace")
        if self.side < 1:
            raise ConfigError(
                f"side {self.side} is below a pixel", where="FacePlace.side", hint="pass the pixels"
            )
        if self.outline and len(self.outline) < 3:
            raise ConfigError(
                "an outline has at least three corners", where="FacePlace.outline", hint="leave out"
            )

    @classmethod
    def of_box(
        cls,
        left: float,
        top: float,
        right: float,
        bottom: float,
        *,
        shape: Literal["ellipse", "square"] = "square",
    ) -> FacePlace:
        """The place of a box, edges as in slices: right and bottom are the first pixels outside.

        Of an oblong box, the square has the longer side and the same middle. Raises ConfigError for
        a box without area.
        """
        if right <= left or bottom <= top:
            raise ConfigError(
                "the box has no area", where="box", hint="pass left, top, right, bottom"
            )
        middle = ((left + right - 1) / 2, (top + bottom - 1) / 2)
        return cls(middle, max(right - left, bottom - top), shape=shape)

    def matrix(self, pixels: int) -> NDArray[np.float64]:
        """float64 [2, 3]: from pixels of a crop of `pixels` x `pixels` to those of the picture."""
        if pixels < 1:
            raise ConfigError(f"a crop of {pixels} pixels", where="pixels", hint="take 32 or 64")
        scale, angle = self.side / pixels, math.radians(self.turn)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        turned = np.array([[cos, -sin], [sin, cos]])
        shift = np.array(self.middle) - turned @ np.full(2, (pixels - 1) / 2)
        return np.concatenate([turned, shift[:, None]], axis=1)

    def corners(self) -> NDArray[np.float64]:
        """float64 [4, 2]: of the square, from the face's upper left on, clockwise as seen."""
        ends = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        matrix = self.matrix(1)
        return np.asarray(ends @ matrix[:, :2].T + matrix[:, 2])

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the face: of its outline, or of its square."""
        points = np.array(self.outline) if self.outline else self.corners()
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return float(left), float(top), float(right), float(bottom)

    def pixels(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """The pixels of `box` within a picture of shape (H, W, ...): left, top, right and bottom,
        edges as in slices; left = right, or top = bottom, where it is outside."""
        left, top, right, bottom = self.box()
        x = [min(max(0, n), shape[1]) for n in (math.floor(left + 0.5), math.ceil(right + 0.5))]
        y = [min(max(0, n), shape[0]) for n in (math.floor(top + 0.5), math.ceil(bottom + 0.5))]
        return x[0], y[0], x[1], y[1]

    def cut(self, picture: Pixels, pixels: int) -> Pixels:
        """uint8 [pixels, pixels, 3]: the square of a picture uint8 [H, W, 3]."""
        require_picture(picture)
        cv2 = _opencv()
        more = max(1, min(math.ceil(self.side / pixels), _MOST_CUT // pixels))
        made = cv2.warpAffine(
            np.ascontiguousarray(picture),
            self.matrix(more * pixels),
            (more * pixels, more * pixels),
            flags=(cv2.INTER_CUBIC if self.side < pixels else cv2.INTER_LINEAR)
            | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        if more > 1:
            made = cv2.resize(made, (pixels, pixels), interpolation=cv2.INTER_AREA)
        return np.asarray(made, np.uint8)

    def moved(self, x: float, y: float) -> FacePlace:
        """The same face in a picture whose left and top edges were cut by x and y pixels."""
        outline = tuple((one[0] - x, one[1] - y) for one in self.outline)
        middle = (self.middle[0] - x, self.middle[1] - y)
        return FacePlace(middle, self.side, self.turn, outline, self.shape)


def require_picture(picture: Pixels, name: str = "picture") -> None:
    """Raise DataError where an array is no picture uint8 [H, W, 3] with pixels."""
    shape: tuple[int, ...] = getattr(picture, "shape", ())
    if getattr(picture, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise DataError(
            f"{name} is no uint8 [H, W, 3]",
            value=(str(getattr(picture, "dtype", type(picture).__name__)), shape),
            hint="read it with opened_image, and pass np.asarray of it",
        )
    if not picture.size:
        raise DataError(f"{name} has no pixels", value=shape, hint="pass a picture")


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("faces in pictures", "creative") from error
    return cv2
