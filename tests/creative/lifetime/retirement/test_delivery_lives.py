"""Lives of a delivery record, against loops over its rows, and that no feature peeks."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.lifetime.delivery_spells import DeliverySpellConfig
from adwright.creative.lifetime.hazards.fit import LifetimeConfig
from adwright.creative.lifetime.hazards.network import SurvivalConfig
from adwright.creative.lifetime.retirement.delivery_lives import DeliveryLives
from adwright.creative.lifetime.retirement.lives import LifeRecord
from adwright.creative.lifetime.retirement.training_units import fit_retirement, training_units
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.records.delivery import DeliveryRecord, open_delivery, save_delivery
from tests.support.data.deliveries import DAYS, FIRST, record

Row = tuple[str, int, int]
GAP = 3


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def literal_lives(days: pl.DataFrame) -> list[tuple[str, date, date]]:
    """(creative, first, last) of each, by loops."""
    found = []
    for (creative,), rows in days.filter(pl.col("impressions") > 0).group_by("creative_id"):
        when = sorted(set(rows["day"].to_list()))
        first = last = when[0]
        for each in when[1:]:
            if (each - last).days > GAP + 1:
                found.append((str(creative), first, last))
                first = each
            last = each
        found.append((str(creative), first, last))
    return sorted(found)


@pytest.fixture(scope="module")
def days() -> pl.DataFrame:
    return record()


@pytest.fixture(scope="module")
def lives(days: pl.DataFrame) -> DeliveryLives:
    return DeliveryLives(days)


def test_the_log_has_all_lives_with_what_they_cost_and_brought(
    days: pl.DataFrame, lives: DeliveryLives
) -> None:
    log = lives.log
    found = zip(log.ids["unit_id"], log.first.tolist(), log.last.tolist(), strict=True)
    expected = literal_lives(days)
    assert [(name, lives.day_of(a), lives.day_of(b)) for name, a, b in found] == expected
    for life in range(0, len(log), 5):
        name, first, last = expected[life]
        mine = days.filter(pl.col("creative_id") == name, pl.col("day").is_between(first, last))
        sums = pl.col("spend", "conversion_value", "impressions").sum()
        by_day = mine.group_by("day").agg(sums).sort("day").filter(pl.col("impressions") > 0)
        rows = slice(*log.offsets[life : life + 2])
        assert [lives.day_of(p) for p in log.period[rows].tolist()] == by_day["day"].to_list()
        assert log.cost[rows].tolist() == pytest.approx(by_day["spend"].to_list())
        assert log.value[rows].tolist() == pytest.approx(by_day["conversion_value"].to_list())
        assert log.shown[rows].tolist() == by_day["impressions"].to_list()
    assert (log.unit, log.gap, log.cost_name) == ("day", GAP, "spend")
    assert log.value_name == "conversion value"
    assert lives.day_of(log.closed) == days["day"].max()
    # Five campaigns and two accounts, by the number of the creative.
    number = log.ids["unit_id"].str.slice(1).cast(pl.Int64).to_numpy()
    assert (log.pool == number % 5).all()
    assert (log.owner == number % 2).all()


def test_what_runs_is_what_had_impressions_on_the_day(
    days: pl.DataFrame, lives: DeliveryLives
) -> None:
    of_any_kind: LifeRecord = lives
    for number in (20, 45, 79):
        period = lives.period_of(day(number))
        life, table = of_any_kind.running(period)
        there = days.filter(pl.col("day") == day(number), pl.col("impressions") > 0)
        ids = lives.log.ids["unit_id"][life]
        assert ids.to_list() == sorted(there["creative_id"].unique().to_list())
        assert (np.diff(life) > 0).all()
        assert table.entry.tolist() == (period - lives.log.first[life]).tolist()
        assert table.owner.tolist() == lives.log.owner[life].tolist()
        assert table.group.tolist() == lives.log.pool[life].tolist()
        now = dict(zip(table.number_names, table.numbers.T, strict=True))["impressions_now"]
        shown = there.group_by("creative_id").agg(pl.col("impressions").sum()).sort("creative_id")
        assert now.tolist() == shown["impressions"].to_list()
        ended = table.ended
        lasted = lives.log.last[life] - lives.log.first[life] + 1
        assert np.ceil(table.time).tolist() == lasted.tolist()
        assert ended.tolist() == (lives.log.last[life] + GAP < lives.log.closed).tolist()


def known(table: SpellTable) -> list[tuple[object, ...]]:
    """All that the units know, codes as texts."""
    texts = [
        [values[code] if code >= 0 else None for code in codes]
        for codes, values in zip(table.categories.T, table.category_values, strict=True)
    ]
    words = [
        tuple(table.vocabulary[word] for word in table.words[a:b])
        for a, b in zip(table.offsets[:-1], table.offsets[1:], strict=True)
    ]
    numbers = [row.tobytes() for row in table.numbers]
    return list(
        zip(table.start.tolist(), table.entry.tolist(), numbers, words, *texts, strict=True)
    )


@pytest.mark.parametrize("gap", [0, GAP])
def test_nothing_later_changes_a_bit_of_what_is_known(days: pl.DataFrame, gap: int) -> None:
    cut = 40
    is_past = pl.col("day") <= day(cut)
    past, future = days.filter(is_past), days.filter(~is_past)
    other = (
        record(seed=9)
        .filter(pl.col("day") > day(cut))
        .with_columns(
            # Campaigns, accounts and placements that sort before those of the past.
            campaign_id=pl.lit("a new one"),
            account_id=pl.lit("0"),
            placement=pl.lit("board"),
        )
    )
    config = DeliverySpellConfig(gap=gap)
    texts = pl.DataFrame({"creative_id": ["c001", "c002"], "text": ["Warm coat", "Red coat"]})
    whole, changed, removed = (
        DeliveryLives(each, config, texts=texts)
        for each in (pl.concat([past, future]), pl.concat([past, other]), past)
    )
    compared = 0
    for number in (10, 25, cut):
        period = whole.period_of(day(number))
        tables = [each.running(period).table for each in (whole, changed, removed)]
        assert known(tables[0]) == known(tables[1]) == known(tables[2])
        compared += len(tables[0])
    assert compared > 15
    # The past of the log too.
    upto = [each.log.period <= whole.period_of(day(cut)) for each in (whole, removed)]
    assert whole.log.cost[upto[0]].tolist() == removed.log.cost[upto[1]].tolist()
    assert whole.running(period).table.time.tolist() != tables[2].time.tolist()


def test_a_record_of_weeks_runs_by_weeks() -> None:
    rows = [
        {
            "creative_id": name,
            "day": FIRST + timedelta(days=7 * week),
            "period_days": 7,
            "impressions": 9,
            "clicks": 1,
        }
        for name, weeks in (("a", range(2, 5)), ("on", range(12)))
        for week in weeks
    ]
    lives = DeliveryLives(pl.DataFrame(rows))
    period = lives.period_of(day(7 * 3 + 6))
    assert lives.day_of(period) == day(7 * 3)
    life, table = lives.running(period)
    assert (table.unit, lives.log.unit) == ("week", "week")
    assert table.entry.tolist() == [1, 3]
    assert lives.log.ids["unit_id"][life].to_list() == ["a", "on"]


def test_what_lacks_is_replaced_by_the_next_best_and_said(
    days: pl.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "adwright"):
        lives = DeliveryLives(days.drop("spend", "conversion_value"))
    assert (lives.log.cost_name, lives.log.value_name) == ("impressions", "conversions")
    assert "impressions are taken for the cost" in caplog.text
    assert "conversions are taken for it" in caplog.text
    zero = days.with_columns(conversion_value=pl.lit(0.0), conversions=pl.lit(0.0))
    assert DeliveryLives(zero).log.value_name == "clicks"
    chosen = DeliveryLives(days, value="clicks").log
    assert chosen.value.sum() == days["clicks"].sum()
    with pytest.raises(ConfigError, match="none of this value"):
        DeliveryLives(zero, value="conversions")
    with pytest.raises(DataError, match="what the ads were worth"):
        DeliveryLives(zero.with_columns(clicks=pl.lit(0)))


def test_several_currencies_are_not_added_up(
    days: pl.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    euro = pl.col("account_id") == "a0"
    mixed = days.with_columns(currency=pl.when(euro).then(pl.lit("EUR")).otherwise(pl.lit("USD")))
    with pytest.raises(DataError, match=r"several currencies.*EUR, USD.*currency="):
        DeliveryLives(mixed)
    with caplog.at_level(logging.WARNING, "adwright"):
        lives = DeliveryLives(mixed, currency="EUR")
    assert lives.log.cost.sum() == pytest.approx(days.filter(euro)["spend"].sum())
    assert "rows in other currencies are left out" in caplog.text
    with pytest.raises(ConfigError, match="it has EUR, USD"):
        DeliveryLives(mixed, currency="JPY")
    with pytest.raises(SchemaError, match="currency"):
        DeliveryLives(days, currency="EUR")


def full_record(days: pl.DataFrame) -> DeliveryRecord:
    """With ads, names, and what the first creatives say and advertise."""
    made = days.filter(pl.col("creative_id") < "c030").with_columns(
        ad_id=pl.format("ad {}", pl.col("creative_id").str.slice(2)),
        ad_name=pl.format("Coat {}", "creative_id"),
        period_days=1,
    )
    creatives = pl.DataFrame(
        {
            "creative_id": ["c001", "c002", "c017"],
            "item_id": ["coat", None, "hat"],
            "headline": ["Warm coat", None, "Hat"],
        }
    )
    return DeliveryRecord.checked(made, creatives=creatives)


def test_a_record_names_its_units(days: pl.DataFrame, tmp_path: Path) -> None:
    save_delivery(tmp_path / "record", full_record(days))
    opened = open_delivery(tmp_path / "record")
    lives = DeliveryLives(opened)
    ids = lives.log.ids
    mine = ids.filter(unit_id="c001").row(0)
    assert dict(zip(ids.columns, mine, strict=True)) == {
        "unit_id": "c001",
        "item_id": "coat",
        "creative_id": "c001",
        "name": "Coat c001",
    }
    assert ids.filter(unit_id="c002")["item_id"][0] is None
    table = training_units(lives, None, lives.log.closed)
    assert table.vocabulary == ("coat", "hat", "warm")
    ads = DeliveryLives(opened, DeliverySpellConfig(unit_of="ad")).log.ids
    assert ads.filter(unit_id="ad 01")["item_id"][0] == "coat"
    assert DeliveryLives(days).log.ids["item_id"].is_null().all()
    catalogue = pl.DataFrame({"creative_id": ["c003"], "item_id": [77]})
    assert (
        DeliveryLives(days, creatives=catalogue).log.ids.filter(unit_id="c003")["item_id"][0]
        == "77"
    )


def test_an_ad_of_several_creatives_is_none_of_them(days: pl.DataFrame) -> None:
    two = days.with_columns(ad_id=pl.col("campaign_id"))
    items = pl.DataFrame({"creative_id": two["creative_id"].unique()}).with_columns(
        item_id=pl.lit("coat")
    )
    lives = DeliveryLives(two, DeliverySpellConfig(unit_of="ad"), creatives=items)
    assert lives.log.ids["creative_id"].is_null().all()
    assert set(lives.log.ids["item_id"]) == {"coat"}


def test_what_is_outside_of_the_record_is_refused(lives: DeliveryLives, days: pl.DataFrame) -> None:
    for wrong in (-1, DAYS):
        with pytest.raises(ConfigError, match="outside of the record"):
            lives.running(lives.period_of(day(wrong)))
    empty = DeliveryLives(days.filter(pl.col("day") != day(30)))
    with pytest.raises(DataError, match=r"nothing ran in this day.*2024-01-31"):
        empty.running(empty.period_of(day(30)))
    with pytest.raises(ConfigError, match="not at a landmark"):
        DeliveryLives(days, DeliverySpellConfig(landmark=2))
    with pytest.raises(SchemaError, match="ad_id"):
        DeliveryLives(days, DeliverySpellConfig(unit_of="ad"))


def test_training_knows_what_a_record_of_that_day_knew(days: pl.DataFrame) -> None:
    whole = DeliveryLives(days)
    before = whole.period_of(day(60))
    then = DeliveryLives(days.filter(pl.col("day") < day(60)))
    one, two = (training_units(each, None, before) for each in (whole, then))
    assert known(one) == known(two)
    assert one.time.tolist() == two.time.tolist()
    assert one.cause.tolist() == two.cause.tolist()
    assert 0.2 < one.ended.mean() < 1


def test_a_model_is_trained_on_a_record(days: pl.DataFrame) -> None:
    lives = DeliveryLives(days)
    config = LifetimeConfig(network=SurvivalConfig(hidden=(8,)), epochs=1)
    model = fit_retirement(lives, None, config)
    assert model.config["before"] == lives.log.closed + 1
    curves = model.predict(lives.running(lives.log.closed).table)
    assert np.isfinite(curves.survival).all()
