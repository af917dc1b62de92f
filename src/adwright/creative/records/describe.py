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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.core.regular import read_regular
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import AdTable
from adwright.creative.records.colours import orientation_of
from adwright.creative.records.faces_and_words import Absent, SeeingParts
from adwright.creative.records.media import (
    PARTS,
    Media,
    SeeingSettings,
    is_animation,
    opened_animation,
    opened_media,
    opened_video,
    picture,
)
from adwright.creative.records.scenes import watch

if TYPE_CHECKING:
    from PIL.Image import Image


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
