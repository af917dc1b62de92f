"""Find the names of products in free text, whatever way they are written there.

    finder = NameFinder(("Snap", "Snap Pro", "Grind&Brew Plus"))
    finder.find("I like **snap-pro**, and the Grind & Brew Plus.")   # [(7, 15, 1), (25, 42, 2)]

A name is found where its runs of letters and digits stand in their order, with at most three other
characters between two of them: case, accents written in two characters, spaces, hyphens, marks of
emphasis and a capital inside a word do not count, and "&" may be written "and". It begins and ends
where no further letter or digit of an alphabet joins on (scripts without spaces between words may).
Where names overlap the longest counts, so that a name inside a longer one is not taken for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

#: Letters and digits of alphabets that put spaces between words.
_JOINS = r"[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0010ffff]"
_RUN = re.compile(r"[^\W\d_]+|\d+|&")
_CAPITAL = re.compile(r"(?<=[^\W\d_])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")
_CIRCLED = re.compile(r"[\u2460-\u2473\u2776-\u277f]")
_GAP = r"[\W_]{0,3}"
_AND = r"(?:&|and|und|et|y)"


class NamePlace(NamedTuple):
    """Where a name stands: characters from start to end of the text in its plain form, and its row
    in the names."""

    start: int
    end: int
    row: int


def plain_text(text: str) -> str:
    """The text as it is searched: compatible forms made one (NFKC), numbers in a circle or on a
    key made "1.", characters without width left out. Idempotent."""
    made = unicodedata.normalize("NFKC", _CIRCLED.sub(_digits, text)).replace("\u20e3", ".")
    return "".join(one for one in made if one != "\ufe0f" and unicodedata.category(one) != "Cf")


class NameFinder:
    """Looks for names. Two that are written alike but for case and signs are one: the first."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._patterns: list[tuple[re.Pattern[str], int]] = []
        known: set[str] = set()
        for row, name in enumerate(names):
            pattern = _pattern(name)
            if pattern and pattern not in known:
                known.add(pattern)
                self._patterns.append((re.compile(pattern, re.IGNORECASE), row))

    def find(self, text: str) -> list[NamePlace]:
        """All places of all names in a plain text (`plain_text`), in the order of the text."""
        places = [
            NamePlace(found.start(), found.end(), row)
            for pattern, row in self._patterns
            for found in pattern.finditer(text)
        ]
        # The longest first; what overlaps it is a part of it.
        places.sort(key=lambda one: (one.start - one.end, one.start, one.row))
        taken: list[NamePlace] = []
        for one in places:
            if all(one.end <= other.start or one.start >= other.end for other in taken):
                taken.append(one)
        return sorted(taken)

    def first(self, text: str) -> int | None:
        """The row of the name that stands first; None where none does."""
        places = self.find(text)
        return places[0].row if places else None

    def exactly(self, text: str) -> int | None:
        """The row of the name that the whole text is; None where it is more or less."""
        places = self.find(plain_text(text))
        if len(places) != 1:
            return None
        left = plain_text(text)[: places[0].start] + plain_text(text)[places[0].end :]
        return None if re.search(r"[^\W_]", left) else places[0].row


def _digits(found: re.Match[str]) -> str:
    return f"{int(unicodedata.numeric(found[0]))}."


def _pattern(name: str) -> str:
    runs = [
        part
        for run in _RUN.findall(plain_text(name))
        for part in (_CAPITAL.split(run) if run != "&" else ["&"])
        if part
    ]
    if not any(run != "&" for run in runs):
        # A name of signs alone is looked for as it stands.
        return re.escape(name.strip())
    body = _GAP.join(_AND if run == "&" else re.escape(run) for run in runs)
    return f"(?<!{_JOINS}){body}(?!{_JOINS})"
