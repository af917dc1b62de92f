"""Texts as words and n-grams, the one way for all measures of texts.

    words_of("Grey T-shirt, 2.5 m")   # ["grey", "t", "shirt", "2", "5", "m"]

A word is a run of letters, marks and digits in any script, in lower case. Scripts that put no
space between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give a word for each character,
which is our choice; a measure that counts words is then one that counts characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from adwright.core.errors import DataError

#: One character of a script without spaces, or a run of others. Python counts the vowel signs of
#: Indian scripts and loose accents as no letters, so they are named.
_UNSPACED = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0981-\u0d4d"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_]|[{_MARKS}])+")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in order."""
    return _WORD.findall(text.lower())


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of `n` words, in order; none where there are fewer words."""
    return list(zip(*(words[at:] for at in range(n)), strict=False))


def require_texts(texts: Sequence[str], name: str) -> None:
    """Raise DataError that names the first row of `texts` that is no text."""
    if isinstance(texts, str):
        raise DataError(
            f"{name} must be several texts, not one", column=name, hint="pass a list of texts"
        )
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                "a row holds no text", row=row, column=name, value=text, hint='use "" for none'
            )
