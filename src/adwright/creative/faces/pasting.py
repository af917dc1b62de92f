"""Which pixels of a picture a face covers: what may be exchanged, and what must stay.

    mask = face_mask(place, picture.shape, shrink=3 / 256)      # bool [H, W]

The mask is the place's outline where it has one (the convex hull of its points), else the ellipse
in its square, or the square itself. It is shrunk from its edge inwards, so that the seam lies on
the skin, not on the hair behind it: AdSEE shrinks by 3 pixels of a crop of 256.

Faces put back into their picture: every pixel outside their masks stays as it was, to the bit.

    back = pasted(picture, faces.faces, edited)         # edited: uint8 [N, S, S, 3]
    back.picture, back.mask                             # uint8 [H, W, 3], bool [H, W]

Each crop is warped back by the place that it was cut at. What the crop was too coarse to hold
stays: put back is the picture plus the difference d of the edited crop from the crop as it was cut.
So a face that was not edited does not change at all, whatever the crop's size. Where much was
changed, the old details would show through: there the edited crop itself is put back. Our choice:
with the share min(1, |d| / 32), |d| the mean over a neighbourhood and the three colours.

How it is joined, `blend`:

    seamless   the gradients of the face, with the picture's colours along the edge of the mask
               (Poisson image editing, Perez et al., SIGGRAPH 2003, by OpenCV); light differences
               disappear, and the colour of the whole face follows that of its surroundings; a
               sliver of one or two pixels is feathered
    feather    the face itself, mixed with the picture over a twentieth of the square's side
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError, needing
from adwright.creative.faces.aligning import AlignedFace, FacePlace, SkippedFace, require_picture

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


Pixels = NDArray[np.uint8]
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
        source = cv2.GaussianBlur(source, (0, 0), 0.25 * ratio)
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
