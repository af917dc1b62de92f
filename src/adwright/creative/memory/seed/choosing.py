"""What is tuned on, and when to stop: the best of the pool, the best of what was written.

    chosen = best_of(ads, scores, share=0.25)
    kept = kept_of(written, reasons, scores, share=0.5)
    should_stop([1.0, 1.1, 1.08, 1.09], patience=2)        # True: nothing since the second

A brand explains much of how well its ads are remembered, and a writer that is fed the ads of loved
brands learns nothing about writing. So an ad that was written is compared with the others for its
own brief alone: its lift is its score less their mean. Of each brief the best ad may be kept, of
all briefs those with the largest lift. The ads of a collection are compared within it.

Many of the kept ads could still be one ad with another name in it: one whose runs of three words
are mostly in those that were kept before it is passed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adwright.creative.memory.seed.pool import KnownAd
from adwright.creative.memory.seed.sampling import WrittenAds
from adwright.creative.memory.seed.texts.ad_text import answer_of, record_of
from adwright.creative.memory.seed.texts.brief import AdBrief
from adwright.metrics.text.words import ngrams, words_of

__all__ = ["KeptAd", "best_of", "best_round", "kept_of", "should_stop"]

_RUN = 3


@dataclass(frozen=True)
class KeptAd:
    """An ad that was written and is tuned on. lift: see the module."""

    brief: AdBrief
    answer: str
    score: float
    lift: float


def best_of(
    ads: Sequence[KnownAd], scores: Sequence[float], *, share: float, most: int = 0
) -> tuple[KnownAd, ...]:
    """The best ads of each collection, in the order given. share: of each. most: of all together,
    the same share of each; 0 for all of these."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, ad in enumerate(ads):
        rows[ad.source].append(row)
    if most and ads:
        share = min(share, most / len(ads))
    chosen: list[int] = []
    for mine in rows.values():
        best = sorted(mine, key=lambda row: -scores[row])
        chosen += best[: round(share * len(mine))]
    return tuple(ads[row] for row in sorted(chosen))


def kept_of(
    written: Sequence[WrittenAds],
    reasons: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float | None]],
    *,
    share: float,
    alike: float = 0.5,
) -> tuple[KeptAd, ...]:
    """What is tuned on, the largest lift first.

    reasons, scores: of each text of each brief; a text with a reason is out. share: of the briefs,
    those with the largest lift. alike: most share of the runs of three words of an ad that stand
    in those kept before it. A brief with one usable ad has no lift to tell, and keeps none.
    """
    best: list[KeptAd] = []
    for ads, why, values in zip(written, reasons, scores, strict=True):
        usable = [
            (value, at)
            for at, (reason, value) in enumerate(zip(why, values, strict=True))
            if not reason and value is not None
        ]
        if len(usable) < 2:
            continue
        mean = float(np.mean([value for value, _ in usable]))
        top, at = max(usable, key=lambda one: (one[0], -one[1]))
        answer = answer_of(record_of(ads.texts[at], ads.brief), ads.brief.kind)
        best.append(KeptAd(ads.brief, answer, top, top - mean))
    best.sort(key=lambda one: -one.lift)
    return _apart(best[: round(share * len(written))], alike)


def _apart(kept: Sequence[KeptAd], alike: float) -> tuple[KeptAd, ...]:
    """Those that are not mostly made of runs of the ones before."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for one in kept:
        words = words_of(one.answer)
        runs = ngrams(words, min(_RUN, len(words)))
        if sum(run in seen for run in runs) <= alike * len(runs):
            seen.update(runs)
            found.append(one)
    return tuple(found)


def best_round(values: Sequence[float]) -> int:
    """The round of the highest value, the earliest of several."""
    return max(range(len(values)), key=lambda at: (values[at], -at))


def should_stop(values: Sequence[float], *, patience: int, gain: float = 0.0) -> bool:
    """Whether the last `patience` rounds brought nothing.

    values: the second judge's view of each round from 0 on. gain: relative, beyond the best value
    of the rounds before.
    """
    if len(values) <= patience:
        return False
    before = max(values[: len(values) - patience])
    return max(values[-patience:]) <= before + gain * abs(before)
