"""The voice of a brand: how it speaks, what it never says, what it always says.

    # voice.toml
    tone = "warm, plain, no jargon"
    banned = ["cheap", "guys"]
    required = ["Mill Lane"]
    examples = ["A quiet cup, whenever you like."]
    locale = "en-GB"

    voice = load_toml("voice.toml", BrandVoice)
    check_voice("A cheap cup", voice)      # voice/banned, voice/required

`prompt` puts it into words for a model. Banned words are found in any case, with their plural.
"""

from __future__ import annotations

import re
from functools import lru_cache

from adwright.authoring.checks.finding import Finding
from adwright.core.config import settings
from adwright.core.errors import ConfigError

_MOST_WORDS = 2000


@settings
class BrandVoice:
    """tone: in a few words. banned: words and phrases that must not stand in a text. required:
    those of which each must. examples: texts that sound right. locale: of the texts, BCP 47; empty:
    that of the product.

    Raises ConfigError for empty words, too many of them, or one that is both banned and required.
    """

    tone: str = ""
    banned: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    locale: str = ""

    def __post_init__(self) -> None:
        for name in ("banned", "required"):
            words = getattr(self, name)
            if any(not word.strip() for word in words) or len(words) > _MOST_WORDS:
                raise ConfigError(
                    f"words must not be empty, and at most {_MOST_WORDS}",
                    where=f"BrandVoice.{name}",
                    hint="remove the empty one",
                )
        both = {one.casefold() for one in self.banned} & {one.casefold() for one in self.required}
        if both:
            raise ConfigError(
                f"the word {min(both)!r} is banned and required",
                where="BrandVoice.required",
                hint="decide for one",
            )

    def prompt(self) -> str:
        """The voice as a part of an instruction; empty where nothing is set."""
        parts = []
        if self.tone:
            parts.append(f"Tone: {self.tone}.")
        if self.banned:
            parts.append(f"Never use: {', '.join(self.banned)}.")
        if self.required:
            parts.append(f"Always use: {', '.join(self.required)}.")
        if self.locale:
            parts.append(f"Write in {self.locale}.")
        parts += [f"Example: {example}" for example in self.examples]
        return "\n".join(parts)


def check_voice(text: str, voice: BrandVoice) -> tuple[Finding, ...]:
    """An error for each banned word, a warning for each required word that is missing."""
    found = []
    if voice.banned:
        for one in _words(voice.banned).finditer(text):
            message = f"{one.group()!r:.60} is banned by the brand's voice"
            found.append(Finding("voice/banned", one.start(), one.end(), "error", message))
    for word in voice.required:
        if not _words((word,)).search(text):
            message = f"the brand's voice asks for {word!r:.60}"
            found.append(Finding("voice/required", 0, 0, "warning", message, f"use {word:.60}"))
    return tuple(found)


@lru_cache(maxsize=256)
def _words(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    every = "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest_first)
    return re.compile(rf"(?<!\w)(?:{every})(?:s|es)?(?!\w)", re.IGNORECASE)
