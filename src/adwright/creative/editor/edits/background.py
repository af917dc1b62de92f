"""A blur of the background, as of a lens that is wide open.

    BackgroundBlur(0.01)        # standard deviation, share of the shorter side

Background is what the context's `subject` s is not: of people `SubjectFinder` finds it. Blurred is
the background alone, so that the subject leaves no halo:

    blurred = G(v (1 - s)) / G(1 - s),      new = s v + (1 - s) blurred

with a Gaussian G. Faces whose places are known count as subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import MissingExtraError
from adwright.creative.editor.edits.context import EditContext, kept
from adwright.creative.editor.edits.knobs import Knob, PictureEdit, check_values
from adwright.creative.faces.pasting import face_mask

__all__ = ["BackgroundBlur"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class BackgroundBlur(PictureEdit):
    """spread: standard deviation of the Gaussian, share of the picture's shorter side."""

    spread: float = 0.0
    kind: Literal["background_blur"] = "background_blur"

    def __post_init__(self) -> None:
        check_values(self)

    def knobs(self) -> tuple[Knob, ...]:
        return (Knob("spread", 0.0, 0.03),)

    def why_not(self, picture: Pixels, context: EditContext) -> str:
        if context.subject is None:
            return "it is not known what the background is: the context has no subject"
        if not self.is_neutral() and not (context.subject < 1).any():
            return "all of the picture is subject"
        return ""

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        if self.is_neutral() or context.subject is None:
            return picture.copy()
        try:
            import cv2
        except ImportError as error:
            raise MissingExtraError("edits of pictures", "creative") from error
        share = np.clip(context.subject.astype(np.float32), 0, 1)
        for place in context.places:
            share[face_mask(place, picture.shape, shrink=0)] = 1
        spread = max(0.1, self.spread * min(picture.shape[:2]))
        rest, values = 1 - share, picture.astype(np.float32)
        over = cv2.GaussianBlur(values * rest[..., None], (0, 0), spread)
        below = cv2.GaussianBlur(rest, (0, 0), spread)
        blurred = np.where(
            below[..., None] > 1e-6, over / np.maximum(below, 1e-6)[..., None], values
        )
        new = share[..., None] * values + rest[..., None] * blurred
        return kept(picture, np.clip(np.rint(new), 0, 255).astype(np.uint8), context)
