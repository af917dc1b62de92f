"""The frames of a video or an animation, in their order, decoded once and bounded.

    with opened_video(media, settings) as clip:      # or opened_animation
        for frame in clip.frames():
            frame.at                 # seconds from the first
            frame.small              # uint8 [h, w, 3], its longer side SMALL pixels
            frame.picture()          # RGB, of at most SIDE pixels
        clip.seconds, clip.notes     # what is known at the end

A video is read by FFmpeg (PyAV), by the one reader that its first bytes name, out of the open file:
nothing that it refers to is opened. An animation (GIF, WebP, PNG) is read by Pillow. More than 30
frames of a second are not looked at. A frame that is damaged is passed over; where reading ends too
early, what was read is kept; notes say both. A video that is longer than `most_seconds` is not
watched: single frames of it are taken, spread evenly over its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import FileUnreadableError
from adwright.creative.records.seeing.opening.media import Media

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST_PIXELS", "SMALL", "Clip", "Frame", "Thinned", "not_watchable"]

#: Pixels of the longer side of a frame's small form.
SMALL = 256
#: Of a frame.
MOST_PIXELS = 64_000_000
#: Frames of a second that are looked at.
_MOST_RATE = 30.0


@dataclass(frozen=True)
class Frame:
    """at: seconds from the first frame. small: uint8 [h, w, 3]. picture: makes its large form;
    until then the frame itself is kept."""

    at: float
    small: NDArray[np.uint8]
    picture: Callable[[], Image]


class Clip(Protocol):
    """A video that is open, or an animation.

    width, height: as shown. seconds: its length, as far as it is known; at the end it is. watched:
    whether all its frames are looked at, not single ones. notes: what could not be read.
    """

    width: int
    height: int
    seconds: float | None
    watched: bool
    notes: list[str]

    def frames(self) -> Iterator[Frame]:
        """The frames, once."""
        ...


@dataclass
class Thinned:
    """Which frames are looked at: 30 a second at most, and none that goes back in time."""

    last: float = -1.0

    def takes(self, at: float) -> bool:
        """Whether a frame at this second is looked at, which is then taken as done."""
        # A rate of just above 30 is meant as 30.
        if at - self.last < 0.9 / _MOST_RATE:
            return False
        self.last = at
        return True


def not_watchable(media: Media, why: str) -> FileUnreadableError:
    """The error of a file without a frame."""
    return FileUnreadableError(
        f"this video cannot be looked at: {why}",
        file=media.name,
        hint="pass a picture, or a video that plays",
    )
