"""Which written ads may be used, and what the own judge says of those.

found = scored(written, own, filters)
found.reasons[row][at]        # "" where the ad may be used
found.scores[row][at]         # None where nobody asked
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.creative.judging import AdJudge
from adwright.creative.memory.seed.sampling import WrittenAds
from adwright.creative.memory.seed.texts.ad_text import record_of
from adwright.creative.memory.seed.texts.filters import AdFilters
from adwright.creative.records.ad_record import AdRecord

__all__ = ["ScoredAds", "judged", "scored"]

_CHUNK = 256


@dataclass(frozen=True)
class ScoredAds:
    """reasons, scores: of each text of each brief. A text that the own judge calls unlike all it
    knows has a score, and where the filters ask for it that reason too."""

    reasons: list[list[str]]
    scores: list[list[float | None]]

    @property
    def usable(self) -> list[tuple[int, int]]:
        """Brief and place of each text that may be used."""
        return [
            (row, place)
            for row, why in enumerate(self.reasons)
            for place, reason in enumerate(why)
            if not reason
        ]


def scored(written: Sequence[WrittenAds], own: AdJudge, filters: AdFilters) -> ScoredAds:
    """Ask the own judge of all that passes the filters."""
    reasons: list[list[str]] = [
        list(filters.reasons(ads.texts, ads.brief, cut=ads.cut)) for ads in written
    ]
    found = ScoredAds(reasons, [[None] * len(why) for why in reasons])
    places = found.usable
    records = [record_of(written[row].texts[place], written[row].brief) for row, place in places]
    values, unlike = judged(own, records)
    for (row, place), value, strange in zip(places, values.tolist(), unlike.tolist(), strict=True):
        found.scores[row][place] = value
        if strange and filters.config.unlike:
            reasons[row][place] = "unlike"
    return found


def judged(
    judge: AdJudge, ads: Sequence[AdRecord]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values and what is unlike, [N] each, asked for some at a time."""
    values, unlike = [np.empty(0)], [np.empty(0, np.bool_)]
    for start in range(0, len(ads), _CHUNK):
        found = judge.judge(ads[start : start + _CHUNK])
        values.append(found.value.astype(np.float64))
        unlike.append(found.unlike)
    return np.concatenate(values), np.concatenate(unlike)
