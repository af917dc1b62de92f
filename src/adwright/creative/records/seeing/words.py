"""Text in a picture, a line each, in the order in which it is read: PP-OCRv6 small by RapidOCR.

    WordReader().lines(image)        # ("Fresh bread daily", "Baked at six. Two for $3")

The models travel inside the package, so nothing is fetched. A picture is read at 960 pixels of its
longer side. What is left out, which is our choice: lines with a confidence below .8, and lines of
a single letter or digit, which mostly are a cup, a ring or a wheel: of 18 photographs of
scikit-image, those without text then give none.

Order: a line belongs to a row where it and the row's first share half of the lower one's height;
rows from top to bottom, in a row from left to right. Columns of text are thus read across, as a
slogan that is broken by a picture is meant to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adwright.core.errors import MissingExtraError
from adwright.creative.records.seeing.opening.media import bounded

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["WordReader", "in_reading_order"]

_SIDE = 960
_LEAST_LETTERS = 2
_LEAST_SIDE = 4

#: Left, top, right, bottom.
Box = tuple[float, float, float, float]


class WordReader:
    """Reads text; the models are loaded once.

    confidence: below which a line is left out. threads: of the models.
    Raises MissingExtraError without rapidocr.
    """

    #: Changes with whatever else the result depends on.
    version = f"1-ppocrv6-small-{_SIDE}"

    def __init__(self, confidence: float = 0.8, *, threads: int = 1) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise MissingExtraError("text in pictures", "creative") from error
        self._confidence = confidence
        engine = "EngineConfig.onnxruntime"
        self._read: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.use_cls": False,  # ads are upright
                "Det.limit_type": "max",
                "Det.limit_side_len": _SIDE,
                f"{engine}.intra_op_num_threads": threads,
                f"{engine}.inter_op_num_threads": threads,
            }
        )

    def lines(self, image: Image) -> tuple[str, ...]:
        """The lines of text in a picture, RGB."""
        if min(image.size) < _LEAST_SIDE:
            return ()
        pixels = np.ascontiguousarray(np.asarray(bounded(image, _SIDE))[:, :, ::-1])
        found = self._read(pixels)
        if found.txts is None or found.boxes is None:
            return ()
        boxes, texts = [], []
        for text, score, corners in zip(found.txts, found.scores, found.boxes, strict=True):
            line = " ".join(text.split())
            letters = sum(one.isalnum() for one in line)
            if score >= self._confidence and letters >= _LEAST_LETTERS:
                (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
                boxes.append((float(left), float(top), float(right), float(bottom)))
                texts.append(line)
        return tuple(texts[at] for at in in_reading_order(boxes))


def in_reading_order(boxes: Sequence[Box]) -> list[int]:
    """The places of boxes (left, top, right, bottom) in the order in which they are read."""
    rows: list[list[int]] = []
    for at in sorted(range(len(boxes)), key=lambda at: (boxes[at][1], boxes[at][0])):
        for row in rows:
            if _share_a_row(boxes[row[0]], boxes[at]):
                row.append(at)
                break
        else:
            rows.append([at])
    return [at for row in rows for at in sorted(row, key=lambda at: boxes[at][0])]


def _share_a_row(one: Box, other: Box) -> bool:
    both = min(one[3], other[3]) - max(one[1], other[1])
    return both >= 0.5 * min(one[3] - one[1], other[3] - other[1])
