"""Opening a file of an ad safely: by its content, never by its name, and bounded.

    with opened_media("ad.png") as media:
        media.kind              # what it is, see kinds.py
        picture(media)          # RGB, of at most SIDE pixels

A file comes from outside. It is a plain file (a link, a pipe or a device is refused), its first
bytes say what it is, and its size is known before it is decoded. What ends too early is refused,
not repaired: half a picture would be judged as if it were the ad.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from adwright.core.errors import FileUnreadableError, MissingExtraError
from adwright.core.regular import open_regular
from adwright.creative.records.encoders.images import opened_image
from adwright.creative.records.seeing.opening.kinds import HEAD_BYTES, FileKind, kind_of

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SIDE", "Media", "bounded", "is_animation", "opened_media", "picture"]

#: Pixels of the longer side, of all pictures that are looked at.
SIDE = 1080
_MOST_IMAGE_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
_READ = "JPEG, PNG, GIF, WEBP, BMP, MP4, WebM, AVI, MPEG, FLV, WMV and Ogg are read"


@dataclass(frozen=True)
class Media:
    """An open file. name: for errors. sha256: of its bytes. stream: of them, from the start."""

    name: str
    kind: FileKind
    sha256: str
    size: int
    stream: BinaryIO

    def read(self) -> bytes:
        """All its bytes. Raises FileUnreadableError for a picture of more than 256 MiB."""
        if self.size > _MOST_IMAGE_BYTES:
            raise FileUnreadableError(
                f"this picture has {self.size:,} bytes",
                file=self.name,
                hint=f"pictures of at most {_MOST_IMAGE_BYTES:,} bytes are read",
            )
        self.stream.seek(0)
        return self.stream.read(self.size)


@contextmanager
def opened_media(source: str | Path | bytes, *, name: str = "") -> Iterator[Media]:
    """The file at a path, or of these bytes, while the block lasts.

    name: what to call it in errors, the path by default.
    Raises FileUnreadableError where it is not there, is no plain file, is empty, or is neither a
    picture nor a video of a kind that is read.
    """
    if isinstance(source, bytes):
        yield _looked_at(io.BytesIO(source), len(source), name or f"{len(source):,} bytes")
        return
    where = name or str(source)
    with ExitStack() as stack:
        with _naming(where):
            stream, size = stack.enter_context(open_regular(source))
            media = _looked_at(stream, size, where)
        yield media


def picture(media: Media) -> Image:
    """The picture, RGB, as it is meant to be seen (of an animation the first), not larger than
    SIDE. Raises as `opened_image`."""
    return bounded(opened_image(media.read(), media.name))


def bounded(image: Image, side: int = SIDE) -> Image:
    """The image, shrunk where its longer side has more than `side` pixels."""
    longer = max(image.size)
    if longer <= side:
        return image
    width, height = (max(1, round(n * side / longer)) for n in image.size)
    return image.resize((width, height), reducing_gap=2.0)


def is_animation(media: Media) -> bool:
    """Whether a picture has more than one frame. What cannot be read has not."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("images of ads", "creative") from error
    media.stream.seek(0)
    try:
        with Image.open(media.stream, formats=("PNG", "GIF", "WEBP")) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # of damaged bytes, Pillow raises whatever they lead to
        return False


def _looked_at(stream: BinaryIO, size: int, name: str) -> Media:
    head = stream.read(HEAD_BYTES)
    if not head:
        raise FileUnreadableError("the file is empty", file=name, hint=_READ)
    kind = kind_of(head)
    if kind.what == "other":
        what = f"this is no picture and no video that is read: it is {kind.name}"
        raise FileUnreadableError(what, file=name, hint=_READ)
    digest = hashlib.sha256(head)
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
    stream.seek(0)
    return Media(name, kind, digest.hexdigest(), size, stream)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say in words why a path cannot be opened."""
    try:
        yield
    except FileNotFoundError as error:
        hint = "check the path"
        raise FileUnreadableError("there is no such file", file=where, hint=hint) from error
    except (OSError, ValueError) as error:
        raise FileUnreadableError(
            f"the file cannot be opened: {getattr(error, 'strerror', None) or error}",
            file=where,
            hint="pass a plain file that may be read: no folder, link, pipe or device",
        ) from error
