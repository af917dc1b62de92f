"""ROUGE-L: how much of a reference stands in an output, in the same order.

    rouge_l_per_text(["a red cotton shirt"], ["red shirt"])   # [0.666...]

Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, section 3. With the words X of
the reference (m of them), Y of the output (n) and their longest common subsequence L:

    R = L / m      P = L / n      F1 = 2 P R / (P + R)

which is beta = 1, as the usual packages have it. Words are those of `words_of`; nothing is
stemmed. An empty output, or reference, scores 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adwright.metrics.text.words import require_pairs, words_of

__all__ = ["common_subsequence", "rouge_l", "rouge_l_per_text"]


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
