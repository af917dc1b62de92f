"""How much texts repeat themselves, and one another.

    distinct_n_per_text(texts, 2)      # within each text
    distinct_n(texts, 2)               # over all of them
    self_overlap_per_text(texts, 2)    # each with the others

distinct-n: different n-grams / n-grams (Li et al., "A diversity-promoting objective function for
neural conversation models", 2016). It falls as texts get longer, so compare like lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adwright.core.config import require_count
from adwright.metrics.text.words import ngrams, require_texts, words_of

__all__ = ["distinct_n", "distinct_n_per_text", "self_overlap_per_text"]


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
