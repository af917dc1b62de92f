"""Where a face is in a picture: a square, turned as the head is, and an outline.

    place = FacePlace.of_box(40, 30, 104, 94)       # a drawn portrait, whose box is known
    crop = place.cut(picture, 32)                   # uint8 [32, 32, 3]
    back = place.matrix(32)                         # float64 [2, 3]: crop pixels to picture pixels

Coordinates are pixels of the picture, x to the right and y down; the middle of the top left pixel
is (0, 0). The matrix is a similarity (turn, scale, shift), so its inverse is exact, and a crop can
be put back where it came from, see paste.py.

What a crop shows beyond the picture's edge is the picture mirrored there. Where a crop is smaller
than its square, it is cut larger and shrunk by areas, so that nothing aliases.

A model of MediaPipe's, out of its pinned wheel, run by LiteRT.

    model = LiteModel("mediapipe/modules/face_landmark/face_landmark.tflite")
    outputs = model.run(values)          # by size: {1404: float32 [1404], 1: float32 [1]}

The wheel is never installed; see `core.assets`. A model sees one picture at a time.

478 points of a face: MediaPipe's face mesh and iris models, run by LiteRT.

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

Faces of a picture, aligned as the pictures are that face models learn from.

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

How much each pixel belongs to a person: MediaPipe's selfie segmentation, run by LiteRT.

    share = SubjectFinder().share(picture)          # float32 [H, W], 0 (background) to 1 (person)

The model sees the whole picture, squeezed to 256 x 256. It knows people alone; of a picture without
one all is background, and what an ad shows instead has to be marked by hand, see
`editor.edits.context`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Ge, settings
from adwright.core.errors import ConfigError, DataError, needing
from adwright.creative.records.looking import FaceFinder, lite_model

Point = tuple[float, float]
Pixels = NDArray[np.uint8]

_MOST_CUT = 4096


@settings
class FacePlace:
    """middle: of the square. side: its length, pixels. turn: degrees, clockwise as seen.

    outline: corners of the face's convex hull; empty where it is not known, then `shape` says what
    of the square is the face: the ellipse that fits into it, or all of it.
    """

    middle: Point
    side: Annotated[float, Ge(1)]
    turn: float = 0.0
    outline: tuple[Point, ...] = ()
    shape: Literal["ellipse", "square"] = "ellipse"

    def __post_init__(self) -> None:
        numbers = (*self.middle, self.side, self.turn, *(n for one in self.outline for n in one))
        if not all(map(math.isfinite, numbers)):
            raise ConfigError("a number of the place is not finite", where="FacePlace")
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
        with needing("faces in pictures", "creative"):
            import cv2
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


class LiteModel:
    """One model with one input; loaded once.

    member: its path in the wheel. offline: never download.
    Raises MissingExtraError without ai-edge-litert; AssetError where the model cannot be had.
    """

    def __init__(self, member: str, *, offline: bool = False) -> None:
        self._model: Any = lite_model(member, "points of faces", offline=offline)
        ((self._input, shape),) = [
            (one["index"], one["shape"]) for one in self._model.get_input_details()
        ]
        self._outputs = [one["index"] for one in self._model.get_output_details()]
        #: Pixels of the square that it sees.
        self.side = int(shape[1])

    def run(self, picture: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Its outputs, each flat and found by its size, of a picture uint8 [side, side, 3], which
        it sees as 0 to 1."""
        self._model.set_tensor(self._input, picture[None].astype(np.float32) / np.float32(255))
        self._model.invoke()
        made = (self._model.get_tensor(index) for index in self._outputs)
        # The interpreter writes the next result into the same memory.
        return {one.size: np.array(one, np.float32).reshape(-1) for one in made}


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

    offline: never download. Raises as `LiteModel`.
    """

    def __init__(self, *, offline: bool = False) -> None:
        self._mesh = LiteModel(_MESH_MEMBER, offline=offline)
        self._iris = LiteModel(_IRIS_MEMBER, offline=offline)

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


Reason = Literal["small", "cut off", "unsure"]


#: Pixels between the eyes; share of the points that lie in the picture; confidence of the mesh,
#: MediaPipe's own limit.
_LEAST_EYES, _LEAST_INSIDE, _LEAST_CONFIDENCE = 12.0, 0.98, 0.5


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """place: where it is in the picture. crop: uint8 [S, S, 3]. points: None of a face whose place
    was given."""

    place: FacePlace
    crop: NDArray[np.uint8]
    points: FacePoints | None = None


@settings
class SkippedFace:
    """box: left, top, right and bottom in pixels. detail: the reason in numbers."""

    box: tuple[float, float, float, float]
    reason: Reason
    detail: str


@dataclass(frozen=True, eq=False)
class AlignedFaces:
    """The faces of one picture, the surest first, and those that were not taken."""

    faces: tuple[AlignedFace, ...]
    skipped: tuple[SkippedFace, ...] = ()


class FaceAligner:
    """Finds, measures and cuts the faces of a picture; the models are loaded once.

    Raises as `FaceFinder` and `FaceMesh`.
    """

    def __init__(self, *, offline: bool = False) -> None:
        self._finder, self._mesh = FaceFinder(offline=offline), FaceMesh(offline=offline)

    def aligned(self, picture: NDArray[np.uint8], pixels: int = 256) -> AlignedFaces:
        """The faces of a picture uint8 [H, W, 3], each as a crop of `pixels` x `pixels`."""
        require_picture(picture)
        with needing("faces in pictures", "creative"):
            from PIL.Image import fromarray
        faces: list[AlignedFace] = []
        skipped: list[SkippedFace] = []
        for box in self._finder.boxes(fromarray(picture)):
            points = self._mesh.points(picture, box)
            why = _why_not(points, picture.shape)
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


def _why_not(points: FacePoints, shape: tuple[int, ...]) -> tuple[Reason, str] | None:
    if points.confidence < _LEAST_CONFIDENCE:
        return "unsure", f"confidence {points.confidence:.2f} < {_LEAST_CONFIDENCE:g}"
    eyes = float(np.hypot(*(points.middle(LEFT_EYE) - points.middle(RIGHT_EYE))))
    if eyes < _LEAST_EYES:
        return "small", f"{eyes:.1f} pixels between the eyes < {_LEAST_EYES:g}"
    edge = np.array([shape[1] - 1, shape[0] - 1])
    inside = float(((points.at >= 0) & (points.at <= edge)).all(1).mean())
    if inside < _LEAST_INSIDE:
        return "cut off", f"{inside:.2f} of its points in the picture < {_LEAST_INSIDE:g}"
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
    with needing("faces in pictures", "creative"):
        import cv2
    right, left = points.middle(RIGHT_EYE), points.middle(LEFT_EYE)
    between = (right + left) / 2
    across, down = left - right, points.middle(MOUTH_CORNERS) - between
    x = across - np.array([-down[1], down[0]])
    length = max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down)))
    middle = between + 0.1 * down
    hull = cv2.convexHull(points.at.astype(np.float32), returnPoints=False)[:, 0]
    return FacePlace(
        (float(middle[0]), float(middle[1])),
        max(1.0, 2 * length),
        math.degrees(math.atan2(x[1], x[0])),
        tuple((float(x), float(y)) for x, y in points.at[hull]),
    )


_MEMBER = "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite"


class SubjectFinder:
    """Finds people; the model is loaded once. About 10 CPU-ms a picture. Raises as `LiteModel`."""

    def __init__(self, *, offline: bool = False) -> None:
        self._model = LiteModel(_MEMBER, offline=offline)

    def share(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [H, W] of a picture uint8 [H, W, 3]."""
        require_picture(picture)
        with needing("people in pictures", "creative"):
            import cv2
        side = self._model.side
        seen = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        said = self._model.run(np.asarray(seen, np.uint8))[side * side].reshape(side, side)
        high, wide = picture.shape[:2]
        whole = cv2.resize(said, (wide, high), interpolation=cv2.INTER_LINEAR)
        return np.clip(np.asarray(whole, np.float32), 0, 1)


