"""Letters of other scripts that look like Latin ones, written as these.

    folded("Іgnоre аll")       # "Ignore all", of Cyrillic letters
    folded("чайник")           # as it is: a Russian word

A word is folded where it mixes Latin letters with look-alikes, or where all of its letters are
look-alikes in a text that is otherwise Latin. Words of other languages stay. Which letters look
alike says the Unicode consortium (UTS 39), by way of the package `confusable-homoglyphs`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from adwright.core.errors import MissingExtraError

_WORD = re.compile(r"[^\W\d_]+")


@cache
def latin_twins() -> dict[str, str]:
    """Latin letter of ASCII by the letter of another script that looks like it; read once.
    Raises MissingExtraError."""
    try:
        from confusable_homoglyphs.confusables import confusables_data
    except ImportError as error:
        raise MissingExtraError("folding letters that look alike", "audit") from error
    found = {}
    for sign, others in confusables_data.items():
        if len(sign) != 1 or sign.isascii() or not sign.isalpha() or _is_latin(sign):
            continue
        # The case of the sign decides between "l" and "I", which look alike themselves.
        letters = [one["c"] for one in others if len(one["c"]) == 1 and one["c"].isascii()]
        letters = [one for one in letters if one.isalpha()]
        if letters:
            same = [one for one in letters if one.isupper() == sign.isupper()]
            twin = (same or letters)[0]
            upper = sign.isupper() and not twin.isupper()
            found[sign] = {"l": "I"}.get(twin, twin.upper()) if upper else twin
    return found


def folded(text: str) -> str:
    """The text with look-alike letters as Latin ones, of the same length."""
    if text.isascii():
        return text
    twins = latin_twins()
    latin = sum(_is_latin(sign) for sign in text)
    foreign = sum(sign.isalpha() and not _is_latin(sign) and sign not in twins for sign in text)

    def word(found: re.Match[str]) -> str:
        one = found.group()
        if one.isascii() or not any(sign in twins for sign in one):
            return one
        mixes = any(_is_latin(sign) for sign in one)
        posing = latin > foreign and all(sign in twins or _is_latin(sign) for sign in one)
        return "".join(twins.get(sign, sign) for sign in one) if mixes or posing else one

    return _WORD.sub(word, text)


def _is_latin(sign: str) -> bool:
    return sign.isalpha() and (sign.isascii() or unicodedata.name(sign, "").startswith("LATIN"))
