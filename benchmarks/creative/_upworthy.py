"""The Upworthy Research Archive as outcomes, and what a split of its stories must hold to."""

from __future__ import annotations

import numpy as np

from adwright.core.errors import ValueInvalidError
from adwright.creative.records.ads_table import AdColumns
from adwright.creative.response.outcomes import OutcomeColumns, Whole

#: Of the Upworthy Research Archive (Matias et al., Scientific Data 2021).
UPWORTHY = OutcomeColumns(
    ads=AdColumns(
        id="index",
        title="headline",
        words=("lede", "excerpt"),
        brand="",
        seconds="",
        image="",
        video="",
        text="",
    ),
    test="clickability_test_id",
    image_id="eyecatcher_id",
)


def check_split(train: Whole, held_out: Whole, stories: Whole) -> None:
    """Raise ValueInvalidError where a story has rows on both sides; it names the first one.

    train, held_out: rows. stories: int64 [N] of all rows.
    """
    shared = np.isin(stories[held_out], stories[train])
    if shared.any():
        row = int(held_out[np.argmax(shared)])
        number = len(np.unique(stories[held_out][shared]))
        raise ValueInvalidError(
            f"{number:,} stories stand on both sides of the split, the first is named: what was "
            "learnt of a story answers for it",
            row=row,
            column="stories",
            value=int(stories[row]),
            hint="split by story: story_folds",
        )
