"""Tests of Upworthy split by week."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adwright.core.errors import DataError
from adwright.creative.response.outcomes import CreativeOutcomes, Whole
from adwright.metrics.arrays import check_same_length


@dataclass(frozen=True, eq=False)
class TimeSplit:
    """Rows to train on and to test on, int64 ascending; left_out counts later rows of stories that
    had begun before."""

    train: Whole
    held_out: Whole
    left_out: int


def split_by_week(outcomes: CreativeOutcomes, week: int, stories: Whole) -> TimeSplit:
    """Train on what ran before `week`, test on stories that began in it or later.

    Raises DataError where there are no weeks, or one side is empty.
    """
    if outcomes.weeks is None:
        raise DataError(
            "these creatives have no weeks to split by",
            hint="name their column: OutcomeColumns(week=...)",
        )
    check_same_length(len(outcomes), {"stories": stories})
    before = outcomes.weeks < week
    began = np.isin(stories, stories[before])
    held_out = np.flatnonzero(~before & ~began)
    if not before.any() or not len(held_out):
        weeks = f"{outcomes.weeks.min()} to {outcomes.weeks.max()}"
        raise DataError("one side of the split is empty", value=week, hint=f"weeks are {weeks}")
    return TimeSplit(np.flatnonzero(before), held_out, int((~before & began).sum()))