# --------------------------------------------------------------------------------------------------
# Which pixels of a picture a face covers: what may be exchanged, and what must stay.
#
#     mask = face_mask(place, picture.shape, shrink=3 / 256)      # bool [H, W]
#
# The mask is the place's outline where it has one (the convex hull of its points), else the ellipse
# in its square, or the square itself. It is shrunk from its edge inwards, so that the seam lies on
# the skin, not on the hair behind it: AdSEE shrinks by 3 pixels of a crop of 256.
#
# Faces put back into their picture: every pixel outside their masks stays as it was, to the bit.
#
#     back = pasted(picture, faces.faces, edited)         # edited: uint8 [N, S, S, 3]
#     back.picture, back.mask                             # uint8 [H, W, 3], bool [H, W]
#
# Each crop is warped back by the place that it was cut at. What the crop was too coarse to hold
# stays: put back is the picture plus the difference d of the edited crop from the crop as it was
# cut.
# So a face that was not edited does not change at all, whatever the crop's size. Where much was
# changed, the old details would show through: there the edited crop itself is put back. Our choice:
# with the share min(1, |d| / 32), |d| the mean over a neighbourhood and the three colours.
#
# How it is joined, `blend`:
#
#     seamless   the gradients of the face, with the picture's colours along the edge of the mask
#                (Poisson image editing, Perez et al., SIGGRAPH 2003, by OpenCV); light differences
#                disappear, and the colour of the whole face follows that of its surroundings; a
#                sliver of one or two pixels is feathered
#     feather    the face itself, mixed with the picture over a twentieth of the square's side

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
    with needing("faces in pictures", "creative"):
        import cv2
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


