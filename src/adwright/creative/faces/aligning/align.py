"""Faces of a picture, aligned as the pictures are that face models learn from.

    found = FaceAligner().aligned(picture, 256)
    found.faces[0].crop, found.faces[0].place       # uint8 [256, 256, 3], and where it was cut
    found.skipped                                   # those that were not taken, and why

The square is FFHQ's (Karras et al., CVPR 2019). With e the vector from the right eye to the left,
m the vector from between the eyes to between the corners of the mouth, and m turned by a quarter,

    x = e - turned(m), scaled to the length max(2 |e|, 1.8 |m|)      half a side of the square
    middle = between the eyes + m / 10

so the eyes stand level, a quarter of the way down or so, however the head is tilted. FFHQ takes the
points from dlib; ours are those of MediaPipe's mesh. What FFHQ does at the picture's edge (mirror
and blur) is mirroring alone here.

A face is skipped, with its reason, where it is "small", "cut off" by the picture's edge, or
"unsure": the mesh finds no face where the detector saw one. Limits are our choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, MissingExtraError
from adwright.creative.faces.aligning.landmarks import (
    LEFT_EYE,
    MOUTH_CORNERS,
    RIGHT_EYE,
    FaceMesh,
    FacePoints,
)
from adwright.creative.faces.aligning.places import FacePlace, require_picture
from adwright.creative.records.seeing.faces import FaceFinder

__all__ = [
    "AlignLimits",
    "AlignedFace",
    "AlignedFaces",
    "BoxFinder",
    "FaceAligner",
    "SkippedFace",
    "cut_at",
    "place_of_points",
]

Reason = Literal["small", "cut off", "unsure"]


@dataclass(frozen=True)
class AlignLimits:
    """least_eyes: pixels between the eyes. least_inside: share of the points that lie in the
    picture. least_confidence: of the mesh, MediaPipe's own limit."""

    least_eyes: float = 12.0
    least_inside: float = 0.98
    least_confidence: float = 0.5

    def __post_init__(self) -> None:
        check_literals(self)
        if self.least_eyes <= 0:
            raise ConfigError("least_eyes is not above 0", where="least_eyes", hint="take 12")
        for name in ("least_inside", "least_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is not in [0, 1]", where=name, hint="take the default")


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """place: where it is in the picture. crop: uint8 [S, S, 3]. points: None of a face whose place
    was given."""

    place: FacePlace
    crop: NDArray[np.uint8]
    points: FacePoints | None = None


@dataclass(frozen=True)
class SkippedFace:
    """box: left, top, right and bottom in pixels. detail: the reason in numbers."""

    box: tuple[float, float, float, float]
    reason: Reason
    detail: str

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True, eq=False)
class AlignedFaces:
    """The faces of one picture, the surest first, and those that were not taken."""

    faces: tuple[AlignedFace, ...]
    skipped: tuple[SkippedFace, ...] = ()


class BoxFinder(Protocol):
    """Finds faces as `FaceFinder` does."""

    def boxes(self, image: object) -> NDArray[np.float64]:
        """float64 [N, 4] of an image, RGB: left, top, right and bottom in pixels."""
        ...


