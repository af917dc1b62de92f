"""ROUGE-L: how much of a reference stands in an output, in the same order.

    rouge_l("a red cotton shirt", "red shirt")   # 0.666...

Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, section 3. With the words X of
the reference (m of them), Y of the output (n) and their longest common subsequence L:

    R = L / m      P = L / n      F1 = 2 P R / (P + R)

which is beta = 1, as the usual packages have it. Words are those of `words_of`; nothing is
stemmed. An empty output, or reference, scores 0.

distinct-n of all texts together: different n-grams / n-grams (Li et al., "A diversity-promoting
objective function for neural conversation models", 2016). It falls as texts get longer, so compare
like lengths.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from adwright.core.config import require_count
from adwright.metrics.text.words import ngrams, require_texts, words_of


def rouge_l(output: str, reference: str) -> float:
    """ROUGE-L F1 of one output, 0 to 1; the same with the two exchanged."""
    mine, theirs = words_of(output), words_of(reference)
    if not mine or not theirs:
        return 0.0
    # 2PR / (P + R) with P = L / n and R = L / m is 2L / (m + n).
    return 2 * common_subsequence(mine, theirs) / (len(mine) + len(theirs))


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bit-parallel (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004): one addition of
    whole numbers of len(one) bits for each word of `other`, O(mn / 64) in all.
    """
    places: defaultdict[str, int] = defaultdict(int)
    for at, word in enumerate(one):
        places[word] |= 1 << at
    every = (1 << len(one)) - 1
    # A bit is 0 where a common subsequence grows at that word of `one`.
    open_bits = every
    for word in other:
        here = open_bits & places.get(word, 0)
        open_bits = ((open_bits + here) | (open_bits - here)) & every
    return len(one) - open_bits.bit_count()


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Different n-grams / n-grams of all texts together, 0 to 1; NaN without any n-gram.

    Raises DataError that names the row which is no text, ConfigError for an n below 1.
    """
    require_texts(texts, "texts")
    require_count("n", n)
    grams = [ngrams(words_of(text), n) for text in texts]
    together = sum(map(len, grams))
    return len(set().union(*grams)) / together if together else float("nan")


#: Endings of English plurals, and what stands in their place: berries, dresses, shirts.
_PLURALS = (
    (re.compile(r"(?<=..)ies$"), "y"),
    (re.compile(r"(?<=s|x|z)es$|(?<=ch|sh)es$"), ""),
    (re.compile(r"(?<=[^su\W])s$"), ""),
)


def singular(word: str) -> str:
    """An English word without the ending of its plural; others as they are.

    By endings alone, so it may cut a word that is no plural; that harms nothing where both sides
    of a comparison pass through it.
    """
    for ending, instead in _PLURALS:
        shorter, times = ending.subn(instead, word)
        if times:
            return shorter
    return word
