"""What a log must hold to become a ranking task; each lack is said with what there is instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from adwright.core.errors import ValueInvalidError

#: Columns of a log that are context as well.
_COLUMNS = ("creative_id", "campaign_id")
_SPLITS = {"train": "training", "valid": "validation", "test": "test"}


def check_kinds(events: pl.LazyFrame, responses: Sequence[str]) -> None:
    """Raise ValueInvalidError where a log has no impressions, or no event of the `responses`."""
    counted = events.group_by("kind").len().collect(engine="streaming")
    there = {kind: number for kind, number in counted.sort("kind").iter_rows() if number}
    has = ", ".join(f"{kind} {number:,}" for kind, number in there.items()) or "no events"
    if "impression" not in there:
        raise ValueInvalidError(
            f"the log has no impressions; it has {has}",
            column="kind",
            value="impression",
            hint="a ranking task needs what was shown, not only what was taken. What such a log "
            "allows: adwright train cascade LOG, item-item LOG, hstu --events LOG or sasrec "
            "--events LOG, or a ranking task with drawn negatives",
        )
    if not any(kind in there for kind in responses):
        taken = ", ".join(f'"{kind}"' for kind in there if kind != "impression")
        raise ValueInvalidError(
            f"no event is a response; the log has {has}",
            column="kind",
            value=", ".join(responses),
            hint=f"name what is, responses = [{taken}] in the file of --task-config"
            if taken
            else "add the clicks or purchases to the log: without them there is nothing to learn",
        )


def check_context(impressions: pl.LazyFrame, keys: Sequence[str]) -> None:
    """Raise ValueInvalidError for a key of the context that no impression has."""
    if not keys:
        return
    counts = [context_value(key).is_not_null().any().alias(key) for key in keys]
    found = impressions.select(counts).collect(engine="streaming").row(0, named=True)
    for key, there in found.items():
        if not there:
            raise ValueInvalidError(
                "no impression has this key in its context",
                column="context",
                value=key,
                hint="correct its name, or leave it out of context and numbers; an import puts a "
                "column into the context with --context",
            )


def check_splits(
    counts: Mapping[tuple[str, int], int],
    valid_from: datetime,
    test_from: datetime,
    span: tuple[datetime, datetime],
) -> None:
    """Raise ValueInvalidError for a split without rows, positives or negatives.

    counts: (split, label) -> rows. span: times of the first and of the last impression.
    """
    begins = f"validation begins {valid_from.isoformat()}, test {test_from.isoformat()}"
    lie = f"the impressions lie between {span[0].isoformat()} and {span[1].isoformat()}"
    for split, name in _SPLITS.items():
        there = [label for label in (0, 1) if counts.get((split, label))]
        if there == [0, 1]:
            continue
        lacks = "rows" if not there else "positives" if there == [0] else "negatives"
        raise ValueInvalidError(
            f"the task has no {name} {lacks}: {begins}, {lie}",
            column="split",
            value=split,
            hint="move the dates of the split, or give it more of the log by shares",
        )


def context_value(key: str) -> pl.Expr:
    """The value of a key in the context of events, as text: a column of the log's own by its name,
    else of the JSON object; null where it is absent or null."""
    if key in _COLUMNS:
        return pl.col(key)
    return pl.col("context").str.json_path_match(f"$['{key}']").alias(key)
