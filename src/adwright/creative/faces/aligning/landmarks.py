"""478 points of a face: MediaPipe's face mesh and iris models, run by LiteRT.

    points = FaceMesh().points(picture, box)        # FacePoints: .at [478, 2], .confidence

The mesh model sees a square, 1.5 times as large as the face's box, and gives 468 points and a
confidence that there is a face. It expects the eyes level. So it runs again, as MediaPipe does from
frame to frame: first on the square of the detector's box, then on a square that is turned, placed
and sized by the points of the run before, until the turn stays (2 to 5 runs). The iris model sees
each eye, in a square 2.3 times as wide as the eye, the left eye mirrored, and gives 5 points: 468
to 472 are the right iris, 473 to 477 the left ("right" and "left" are the person's, "right" stands
left in the picture).

The model that does both in one run (face_landmark_with_attention) has operations of its own that
LiteRT lacks. Source: Kartynnik et al. 2019, arXiv 1907.06724; Ablavatski et al. 2020, arXiv
2006.11341; sizes and numbering of points as in the graphs that MediaPipe publishes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import DataError
from adwright.creative.faces.aligning.lite_model import LiteModel
from adwright.creative.faces.aligning.places import FacePlace, require_picture

__all__ = ["LEFT_EYE", "MOUTH_CORNERS", "POINTS", "RIGHT_EYE", "FaceMesh", "FacePoints"]

POINTS = 478
#: Corners and lids, six points of each eye.
RIGHT_EYE = (33, 160, 158, 133, 153, 144)
LEFT_EYE = (362, 385, 387, 263, 373, 380)
MOUTH_CORNERS = (61, 291)

_MESH, _IRIS = 468, 5
_MESH_MEMBER = "mediapipe/modules/face_landmark/face_landmark.tflite"
_IRIS_MEMBER = "mediapipe/modules/iris_landmark/iris_landmark.tflite"
_LARGER, _EYE_LARGER = 1.5, 2.3
_MOST_RUNS, _SAME_TURN = 5, 5.0
_OUTER = (33, 263)
_EYES = ((33, 133), (362, 263))


@dataclass(frozen=True, eq=False)
class FacePoints:
    """at: float64 [478, 2], x and y in pixels of the picture. confidence: that there is a face, 0
    to 1."""

    at: NDArray[np.float64]
    confidence: float

    def middle(self, points: tuple[int, ...]) -> NDArray[np.float64]:
        """float64 [2]: the mean of some of them."""
        return np.asarray(self.at[list(points)].mean(0))


class FaceMesh:
    """Finds the points; the models are loaded once. About 11 CPU-ms a face.

    threads: of the models. offline: never download. Raises as `LiteModel`.
    """

    def __init__(self, *, threads: int = 1, offline: bool = False) -> None:
        model = partial(LiteModel, threads=threads, offline=offline)
        self._mesh, self._iris = model(_MESH_MEMBER), model(_IRIS_MEMBER)

    def points(self, picture: NDArray[np.uint8], box: NDArray[np.float64]) -> FacePoints:
        """The points of the face in a box (left, top, right, bottom) of a picture uint8 [H, W, 3].

        Points may lie outside the picture. Raises DataError for a box without area.
        """
        require_picture(picture)
        left, top, right, bottom = (float(n) for n in box)
        if not (math.isfinite(left + top + right + bottom) and right > left and bottom > top):
            raise DataError("the box of a face has no area", value=tuple(box))
        middle = ((left + right) / 2, (top + bottom) / 2)
        place = FacePlace(middle, max(1.0, _LARGER * max(right - left, bottom - top)))
        points, confidence = self._seen(picture, place)
        for _ in range(_MOST_RUNS - 1):
            before, place = place, _around(points)
            points, confidence = self._seen(picture, place)
            if abs(place.turn - before.turn) < _SAME_TURN:
                break
        irises = [self._iris_of(picture, points[list(eye)], at) for at, eye in enumerate(_EYES)]
        return FacePoints(np.concatenate([points, *irises]), confidence)

    def _seen(
        self, picture: NDArray[np.uint8], place: FacePlace
    ) -> tuple[NDArray[np.float64], float]:
        side = self._mesh.side
        said = self._mesh.run(place.cut(picture, side))
        points = said[3 * _MESH].reshape(_MESH, 3)[:, :2].astype(np.float64)
        score = float(np.clip(said[1][0], -100, 100))
        return _in_picture(points, place, side), 1 / (1 + math.exp(-score))

    def _iris_of(
        self, picture: NDArray[np.uint8], ends: NDArray[np.float64], at: int
    ) -> NDArray[np.float64]:
        """float64 [5, 2] of the eye whose ends, from left to right, are [2, 2]; at: 1 for the left
        eye, which the model knows mirrored."""
        side, across = self._iris.side, ends[1] - ends[0]
        x, y = ends.mean(0)
        width = max(1.0, _EYE_LARGER * float(np.hypot(*across)))
        place = FacePlace((x, y), width, math.degrees(math.atan2(across[1], across[0])))
        seen = place.cut(picture, side)
        said = self._iris.run(np.ascontiguousarray(seen[:, ::-1]) if at else seen)
        points = said[3 * _IRIS].reshape(_IRIS, 3)[:, :2].astype(np.float64)
        if at:
            points[:, 0] = side - 1 - points[:, 0]
        return _in_picture(points, place, side)


def _around(points: NDArray[np.float64]) -> FacePlace:
    """The square of a face with these points, turned so that its eyes are level."""
    across = points[_OUTER[1]] - points[_OUTER[0]]
    angle = math.atan2(across[1], across[0])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    level = points @ turn.T
    low, high = level.min(0), level.max(0)
    x, y = turn.T @ ((low + high) / 2)
    side = max(1.0, _LARGER * float((high - low).max()))
    return FacePlace((float(x), float(y)), side, math.degrees(angle))


def _in_picture(points: NDArray[np.float64], place: FacePlace, side: int) -> NDArray[np.float64]:
    matrix = place.matrix(side)
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])
