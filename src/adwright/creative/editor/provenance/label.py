"""A label that people see: the picture says itself that a model changed it.

    labelled(picture, context)                  # "Edited with AI", in a corner that is free

And the sentence that stands beside every predicted gain: ESTIMATE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import DataError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.text import TextOverlay

__all__ = ["ESTIMATE", "LABEL", "labelled"]

ESTIMATE = "model estimate, not a measured effect"
LABEL = "Edited with AI"
_CORNERS = ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0))


def labelled(
    picture: NDArray[np.uint8],
    context: EditContext | None = None,
    *,
    words: str = LABEL,
    size: float = 0.04,
) -> NDArray[np.uint8]:
    """The picture uint8 [H, W, 3] with the words, on a plate, in the corner where they have to move
    least to be clear of what is protected and of faces.

    size: of the letters, share of the height. Raises DataError where there is no room: a label that
    is not seen is none.
    """
    context = context or EditContext()
    context.require_size_of(picture)
    high, wide = picture.shape[:2]
    best: tuple[float, TextOverlay] | None = None
    for x, y in _CORNERS:
        overlay = TextOverlay(words, x=x, y=y, size=size, opacity=1.0, contrast=0.7)
        box = overlay.box(picture, context)
        if box is None:
            continue
        left, top, right, bottom = box
        away = abs(left - x * (wide - right + left)) + abs(top - y * (high - bottom + top))
        if best is None or away < best[0]:
            best = (away, overlay)
    if best is None:
        raise DataError(
            f"there is no room for the label {words!r}",
            value=(wide, high),
            hint="use a larger picture, or shorter words",
        )
    return best[1].apply(picture, context)
