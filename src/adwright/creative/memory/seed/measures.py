"""What both judges say of the ads for some briefs, beside the originals of these briefs.

    found = measure(written, originals, own, second, filters, at=2)
    found.own.value, found.second.low       # relative gain by each judge, interval over briefs

The gain is sum_b g_b / sum_b o_b - 1: o_b the score of the original ad of brief b, g_b the mean
score of its usable ads, and o_b again where none is usable, since the original is then what runs.
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
from adwright.creative.judging.judgement import AdJudge
from adwright.creative.memory.seed.pool import KnownAd
from adwright.creative.memory.seed.sampling import WrittenAds
from adwright.creative.memory.seed.scoring import judged, scored
from adwright.creative.memory.seed.texts.ad_text import record_of, said_in
from adwright.creative.memory.seed.texts.filters import AdFilters
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.rank_correlation import spearman
from adwright.metrics.text.distinct import distinct_n
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

    at: the round. briefs: ids [B]. own, second: relative gain over the originals, None where these
    score 0 or less together. own_values, second_values: of each brief [B]; original_own,
    original_second: of its original. answered: share of the briefs with a usable text. agreement:
    rank correlation of the two judges over usable texts; None for fewer than three, or equal
    scores.
    """

    at: int
    briefs: tuple[str, ...]
    own: Interval | None
    second: Interval | None
    own_values: tuple[float, ...]
    second_values: tuple[float, ...]
    original_own: tuple[float, ...]
    original_second: tuple[float, ...]
    answered: float
    agreement: float | None
    texts: TextMeasures

    @property
    def goal(self) -> float:
        """Mean score by the second judge: what tells when to stop."""
        return float(np.mean(self.second_values))


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
    first = [ad.record for ad in originals]
    own_first, second_first = judged(own, first)[0], judged(second, first)[0]
    own_values = _by_brief(rows, by_own, own_first)
    second_values = _by_brief(rows, by_second, second_first)
    return Measured(
        at,
        tuple(ads.brief.id for ads in written),
        _gain(own_values, own_first, draws, seed),
        _gain(second_values, second_first, draws, seed),
        tuple(own_values.tolist()),
        tuple(second_values.tolist()),
        tuple(own_first.tolist()),
        tuple(second_first.tolist()),
        len(set(rows.tolist())) / len(written),
        _agreement(by_own, by_second),
        _texts(written, found.reasons, filters),
    )


def compared(
    after: Measured, before: Measured, *, draws: int = 1000, seed: int = 0
) -> Interval | None:
    """Gain by the second judge of one writer less that of another, on the same briefs, paired;
    None as in `Measured`."""
    if after.briefs != before.briefs:
        raise DataError("two writers are compared on the same briefs")
    if sum(before.original_second) <= 0:
        return None
    return bootstrap_difference(
        after.second_values,
        before.second_values,
        before.original_second,
        np.random.default_rng(seed),
        draws,
    )


def _agreement(one: Floats, other: Floats) -> float | None:
    """Rank correlation; None for fewer than three, and where one of them is constant."""
    found = spearman(one, other) if len(one) > 2 else float("nan")
    return None if np.isnan(found) else found


def _by_brief(rows: NDArray[np.int64], values: Floats, originals: Floats) -> Floats:
    """Mean of the usable ads of each brief [B], the original's where there is none."""
    counts = np.bincount(rows, minlength=len(originals))
    sums = np.bincount(rows, values, minlength=len(originals))
    return np.where(counts > 0, sums / np.maximum(counts, 1), originals)


def _gain(values: Floats, originals: Floats, draws: int, seed: int) -> Interval | None:
    if originals.sum() <= 0:
        return None
    found = bootstrap_ratio(values, originals, np.random.default_rng(seed), draws)
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
