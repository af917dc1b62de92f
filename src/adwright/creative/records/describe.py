"""Any ad as a record: a text, the file of a picture, the file of a video.

    describer = Describer(cache="seen")
    record = describer.describe("bread.mp4", brand="Mill Lane", title="Fresh bread")
    record.scenes[0].words, record.pace, record.absent

Whatever cannot be looked at, or was not asked for, is named in `absent` with the reason; an empty
field that is not named there is empty. A second look at the same bytes costs a hash, where a cache
is given. The size of a picture, and the cuts, length and pace of a video, are kept as a part more.

What was seen once, kept: a file of JSON for each content, part and version of the part.

    FOLDER/words-1f2e3d4c5b6a/9f/9f86d0...08.json

A second run over the same files finds all of it, whatever they are called by then, and a part that
changes its ways or its settings finds none of its own. Each file is written whole and carries its
own hash: one that is damaged, or no plain file, counts as missing and is written anew. Any number
of processes may share a folder.

The ads of a table with their pictures and videos looked at.

    found = describe_table(read_ads("ads.csv"), Describer(cache="seen"))
    found.records[3].scenes, found.unread          # what it shows; files that could not be read

What the table says of an ad stays: its brand, title, words and length. A file that cannot be read
harms no other: its ad is then what the table says of it, and `absent` tells why nobody looked.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    MissingExtraError,
    ResourceError,
    needing,
)
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.core.regular import read_regular
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import AdTable
from adwright.creative.records.looking import Absent, SeeingParts, orientation_of
from adwright.creative.records.media import (
    PARTS,
    Clip,
    Frame,
    Media,
    SeeingSettings,
    is_animation,
    opened_animation,
    opened_media,
    opened_video,
    picture,
)

if TYPE_CHECKING:
    from PIL.Image import Image


# --------------------------------------------------------------------------------------------------
# The scenes of a video, its pace and how much moves, in one pass over its frames.
#
#     watched = watch(clip, settings, see)
#     watched.scenes[0].start, watched.scenes[0].seen      # what `see` made of its pictures
#     watched.pace, watched.motion                         # "low", "medium", "high"
#
# Cuts: PySceneDetect's AdaptiveDetector with its own bounds, on frames of 256 pixels, a scene of at
# least .4 s. A frame that is held for long, as in an animation, counts as several, since the
# detector
# compares a frame with its neighbours.
#
# Pace: cuts in a minute, low below 14.5 and high from 40 on. Of the 108 ads whose descriptions are
# public (Harini S I et al., WACV 2025), 14.5 parts low from the rest best (72%); only two are high,
# so that 40, above all others, is our choice.
#
# Motion, our choice: the mean change of a colour's channels, in shares of their range, between
# frames of a scene that are a fifth of a second apart: low below .01, high from .06 on. What stands
# still has 0; a text or a box that slides over a flat ground .01 to .02; a camera that pans over
# scikit-image's photographs by a fiftieth of their width in a second .02 to .06, by a tenth .04 to
# .14.

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


_MOST_BYTES = 16 << 20


class SeenCache:
    """The folder, which is made when something is kept."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def get(self, part: str, version: str, sha256: str) -> Any:
        """What is kept of the content with this hash; None where nothing is that can be read."""
        try:
            data = read_regular(self._path(part, version, sha256), most=_MOST_BYTES)
            kept = json.loads(data)
            value, said = kept["value"], kept["hash"]
            return value if content_hash(value) == said else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError):
            return None

    def put(self, part: str, version: str, sha256: str, value: Any) -> None:
        """Keep a value of plain JSON. Raises ResourceError where the folder cannot be written."""
        text = json.dumps({"hash": content_hash(value), "value": value}, ensure_ascii=False)
        atomic_write_text(self._path(part, version, sha256), text)

    def _path(self, part: str, version: str, sha256: str) -> Path:
        folder = f"{part}-{content_hash(version)[:12]}"
        return self.folder / folder / sha256[:2] / f"{sha256}.json"


#: Of the opening of a picture and of the pass over a video: change with what these do.
_SIZE_VERSION = _SCENES_VERSION = "1"
_NEVER = tuple((name, "nothing here looks for it") for name in ("caption", "style", "emotions"))
_DEAF = ("speech", "nothing here listens")

