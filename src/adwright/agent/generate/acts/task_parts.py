"""A task cut into its acts: the verb of each, what stands in quotes, numbers and places in a row.

    read_parts('Enter "Ann" into the 2nd text field, then press Submit')
    # type, values ("Ann",), nth 1; tap

A task is cut at "and", "then", commas and ends of sentences; quotes, dates and handles such as @ann
are one word each. A part without a verb goes on with that of the one before: 'Select Tea, Milk'.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from adwright.core.config import settings

__all__ = ["ActPart", "PartKind", "read_parts"]

#: "find": an item that is spoken of. "copy", "paste": text of the page. "look": where to search,
#: which needs no act. "do": anything that a button may be called.
PartKind: TypeAlias = Literal["find", "type", "pick", "tap", "copy", "paste", "look", "do"]
_CUT = re.compile(
    r"(?:[,;.]\s+|(?<!\s)\s+)(?:and then|and|then)\s+|[,;.]\s+|(?<!\s)\s+(?=to find\b)|\n+", re.I
)
_VERBS: tuple[tuple[PartKind, re.Pattern[str]], ...] = (
    (
        "look",
        re.compile(
            r"\b(?:switch between|scroll (?:down|up|to|through)|look (?:in|through|at)|browse)\b",
            re.I,
        ),
    ),
    ("copy", re.compile(r"\bcopy\b", re.I)),
    ("paste", re.compile(r"\bpaste\b", re.I)),
    ("find", re.compile(r"\b(?:find|locate|look for|search out)\b|^(?:for|of) the\b", re.I)),
    ("type", re.compile(r"\b(?:enter|type|write|fill|input|set|put)\b", re.I)),
    ("pick", re.compile(r"\b(?:select|choose|check|tick|pick|mark)\b", re.I)),
    (
        "tap",
        re.compile(
            r"\b(?:click(?:ing)?|tap|press|hit|push|open|expand|close|go to|focus|submit)\b", re.I
        ),
    ),
)
_DATE = (
    r"(?<![\w/-])(?:\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2}|\d{1,2}\.\d{1,2}\.\d{4}"
    r"|\d{1,2} [A-Z][a-z]{2,8} \d{4}|[A-Z][a-z]{2,8} \d{1,2}, \d{4})(?![\w/-])"
)
_ONE_WORD = re.compile(rf"\"([^\"]+)\"|“([^“”]+)”|({_DATE})|((?<![\w@])@\w[\w.-]*\w)")
_HIDDEN = re.compile(r"\x00(\d+)\x00")
_NTH = re.compile(r"\b(?:(\d{1,3})(?:st|nd|rd|th)|(first|second|third|fourth|fifth|last))\b", re.I)
_NAMED = {"first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4, "last": -1}
_TIMES = re.compile(r"\b(?:on|of|from)\s+(\d{1,2}|one|two|three|four|five)\s+\w+", re.I)
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_PLURAL = re.compile(r"\b(?:sections|tabs|panels|menus|pages)\b", re.I)


@settings
class ActPart:
    """rest: its words, what was in quotes left out. values: that. plain: all of it, quotes and all.
    nth: which of several, from 0, -1 the last; None where it does not say. times: with how many
    items it is done; 0 where it does not say. own: whether the verb is its own."""

    kind: PartKind
    rest: str
    values: tuple[str, ...]
    plain: str
    nth: int | None = None
    times: int = 0
    own: bool = True


def read_parts(text: str) -> tuple[ActPart, ...]:
    """The parts of a task, in their order."""
    words: list[str] = []

    def hide(found: re.Match[str]) -> str:
        words.append(next(filter(None, found.groups())))
        return f"\x00{len(words) - 1}\x00"

    found: list[ActPart] = []
    kind: PartKind = "do"
    for part in _CUT.split(_ONE_WORD.sub(hide, text)):
        if not part or not part.strip(" .,!?"):
            continue
        own = _verb(part)
        kind = own or ("do" if kind in ("find", "look") else kind)
        values = tuple(words[int(n)] for n in _HIDDEN.findall(part))
        rest = " ".join(_HIDDEN.sub(" ", part).split())
        if kind == "tap" and not values and _PLURAL.search(rest):
            kind = own = "look"
        times = _TIMES.search(rest)
        count = _COUNTS.get(times[1].lower(), 0) or int(times[1]) if times else 0
        plain = _HIDDEN.sub(lambda at: words[int(at[1])], part).strip()
        found.append(ActPart(kind, rest, values, plain, _nth(rest), count, own is not None))
    return tuple(found)


def _verb(part: str) -> PartKind | None:
    """The kind of the first verb of a part."""
    at = [(found.start(), kind) for kind, one in _VERBS if (found := one.search(part))]
    return min(at, key=lambda one: one[0])[1] if at else None


def _nth(rest: str) -> int | None:
    found = _NTH.search(rest)
    if found is None:
        return None
    return int(found[1]) - 1 if found[1] else _NAMED[found[2].lower()]
