"""How many faces a picture shows: MediaPipe's full-range detector, run by LiteRT.

    FaceFinder().boxes(image)        # [[left, top, right, bottom], ...] in pixels

The model is read out of the pinned wheel of mediapipe, which is never installed: it would bring old
versions of others. It sees the whole picture on a black square, and squares of it (see
face_boxes.py), so that also small faces count: from about a twenty-fifth of the shorter side on.

Our choice: a face counts from a confidence of .75 on, where MediaPipe's graph stops at .6. In the
squares of the photographs of scikit-image that show no face, up to .70 were seen, and in its
portrait, pasted at many sizes, .77 and more. Faces on posters, coins and drawings may count too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import ASSETS, asset
from adwright.core.errors import AssetError, MissingExtraError
from adwright.creative.records.seeing.face_boxes import (
    INPUT_SIDE,
    boxes_of,
    distinct,
    suppressed,
    windows,
)

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FaceFinder"]

_NUMBERS = 16
_LEAST_SIDE = 16


class FaceFinder:
    """Finds faces; the model is loaded once.

    least: confidence from which a face counts. threads: of the model. offline: never download.
    Raises MissingExtraError without ai-edge-litert; AssetError where the model cannot be had.
    """

    #: Changes with whatever else the result depends on.
    version = f"1-{ASSETS['mediapipe'].sha256[:12]}"

    def __init__(self, least: float = 0.75, *, threads: int = 1, offline: bool = False) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingExtraError("faces in pictures", "creative") from error
        path = asset("mediapipe", offline=offline) / ASSETS["mediapipe"].example
        self._least = least
        try:
            self._model: Any = Interpreter(model_path=str(path), num_threads=threads)
            self._model.allocate_tensors()
            ((self._input),) = [one["index"] for one in self._model.get_input_details()]
            outputs = {one["shape"][-1]: one["index"] for one in self._model.get_output_details()}
            self._numbers, self._scores = outputs[_NUMBERS], outputs[1]
        except (ValueError, RuntimeError, KeyError) as error:
            raise AssetError(
                f"this is no model of faces that LiteRT can run: {error}",
                where=str(path),
                hint="remove the folder, so that it is fetched again",
            ) from error

    def boxes(self, image: Image) -> NDArray[np.float64]:
        """float64 [N, 4], left, top, right and bottom in pixels, of the N faces in a picture, RGB,
        the surest first."""
        if min(image.size) < _LEAST_SIDE:
            return np.empty((0, 4))
        longer = max(image.size)
        left, top = (image.width - longer) // 2, (image.height - longer) // 2
        boxes, scores = [], []
        for x, y, side in ((left, top, longer), *windows(*image.size)):
            found, sure = self._in_square(image, x, y, side)
            boxes.append(found * side + [x, y, x, y])
            scores.append(sure)
        every, sure = np.concatenate(boxes), np.concatenate(scores)
        return every[distinct(every, sure)] if len(every) else every

    def _in_square(
        self, image: Image, x: int, y: int, side: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Boxes [N, 4], as shares of the square, and scores [N]. Outside the picture is black."""
        square = image.crop((x, y, x + side, y + side))
        small = square.resize((INPUT_SIDE, INPUT_SIDE), resample=_bilinear(), reducing_gap=2.0)
        values = np.asarray(small, np.float32) / np.float32(127.5) - np.float32(1)
        self._model.set_tensor(self._input, values[None])
        self._model.invoke()
        numbers = self._model.get_tensor(self._numbers)[0]
        scores = self._model.get_tensor(self._scores)[0, :, 0]
        return suppressed(*boxes_of(numbers, scores), self._least)


def _bilinear() -> int:
    from PIL.Image import Resampling

    return int(Resampling.BILINEAR)
