"""Boxes of faces out of the numbers of MediaPipe's detector (BlazeFace, arXiv 1907.05047).

The full-range model has one anchor in the middle of each cell of a 48 x 48 grid over its input of
192 x 192 pixels (stride 4, fixed size). Of each it gives 16 numbers in pixels: the shift of the
box's middle from the anchor, its width and height, and six points that are not used here; and a
score, whose sigmoid after clipping to 100 is the confidence. So say the graphs that MediaPipe
publishes with the model (face_detection_full_range).

Weighted suppression: the box with the highest score becomes the mean, weighted by score, of all
that overlap it by more than .3 of their union; these are taken out, and so on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["INPUT_SIDE", "boxes_of", "distinct", "suppressed", "windows"]

#: Pixels of the model's square.
INPUT_SIDE = 192
_GRID = 48
_CLIP = 100.0
_OVERLAP = 0.3
#: Shares of the shorter side: of the small windows, and between two of a row.
_SMALL, _STEP = 0.6, 0.6
#: The longer side, over the shorter, from which one square is not enough.
_OBLONG = 1.25
_MOST_WINDOWS = 40
_SAME_FACE = 0.5

Floats = NDArray[np.float64]


def boxes_of(numbers: NDArray[np.float32], scores: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Boxes float64 [A, 4] (left, top, right, bottom, as shares of the square) and confidences [A]
    of the model's numbers [A, 16] and scores [A]; A = 2,304 anchors, row by row of the grid."""
    rows, columns = np.divmod(np.arange(_GRID * _GRID), _GRID)
    anchors = (np.stack([columns, rows], axis=1) + 0.5) / _GRID
    part = numbers.astype(np.float64) / INPUT_SIDE
    middle, half = part[:, :2] + anchors, part[:, 2:4] / 2
    sure = 1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -_CLIP, _CLIP)))
    return np.concatenate([middle - half, middle + half], axis=1), sure


def suppressed(boxes: Floats, scores: Floats, least: float) -> tuple[Floats, Floats]:
    """Boxes [N, 4] and scores [N] of the faces among boxes [A, 4] with a score of `least` or more,
    by weighted suppression, the highest score first."""
    order = np.flatnonzero(scores >= least)
    order = order[np.argsort(-scores[order], kind="stable")]
    made, kept = [], []
    while len(order):
        same = _overlaps(boxes[order[0]], boxes[order], least_area=False) > _OVERLAP
        same[0] = True
        group = order[same]
        made.append(np.average(boxes[group], axis=0, weights=scores[group]))
        kept.append(scores[order[0]])
        order = order[~same]
    return np.array(made).reshape(-1, 4), np.array(kept)


def distinct(boxes: Floats, scores: Floats) -> NDArray[np.intp]:
    """The places of the boxes [N, 4] that stay where several windows saw the same face, or a part
    of it: those that no box of a higher score covers by half of the smaller one's area."""
    kept: list[int] = []
    for at in np.argsort(-scores, kind="stable"):
        if not kept or _overlaps(boxes[at], boxes[kept], least_area=True).max() < _SAME_FACE:
            kept.append(int(at))
    return np.array(kept, np.intp)


def windows(width: int, height: int) -> list[tuple[int, int, int]]:
    """Squares (left, top, side) in which to look besides the whole picture: along an oblong one as
    high as it is, and smaller ones, in which a face is larger. Neighbours overlap."""
    shorter = min(width, height)
    made: list[tuple[int, int, int]] = []
    levels = [shorter] if max(width, height) >= _OBLONG * shorter else []
    for side in (*levels, round(_SMALL * shorter)):
        across, down = (
            1 + max(0, int(np.ceil((n - side) / max(1.0, _STEP * side)))) for n in (width, height)
        )
        if side < 1 or len(made) + across * down > _MOST_WINDOWS:
            continue
        lefts, tops = np.linspace(0, width - side, across), np.linspace(0, height - side, down)
        made += [(int(left), int(top), side) for top in tops for left in lefts]
    return made


def _overlaps(one: Floats, others: Floats, *, least_area: bool) -> Floats:
    """What `one` box [4] shares with each of N boxes [N, 4], over their union or the smaller."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(axis=1)
    own = np.clip(one[2:] - one[:2], 0, None).prod()
    over = np.minimum(areas, own) if least_area else areas + own - both
    return np.asarray(both / np.maximum(over, 1e-12))
