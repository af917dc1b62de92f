"""What an ad says and shows, in fields: one record for all that judges ads.

    record = AdRecord(brand="Mill Lane", title="Fresh bread", words="Baked at six. Two for 3.")
    film = AdRecord(brand="Mill Lane", kind="video", seconds=16, scenes=(Scene(caption="a loaf"),))

A record is what a person could write down of the ad, after Harini S I et al., WACV 2025: brand,
title, length, what is said, and of each scene its colours, tone, words and faces. Empty means
that there is none or that nobody looked; `absent` tells the two apart: it names each part that
could not be looked for, and why, so that nothing is guessed.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Literal

from adwright.core.config import settings
from adwright.core.errors import ValueInvalidError

__all__ = ["AdKind", "AdRecord", "Level", "Orientation", "Scene"]

AdKind = Literal["text", "image", "video"]
Orientation = Literal["", "landscape", "portrait", "square"]
#: Of pace, motion and visual complexity.
Level = Literal["", "low", "medium", "high"]


@settings
class Scene:
    """What one scene of a video shows, or a picture. Empty: none, or nobody looked.

    caption: a sentence. foreground, background: names of colours, the largest first. tone: warm,
    cool or neutral. style: of photography. complexity: how much there is to see. emotions, tags:
    words. faces: how many can be seen, None where nobody counted. words: text on the screen, a
    line each. start, seconds: where it lies in the video. Raises as `AdRecord`.
    """

    caption: str = ""
    foreground: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    tone: str = ""
    style: str = ""
    complexity: Level = ""
    emotions: tuple[str, ...] = ()
    faces: int | None = None
    tags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    start: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        _check_tuples(self)
        _check_number("faces", self.faces)
        _check_number("start", self.start)
        _check_number("seconds", self.seconds)


@settings
class AdRecord:
    """What an ad says and shows. Empty: none, or nobody looked, see `absent`.

    kind: what was looked at. brand: whose ad it is. title: its headline. words: its other text,
    a paragraph a slot. speech: what is said in it. seconds: length of a video. orientation: of
    the picture. pace: cuts in a minute, as a level. motion: how much moves, as a level. scenes:
    of a video in their order, of a picture one. absent: (part, why it could not be looked for).

    Raises ConfigError for a field of another type and an unknown choice, ValueInvalidError for what
    should be a tuple and for a number below 0.
    """

    kind: AdKind = "text"
    brand: str = ""
    title: str = ""
    words: str = ""
    speech: str = ""
    seconds: float | None = None
    orientation: Orientation = ""
    pace: Level = ""
    motion: Level = ""
    scenes: tuple[Scene, ...] = ()
    absent: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check_tuples(self)
        _check_number("seconds", self.seconds)

    @property
    def text(self) -> str:
        """All that is to be read in it, a part a line: title, words, text on the screen."""
        shown = [line for scene in self.scenes for line in scene.words]
        return "\n".join(part for part in (self.title, self.words, *shown) if part)


def _check_tuples(record: Scene | AdRecord) -> None:
    """What holds several values is a tuple, so that equal records have equal hashes."""
    for field in fields(record):
        value = getattr(record, field.name)
        if str(field.type).startswith("tuple") and not isinstance(value, tuple):
            raise _refused(field.name, value, "pass a tuple")


def _check_number(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value < float("inf"):
        raise _refused(name, value, "pass a number of 0 or more, or None")


def _refused(name: str, value: object, hint: str) -> ValueInvalidError:
    return ValueInvalidError("this is no part of an ad", column=name, value=value, hint=hint)
