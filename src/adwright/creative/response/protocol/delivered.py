"""Outcomes of a delivery record: the days of each creative together, as `read_outcomes` has them.

    outcomes = delivered_outcomes(open_delivery("record"))
    delivered_outcomes(record, test="campaign_id")      # each campaign was an A/B test

A platform shows the ads of a group to whom it likes, so its groups are no tests: none is assumed.
Where somebody split an audience at random and gave each split test a campaign or an ad group of its
own, `test` names that column.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import polars as pl

from adwright.core.errors import ConfigError, DataError
from adwright.creative.records.delivery import DeliveryRecord
from adwright.creative.records.verbal.record import AdRecord
from adwright.creative.response.protocol.outcomes import CreativeOutcomes, number_tests

__all__ = ["TestColumn", "delivered_outcomes"]

#: What of a delivery record may be a randomised test.
TestColumn = Literal["", "campaign_id", "ad_group_id"]

_WORDS = ("description", "body", "call_to_action")
_OF = "__of"


def delivered_outcomes(record: DeliveryRecord, *, test: TestColumn = "") -> CreativeOutcomes:
    """A creative a row, of a test named by `test` once for each of its tests.

    Title is the headline; words are description, body and call to action; the image is known by
    its hash; the week is that of its first day, as ISO year and week. Rows without a count of
    clicks, and creatives that were never shown, are left out and counted in the notes.
    Raises ConfigError for another column, DataError where nothing is left.
    """
    if test not in get_args(TestColumn):
        raise ConfigError(
            f"{test!r} cannot be a test",
            where="test",
            hint="name campaign_id or ad_group_id, or nothing where no audience was split",
        )
    group = pl.col(test) if test else pl.lit(None, pl.String)
    days = record.days.with_columns(group.alias(_OF))
    counted = days.filter(pl.col("clicks").is_not_null())
    sums = (
        counted.group_by("creative_id", _OF)
        .agg(pl.col("impressions").sum(), pl.col("clicks").sum(), pl.col("day").min())
        .filter(pl.col("impressions") > 0)
        .sort("creative_id", _OF, nulls_last=False)
    )
    if not sums.height:
        raise DataError(
            "no creative of the record has impressions and a count of clicks",
            hint="export both columns",
        )
    known = record.creatives.unique("creative_id", maintain_order=True)
    ads = sums.join(known, on="creative_id", how="left", maintain_order="left")
    several = sums["creative_id"].is_duplicated().to_list()
    week = sums["day"].dt.iso_year().cast(pl.Int64) * 100 + sums["day"].dt.week().cast(pl.Int64)
    groups = sums[_OF].to_list()
    tests = number_tests(groups)
    return CreativeOutcomes(
        records=tuple(_record(row) for row in ads.to_dicts()),
        ids=tuple(
            f"{name} in {of}" if twice else name
            for name, of, twice in zip(sums["creative_id"], groups, several, strict=True)
        ),
        impressions=sums["impressions"].cast(pl.Int64).to_numpy(),
        clicks=sums["clicks"].cast(pl.Int64).to_numpy(),
        tests=tests,
        weeks=np.asarray(week.to_numpy(), np.int64),
        images=tuple(one or "" for one in ads["image_hash"]),
        notes=_notes(record.days, counted, sums, test, int((tests < 0).sum())),
    )


def _record(row: dict[str, str | None]) -> AdRecord:
    words = "\n".join(text for slot in _WORDS if (text := row[slot]))
    return AdRecord(title=row["headline"] or "", words=words, brand=row["brand"] or "")


def _notes(
    days: pl.DataFrame, counted: pl.DataFrame, sums: pl.DataFrame, test: str, alone: int
) -> tuple[str, ...]:
    notes = []
    if counted.height < days.height:
        notes.append(
            f"{days.height - counted.height:,} rows without a count of clicks are left out"
        )
    left = days["creative_id"].n_unique() - sums["creative_id"].n_unique()
    if left:
        notes.append(f"{left:,} creatives that were never shown, or not counted, are left out")
    if not test:
        notes.append("no column of tests is named: rates are compared across audiences and days")
    elif alone:
        notes.append(f"{alone:,} creatives are alone in their {test} and are in no test")
    return tuple(notes)
