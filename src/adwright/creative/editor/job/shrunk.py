"""A smaller copy of a picture and of all that is known of it, for a search over many edits of it.

    small = shrunk(picture, context, side=512)
    small.picture, small.context

Knobs of edits are shares of the picture, so a plan that was searched on the copy is one of the
picture. What is protected stays protected: a pixel of the copy is where any pixel below it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import require_count
from adwright.core.errors import MissingExtraError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.search.population import squeezed
from adwright.creative.faces.aligning import FacePlace

__all__ = ["ShrunkPicture", "shrunk"]


@dataclass(frozen=True, eq=False)
class ShrunkPicture:
    """picture: uint8 [H, W, 3]. context: of it."""

    picture: NDArray[np.uint8]
    context: EditContext


def shrunk(picture: NDArray[np.uint8], context: EditContext, *, side: int) -> ShrunkPicture:
    """The picture uint8 [H0, W0, 3] with `side` pixels on its longer side; as it is where it has no
    more. Raises DataError where the context belongs to another picture."""
    require_count("side", side)
    context.require_size_of(picture)
    high, wide = picture.shape[:2]
    scale = side / max(high, wide)
    if scale >= 1:
        return ShrunkPicture(picture, context)
    shape = (max(1, round(scale * high)), max(1, round(scale * wide)))
    by = (shape[1] / wide, shape[0] / high)
    made = replace(
        context,
        protected=None if context.protected is None else _any_below(context.protected, shape),
        subject=None if context.subject is None else _mean_below(context.subject, shape),
        places=tuple(_moved(place, by) for place in context.places),
    )
    return ShrunkPicture(squeezed(picture, shape), made)


def _any_below(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W]: whether any pixel of the larger mask falls into each."""
    made = np.zeros(shape, bool)
    rows, columns = np.nonzero(mask)
    edges: list[list[NDArray[np.int64]]] = []
    for at, size, new in ((rows, mask.shape[0], shape[0]), (columns, mask.shape[1], shape[1])):
        first = at * new // size
        last = np.minimum(new - 1, ((at + 1) * new - 1) // size)
        edges.append([first, last])
    for row in edges[0]:
        for column in edges[1]:
            made[row, column] = True
    return made


def _mean_below(share: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("edits of pictures", "creative") from error
    made = cv2.resize(share, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(made, np.float32)


def _moved(place: FacePlace, by: tuple[float, float]) -> FacePlace:
    """The place in the copy: pixels' middles lie at (x + 1/2) s - 1/2."""

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return (point[0] + 0.5) * by[0] - 0.5, (point[1] + 0.5) * by[1] - 0.5

    side = max(1.0, place.side * math.sqrt(by[0] * by[1]))
    return replace(place, middle=at(place.middle), side=side, outline=tuple(map(at, place.outline)))
