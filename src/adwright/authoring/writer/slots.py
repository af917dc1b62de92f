"""What can be written for a product, each with its task, its instruction and its length.

    slot_named("headline", "google-rsa").instruction(30)

On an advertising platform, `description` is the short text of an ad; without one it is the
description of the product. All rows of a slot have the same instruction, so that an engine reads
it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from adwright.authoring.tasks import AuthoringTask, task_named
from adwright.core.errors import ConfigError

#: Whose limits hold; "" for none.
WriterPlatform = Literal["", "google-rsa", "google-shopping", "meta", "amazon"]
#: Those on which a description is the text of an ad.
AD_PLATFORMS = frozenset(("google-rsa", "meta"))


@dataclass(frozen=True)
class WriterSlot:
    """name: as commands and tables call it. task_name: of `authoring.tasks`. asks: what the model
    is told, with {limit} for the characters. characters: the most, where no platform says
    otherwise; 0 for labels. tokens: the most of an answer. one_line: the answer ends with its
    line."""

    name: str
    task_name: str
    asks: str
    characters: int
    tokens: int
    one_line: bool = True

    @property
    def task(self) -> AuthoringTask:
        """What the model is shown, and what it has to write."""
        return task_named(self.task_name)

    def instruction(self, limit: int = 0) -> str:
        """What the model is told. limit: characters that a platform allows; 0 for its own."""
        return self.asks.format(limit=limit or self.characters)


_AD_TEXT = WriterSlot(
    "description",
    "ads",
    "Write one sentence that advertises this product, in at most {limit} characters. "
    "Write the sentence alone.",
    90,
    48,
)
_DESCRIPTION = WriterSlot(
    "description",
    "descriptions",
    "Write a description of this product in two or three plain sentences, in at most {limit} "
    "characters. Write the description alone.",
    600,
    160,
    one_line=False,
)
#: By name; `description` without a platform.
SLOTS: dict[str, WriterSlot] = {
    one.name: one
    for one in (
        WriterSlot(
            "headline",
            "ads",
            "Write the headline of an ad for this product, in at most {limit} characters. "
            "Write the headline alone.",
            30,
            20,
        ),
        WriterSlot(
            "long_headline",
            "ads",
            "Write a long headline of an ad for this product, in at most {limit} characters. "
            "Write the headline alone.",
            90,
            40,
        ),
        WriterSlot(
            "primary_text",
            "ads",
            "Write the text of an ad for this product, in at most {limit} characters. "
            "Write the text alone.",
            125,
            64,
        ),
        _DESCRIPTION,
        WriterSlot(
            "short_description",
            "descriptions",
            "Write a description of this product in one sentence, in at most {limit} characters. "
            "Write the description alone.",
            200,
            80,
        ),
        WriterSlot(
            "meta_description",
            "descriptions",
            "Write one sentence about this product for a page of search results, in at most "
            "{limit} characters. Write the sentence alone.",
            155,
            64,
        ),
        WriterSlot(
            "title",
            "titles",
            "Rewrite the title so that it answers the search query and keeps its facts, in at "
            "most {limit} characters. Write the title alone.",
            150,
            64,
        ),
        WriterSlot(
            "category",
            "classify",
            "Choose the category of this product. Write the category alone.",
            0,
            32,
        ),
    )
}


def slot_named(name: str, platform: str = "") -> WriterSlot:
    """The slot of that name. platform: an advertising platform, or none.

    Raises ConfigError with the names that there are.
    """
    if name == "description" and platform in AD_PLATFORMS:
        return _AD_TEXT
    if name in SLOTS:
        return SLOTS[name]
    close = get_close_matches(name, SLOTS, n=1)
    raise ConfigError(
        f"there is no slot {name!r}",
        where="slots",
        hint=(f"did you mean {close[0]}? " if close else "") + f"There are {', '.join(SLOTS)}",
    )
