"""What moved a judge: how its value changes when a part of the ad is left out.

    for effect in ablate(judge, record):
        effect.part, effect.change        # "title", +0.004: with it, the value is higher by so much

Any `AdJudge` is asked, in one call, about the ad and about the ad without each part that it has:
a field, a paragraph of its words, a scene, or a field of all scenes. The changes need not add up
to the value: parts that say the same stand in for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from adwright.core.errors import ConfigError
from adwright.creative.judging.judgement import AdJudge
from adwright.creative.records.verbal.record import AdRecord, Scene

__all__ = ["PartEffect", "ablate", "leave_out", "parts_of"]

_FIELDS = ("brand", "title", "words", "speech", "seconds", "orientation", "pace", "motion")
_PLACES = ("start", "seconds")
_PARAGRAPH, _SCENE, _OF_SCENES = "paragraph ", "scene ", "scenes: "


@dataclass(frozen=True)
class PartEffect:
    """part: as `parts_of` names it. value: of the whole ad; without: of the ad without the part.
    Both in the judge's unit."""

    part: str
    value: float
    without: float

    @property
    def change(self) -> float:
        """How much higher the value is with the part than without."""
        return self.value - self.without


def parts_of(record: AdRecord) -> tuple[str, ...]:
    """Names of the parts that an ad has: "title", "paragraph 2" of its words where there are
    several, "scene 3" likewise, "scenes: tags" where any scene has tags."""
    found = [name for name in _FIELDS if getattr(record, name) not in ("", None)]
    paragraphs = _paragraphs(record)
    if len(paragraphs) > 1:
        found += [f"{_PARAGRAPH}{place}" for place in range(1, len(paragraphs) + 1)]
    if len(record.scenes) > 1:
        found += [f"{_SCENE}{place}" for place in range(1, len(record.scenes) + 1)]
    return (*found, *(_OF_SCENES + name for name in _scene_fields(record)))


def leave_out(record: AdRecord, part: str) -> AdRecord:
    """The ad without a part, as `parts_of` names it. Raises ConfigError where it has none."""
    if part not in parts_of(record):
        raise ConfigError(
            "the ad has no such part", where=part, hint=", ".join(parts_of(record)) or "it is empty"
        )
    if part.startswith(_OF_SCENES):
        name = part.removeprefix(_OF_SCENES)
        empty: dict[str, Any] = {name: getattr(Scene(), name)}
        return replace(record, scenes=tuple(replace(one, **empty) for one in record.scenes))
    if part.startswith(_PARAGRAPH):
        place = int(part.removeprefix(_PARAGRAPH)) - 1
        left = [one for at, one in enumerate(_paragraphs(record)) if at != place]
        return replace(record, words="\n".join(left))
    if part.startswith(_SCENE):
        place = int(part.removeprefix(_SCENE)) - 1
        scenes = record.scenes[:place] + record.scenes[place + 1 :]
        return replace(record, scenes=scenes)
    whole: dict[str, Any] = {part: getattr(AdRecord(), part)}
    return replace(record, **whole)


def ablate(
    judge: AdJudge, record: AdRecord, parts: Sequence[str] | None = None
) -> tuple[PartEffect, ...]:
    """The effect of each part, the largest change first.

    parts: as `parts_of` names them; None takes all. Raises ConfigError for one that the ad lacks.
    """
    asked = parts_of(record) if parts is None else tuple(parts)
    if not asked:
        return ()
    found = judge.judge([record, *(leave_out(record, part) for part in asked)]).value.tolist()
    effects = [
        PartEffect(part, found[0], without) for part, without in zip(asked, found[1:], strict=True)
    ]
    return tuple(sorted(effects, key=lambda one: -abs(one.change)))


def _paragraphs(record: AdRecord) -> list[str]:
    return [part for part in record.words.split("\n") if part.strip()]


def _scene_fields(record: AdRecord) -> list[str]:
    names = [field.name for field in fields(Scene) if field.name not in _PLACES]
    empty = Scene()
    return [
        name
        for name in names
        if any(getattr(one, name) != getattr(empty, name) for one in record.scenes)
    ]
