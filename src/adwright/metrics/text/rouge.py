"""ROUGE-L: how much of a reference stands in an output, in the same order.

    rouge_l_per_text(["a red cotton shirt"], ["red shirt"])   # [0.666...]

Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, section 3. With the words X of
the reference (m of them), Y of the output (n) and their longest common subsequence L:

    R = L / m      P = L / n      F1 = 2 P R / (P + R)

which is beta = 1, as the usual packages have it. Words are those of `words_of`; nothing is
stemmed. An empty output, or reference, scores 0.

How much texts repeat themselves, and one another.

    distinct_n_per_text(texts, 2)      # within each text
    distinct_n(texts, 2)               # over all of them
    self_overlap_per_text(texts, 2)    # each with the others

distinct-n: different n-grams / n-grams (Li et al., "A diversity-promoting objective function for
neural conversation models", 2016). It falls as texts get longer, so compare like lengths.

Does a rewritten title hold what the customer searched for?

    query_coverage_per_text(["Red cotton shirt for men"], ["mens red shirts"])   # [1.0]

Coverage = different words of the query that the output holds / different words of the query. A
plural holds its singular and the other way round. Function words ("for", "the") do not count
unless the query has no others.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adwright.core.config import require_count
from adwright.metrics.text.words import ngrams, require_pairs, require_texts, words_of

__all__ = [
    "common_subsequence",
    "distinct_n",
    "distinct_n_per_text",
    "query_coverage",
    "query_coverage_per_text",
    "rouge_l",
    "rouge_l_per_text",
    "self_overlap_per_text",
    "singular",
]


def rouge_l_per_text(outputs: Sequence[str], references: Sequence[str]) -> npt.NDArray[np.float64]:
    """ROUGE-L F1 of each output with the reference of its row: [N], 0 to 1.

    Raises DataError that names the row which is no text, or where there are not as many of both.
    """
    require_pairs(outputs, references)
    scores = [rouge_l(one, other) for one, other in zip(outputs, references, strict=True)]
    return np.array(scores, np.float64)


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


def distinct_n_per_text(texts: Sequence[str], n: int) -> npt.NDArray[np.float64]:
    """Different n-grams / n-grams of each text: [N], 0 to 1; NaN where it has no n-gram.

    Raises DataError that names the row which is no text, ConfigError for an n below 1.
    """
    return np.array([_share(len(set(grams)), len(grams)) for grams in _grams(texts, n)], np.float64)


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Different n-grams / n-grams of all texts together, 0 to 1; NaN without any n-gram.

    Raises as `distinct_n_per_text`.
    """
    grams = _grams(texts, n)
    return _share(len(set().union(*grams)), sum(map(len, grams)))


def self_overlap_per_text(texts: Sequence[str], n: int) -> npt.NDArray[np.float64]:
    """Share of the n-grams of each text that stand in another text too: [N], 0 to 1.

    It does not depend on the order of texts; NaN where a text has no n-gram. Two equal texts have
    1, texts that share no n-gram have 0. The mean over texts says how alike a set of variants is.
    Cost: one pass over all n-grams. Raises as `distinct_n_per_text`.
    """
    grams = _grams(texts, n)
    holders = Counter(gram for one in grams for gram in set(one))
    shared = [sum(holders[gram] > 1 for gram in one) for one in grams]
    return np.array(
        [_share(count, len(one)) for count, one in zip(shared, grams, strict=True)], np.float64
    )


def _grams(texts: Sequence[str], n: int) -> list[list[tuple[str, ...]]]:
    require_texts(texts, "texts")
    require_count("n", n)
    return [ngrams(words_of(text), n) for text in texts]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


_FUNCTION_WORDS = {
    *("a", "an", "and", "at", "by", "for", "from", "in", "into", "of", "on", "or"),
    *("per", "the", "to", "up", "with", "without", "your"),
}
#: Endings of English plurals, and what stands in their place: berries, dresses, shirts.
_PLURALS = (
    (re.compile(r"(?<=..)ies$"), "y"),
    (re.compile(r"(?<=s|x|z)es$|(?<=ch|sh)es$"), ""),
    (re.compile(r"(?<=[^su\W])s$"), ""),
)


def query_coverage_per_text(
    outputs: Sequence[str], queries: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Coverage of the query of each row: [N], 0 to 1; NaN where a query has no word.

    Raises DataError that names the row which is no text, or where there are not as many of both.
    """
    require_pairs(outputs, queries)
    found = [query_coverage(one, query) for one, query in zip(outputs, queries, strict=True)]
    return np.array(found, np.float64)


def query_coverage(output: str, query: str) -> float:
    """Coverage of one query, 0 to 1; NaN where it has no word."""
    asked = set(words_of(query))
    wanted = {singular(word) for word in asked - _FUNCTION_WORDS or asked}
    if not wanted:
        return float("nan")
    return len(wanted & {singular(word) for word in words_of(output)}) / len(wanted)


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
