"""A delivery record becomes outcomes: days are summed, nothing is taken for a test unasked."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.records.creative import Creative, creatives_table
from adwright.creative.records.delivery import DeliveryRecord
from adwright.creative.response.protocol.delivered import delivered_outcomes

ADS = (
    Creative(headline="Bread", body="Baked at six.", brand="Mill", creative_id="a"),
    Creative(headline="Tea", description="Black", call_to_action="Try it", creative_id="b"),
)
DAYS = pl.DataFrame(
    [
        ("a", "x1", "k1", date(2014, 12, 30), 100, 3),
        ("a", "x1", "k1", date(2015, 1, 6), 50, 1),
        ("b", "x2", "k1", date(2015, 1, 6), 80, 2),
        ("b", "x3", "k2", date(2015, 1, 7), 20, 2),
        ("c", "x4", "k2", date(2015, 1, 7), 0, 0),
        ("d", "x5", "k2", date(2015, 1, 7), 10, None),
    ],
    schema=("creative_id", "ad_id", "campaign_id", "day", "impressions", "clicks"),
    orient="row",
).with_columns(period_days=1)
RECORD = DeliveryRecord.checked(DAYS, creatives=creatives_table(ADS))


def test_days_are_summed_and_what_is_left_out_is_said() -> None:
    found = delivered_outcomes(RECORD)
    assert found.ids == ("a", "b")
    assert found.impressions.tolist() == [150, 100]
    assert found.clicks.tolist() == [4, 4]
    assert found.tests.tolist() == [-1, -1]
    assert found.weeks is not None
    assert found.weeks.tolist() == [201501, 201502]
    assert found.records[0].brand == "Mill"
    assert found.records[1].words == "Black\nTry it"
    assert found.notes == (
        "1 rows without a count of clicks are left out",
        "2 creatives that were never shown, or not counted, are left out",
        "no column of tests is named: rates are compared across audiences and days",
    )


def test_a_test_is_what_is_named() -> None:
    found = delivered_outcomes(RECORD, test="campaign_id")
    assert found.ids == ("a", "b in k1", "b in k2")
    assert found.tests.tolist() == [0, 0, -1]
    assert "1 creatives are alone in their campaign_id and are in no test" in found.notes
    with pytest.raises(ConfigError, match="'day' cannot be a test"):
        delivered_outcomes(RECORD, test="day")


def test_nothing_counted_is_no_outcome() -> None:
    silent = DeliveryRecord.checked(DAYS.filter(pl.col("creative_id").is_in(["c", "d"])))
    with pytest.raises(DataError, match="no creative of the record has impressions"):
        delivered_outcomes(silent)
