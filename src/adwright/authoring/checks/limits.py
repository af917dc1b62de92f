"""How long a text may be, platform by platform, and how it is cut to that.

    headline = limit_named("google.headline")     # 30, a double-width character counts two
    check_limit("Assam tea ...", headline)
    trim("A very long headline indeed, of tea", headline)   # cut after a whole word

The table is limits.toml beside this file; `limits_version` says which table that is. Each figure
names the page that decides it and how far it was compared: compare it before you rely on it.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from adwright.authoring.checks.finding import Finding
from adwright.core.config import settings
from adwright.core.errors import ConfigError

_DANGLING = {
    *("a", "an", "the", "and", "or", "with", "of", "for", "in", "to", "by", "from", "at", "on"),
    *("your", "our", "plus", "&", "-", "–", "—", "+", "/", "|", "no", "not", "without", "non"),
}


@settings
class PlatformLimit:
    """What one field of a platform takes.

    name: platform.field. most: its longest text, in `unit`. visible: what of it is shown, 0 for
    all. unit: characters, or width, in which a double-width character counts two. fewest_texts,
    most_texts: how many such texts an ad has; most_texts 0: not told. source: the page that
    decides; url: its address. basis: how far `most` can be relied on: "platform" was read on a page
    of the platform, "guides" in guides of third parties, "unverified" nowhere. read: in which
    month; empty: not at all. note: what else was compared, and what was not.

    Raises ConfigError for numbers that cannot be.
    """

    name: str
    most: int
    source: str
    read: str
    basis: Literal["platform", "guides", "unverified"] = "unverified"
    unit: Literal["characters", "width"] = "characters"
    visible: int = 0
    fewest_texts: int = 0
    most_texts: int = 0
    url: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 <= self.visible <= self.most:
            raise ConfigError(
                "a limit is at least 1, and what is visible is not above it",
                where=f"{self.name}: most {self.most}, visible {self.visible}",
            )

    def size(self, text: str) -> int:
        """Length of a text in the unit of the limit."""
        return width(text) if self.unit == "width" else len(text)


def width(text: str) -> int:
    """Characters, of which the wide ones (East Asian Width W and F, Unicode annex 11) count two."""
    if text.isascii():
        return len(text)
    return sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def limits_version() -> str:
    """Which table of limits this is, such as "2026-11"."""
    return str(_table()["version"])


@cache
def all_limits() -> tuple[PlatformLimit, ...]:
    """All limits, in the order of the table."""
    return tuple(PlatformLimit(**one) for one in _table()["limits"])


def limit_named(name: str) -> PlatformLimit:
    """The limit of that name. Raises ConfigError with the names that there are."""
    found = {one.name: one for one in all_limits()}
    if name in found:
        return found[name]
    close = get_close_matches(name, found, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(
        f"there is no limit {name!r}", where="limit", hint=f"{hint}there are {', '.join(found)}"
    )


def check_limit(text: str, limit: PlatformLimit) -> tuple[Finding, ...]:
    """An error for what stands beyond the limit, a warning for what is not shown."""
    size = limit.size(text)
    if size > limit.most:
        at = _fitting(text, limit, limit.most)
        message = f"{size} {limit.unit} where {limit.name} takes {limit.most}"
        return (Finding("limits/too-long", at, len(text), "error", message, "shorten it"),)
    if limit.visible and size > limit.visible:
        at = _fitting(text, limit, limit.visible)
        message = f"{limit.name} shows {limit.visible} of its {size} {limit.unit}"
        fix = "say what matters first"
        return (Finding("limits/cut-off", at, len(text), "warning", message, fix),)
    return ()


def check_count(texts: Sequence[str], limit: PlatformLimit) -> tuple[Finding, ...]:
    """An error where an ad has too few or too many of such texts; two equal ones count once."""
    count = len({text.strip().casefold() for text in texts})
    if limit.most_texts and not limit.fewest_texts <= count <= limit.most_texts:
        message = (
            f"{count} different texts where {limit.name} takes "
            f"{limit.fewest_texts} to {limit.most_texts}"
        )
        return (Finding("limits/count", 0, 0, "error", message),)
    return ()


def trim(text: str, limit: PlatformLimit) -> str:
    """The text within the limit: whole sentences where they fill half of it, else whole words.

    A word that leads nowhere (and, with, the) does not stand last. A single word that is too long
    is cut, as are scripts without spaces.
    """
    if limit.size(text) <= limit.most:
        return text
    kept = text[: _fitting(text, limit, limit.most)]
    sentence = max(kept.rfind(mark) for mark in (". ", "! ", "? ", "。", "！", "？"))
    if 2 * limit.size(kept[: sentence + 1]) >= limit.most:
        return kept[: sentence + 1]
    follows = text[len(kept) : len(kept) + 1]
    if not follows.isspace() and " " in kept:
        kept = kept[: kept.rindex(" ")]
    words = kept.split(" ")
    while len(words) > 1 and words[-1].lower().strip(",;:") in {*_DANGLING, ""}:
        words.pop()
    return " ".join(words).rstrip(" ,;:-–—&|/")


def _fitting(text: str, limit: PlatformLimit, most: int) -> int:
    """So many characters fit into `most` of the unit."""
    if limit.unit == "characters":
        return min(most, len(text))
    size = 0
    for at, one in enumerate(text):
        size += 1 + (unicodedata.east_asian_width(one) in "WF")
        if size > most:
            return at
    return len(text)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("limits.toml").read_text("utf-8"))