#: SeenPart, "size" or "scenes" to what was found, plain JSON or `Absent`.
_Found = dict[str, Any]


class Describer:
    """Describes ads; what its parts need is loaded once, when it is first needed.

    cache: a folder for what was seen, or None. settings: what to look for, and all bounds.
    """

    def __init__(
        self, *, cache: str | Path | None = None, settings: SeeingSettings | None = None
    ) -> None:
        self.settings = settings or SeeingSettings()
        self._cache = None if cache is None else SeenCache(cache)
        self._parts = SeeingParts(self.settings)

    def describe(
        self,
        source: str | Path | bytes | None = None,
        *,
        brand: str = "",
        title: str = "",
        words: str = "",
        name: str = "",
    ) -> AdRecord:
        """The record of an ad.

        source: path of its picture or video, or the bytes of such a file; None for an ad that is
        text alone. brand, title, words: what is known of it. name: of the file, for errors.
        Raises FileUnreadableError for a file that is no picture and no video, or is damaged;
        MissingExtraError where the package that opens it is not installed; ResourceError where the
        cache cannot be written.
        """
        known = AdRecord(brand=brand, title=title, words=words)
        if source is None:
            return known
        with opened_media(source, name=name) as media:
            moves = media.kind.what == "video" or is_animation(media)
            return self._video(media, known) if moves else self._image(media, known)

    def _image(self, media: Media, known: AdRecord) -> AdRecord:
        versions = {"size": _SIZE_VERSION} | {
            part: self._parts.version(part) for part in self.settings.parts
        }
        found = self._kept(media, versions)
        missing = [part for part in versions if part not in found]
        if missing:
            image = picture(media)
            found |= {"size": list(image.size)}
            found |= self._look(missing, [image])
            self._keep(media, versions, found, missing)
        return replace(
            known,
            kind="image",
            orientation=orientation_of(*found["size"]),
            scenes=(_scene(found),),
            absent=(*self._absent(found), *_NEVER),
        )

    def _video(self, media: Media, known: AdRecord) -> AdRecord:
        bounds = self.settings
        passed = f"{bounds.most_seconds}-{bounds.most_scenes}-{bounds.samples}"
        passed += f"-{bounds.pictures_a_scene}-{_SCENES_VERSION}"
        versions = {"scenes": passed} | {
            part: f"{self._parts.version(part)}-{passed}" for part in bounds.parts
        }
        found = self._kept(media, versions)
        missing = [part for part in versions if part not in found]
        if missing:
            found |= self._watched(media, missing)
            self._keep(media, versions, found, missing)
        about = found["scenes"]
        absent = [*self._absent(found), *_NEVER, _DEAF]
        if about["without"]:
            absent += [(name, about["without"]) for name in about["unknown"]]
        if about["notes"]:
            absent.append(("frames", "; ".join(about["notes"])))
        if len(about["spans"]) > about["looked_at"]:
            why = f"the first {about['looked_at']} of {len(about['spans'])} were looked at"
            absent.append(("scenes", why))
        scenes = []
        for at, (start, seconds) in enumerate(about["spans"]):
            own: _Found = {}  # beyond those that are looked at, only where they lie
            if at < about["looked_at"]:
                own = {part: found[part][at] for part in PARTS if isinstance(found.get(part), list)}
            scenes.append(replace(_scene(own), start=start, seconds=seconds))
        return replace(
            known,
            kind="video",
            orientation=orientation_of(*about["size"]),
            seconds=about["seconds"],
            pace=about["pace"],
            motion=about["motion"],
            scenes=tuple(scenes),
            absent=tuple(absent),
        )

    def _watched(self, media: Media, missing: Sequence[str]) -> _Found:
        """One pass over a video, for the parts that are missing."""
        opened = opened_animation if media.kind.what == "image" else opened_video
        with opened(media, self.settings) as clip:
            watched = watch(clip, self.settings, lambda images: self._look(missing, images))
        seen = [scene.seen for scene in watched.scenes if scene.seen is not None]
        unknown = [name for name in ("pace", "motion") if not getattr(watched, name)]
        unknown += ["scenes"] if not clip.watched or watched.cuts_a_minute is None else []
        found: _Found = {
            "scenes": {
                "size": [clip.width, clip.height],
                "seconds": clip.seconds,
                "pace": watched.pace,
                "motion": watched.motion,
                "spans": [[scene.start, scene.seconds] for scene in watched.scenes],
                "looked_at": len(seen),
                "unknown": unknown,
                "without": watched.without,
                "notes": clip.notes,
            }
        }
        for part in PARTS:
            if part in missing:
                each = [one[part] for one in seen]
                gone = next((one for one in each if isinstance(one, Absent)), None)
                found[part] = each if gone is None else gone
        return found

    def _look(self, missing: Iterable[str], images: Sequence[Image]) -> _Found:
        return {part: self._parts.look(part, images) for part in PARTS if part in missing}

    def _kept(self, media: Media, versions: dict[str, str]) -> _Found:
        """What the cache has."""
        if self._cache is None:
            return {}
        kept = {part: self._cache.get(part, versions[part], media.sha256) for part in versions}
        return {part: value for part, value in kept.items() if value is not None}

    def _keep(
        self, media: Media, versions: dict[str, str], found: _Found, missing: Sequence[str]
    ) -> None:
        for part in missing if self._cache is not None else ():
            if not isinstance(found[part], Absent):
                self._cache.put(part, versions[part], media.sha256, found[part])  # type: ignore[union-attr]

    def _absent(self, found: _Found) -> list[tuple[str, str]]:
        """The parts that did not look, and why."""
        made: list[tuple[str, str]] = []
        for part in PARTS:
            if part not in self.settings.parts:
                made.append((part, "it was not asked for"))
            elif isinstance(found[part], Absent):
                made.append((part, found[part].why))
        return made


