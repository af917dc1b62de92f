"""Rows of the writer's training."""

from __future__ import annotations

from collections.abc import Sequence

from adwright.creative.memory.language import answer_of as digits_of
from adwright.creative.memory.language import recall_prompt
from adwright.creative.seed.texts import KnownAd
from adwright.creative.seed.writer import WriterRow
from adwright.lm.engine.generation import Message


def recall_rows(ads: Sequence[KnownAd]) -> tuple[WriterRow, ...]:
    """The other task of the paper on labelled ads: two digits of recall from the ad, in the words
    of `ad_tasks`. Raises ValueInvalidError for a score outside 0 to 1."""
    return tuple(
        WriterRow(
            (Message("user", recall_prompt(ad.judged)),),
            digits_of(ad.score),
            ad.brief.held_by,
            "recall",
        )
        for ad in ads
        if ad.score is not None
    )
