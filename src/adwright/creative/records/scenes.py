"""The scenes of a video, its pace and how much moves, in one pass over its frames.

    watched = watch(clip, settings, see)
    watched.scenes[0].start, watched.scenes[0].seen      # what `see` made of its pictures
    watched.pace, watched.motion                         # "low", "medium", "high"

Cuts: PySceneDetect's AdaptiveDetector with its own bounds, on frames of 256 pixels, a scene of at
least .4 s. A frame that is held for long, as in an animation, counts as several, since the detector
compares a frame with its neighbours.

Pace: cuts in a minute, low below 14.5 and high from 40 on. Of the 108 ads whose descriptions are
public (Harini S I et al., WACV 2025), 14.5 parts low from the rest best (72%); only two are high,
so that 40, above all others, is our choice.

Motion, our choice: the mean change of a colour's channels, in shares of their range, between
frames of a scene that are a fifth of a second apart: low below .01, high from .06 on. What stands
still has 0; a text or a box that slides over a flat ground .01 to .02; a camera that pans over
scikit-image's photographs by a fiftieth of their width in a second .02 to .06, by a tenth .04 to
.14.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import MissingExtraError, needing
from adwright.creative.records.media import Clip, Frame, SeeingSettings

if TYPE_CHECKING:
    from PIL.Image import Image


T = TypeVar("T")
Level = Literal["", "low", "medium", "high"]

_LEAST_SECONDS = 0.4
_LOW_PACE, _HIGH_PACE = 14.5, 40.0
_LOW_MOTION, _HIGH_MOTION = 0.01, 0.06
_MOTION_SECONDS = 0.2
#: The detector looks at so many frames on both sides of one.
_NEIGHBOURS = 2
_HELD_SECONDS = 0.15
#: Times of cuts are whole milliseconds.
_ROUNDED = 0.001
#: Frames that are kept of a scene, for each picture of it.
_KEPT = 8


@dataclass(frozen=True)
class FoundScene(Generic[T]):
    """start, seconds: where it lies; of a single picture of a long video no length is known.
    seen: what was made of its pictures, None beyond the scenes that are looked at."""

    start: float
    seconds: float | None
    seen: T | None


@settings
class Watched(Generic[T]):
    """scenes: in their order. pace, motion: empty where they could not be measured; then `without`
    says why. cuts_a_minute, change: what they were taken from."""

    scenes: tuple[FoundScene[T], ...]
    pace: Level
    motion: Level
    cuts_a_minute: float | None
    change: float | None
    without: str = ""


def watch(
    clip: Clip, settings: SeeingSettings, see: Callable[[tuple[Image, ...]], T]
) -> Watched[T]:
    """Watch a clip. see: gets `pictures_a_scene` pictures of each of the first `most_scenes`
    scenes, as soon as the scene is over. Raises as the clip and `see` do."""
    if not clip.watched:
        # Too long: each of its pictures is a scene.
        found = tuple(FoundScene(one.at, None, see((one.picture(),))) for one in clip.frames())
        why = (
            f"the video is longer than {settings.most_seconds:.0f} s: {len(found)} pictures of it "
            "were looked at"
        )
        return Watched(found, "", "", None, None, why)
    pass_ = _Pass(settings, see)
    for frame in clip.frames():
        pass_.take(frame)
    return pass_.ended(clip.seconds or 0.0)


def level_of(value: float, low: float, high: float) -> Literal["low", "medium", "high"]:
    """Of a pace or a motion, with the bounds of the module."""
    return "low" if value < low else "high" if value >= high else "medium"


class _Pass(Generic[T]):
    """What is remembered while a clip is watched."""

    def __init__(self, settings: SeeingSettings, see: Callable[[tuple[Image, ...]], T]) -> None:
        self._settings, self._see = settings, see
        self._without = ""
        try:
            self._cuts: _Cuts | None = _Cuts()
        except MissingExtraError as error:
            self._cuts, self._without = None, str(error)
        self._kept = _SpreadFrames(settings.pictures_a_scene)
        self._motion = _Motion()
        self._scenes: list[FoundScene[T]] = []
        self._start = 0.0

    def take(self, frame: Frame) -> None:
        """The next frame."""
        if self._cuts is not None:
            for at in self._cuts.after(frame):
                self._cut(at)
        self._kept.take(frame)
        self._motion.take(frame)

    def ended(self, seconds: float) -> Watched[T]:
        """What was seen, of a clip of this length."""
        if self._cuts is not None:
            for at in self._cuts.held_until(seconds):
                self._cut(at)
        self._close(max(seconds, self._start))
        cuts = len(self._scenes) - 1
        minutes = seconds / 60
        often = cuts / minutes if minutes > 0 and self._cuts is not None else None
        change = self._motion.mean(seconds)
        return Watched(
            tuple(self._scenes),
            "" if often is None else level_of(often, _LOW_PACE, _HIGH_PACE),
            "" if change is None else level_of(change, _LOW_MOTION, _HIGH_MOTION),
            often,
            change,
            self._without,
        )

    def _cut(self, at: float) -> None:
        """A scene ends, and another begins."""
        self._close(at)
        self._start = at
        self._kept.forget_before(at)
        self._motion.cut(at)

    def _close(self, end: float) -> None:
        looked_at = len(self._scenes) < self._settings.most_scenes
        seen = self._see(self._kept.pictures(self._start, end)) if looked_at else None
        self._scenes.append(FoundScene(self._start, end - self._start, seen))


class _Cuts:
    """PySceneDetect's detector, by milliseconds. Raises MissingExtraError without it."""

    def __init__(self) -> None:
        with needing("scenes of videos", "creative"):
            from scenedetect import FrameTimecode
            from scenedetect.detectors import AdaptiveDetector
        self._code: Any = FrameTimecode
        self._detector: Any = AdaptiveDetector(
            min_scene_len=_LEAST_SECONDS, window_width=_NEIGHBOURS
        )
        self._last: Frame | None = None
        self._shape: tuple[int, ...] = ()

    def after(self, frame: Frame) -> list[float]:
        """The seconds of the cuts that are known once this frame is there."""
        found = self.held_until(frame.at)
        self._last = frame
        self._shape = self._shape or frame.small.shape
        return found + self._process(frame.at)

    def held_until(self, at: float) -> list[float]:
        """The cuts that are known then: the last frame is shown until then, its own neighbour."""
        if self._last is None or at - self._last.at < _HELD_SECONDS:
            return []
        steps = (at - self._last.at) / (_NEIGHBOURS + 1)
        times = [self._last.at + steps * n for n in range(1, _NEIGHBOURS + 1)]
        return [cut for time in times for cut in self._process(time)]

    def _process(self, at: float) -> list[float]:
        if self._last is None:
            return []
        pixels = self._last.small
        if pixels.shape != self._shape:  # a video changes its size
            from PIL.Image import fromarray

            size = self._shape[1], self._shape[0]
            pixels = np.asarray(fromarray(pixels).resize(size))
        code = self._code(round(at * 1000), fps=1000.0)
        cuts = self._detector.process_frame(code, np.ascontiguousarray(pixels[:, :, ::-1]))
        return [cut.frame_num / 1000 for cut in cuts]


