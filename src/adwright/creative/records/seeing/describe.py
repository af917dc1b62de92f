"""Any ad as a record: a text, the file of a picture, the file of a video.

    describer = Describer(cache="seen")
    record = describer.describe("bread.mp4", brand="Mill Lane", title="Fresh bread")
    record.scenes[0].words, record.pace, record.absent

Whatever cannot be looked at, or was not asked for, is named in `absent` with the reason; an empty
field that is not named there is empty. A second look at the same bytes costs a hash, where a cache
is given. The size of a picture, and the cuts, length and pace of a video, are kept as a part more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.creative.records.seeing.cache import SeenCache
from adwright.creative.records.seeing.colours import orientation_of
from adwright.creative.records.seeing.opening.animation import opened_animation
from adwright.creative.records.seeing.opening.media import (
    Media,
    is_animation,
    opened_media,
    picture,
)
from adwright.creative.records.seeing.opening.video import opened_video
from adwright.creative.records.seeing.parts import Absent, Parts
from adwright.creative.records.seeing.scenes import watch
from adwright.creative.records.seeing.settings import PARTS, Part, SeeingSettings
from adwright.creative.records.verbal.record import AdRecord, Scene

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Describer"]

#: Of the opening of a picture and of the pass over a video: change with what these do.
_SIZE_VERSION = _SCENES_VERSION = "1"
_NEVER = tuple((name, "nothing here looks for it") for name in ("caption", "style", "emotions"))
_DEAF = ("speech", "nothing here listens")

#: Part, "size" or "scenes" to what was found, plain JSON or `Absent`.
_Found = dict[str, Any]


class Describer:
    """Describes ads; what its parts need is loaded once, when it is first needed.

    parts: what to look for, instead of those of the settings. cache: a folder for what was seen, or
    None. settings: all bounds. Raises ConfigError for a part that there is not.
    """

    def __init__(
        self,
        parts: Sequence[Part] | None = None,
        *,
        cache: str | Path | None = None,
        settings: SeeingSettings | None = None,
    ) -> None:
        chosen = settings or SeeingSettings()
        self.settings = chosen if parts is None else replace(chosen, parts=tuple(parts))
        self._cache = None if cache is None else SeenCache(cache)
        self._parts = Parts(self.settings)

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
            scenes=(_scene(found, PARTS),),
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
        return replace(
            known,
            kind="video",
            orientation=orientation_of(*about["size"]),
            seconds=about["seconds"],
            pace=about["pace"],
            motion=about["motion"],
            scenes=tuple(_scenes(found)),
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


def _scenes(found: _Found) -> Iterable[Scene]:
    """Of a video; beyond those that are looked at, only where they lie."""
    about = found["scenes"]
    for at, (start, seconds) in enumerate(about["spans"]):
        own: _Found = {}
        if at < about["looked_at"]:
            own = {part: found[part][at] for part in PARTS if isinstance(found.get(part), list)}
        yield replace(_scene(own, PARTS), start=start, seconds=seconds)


def _scene(found: _Found, parts: Iterable[str]) -> Scene:
    there = {one: found[one] for one in parts if one in found}
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
