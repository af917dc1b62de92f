"""The parts that look at pictures, each loaded when it is first needed, or known to be absent.

    parts = Parts(settings)
    parts.look("words", pictures)        # plain JSON, or Absent with the reason

What a part makes of the pictures of a scene is one finding: colours of the middle one, the lines
and tags of all of them, each once, and the most faces that are seen at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from adwright.core.errors import AssetError, MissingExtraError
from adwright.creative.records.seeing.settings import Part, SeeingSettings

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Absent", "Parts"]

#: Of the colours.
_COLOURS_VERSION = "1"


@dataclass(frozen=True)
class Absent:
    """why: a part cannot look, such as a package that is not installed."""

    why: str


_Look = Callable[[Sequence["Image"]], Any]


class Parts:
    """All parts of some settings."""

    def __init__(self, settings: SeeingSettings) -> None:
        self._settings = settings
        self._loaded: dict[Part, _Look | Absent] = {}

    def version(self, part: Part) -> str:
        """Changes with whatever a finding depends on besides the pictures."""
        # Imported here: each is slow to import, and may not be there.
        settings = self._settings
        match part:
            case "colours":
                return _COLOURS_VERSION
            case "words":
                from adwright.creative.records.seeing.words import WordReader

                return f"{WordReader.version}-{settings.word_confidence}"
            case "faces":
                from adwright.creative.records.seeing.faces import FaceFinder

                return f"{FaceFinder.version}-{settings.face_score}"
            case "tags":
                from adwright.creative.records.seeing.tags import TagFinder

                return f"{TagFinder.version}-{settings.tag_probability}"

    def look(self, part: Part, pictures: Sequence[Image]) -> Any:
        """The finding of a part in the pictures of one scene, plain JSON; `Absent` where it cannot
        look."""
        if part not in self._loaded:
            try:
                self._loaded[part] = self._load(part)
            except (MissingExtraError, AssetError) as error:
                self._loaded[part] = Absent(str(error))
        loaded = self._loaded[part]
        if isinstance(loaded, Absent):
            return loaded
        try:
            return loaded(pictures)
        except MissingExtraError as error:
            self._loaded[part] = Absent(str(error))
            return self._loaded[part]

    def _load(self, part: Part) -> _Look:
        settings = self._settings
        match part:
            case "colours":
                from adwright.creative.records.seeing.colours import colours_of

                return lambda pictures: _plain(asdict(colours_of(pictures[len(pictures) // 2])))
            case "words":
                from adwright.creative.records.seeing.words import WordReader

                reader = WordReader(settings.word_confidence, threads=settings.threads)
                return lambda pictures: _each_once(reader.lines(one) for one in pictures)
            case "faces":
                from adwright.creative.records.seeing.faces import FaceFinder

                finder = FaceFinder(
                    settings.face_score, threads=settings.threads, offline=settings.offline
                )
                return lambda pictures: max(len(finder.boxes(one)) for one in pictures)
            case "tags":
                from adwright.creative.records.seeing.tags import TagFinder

                tagger = TagFinder(settings.tag_probability, offline=settings.offline)
                return lambda pictures: _each_once(tagger.tags(one) for one in pictures)


def _each_once(found: Any) -> list[str]:
    return list(dict.fromkeys(word for words in found for word in words))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: list(one) if isinstance(one, tuple) else one for key, one in values.items()}
