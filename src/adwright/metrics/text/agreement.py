"""Do people who judge the same texts agree? Krippendorff's alpha.

    alpha = 1 - observed disagreement / disagreement expected by chance

1 is agreement in everything, 0 what chance would bring, below 0 people who differ on purpose.
Any number of raters, any of whom may have left units out; units that fewer than two judged count
for nothing. With m_u values of unit u, the coincidences of values c and k are

    o_ck = sum over u of (ordered pairs of values c, k of two raters in u) / (m_u - 1)
    n_c = sum over k of o_ck,   n = sum of n_c
    alpha = 1 - (n - 1) sum o_ck d_ck / sum n_c n_k d_ck

d is 0 or 1 for nominal values, (c - k)^2 for those of an interval scale, and for ranks
(n_c / 2 + sum of n_g for g strictly between + n_k / 2)^2.
Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011.

Letters: U units, R raters, V distinct values, D draws.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.core.config import choices_of, require_count, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.metrics.bootstrap import Interval, bootstrap_sums

#: What a difference of two values means: nothing but that they differ, their order, their distance.
Scale = Literal["nominal", "ordinal", "interval"]
Floats = npt.NDArray[np.float64]

_MOST_VALUES = 64


@settings
class Agreement:
    """alpha: with its interval over units; None where all that was judged got one value, which
    tells nothing of agreement. units: judged by two raters or more. values: given in these."""

    alpha: Interval | None
    scale: Scale
    units: int
    values: int

    def text(self) -> str:
        """`0.743 (0.5 to 0.9)`, or why there is none."""
        return "all values are the same" if self.alpha is None else self.alpha.text(".3f")


def krippendorff_alpha(
    ratings: npt.ArrayLike,
    *,
    scale: Scale,
    rng: np.random.Generator,
    draws: int = 1000,
    confidence: float = 0.95,
) -> Agreement:
    """Alpha of ratings [R, U], NaN where a rater left a unit out.

    Nominal values are numbers, too, as codes; at most 64 distinct ones. The interval is that of
    resampled units (our choice: it asks what other things to judge would have shown; Krippendorff
    resamples pairs of values). Draws in which all values are one are left out of it.

    Raises DataError where no unit has two ratings; ConfigError for another scale;
    ValueInvalidError for infinite or too many values.
    """
    if scale not in choices_of(Scale):
        raise ConfigError(
            f"scale cannot be {scale!r}", where="scale", hint=f"use one of {choices_of(Scale)}"
        )
    table = np.asarray(ratings, np.float64)
    if table.ndim != 2 or np.isinf(table).any():
        raise ValueInvalidError(
            "ratings are a table of numbers, a row a rater and a column a unit",
            column="ratings",
            value=str(table.shape),
        )
    table = table[:, (~np.isnan(table)).sum(0) >= 2]
    if not table.shape[1]:
        raise DataError(
            "no unit was judged by two raters",
            column="ratings",
            hint="let at least two raters judge the same things",
        )
    levels = np.unique(table[~np.isnan(table)])
    if len(levels) > _MOST_VALUES:
        raise ValueInvalidError(
            f"there are more than {_MOST_VALUES} distinct values",
            column="ratings",
            value=len(levels),
            hint="round the ratings to the steps of the scale",
        )
    counts = (table[:, :, None] == levels).sum(0).astype(np.float64)  # [U, V]
    number = int(counts.sum())
    if len(levels) == 1:
        return Agreement(None, scale, table.shape[1], number)

    def alpha(totals: Floats) -> Floats:
        return _alpha(totals, levels, scale)

    found = bootstrap_sums(_coincidences(counts), alpha, rng, draws=draws, confidence=confidence)
    return Agreement(found, scale, table.shape[1], number)


def _coincidences(counts: Floats) -> Floats:
    """o of each unit, [U, V V], from how often it got each value [U, V]."""
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs -= counts[:, :, None] * np.eye(counts.shape[1])  # nobody is paired with himself
    pairs /= counts.sum(1)[:, None, None] - 1
    return pairs.reshape(len(counts), -1)


def _alpha(totals: Floats, levels: Floats, scale: Scale) -> Floats:
    """Alpha [D] of summed coincidences [D, V V]."""
    together = totals.reshape(len(totals), len(levels), len(levels))
    of_value = together.sum(2)
    number = of_value.sum(1)
    apart = _distances(of_value, levels, scale)
    observed = (together * apart).sum((1, 2))
    expected = (of_value[:, :, None] * of_value[:, None, :] * apart).sum((1, 2))
    found: Floats = 1 - (number - 1) * observed / expected
    return found


def _distances(of_value: Floats, levels: Floats, scale: Scale) -> Floats:
    """d [D or 1, V, V]; that of ranks depends on how often [D, V] each value was given."""
    if scale == "nominal":
        return 1 - np.eye(len(levels))[None]
    if scale == "interval":
        squares: Floats = (levels[:, None] - levels) ** 2
        return squares[None]
    middle = np.cumsum(of_value, 1) - of_value / 2
    ranks: Floats = (middle[:, :, None] - middle[:, None, :]) ** 2
    return ranks


# --------------------------------------------------------------------------------------------------
# Texts as words and n-grams, the one way for all measures of texts.
#
#     words_of("Grey T-shirt, 2.5 m")   # ["grey", "t", "shirt", "2", "5", "m"]
#
# A word is a run of letters, marks and digits in any script, in lower case. Scripts that put no
# space between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give a word for each character,
# which is our choice; a measure that counts words is then one that counts characters.

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


# --------------------------------------------------------------------------------------------------
# ROUGE-L: how much of a reference stands in an output, in the same order.
#
#     rouge_l("a red cotton shirt", "red shirt")   # 0.666...
#
# Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, section 3. With the words X
# of
# the reference (m of them), Y of the output (n) and their longest common subsequence L:
#
#     R = L / m      P = L / n      F1 = 2 P R / (P + R)
#
# which is beta = 1, as the usual packages have it. Words are those of `words_of`; nothing is
# stemmed. An empty output, or reference, scores 0.
#
# distinct-n of all texts together: different n-grams / n-grams (Li et al., "A diversity-promoting
# objective function for neural conversation models", 2016). It falls as texts get longer, so
# compare
# like lengths.


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
