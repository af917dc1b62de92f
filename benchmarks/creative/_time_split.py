"""Tests of Upworthy split by week."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adwright.core.errors import DataError
from adwright.creative.response.outcomes import Whole


@dataclass(frozen=True, eq=False)
class TimeSplit:
    """Rows to train on and to test on, int64 ascending; left_out counts later rows of stories that
    had begun before."""

    train: Whole
    held_out: Whole
    left_out: int


def split_by_week(weeks: Whole, week: int, stories: Whole) -> TimeSplit:
    """Train on what ran before `week`, test on stories that began in it or later.

    weeks, stories: of each creative. Raises DataError where one side is empty.
    """
    before = weeks < week
    began = np.isin(stories, stories[before])
    held_out = np.flatnonzero(~before & ~began)
    if not before.any() or not len(held_out):
        hint = f"weeks are {weeks.min()} to {weeks.max()}"
        raise DataError("one side of the split is empty", value=week, hint=hint)
    return TimeSplit(np.flatnonzero(before), held_out, int((~before & began).sum()))
