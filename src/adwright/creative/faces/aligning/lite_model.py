"""A model of MediaPipe's, out of its pinned wheel, run by LiteRT.

    model = LiteModel("mediapipe/modules/face_landmark/face_landmark.tflite")
    outputs = model.run(values)          # by size: {1404: float32 [1404], 1: float32 [1]}

The wheel is never installed; see `core.assets`. A model sees one picture at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import asset
from adwright.core.errors import AssetError, MissingExtraError

__all__ = ["LiteModel"]


class LiteModel:
    """One model with one input; loaded once.

    member: its path in the wheel. threads: of the model. offline: never download.
    Raises MissingExtraError without ai-edge-litert; AssetError where the model cannot be had.
    """

    def __init__(self, member: str, *, threads: int = 1, offline: bool = False) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingExtraError("points of faces", "creative") from error
        path = asset("mediapipe", offline=offline) / member
        try:
            self._model: Any = Interpreter(model_path=str(path), num_threads=threads)
            self._model.allocate_tensors()
            ((self._input, shape),) = [
                (one["index"], one["shape"]) for one in self._model.get_input_details()
            ]
            self._outputs = [one["index"] for one in self._model.get_output_details()]
        except (ValueError, RuntimeError, KeyError) as error:
            raise AssetError(
                f"this is no model that LiteRT can run: {error}",
                where=str(path),
                hint="remove the folder, so that it is fetched again",
            ) from error
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