class _SpreadFrames:
    """Some frames of the present scene, evenly spread over it, however long it becomes."""

    def __init__(self, pictures: int) -> None:
        self._most = _KEPT * pictures
        self._wanted = pictures
        self._frames: list[Frame] = []
        self._last: deque[Frame] = deque(maxlen=_NEIGHBOURS + 1)
        self._stride = self._count = 0
        self._restart([])

    def take(self, frame: Frame) -> None:
        self._last.append(frame)
        if self._count % self._stride == 0:
            self._frames.append(frame)
        self._count += 1
        if len(self._frames) > self._most:
            self._frames = self._frames[::2]
            self._stride *= 2

    def forget_before(self, at: float) -> None:
        """A scene began at `at`, which is known a few frames later."""
        self._restart([frame for frame in self._last if frame.at >= at - _ROUNDED])

    def pictures(self, start: float, end: float) -> tuple[Image, ...]:
        """The frames nearest to the middles of equal parts of the scene, each once."""
        inside = [one for one in (*self._frames, *self._last) if start <= one.at + _ROUNDED < end]
        inside = inside or [*self._frames, *self._last]
        chosen = []
        for at in range(self._wanted):
            wanted = start + (end - start) * (at + 0.5) / self._wanted
            chosen.append(min(inside, key=lambda one: (abs(one.at - wanted), one.at)))
        distinct = {frame.at: frame for frame in chosen}
        return tuple(frame.picture() for frame in distinct.values())

    def _restart(self, frames: list[Frame]) -> None:
        self._frames, self._stride, self._count = frames, 1, len(frames)


class _Motion:
    """Changes between frames of one scene."""

    def __init__(self) -> None:
        #: From, to, change, weight.
        self._changes: list[tuple[float, float, float, float]] = []
        self._last: tuple[float, NDArray[np.int16]] | None = None

    def take(self, frame: Frame) -> None:
        if self._last is not None and frame.at - self._last[0] < _MOTION_SECONDS:
            return
        pixels = frame.small[::2, ::2].astype(np.int16)
        if self._last is not None:
            start = self._still_until(frame.at - _MOTION_SECONDS)
            if self._last[1].shape == pixels.shape:
                change = float(np.abs(pixels - self._last[1]).mean()) / 255
                self._changes.append((start, frame.at, change, 1.0))
        self._last = (frame.at, pixels)

    def cut(self, at: float) -> None:
        """What lies across a cut is no motion."""
        edge = at - _ROUNDED
        self._changes = [one for one in self._changes if one[0] >= edge or one[1] < edge]
        if self._last is not None and self._last[0] < edge:
            self._last = None

    def mean(self, seconds: float) -> float | None:
        """Of a clip of this length, None where nothing could be compared."""
        if self._last is not None:
            self._still_until(seconds)
        if not self._changes:
            return None
        each, weights = zip(*[one[2:] for one in self._changes], strict=True)
        return float(np.average(each, weights=weights))

    def _still_until(self, at: float) -> float:
        """The last frame is held until then: nothing moves. From when on it may."""
        start = self._last[0] if self._last is not None else at
        if at - start < _MOTION_SECONDS:
            return start
        self._changes.append((start, at, 0.0, (at - start) / _MOTION_SECONDS))
        return at