class FaceAligner:
    """Finds, measures and cuts the faces of a picture; the models are loaded once.

    finder, mesh: those of adwright by default. Raises as `FaceFinder` and `FaceMesh`.
    """

    def __init__(
        self,
        limits: AlignLimits | None = None,
        *,
        finder: BoxFinder | None = None,
        mesh: FaceMesh | None = None,
        offline: bool = False,
    ) -> None:
        self.limits = limits or AlignLimits()
        self._finder = finder or FaceFinder(offline=offline)
        self._mesh = mesh or FaceMesh(offline=offline)

    def aligned(self, picture: NDArray[np.uint8], pixels: int = 256) -> AlignedFaces:
        """The faces of a picture uint8 [H, W, 3], each as a crop of `pixels` x `pixels`."""
        require_picture(picture)
        try:
            from PIL.Image import fromarray
        except ImportError as error:
            raise MissingExtraError("faces in pictures", "creative") from error
        faces: list[AlignedFace] = []
        skipped: list[SkippedFace] = []
        for box in self._finder.boxes(fromarray(picture)):
            points = self._mesh.points(picture, box)
            why = self._why_not(points, picture.shape)
            if why is not None:
                left, top, right, bottom = (float(n) for n in box)
                skipped.append(SkippedFace((left, top, right, bottom), *why))
                continue
            place = place_of_points(points)
            faces.append(AlignedFace(place, place.cut(picture, pixels), points))
        return AlignedFaces(tuple(faces), tuple(skipped))

    def places(self, picture: NDArray[np.uint8]) -> tuple[FacePlace, ...]:
        """Where all faces of a picture are, also of those that would be skipped: by their box."""
        found = self.aligned(picture, 8)
        boxes = (FacePlace.of_box(*one.box, shape="ellipse") for one in found.skipped)
        return (*(face.place for face in found.faces), *boxes)

    def _why_not(self, points: FacePoints, shape: tuple[int, ...]) -> tuple[Reason, str] | None:
        limits = self.limits
        if points.confidence < limits.least_confidence:
            return "unsure", f"confidence {points.confidence:.2f} < {limits.least_confidence:g}"
        eyes = float(np.hypot(*(points.middle(LEFT_EYE) - points.middle(RIGHT_EYE))))
        if eyes < limits.least_eyes:
            return "small", f"{eyes:.1f} pixels between the eyes < {limits.least_eyes:g}"
        edge = np.array([shape[1] - 1, shape[0] - 1])
        inside = float(((points.at >= 0) & (points.at <= edge)).all(1).mean())
        if inside < limits.least_inside:
            return "cut off", f"{inside:.2f} of its points in the picture < {limits.least_inside:g}"
        return None


def cut_at(picture: NDArray[np.uint8], places: tuple[FacePlace, ...], pixels: int) -> AlignedFaces:
    """Faces whose places are known, as of portraits that were drawn: nothing is looked for.

    One whose square lies outside the picture by more than half is skipped as "cut off".
    """
    require_picture(picture)
    faces: list[AlignedFace] = []
    skipped: list[SkippedFace] = []
    high, wide = picture.shape[:2]
    for place in places:
        grid = np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0)), -1).reshape(-1, 2)
        matrix = place.matrix(16)
        at = grid @ matrix[:, :2].T + matrix[:, 2]
        inside = float(((at >= -0.5) & (at < [wide - 0.5, high - 0.5])).all(1).mean())
        if inside < 0.5:
            detail = f"{inside:.2f} of its square in the picture < 0.5"
            skipped.append(SkippedFace(place.box(), "cut off", detail))
        else:
            faces.append(AlignedFace(place, place.cut(picture, pixels)))
    return AlignedFaces(tuple(faces), tuple(skipped))


def place_of_points(points: FacePoints) -> FacePlace:
    """FFHQ's square of a face with these points, and their convex hull as its outline."""
    right, left = points.middle(RIGHT_EYE), points.middle(LEFT_EYE)
    between = (right + left) / 2
    across, down = left - right, points.middle(MOUTH_CORNERS) - between
    x = across - np.array([-down[1], down[0]])
    length = max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down)))
    middle = between + 0.1 * down
    return FacePlace(
        (float(middle[0]), float(middle[1])),
        max(1.0, 2 * length),
        math.degrees(math.atan2(x[1], x[0])),
        _hull(points.at),
    )


def _hull(at: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """The corners of the convex hull of points [N, 2], in their turn (Andrew's monotone chain)."""
    order = sorted({(float(x), float(y)) for x, y in at})
    halves: list[list[tuple[float, float]]] = []
    for points in (order, order[::-1]):
        half: list[tuple[float, float]] = []
        for point in points:
            while len(half) > 1 and _turns(half[-2], half[-1], point) <= 0:
                half.pop()
            half.append(point)
        halves.append(half[:-1])
    return tuple(halves[0] + halves[1])


def _turns(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