Mask = NDArray[np.bool_]
#: Fewer pixels are no face, and OpenCV's solver needs some.
_LEAST_PIXELS = 16
#: Width and height of a mask that can be pasted seamlessly.
_LEAST_SIDE = 3
#: Grey levels of change from which on nothing of the old face shows.
_MUCH = np.float32(32)
#: Crop pixels on one of the picture's, from which on they are averaged first.
_FINE = 2.0


#: How a face is joined to its picture, see the module.
Blend = Literal["seamless", "feather"]
#: How far a face is mixed with the picture, share of the square's side.
_FEATHER = 0.05


@dataclass(frozen=True, eq=False)
class Pasted:
    """picture: uint8 [H, W, 3]. mask: bool [H, W], where it may differ. skipped: faces that stayed
    as they were, as nothing of them may be changed."""

    picture: Pixels
    mask: Mask
    skipped: tuple[SkippedFace, ...] = ()


def pasted(
    picture: Pixels,
    faces: Sequence[AlignedFace],
    edited: NDArray[np.uint8],
    blend: Blend = "seamless",
    *,
    protected: Mask | None = None,
) -> Pasted:
    """The picture uint8 [H, W, 3] with the edited crops, uint8 [N, S, S, 3], in place of N faces.

    protected: bool [H, W], pixels that stay. Where faces overlap, the later one lies above.
    Raises DataError for shapes that do not belong together; MissingExtraError without OpenCV.
    """
    require_picture(picture)
    shape = picture.shape[:2]
    if len(edited) != len(faces):
        raise DataError(
            f"{len(edited)} edited crops of {len(faces)} faces", hint="pass one for each face"
        )
    if protected is not None and (protected.shape != shape or protected.dtype != bool):
        raise DataError(
            f"protected has shape {protected.shape}", hint=f"pass bool [{shape[0]}, {shape[1]}]"
        )
    made, changed = picture.copy(), np.zeros(shape, bool)
    skipped: list[SkippedFace] = []
    for face, crop in zip(faces, edited, strict=True):
        require_picture(crop, "an edited crop")
        if crop.shape != face.crop.shape:
            raise DataError(
                f"an edited crop has shape {crop.shape}", hint=f"pass {face.crop.shape}"
            )
        mask = face_mask(face.place, shape)
        if protected is not None:
            mask &= ~protected
        if mask.sum() < _LEAST_PIXELS:
            detail = f"{int(mask.sum())} pixels may be changed < {_LEAST_PIXELS}"
            skipped.append(SkippedFace(face.place.box(), "cut off", detail))
            continue
        _put(made, face, crop, mask, blend)
        changed |= mask
    return Pasted(made, changed, tuple(skipped))


