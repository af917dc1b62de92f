"""Numbers, categories and words of a delivery record, against loops over its rows."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import SchemaError
from adwright.creative.lifetime.delivery_features import SEGMENTS
from adwright.creative.lifetime.delivery_spells import DeliverySpellConfig, delivery_spells
from tests.support.data.deliveries import record

GAP = 3


def ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom else float("nan")


@pytest.mark.parametrize("landmark", [1, 4])
def test_numbers_are_sums_up_to_the_landmark(landmark: int) -> None:
    days = record()
    rows = days.to_dicts()
    found = delivery_spells(days, DeliverySpellConfig(landmark=landmark, gap=GAP))
    every = delivery_spells(days, DeliverySpellConfig(gap=GAP)).units
    account = {row["creative_id"]: row["account_id"] for row in rows}
    assert len(found.table) > 25
    for place in range(0, len(found.table), 3):
        name, first, _ = found.units.row(place)
        at = first + timedelta(days=landmark - 1)
        numbers = dict(
            zip(found.table.number_names, found.table.numbers[place].tolist(), strict=True)
        )
        mine = [x for x in rows if x["creative_id"] == name and first <= x["day"] <= at]
        spans = {"so_far": mine, "now": [x for x in mine if x["day"] == at]}
        for span, some in spans.items():
            sums = {key: sum(x[key] for x in some) for key in days.columns[5:]}
            for key, value in sums.items():
                assert numbers[f"{key}_{span}"] == pytest.approx(value, rel=1e-6)
            expected = {
                "click_rate": ratio(sums["clicks"], sums["impressions"]),
                "cost_per_click": ratio(sums["spend"], sums["clicks"]),
                "conversion_rate": ratio(sums["conversions"], sums["clicks"]),
            }
            for key, value in expected.items():
                assert numbers[f"{key}_{span}"] == pytest.approx(value, rel=1e-5, nan_ok=True)
        by_day: dict[date, int] = {}
        for x in mine:
            by_day[x["day"]] = by_day.get(x["day"], 0) + x["impressions"]
        assert numbers["periods_so_far"] == landmark
        assert numbers["periods_shown_so_far"] == len(by_day)
        share = by_day.get(at, 0) / max(by_day.values())
        assert numbers["impressions_to_peak_so_far"] == pytest.approx(share)
        campaign = [
            x
            for x in rows
            if x["campaign_id"] == mine[0]["campaign_id"] and first <= x["day"] <= at
        ]
        total = sum(x["impressions"] for x in campaign)
        assert numbers["campaign_impressions_so_far"] == total
        assert numbers["share_of_campaign_so_far"] == pytest.approx(sum(by_day.values()) / total)
        clicks = sum(x["clicks"] for x in campaign)
        assert numbers["campaign_click_rate_so_far"] == pytest.approx(clicks / total)
        lives = [(who, a, b) for who, a, b in every.rows() if account[who] == account[name]]
        over = [(b - a).days + 1 for _, a, b in lives if b + timedelta(days=GAP + 1) <= at]
        assert numbers["ended_of_account_before"] == len(over)
        mean = ratio(sum(over), len(over))
        found_mean = numbers["mean_periods_of_account_before"]
        assert found_mean == pytest.approx(mean, rel=1e-6, nan_ok=True)
        before = [a for who, a, _ in lives if who == name and a < first]
        assert numbers["lives_before"] == len(before)


def test_categories_are_those_of_the_first_day() -> None:
    days = record()
    table, units = delivery_spells(days)
    assert table.category_names == ("account_id", "campaign_id", "placement")
    assert set(table.category_names) <= set(SEGMENTS)
    for place, (name, first, _) in enumerate(units.rows()):
        rows = days.filter((pl.col("creative_id") == name) & (pl.col("day") == first))
        best = rows.sort("impressions", descending=True).row(0, named=True)
        texts = [
            values[code]
            for code, values in zip(table.categories[place], table.category_values, strict=True)
        ]
        assert texts == [best[key] for key in table.category_names]


def test_owners_are_accounts_and_groups_campaigns() -> None:
    table, _ = delivery_spells(record())
    for ids, column in ((table.owner, 0), (table.group, 1)):
        pairs = set(zip(ids.tolist(), table.categories[:, column].tolist(), strict=True))
        assert len(pairs) == len(np.unique(ids)) == len(table.category_values[column])


def test_words_come_with_the_texts() -> None:
    days = record()
    texts = pl.DataFrame(
        {"creative_id": ["c000", "c001"], "text": ["Fresh TEA, fresh start!", "Tee für 2"]}
    )
    table, units = delivery_spells(days, texts=texts)
    said = {
        name: [table.vocabulary[w] for w in table.words[slice(*table.offsets[n : n + 2])]]
        for n, name in enumerate(units["unit_id"])
    }
    assert said["c000"] == ["fresh", "start", "tea"]
    assert said["c001"] == ["2", "für", "tee"]
    assert said["c002"] == []
    assert delivery_spells(days).table.vocabulary == ()
    with pytest.raises(SchemaError, match="id and a text"):
        delivery_spells(days, texts=texts.rename({"text": "title"}))