def _scene(found: _Found) -> Scene:
    there = {one: found[one] for one in PARTS if one in found}
    there = {one: value for one, value in there.items() if not isinstance(value, Absent)}
    colours = there.get("colours", {})
    return Scene(
        foreground=tuple(colours.get("foreground", ())),
        background=tuple(colours.get("background", ())),
        tone=colours.get("tone", ""),
        complexity=colours.get("complexity", ""),
        faces=there.get("faces"),
        tags=tuple(there.get("tags", ())),
        words=tuple(there.get("words", ())),
    )


@dataclass(frozen=True)
class DescribedTable:
    """table: the ads with what was seen of them. looked: how many files were looked at. unread:
    number of the ad to why its file could not be."""

    table: AdTable
    looked: int
    unread: Mapping[int, AdwrightError]

    @property
    def records(self) -> tuple[AdRecord, ...]:
        """Of each ad of the table."""
        return self.table.records


def describe_table(table: AdTable, describer: Describer) -> DescribedTable:
    """Look at each file that the table names. Raises ResourceError where the cache cannot be
    written: that would go on for all of them."""
    records, unread = list(table.records), dict[int, AdwrightError]()
    rows = [(row, media) for row, media in enumerate(table.media) if media is not None]
    with progress(len(rows), "describe", "ads") as bar:
        for row, media in rows:
            known = records[row]
            told = {"brand": known.brand, "title": known.title, "words": known.words}
            try:
                records[row] = _joined(known, describer.describe(media, **told))
            except ResourceError:
                raise
            except AdwrightError as error:
                unread[row] = error
                records[row] = replace(known, absent=(*known.absent, ("media", error.what)))
            bar.advance()
    return DescribedTable(replace(table, records=tuple(records)), len(rows) - len(unread), unread)


def _joined(known: AdRecord, seen: AdRecord) -> AdRecord:
    """What was seen, with what the table says where it says something."""
    joined = replace(
        seen,
        seconds=seen.seconds if known.seconds is None else known.seconds,
        speech=known.speech or seen.speech,
        orientation=known.orientation or seen.orientation,
        pace=known.pace or seen.pace,
        motion=known.motion or seen.motion,
        scenes=known.scenes or seen.scenes,
    )
    told = [one for one in seen.absent if not getattr(known, one[0], "")]
    return replace(joined, absent=(*known.absent, *told))
