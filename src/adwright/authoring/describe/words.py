"""Words of a text, as search and the guard against echoes see them.

words_of("Dish-washer, 24\" wide") == ("dish", "washer", "24", "wide")

No stemming and no list of stop words: both depend on the language, and the same words for every
index are what a comparison needs (our choice).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> tuple[str, ...]:
    """The words in order: runs of letters and digits, compatible forms made one (NFKC), casefolded.

    Scripts that write no spaces give one word a run, so that search by words finds little there;
    search by vectors does not need words.
    """
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def grams_of(words: Sequence[str], n: int) -> frozenset[tuple[str, ...]]:
    """The distinct runs of n words; none where there are fewer."""
    return frozenset(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
