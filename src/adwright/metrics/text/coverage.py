"""Does a rewritten title hold what the customer searched for?

    query_coverage_per_text(["Red cotton shirt for men"], ["mens red shirts"])   # [1.0]

Coverage = different words of the query that the output holds / different words of the query. A
plural holds its singular and the other way round. Function words ("for", "the") do not count
unless the query has no others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adwright.metrics.text.words import require_pairs, words_of

__all__ = ["query_coverage", "query_coverage_per_text", "singular"]

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
