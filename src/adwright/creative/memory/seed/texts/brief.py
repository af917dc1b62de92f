"""What an ad is to be written from, and the words in which a model is asked for it.

    brief = AdBrief("b1", brand="Mill Lane", facts=("Baked at six",))
    brief.messages()                     # one turn: "Write a slogan. ...\\nBrand: Mill Lane\\n..."
    parts = split_briefs(briefs, watch=0.1, held=0.25)

Some briefs are held out to measure with, others to watch when to stop; no round samples or learns
from either. All briefs of one brand go the same way, since a brand explains most of how well an ad
is remembered. A brand goes where the hash of its name says: what is added later moves nobody.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from adwright.core.config import settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.lm.engine.generation import Message
from adwright.metrics.text.words import words_of

__all__ = ["AdBrief", "BriefKind", "BriefPart", "part_of"]

#: What is to be written. slogan: one line for a brand or product. headline: one line for a story.
#: description: a sentence or two on a product. video: an ad scene by scene.
BriefKind = Literal["slogan", "headline", "description", "video"]
#: Where a brief goes: the rounds write for it, it tells them when to stop, or it measures them.
BriefPart = Literal["train", "watch", "held"]

_ASKED: dict[BriefKind, str] = {
    "slogan": "Write a slogan. Answer with the slogan alone.",
    "headline": "Write a headline for this story. Answer with the headline alone.",
    "description": "Write a short text that sells this product. Answer with the text alone.",
    "video": "Write a video ad scene by scene: orientation, pace, then what each scene shows.",
}
_SUBJECT: dict[BriefKind, str] = {
    "slogan": "Product",
    "headline": "Story",
    "description": "Product",
    "video": "Title",
}
#: Characters of a subject and of a fact that a prompt shows.
_SHOWN = 300
_STEPS = 2**32


@settings
class AdBrief:
    """What is known before an ad is written.

    id: its own. kind: what is to be written. brand: whose ad. subject: the product, the story, or
    the title of a video. facts: what else may be said. seconds: of a video. group: of briefs that
    are held out together; by default those of a brand, and without one of a subject.

    Raises ConfigError for another kind, ValueInvalidError where there is nothing to write of.
    """

    id: str
    kind: BriefKind = "slogan"
    brand: str = ""
    subject: str = ""
    facts: tuple[str, ...] = ()
    seconds: float | None = None
    group: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueInvalidError("a brief has an id", column="id", value=self.id)
        if not (self.brand.strip() or self.subject.strip()):
            raise ValueInvalidError(
                "a brief names a brand or a subject",
                column="subject",
                value=self.subject,
                hint="say whose ad it is, or what it is of",
            )

    @property
    def held_by(self) -> str:
        """Briefs with the same are held out together."""
        named = self.group or self.brand or self.subject
        return " ".join(words_of(named)) or named.strip()

    @property
    def known(self) -> tuple[str, ...]:
        """All that an ad may claim."""
        length = () if self.seconds is None else (f"{self.seconds:g} seconds",)
        return tuple(filter(None, (self.brand, self.subject, *self.facts, *length)))

    def messages(self) -> tuple[Message, ...]:
        """What a model is asked. What all briefs of a kind share comes first, so that engines read
        it once."""
        told = [
            ("Brand", self.brand),
            (_SUBJECT[self.kind], self.subject),
            *(("Fact", fact) for fact in self.facts),
            ("Seconds", "" if self.seconds is None else f"{self.seconds:g}"),
        ]
        lines = [f"{name}: {_one_line(value)}" for name, value in told if value.strip()]
        return (Message("user", "\n".join((_ASKED[self.kind], *lines))),)


def part_of(group: str, *, watch: float, held: float, seed: int = 0) -> BriefPart:
    """Where a group goes: u < held, u < held + watch, or beyond, u being its hash in [0, 1)."""
    if not (watch >= 0 and held >= 0 and watch + held < 1):
        raise ConfigError(
            "watch and held are shares that leave something to write for",
            where=f"watch {watch}, held {held}",
            hint="watch 0.1, held 0.25",
        )
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    place = int.from_bytes(digest[:4], "big") / _STEPS
    return "held" if place < held else "watch" if place < held + watch else "train"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
