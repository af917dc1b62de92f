"""Animations (GIF, WebP, PNG) by Pillow: see frames.py. Transparent parts lie on white."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from adwright.core.errors import MissingExtraError
from adwright.creative.records.seeing.opening.frames import (
    MOST_PIXELS,
    SMALL,
    Clip,
    Frame,
    Thinned,
    not_watchable,
)
from adwright.creative.records.seeing.opening.media import Media, bounded
from adwright.creative.records.seeing.settings import SeeingSettings

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["opened_animation"]

#: As browsers do it: a frame that says less is shown for so many seconds.
_LEAST_SECONDS, _SHOWN_SECONDS = 0.02, 0.1
#: Pixels that are decoded at most, of all frames together.
_MOST_PIXELS_IN_ALL = 4_000_000_000


@contextmanager
def opened_animation(media: Media, settings: SeeingSettings) -> Iterator[Clip]:
    """The frames of an animation, while the block lasts.

    Raises FileUnreadableError where it cannot be read or has too many pixels; MissingExtraError
    without Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("images of ads", "creative") from error
    media.stream.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Image.open(media.stream, formats=("PNG", "GIF", "WEBP"))
    except Exception as error:  # as below
        raise not_watchable(media, str(error)) from error
    with opened:
        yield _Animation(media, opened, settings)


class _Animation:
    """A `Clip` of an image of Pillow's."""

    watched = True

    def __init__(self, media: Media, opened: Any, settings: SeeingSettings) -> None:
        self.notes: list[str] = []
        self.seconds: float | None = None
        self.width, self.height = opened.size
        self._media, self._opened, self._settings = media, opened, settings

    def _require_few_pixels(self) -> None:
        # Each frame of a GIF may make it larger.
        width, height = self._opened.size
        if width * height > MOST_PIXELS:
            raise ValueError(f"it has {width:,} x {height:,} pixels")

    def frames(self) -> Iterator[Frame]:
        at, thinned, count = 0.0, Thinned(), 0
        most = _MOST_PIXELS_IN_ALL // (self.width * self.height)
        while True:
            try:
                self._opened.seek(count)
                self._require_few_pixels()
                flat = _on_white(self._opened)
            except EOFError:
                break
            except Exception as error:  # of damaged bytes, Pillow raises whatever they lead to
                if not count:
                    raise not_watchable(self._media, str(error)) from error
                self.notes.append(f"it cannot be read beyond {at:.1f} s")
                break
            if at > self._settings.most_seconds or count >= most:
                self.notes.append(f"only the first {at:.0f} s were watched")
                break
            if thinned.takes(at):
                yield Frame(at, np.asarray(bounded(flat, SMALL)), partial(bounded, flat))
            said = float(self._opened.info.get("duration") or 0) / 1000
            at += said if said >= _LEAST_SECONDS else _SHOWN_SECONDS
            count += 1
        self.seconds = at


def _on_white(opened: Any) -> Image:
    from PIL import Image

    shown = opened.convert("RGBA")
    white = Image.new("RGBA", shown.size, "white")
    return Image.alpha_composite(white, shown).convert("RGB")
