"""What to look for in an ad, and how far: the settings of all that looks.

SeeingSettings(parts=("colours", "faces"), most_seconds=120)
"""

from __future__ import annotations

from typing import Literal, get_args

from adwright.core.config import settings
from adwright.core.errors import ConfigError

__all__ = ["PARTS", "SeeingSettings", "SeenPart"]

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
    word_confidence: float = 0.8
    face_score: float = 0.75
    tag_probability: float = 0.7
    pictures_a_scene: int = 1
    most_seconds: float = 600.0
    most_scenes: int = 100
    samples: int = 24
    threads: int = 1
    offline: bool = False

    def __post_init__(self) -> None:
        for name in ("word_confidence", "face_score", "tag_probability"):
            if not 0 < getattr(self, name) <= 1:
                raise _refused(name, getattr(self, name), "above 0 and at most 1")
        for name in ("pictures_a_scene", "most_scenes", "samples", "threads"):
            if getattr(self, name) < 1:
                raise _refused(name, getattr(self, name), "at least 1")
        if not 0 < self.most_seconds < float("inf"):
            raise _refused("most_seconds", self.most_seconds, "above 0 and finite")
        if len(set(self.parts)) < len(self.parts):
            raise _refused("parts", self.parts, "each part once")


def _refused(name: str, value: object, hint: str) -> ConfigError:
    return ConfigError(f"{name} is out of range", where=f"{name} = {value!r}", hint=hint)
