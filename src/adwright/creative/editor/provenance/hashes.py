"""What a picture and a face in it are called: hashes of pixels, whatever file holds them.

    picture_hash(picture)         # of its size and its pixels
    overlap(box, other)           # how much two boxes share, 0 to 1

A file's hash would change with every saving; that of the pixels stays where nothing is lost. A
face is named by its picture's hash and its box: a box that a detector finds again is a little
different each time, so boxes are compared by overlap.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from adwright.creative.faces.aligning import require_picture

__all__ = ["Box", "overlap", "picture_hash"]

#: Left, top, right and bottom in pixels, edges as in slices.
Box = tuple[int, int, int, int]


def picture_hash(picture: NDArray[np.uint8]) -> str:
    """SHA-256, 64 hexadecimal digits, of the size and the pixels of a picture uint8 [H, W, 3]."""
    require_picture(picture)
    digest = hashlib.sha256(f"{picture.shape[0]} x {picture.shape[1]} RGB\n".encode())
    digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def overlap(one: Box, other: Box) -> float:
    """What two boxes share, over their union: 0 apart, 1 alike."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0, width) * max(0, height)
    areas = sum(max(0, b[2] - b[0]) * max(0, b[3] - b[1]) for b in (one, other))
    return both / (areas - both) if areas > both else 0.0