def _put(picture: Pixels, face: AlignedFace, crop: Pixels, mask: Mask, blend: Blend) -> None:
    """Change `picture` inside the mask."""
    if np.array_equal(crop, face.crop):
        return
    with needing("faces in pictures", "creative"):
        import cv2
    # The mask's box, with a margin, within the picture.
    ends, margin = [], round(0.1 * face.place.side) + 4
    for axis in (1, 0):
        found = np.flatnonzero(mask.any(axis))
        ends.append(slice(max(0, found[0] - margin), found[-1] + 1 + margin))
    rows, columns = ends
    part, inside = picture[rows, columns], mask[rows, columns]
    corner = (columns.start, rows.start)
    new = _warped(crop, face.place, corner, inside.shape)
    change = new - _warped(face.crop, face.place, corner, inside.shape)
    # How much of the face is put back without the picture's details, [h, w, 1].
    near = cv2.GaussianBlur(np.abs(change).mean(2), (0, 0), max(1.0, 0.02 * face.place.side))
    share = np.asarray(np.minimum(1, near / _MUCH)[..., None], np.float32)
    mixed = part + change + share * (new - part - change)
    whole = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    # A sliver has no inside that colours could be carried to, and OpenCV refuses it.
    sliver = min(np.ptp(np.argwhere(inside), axis=0)) + 1 < _LEAST_SIDE
    joined = (
        _seamless(whole, part, inside)
        if blend == "seamless" and not sliver
        else _feathered(whole, part, inside, _FEATHER * face.place.side)
    )
    part[inside] = joined[inside]


def _warped(
    crop: Pixels, place: FacePlace, corner: tuple[int, int], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """float32 [h, w, 3]: the crop where it belongs, in the part of a picture that begins there."""
    import cv2

    ratio, source = len(crop) / place.side, crop.astype(np.float32)
    if ratio >= _FINE:
        # What is finer than the picture's pixels would alias.
        source = np.asarray(cv2.GaussianBlur(source, (0, 0), 0.25 * ratio), np.float32)
    return np.asarray(
        cv2.warpAffine(
            source,
            place.moved(*corner).matrix(len(crop)),
            (shape[1], shape[0]),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def _seamless(new: Pixels, old: Pixels, mask: Mask) -> Pixels:
    """OpenCV's seamless clone, at the very place: its mask may not touch the edge, so all is
    padded, and it places the middle of the mask's box."""
    import cv2

    pad = 2
    new, old = (np.pad(one, ((pad, pad), (pad, pad), (0, 0)), mode="edge") for one in (new, old))
    wide = np.pad(mask, pad).astype(np.uint8) * 255
    left, top, width, height = cv2.boundingRect(wide)
    middle = (left + width // 2, top + height // 2)
    made = cv2.seamlessClone(new, old, wide, middle, cv2.NORMAL_CLONE)
    return np.asarray(made[pad:-pad, pad:-pad], np.uint8)


def _feathered(new: Pixels, old: Pixels, mask: Mask, reach: float) -> Pixels:
    """The new face by its distance from the mask's edge, in full from `reach` pixels on."""
    import cv2

    far = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    share = np.clip(far / max(1.0, reach), 0, 1)[..., None]
    return np.asarray(np.rint(share * new + (1 - share) * old), np.uint8)
