"""A sheet of pictures as one PNG: what a training makes is looked at, not only measured."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import MissingExtraError

__all__ = ["as_pixels", "save_sheet"]


def as_pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """uint8 [N, H, W, 3] of pictures [N, 3, H, W], -1 to 1; what lies beyond is clipped."""
    values = (pictures.detach().float().clamp(-1, 1) + 1) * 127.5
    made: NDArray[np.uint8] = values.round().byte().permute(0, 2, 3, 1).numpy()
    return made


def save_sheet(path: Path, pictures: Tensor, *, columns: int = 0, zoom: int = 2) -> None:
    """Write pictures [N, 3, H, W] side by side as a PNG, whole or not at all.

    columns: of the sheet; 0 makes it about square. zoom: times larger, by whole pixels.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("sheets of pictures", "creative") from error
    pixels = as_pixels(pictures)
    count, height, width = pixels.shape[:3]
    across = columns or math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    sheet = np.full((down * height, across * width, 3), 255, np.uint8)
    for at, picture in enumerate(pixels):
        y, x = divmod(at, across)
        sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] = picture
    image = Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1))
    data = io.BytesIO()
    image.save(data, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, data.getvalue())
