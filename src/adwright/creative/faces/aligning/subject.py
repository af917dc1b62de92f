"""How much each pixel belongs to a person: MediaPipe's selfie segmentation, run by LiteRT.

    share = SubjectFinder().share(picture)          # float32 [H, W], 0 (background) to 1 (person)

The model sees the whole picture, squeezed to 256 x 256. It knows people alone; of a picture without
one all is background, and what an ad shows instead has to be marked by hand, see
`editor.edits.context`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import MissingExtraError
from adwright.creative.faces.aligning.lite_model import LiteModel
from adwright.creative.faces.aligning.places import require_picture

__all__ = ["SubjectFinder"]

_MEMBER = "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite"


class SubjectFinder:
    """Finds people; the model is loaded once. About 10 CPU-ms a picture. Raises as `LiteModel`."""

    def __init__(self, *, threads: int = 1, offline: bool = False) -> None:
        self._model = LiteModel(_MEMBER, threads=threads, offline=offline)

    def share(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [H, W] of a picture uint8 [H, W, 3]."""
        require_picture(picture)
        try:
            import cv2
        except ImportError as error:
            raise MissingExtraError("people in pictures", "creative") from error
        side = self._model.side
        seen = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        said = self._model.run(np.asarray(seen, np.uint8))[side * side].reshape(side, side)
        high, wide = picture.shape[:2]
        whole = cv2.resize(said, (wide, high), interpolation=cv2.INTER_LINEAR)
        return np.clip(np.asarray(whole, np.float32), 0, 1)
