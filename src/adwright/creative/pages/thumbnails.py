"""Small pictures of ads that are part of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from adwright.core.errors import FileUnreadableError
from adwright.creative.records.encoders.images import opened_image

__all__ = ["thumbnail"]

_SIDE = 320


def thumbnail(path: Path | None, frames: Sequence[bytes] = ()) -> str:
    """A small JPEG of an image file as a data address; empty where there is none to show.

    frames: bytes of images to show instead where the file is a film.
    """
    data = frames[0] if frames else (path.read_bytes() if path is not None else b"")
    if not data:
        return ""
    try:
        image = opened_image(data, "" if path is None else str(path))
    except FileUnreadableError:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    small = io.BytesIO()
    image.save(small, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode('ascii')}"
