"""Videos by PyAV, which brings FFmpeg as a wheel: see frames.py.

What a container says of itself is checked against its frames: a length that is not reached is
noted, and the pixels of each frame are counted before it is converted. Rotation and oblong pixels,
which phones and old formats write, are undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import MissingExtraError
from adwright.creative.records.seeing.opening.frames import (
    MOST_PIXELS,
    SMALL,
    Clip,
    Frame,
    Thinned,
    not_watchable,
)
from adwright.creative.records.seeing.opening.media import SIDE, Media
from adwright.creative.records.seeing.settings import SeeingSettings

__all__ = ["opened_video"]

#: In a row; then nothing more is hoped for.
_MOST_DAMAGED = 200
#: Of a length of which it is not worth speaking, in seconds.
_SLACK = 1.0
#: Frames that are decoded at most, of a video that does not say how long it is.
_MOST_FRAMES = 120_000


@contextmanager
def opened_video(media: Media, settings: SeeingSettings) -> Iterator[Clip]:
    """The frames of a video file, while the block lasts.

    Raises FileUnreadableError for a file that is no video, has sound only, or has too many pixels;
    MissingExtraError without PyAV.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("videos of ads", "video") from error
    try:
        media.stream.seek(0)
        # One reader, and no path: what the file refers to is not opened.
        container = av.open(media.stream, "r", format=media.kind.reader)
    except (av.FFmpegError, ValueError, OSError) as error:
        why = f"it is no {media.kind.name} that can be read ({_words(error)})"
        raise not_watchable(media, why) from error
    with container:
        yield _Video(media, container, settings)


class _Video:
    """A `Clip` of a container of PyAV's."""

    def __init__(self, media: Media, container: Any, settings: SeeingSettings) -> None:
        import av

        self.notes: list[str] = []
        self._media, self._container, self._settings = media, container, settings
        # A picture beside a song is a stream of video to FFmpeg.
        cover = av.stream.Disposition.attached_pic
        streams = [one for one in container.streams.video if not one.disposition & cover]
        if not streams:
            sound = "it has sound only" if container.streams.audio else "there is no video in it"
            raise not_watchable(media, sound)
        self._stream = streams[0]
        context = self._stream.codec_context
        if context is None:
            raise not_watchable(media, "its video is in a coding that is not known here")
        context.thread_count = settings.threads
        if context.width * context.height > MOST_PIXELS:
            raise not_watchable(media, f"it has {context.width:,} x {context.height:,} pixels")
        if self._stream.duration is not None and self._stream.time_base is not None:
            self.seconds: float | None = float(self._stream.duration * self._stream.time_base)
        elif container.duration is not None:
            self.seconds = container.duration / av.time_base
        else:
            self.seconds = None
        if self.seconds is not None and self.seconds <= 0:
            self.seconds = None
        ratio = float(self._stream.sample_aspect_ratio or 1)
        self._ratio = ratio if 0.1 < ratio < 10 else 1.0
        self.watched = self.seconds is None or self.seconds <= settings.most_seconds
        self.width, self.height = context.width, context.height

    def frames(self) -> Iterator[Frame]:
        found = False
        for frame in self._each() if self.watched else self._sampled():
            found = True
            yield frame
        if not found:
            raise not_watchable(self._media, "none of its frames can be decoded")

    def _each(self) -> Iterator[Frame]:
        """All frames, up to the bounds."""
        first, end, thinned = None, 0.0, Thinned()
        for count, frame in enumerate(self._decoded()):
            rate = self._stream.average_rate or self._stream.guessed_rate or 25
            time = frame.time if frame.time is not None else count / float(rate)
            first = time if first is None else first
            at = time - first
            if at > self._settings.most_seconds or count >= _MOST_FRAMES:
                self.notes.append(f"only the first {end:.0f} s were watched")
                break
            length = frame.duration * frame.time_base if frame.duration else 1 / rate
            end = max(end, at + float(length))
            if thinned.takes(at):
                yield self._frame(frame, at)
        else:
            if self.seconds is not None and end < self.seconds - _SLACK:
                self.notes.append(f"it ends after {end:.1f} of {self.seconds:.1f} s")
            self.seconds = end

    def _sampled(self) -> Iterator[Frame]:
        """Single frames, spread evenly."""
        import av

        length, count = self.seconds or 0.0, self._settings.samples
        start = self._stream.start_time or 0
        last = -1.0
        for at in range(count):
            wanted = (at + 0.5) * length / count
            try:
                target = start + int(wanted / self._stream.time_base)
                self._container.seek(target, stream=self._stream)
                frame = next(self._decoded(), None)
            except (av.FFmpegError, OSError):
                frame = None
            if frame is None:
                continue
            time = frame.time if frame.time is not None else wanted
            # Where there are few frames to seek to, neighbours may be the same.
            if time > last:
                last = time
                yield self._frame(frame, max(0.0, time - float(start * self._stream.time_base)))

    def _decoded(self) -> Iterator[Any]:
        """What can be decoded from here on; notes what cannot."""
        import av

        damaged = row = 0
        packets = self._container.demux(self._stream)
        while row < _MOST_DAMAGED:
            try:
                packet = next(packets)
                decoded = packet.decode()
            except StopIteration:
                break
            except av.error.EOFError:
                break
            except (av.FFmpegError, OSError) as error:
                damaged, row = damaged + 1, row + 1
                if isinstance(error, av.error.InvalidDataError):
                    continue
                break
            row = 0
            damaged += sum(bool(frame.is_corrupt) for frame in decoded)
            yield from (frame for frame in decoded if not frame.is_corrupt)
        if damaged:
            self.notes.append(f"{damaged} of its frames are damaged")

    def _frame(self, frame: Any, at: float) -> Frame:
        if frame.width * frame.height > MOST_PIXELS:
            raise not_watchable(self._media, f"it has {frame.width:,} x {frame.height:,} pixels")
        from PIL.Image import fromarray

        small = self._pixels(frame, SMALL)
        self.width, self.height = self._shown(frame)

        return Frame(at, small, lambda: fromarray(self._pixels(frame, SIDE)))

    def _shown(self, frame: Any) -> tuple[int, int]:
        """Width and height as they are meant to be seen."""
        width = round(frame.width * self._ratio)
        return (frame.height, width) if frame.rotation % 180 else (width, frame.height)

    def _pixels(self, frame: Any, side: int) -> NDArray[np.uint8]:
        """uint8 [h, w, 3], upright, the longer side of at most `side` pixels."""
        width, height = self._shown(frame)
        scale = min(1.0, side / max(width, height))
        wide, high = (max(1, round(n * scale)) for n in (width, height))
        if frame.rotation % 180:
            wide, high = high, wide
        made = frame.reformat(wide, high, "rgb24", interpolation="AREA").to_ndarray()
        return np.ascontiguousarray(np.rot90(made, round(frame.rotation / 90)))


def _words(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
