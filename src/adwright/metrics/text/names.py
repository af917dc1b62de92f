"""Proper names: what a capital letter marks, where it marks something.

A word is taken for a name where it

- begins with a capital inside a sentence, in a text whose other words do not;
- has a capital after its first letter (GoPro), or capitals alone (HDMI), in a text that does not
  shout.

Headlines often begin Every Word With A Capital, which then marks nothing: in them only the second
kind is found, beside the places and brands of the lexicon. The first word of a sentence is not
looked at. Languages without capitals have no names here, and German nouns are no names either. That
is what capitals can tell; a list of all names there are would not be had.
"""

from __future__ import annotations

from typing import NamedTuple

from adwright.metrics.text.lexicon import Lexicon

__all__ = ["Word", "find_names"]

_ENDS = frozenset(".!?:;\n\t\r|•…–—·*>")
_OPENERS = frozenset(" \"'“”‘(«„[¿¡\u00a0")
#: Words of four letters and more that stay small where every other word has a capital.
_SMALL = frozenset(("with", "from", "into", "over", "your", "that", "this", "than", "when", "upon"))


class Word(NamedTuple):
    """A word: in lower case, where it stands, and as it is written."""

    low: str
    start: int
    end: int
    raw: str

    def begins(self, text: str) -> bool:
        """Whether it is the first word of a sentence."""
        at = self.start - 1
        while at >= 0 and text[at] in _OPENERS:
            at -= 1
        return at < 0 or text[at] in _ENDS or text[max(at - 1, 0) : at + 1] in (" -", "\n-", "-")


def find_names(text: str, words: list[Word], lexicon: Lexicon) -> list[tuple[int, int, str]]:
    """Start, end and word in lower case of each name."""
    raised = [word for word in words if not word.raw.islower()]
    if not raised:
        return []
    shouted = sum(word.raw.isupper() and len(word.raw) > 1 for word in raised)
    is_shouting = 2 * shouted > len(words)
    inner = [word for word in words if len(word.raw) > 3 and not word.begins(text)]
    titled = sum(word.raw[0].isupper() for word in inner)
    small = sum(word.raw[0].islower() and word.low not in _SMALL for word in inner)
    marks = lexicon.has_names and small > 0 and titled <= 2 * small
    found = []
    for word in raised:
        raw = word.raw
        if raw.isupper() and len(raw) > 1:
            is_name = not is_shouting and word.low not in lexicon.acronyms
        elif raw[1:].islower() or len(raw) == 1:
            is_name = marks and len(raw) > 1 and raw[0].isupper() and not word.begins(text)
        else:
            is_name = not raw[1:].islower()
        if is_name:
            found.append((word.start, word.end, word.low))
    return found
