"""How ads did, and which of them lose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from adwright.campaigns.ad_results import ad_results, losing_ads
from adwright.data.creatives import Creative
from adwright.data.schema import empty_events
from tests.support.store.events import event

START = datetime(2024, 5, 1, tzinfo=UTC)


def table(shown: Sequence[int], clicks: Sequence[int], state: str = "live") -> pl.DataFrame:
    rows = len(shown)
    return pl.DataFrame(
        {
            "creative_id": [f"c{n}" for n in range(rows)],
            "item_id": ["bread"] * rows,
            "campaign_id": [None] * rows,
            "state": [state] * rows,
            "impressions": shown,
            "clicks": clicks,
        },
        schema_overrides={"campaign_id": pl.String},
    )


def test_results_count_by_creative_within_the_time() -> None:
    ads = [Creative("Bread", creative_id="c1", item_id="bread"), Creative("Rye", creative_id="c2")]
    rows = [
        event(n, kind=kind, creative_id="c1", time=START + timedelta(days=day))
        for n, (kind, day) in enumerate(
            [("impression", 0), ("impression", 1), ("click", 1), ("purchase", 1), ("impression", 9)]
        )
    ]
    events = pl.concat([empty_events(), pl.DataFrame(rows)], how="diagonal_relaxed")
    early = events.lazy().filter(pl.col("time") < START + timedelta(days=5))
    found = ad_results(ads, early)
    assert found.select("creative_id", "impressions", "clicks").rows() == [
        ("c1", 2, 1),
        ("c2", 0, 0),
    ]
    bought = ad_results(ads, events.lazy(), response="purchase", since=START + timedelta(days=1))
    assert bought["clicks"].to_list() == [1, 0]
    assert found.columns[:4] == ["creative_id", "item_id", "campaign_id", "state"]


@pytest.mark.parametrize(
    ("shown", "clicks", "losing"),
    [
        ([2000, 2000, 2000], [200, 210, 60], ["c2"]),  # told apart
        ([60, 60, 60], [6, 7, 4], []),  # too little to say
        ([2000, 2000, 10], [200, 210, 0], []),  # hardly shown
        ([2000, 2000], [200, 200], []),
        ([2000], [1], []),  # alone: there is nothing better
        ([0, 0], [0, 0], []),
    ],
)
def test_an_ad_loses_where_others_of_its_item_are_surely_better(
    shown: list[int], clicks: list[int], losing: list[str]
) -> None:
    assert [one.creative_id for one in losing_ads(table(shown, clicks))] == losing


def test_what_is_not_live_neither_loses_nor_wins() -> None:
    best = table([2000], [800], state="stopped").with_columns(creative_id=pl.lit("old"))
    found = losing_ads(pl.concat([table([2000, 2000], [200, 60]), best]))
    assert [one.creative_id for one in found] == ["c1"]
    assert found[0].why.startswith("loses: the chance to be the best of its item is 0.00%")
    assert losing_ads(table([], [])) == []
