"""What to look for in an ad, and how far: the settings of all that looks.

SeeingSettings(parts=("colours", "faces"), most_seconds=120)

Opening a file of an ad safely: by its content, never by its name, and bounded.

    with opened_media("ad.png") as media:
        media.kind              # what it is, see kinds.py
        picture(media)          # RGB, of at most SIDE pixels

A file comes from outside. It is a plain file (a link, a pipe or a device is refused), its first
bytes say what it is, and its size is known before it is decoded. What ends too early is refused,
not repaired: half a picture would be judged as if it were the ad.

The frames of a video or an animation, in their order, decoded once and bounded.

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

What a file is, by its first bytes: names lie, and what a decoder guesses can be made to lie.

    kind_of(head)            # FileKind("image", "PNG"), FileKind("video", "MP4", "mov"), ...

Only pictures and videos that ads come as are let through. Of a video the reader of its container is
named here, so that no other reader of FFmpeg's, such as that of a playlist that fetches what it
lists, ever sees the file.

Animations (GIF, WebP, PNG) by Pillow: see frames.py. Transparent parts lie on white.

Videos by PyAV, which brings FFmpeg as a wheel: see frames.py.

What a container says of itself is checked against its frames: a length that is not reached is
noted, and the pixels of each frame are counted before it is converted. Rotation and oblong pixels,
which phones and old formats write, are undone.
"""

from __future__ import annotations

import hashlib
import io
import tomllib
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Count, Gt, Le, Positive, settings
from adwright.core.errors import ConfigError, FileUnreadableError, needing
from adwright.core.regular import open_regular
from adwright.creative.records.encoders import opened_image

if TYPE_CHECKING:
    from PIL.Image import Image


#: colours: names, tone and complexity. words: text on the screen. faces: how many. tags: things.
SeenPart = Literal["colours", "words", "faces", "tags"]
PARTS: tuple[SeenPart, ...] = get_args(SeenPart)


@settings
class SeeingSettings:
    """What is looked for, and the bounds.

    parts: what to look for; what is left out is said in the record.
    word_confidence: of a line of text, below which it is left out (see words.py).
    face_score: of a face, below which it is none (see faces.py).
    tag_probability: of a thing, below which it is not named (see tags.py).
    pictures_a_scene: how many pictures of each scene are looked at, spread over it.
    most_seconds: a longer video is not watched: `samples` single pictures of it are looked at.
    most_scenes: so many scenes are looked at, the first; of all, the pace is told.
    samples: pictures of a video that is too long.
    threads: of each model and of the decoder.
    offline: never download a model.

    Raises ConfigError for a value outside its range.
    """

    parts: tuple[SeenPart, ...] = PARTS
    word_confidence: Annotated[float, Gt(0), Le(1)] = 0.8
    face_score: Annotated[float, Gt(0), Le(1)] = 0.75
    tag_probability: Annotated[float, Gt(0), Le(1)] = 0.7
    pictures_a_scene: Count = 1
    most_seconds: Positive = 600.0
    most_scenes: Count = 100
    samples: Count = 24
    threads: Count = 1
    offline: bool = False

    def __post_init__(self) -> None:
        if len(set(self.parts)) < len(self.parts):
            raise ConfigError(
                "a part is named twice", where=f"parts = {self.parts!r}", hint="each part once"
            )


#: So many bytes from the start are enough.
HEAD_BYTES = 4096
_TS_PACKET = 188


@cache
def seeing_table(name: str) -> Any:
    """A table of seeing.toml: kinds of files, groups of classes, or colours by name."""
    return tomllib.loads(files(__package__).joinpath("seeing.toml").read_text("utf-8"))[name]


#: With these in front, what a mark says further on is no chance.
_RIFF = (b"WEBP", b"AVI ", b"WAVE")


@settings
class FileKind:
    """what: which reader it is for. name: of the format, for people. reader: of FFmpeg's, by name,
    for a video."""

    what: Literal["image", "video", "other"]
    name: str
    reader: str = ""


def kind_of(head: bytes) -> FileKind:
    """The kind of a file by its first HEAD_BYTES, fewer where it has fewer.

    "other" is what is not looked at: other formats, text, a drawing in SVG, and unknown bytes.
    """
    for at, digits, what, name, reader in seeing_table("kinds"):
        mark = bytes.fromhex(digits)
        if mark in _RIFF and not head.startswith(b"RIFF"):
            continue
        if head[at : at + len(mark)] == mark:
            return FileKind(what, name, reader)
    packets = head[: 3 * _TS_PACKET : _TS_PACKET]
    if packets == b"GGG":
        return FileKind("video", "MPEG-TS", "mpegts")
    try:
        text = head.decode("utf-8", "strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        text = "\x00"
    low = text.lstrip("\ufeff \t\r\n").lower()
    if "\x00" in text:
        return FileKind("other", "of no kind that is known here")
    if "<svg" in low:
        return FileKind("other", "a drawing in SVG")
    page = low.startswith(("<!doctype html", "<html", "<head", "<body"))
    return FileKind("other", "a web page" if page else "text")


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
        try:
            stream, size = stack.enter_context(open_regular(source))
            media = _looked_at(stream, size, where)
        except FileNotFoundError as error:
            hint = "check the path"
            raise FileUnreadableError("there is no such file", file=where, hint=hint) from error
        except (OSError, ValueError) as error:
            raise FileUnreadableError(
                f"the file cannot be opened: {getattr(error, 'strerror', None) or error}",
                file=where,
                hint="pass a plain file that may be read: no folder, link, pipe or device",
            ) from error
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
    with needing("images of ads", "creative"):
        from PIL import Image
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


class Thinned:
    """Which frames are looked at: 30 a second at most, and none that goes back in time."""

    def __init__(self) -> None:
        self.last = -1.0

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
    with needing("images of ads", "creative"):
        from PIL import Image
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

    def frames(self) -> Iterator[Frame]:
        from PIL import Image

        at, thinned, count = 0.0, Thinned(), 0
        most = _MOST_PIXELS_IN_ALL // (self.width * self.height)
        while True:
            try:
                self._opened.seek(count)
                # Each frame of a GIF may make it larger.
                width, height = self._opened.size
                if width * height > MOST_PIXELS:
                    raise ValueError(f"it has {width:,} x {height:,} pixels")
                shown = self._opened.convert("RGBA")
                white = Image.new("RGBA", shown.size, "white")
                flat = Image.alpha_composite(white, shown).convert("RGB")
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
    with needing("videos of ads", "video"):
        import av
    try:
        media.stream.seek(0)
        # One reader, and no path: what the file refers to is not opened.
        container = av.open(media.stream, "r", format=media.kind.reader)
    except (av.FFmpegError, ValueError, OSError) as error:
        said = getattr(error, "strerror", None) or error
        why = f"it is no {media.kind.name} that can be read ({said})"
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
