"""What both judges say of the ads for some briefs, beside the originals of these briefs.

    found = measure(written, originals, own, second, filters, at=2)
    found.own.value, found.second.low       # relative gain by each judge, interval over briefs

The gain is sum_b g_b / sum_b o_b - 1 over the briefs b that have a usable ad: o_b is the score of
the original ad, g_b the mean score of the usable ones. Briefs without one are told apart
(`answered`): counted as their originals, they would reward a writer that writes nothing of use.
The own judge is the reward that the rounds chase, so its gain alone proves nothing: the second
judge, of another kind, sees neither what is tuned on nor what is kept. Where the first gain rises
and the second does not, and the two agree less and less on the ads, the writer has found what the
own judge is wrong about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import DataError
from adwright.creative.judging import AdJudge
from adwright.creative.memory.seed.pool import KnownAd
from adwright.creative.memory.seed.sampling import WrittenAds
from adwright.creative.memory.seed.scoring import judged, scored
from adwright.creative.memory.seed.texts.ad_text import record_of, said_in
from adwright.creative.memory.seed.texts.filters import AdFilters
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.rank_correlation import spearman
from adwright.metrics.text.rouge import distinct_n
from adwright.metrics.text.words import words_of

__all__ = ["Measured", "TextMeasures", "compared", "measure"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TextMeasures:
    """What the texts of a writer are like, apart from any judge.

    usable: share that may be used; reasons: why others may not. distinct1, distinct2: of all texts
    that say something. copied: mean share of words that stand in what the writer read. grounded:
    share that claims only what the brief tells; delivered: the same of the usable ones. words: mean
    of a text.
    """

    usable: float
    reasons: Mapping[str, int]
    distinct1: float
    distinct2: float
    copied: float
    grounded: float
    delivered: float
    words: float


@dataclass(frozen=True)
class Measured:
    """Of one round's writer on B briefs.

    at: the round. briefs: ids [B]. own, second: relative gain over the originals; None where no
    brief has a usable ad, or the originals score 0 or less together. counts: usable ads of each
    brief [B]. own_values, second_values: their mean scores [B], 0 without any; original_own,
    original_second: of the original ads. agreement: rank correlation of the two judges over usable
    texts; None for fewer than three, or equal scores.
    """

    at: int
    briefs: tuple[str, ...]
    own: Interval | None
    second: Interval | None
    counts: tuple[int, ...]
    own_values: tuple[float, ...]
    second_values: tuple[float, ...]
    original_own: tuple[float, ...]
    original_second: tuple[float, ...]
    agreement: float | None
    texts: TextMeasures

    @property
    def answered(self) -> float:
        """Share of the briefs that have a usable ad."""
        return sum(count > 0 for count in self.counts) / len(self.counts)

    @property
    def goal(self) -> float:
        """The second judge's gain, what tells when to stop; where the originals score 0 or less,
        its mean difference; -1, the loss of everything, where no brief has a usable ad."""
        if self.second is not None:
            return self.second.value
        rows = [row for row, count in enumerate(self.counts) if count]
        lifts = [self.second_values[row] - self.original_second[row] for row in rows]
        return float(np.mean(lifts)) if lifts else -1.0


def measure(
    written: Sequence[WrittenAds],
    originals: Sequence[KnownAd],
    own: AdJudge,
    second: AdJudge,
    filters: AdFilters,
    *,
    at: int,
    draws: int = 1000,
    seed: int = 0,
) -> Measured:
    """Both judges on B briefs: `written` for each, and its original. at: the writer's round.

    Raises DataError where the briefs differ, or there are none.
    """
    if not written or [ads.brief.id for ads in written] != [ad.brief.id for ad in originals]:
        raise DataError(
            "the ads that were written and the originals are of other briefs",
            hint="raise the share of briefs that is watched or held out",
        )
    found = scored(written, own, filters)
    places = found.usable
    rows = np.array([row for row, _ in places], np.int64)
    by_own = np.array([found.scores[row][place] for row, place in places], np.float64)
    usable = [record_of(written[row].texts[place], written[row].brief) for row, place in places]
    by_second, _ = judged(second, usable)
    first = [ad.judged for ad in originals]
    own_first, second_first = judged(own, first)[0], judged(second, first)[0]
    counts = np.bincount(rows, minlength=len(written))
    own_values, second_values = (_by_brief(rows, one, counts) for one in (by_own, by_second))
    return Measured(
        at,
        tuple(ads.brief.id for ads in written),
        _gain(own_values, own_first, counts, draws, seed),
        _gain(second_values, second_first, counts, draws, seed),
        tuple(counts.tolist()),
        tuple(own_values.tolist()),
        tuple(second_values.tolist()),
        tuple(own_first.tolist()),
        tuple(second_first.tolist()),
        _agreement(by_own, by_second),
        _texts(written, found.reasons, filters),
    )


def compared(
    after: Measured, before: Measured, *, draws: int = 1000, seed: int = 0
) -> Interval | None:
    """Gain by the second judge of one writer less that of another, on the briefs that have a usable
    ad of both, paired; None as in `Measured`."""
    if after.briefs != before.briefs:
        raise DataError("two writers are compared on the same briefs")
    both = np.minimum(after.counts, before.counts) > 0
    originals = np.where(both, before.original_second, 0.0)
    if originals.sum() <= 0:
        return None
    return bootstrap_difference(
        np.where(both, after.second_values, 0.0),
        np.where(both, before.second_values, 0.0),
        originals,
        np.random.default_rng(seed),
        draws,
    )


def _agreement(one: Floats, other: Floats) -> float | None:
    """Rank correlation; None for fewer than three, and where one of them is constant."""
    found = spearman(one, other) if len(one) > 2 else float("nan")
    return None if np.isnan(found) else found


def _by_brief(rows: NDArray[np.int64], values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Mean of the usable ads of each brief [B], 0 where there is none."""
    sums = np.bincount(rows, values, minlength=len(counts)).astype(np.float64)
    means: Floats = sums / np.maximum(counts, 1)
    return means


def _gain(
    values: Floats, originals: Floats, counts: NDArray[np.int64], draws: int, seed: int
) -> Interval | None:
    first = np.where(counts > 0, originals, 0.0)
    if first.sum() <= 0:
        return None
    found = bootstrap_ratio(values, first, np.random.default_rng(seed), draws)
    return Interval(found.value - 1, found.low - 1, found.high - 1)


def _texts(
    written: Sequence[WrittenAds], reasons: Sequence[Sequence[str]], filters: AdFilters
) -> TextMeasures:
    every = [
        (said_in(record_of(text, ads.brief), ads.brief.kind), text, ads.brief, reason)
        for ads, why in zip(written, reasons, strict=True)
        for text, reason in zip(ads.texts, why, strict=True)
    ]
    said = [one for one in every if words_of(one[0])]
    grounded = [float(filters.grounded(text, brief)) for _, text, brief, _ in said]
    kept = [good for good, one in zip(grounded, said, strict=True) if not one[3]]
    answers = [one[0] for one in said]
    return TextMeasures(
        usable=sum(not one[3] for one in every) / max(len(every), 1),
        reasons=dict(Counter(one[3] for one in every if one[3])),
        distinct1=_or_zero(distinct_n(answers, 1)),
        distinct2=_or_zero(distinct_n(answers, 2)),
        copied=_mean([filters.index.share(one) for one in answers]),
        grounded=_mean(grounded),
        delivered=_mean(kept or [1.0]),
        words=_mean([float(len(words_of(answer))) for answer in answers]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _or_zero(share: float) -> float:
    return 0.0 if np.isnan(share) else share
