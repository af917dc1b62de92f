"""Lives of a delivery record, against loops over its rows, and that no feature peeks."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.lifetime import retire as units
from adwright.creative.lifetime.lives import (
    DeliveryLives,
    DeliverySpellConfig,
    JourneyLives,
    LifeLog,
    LifeRecord,
    RunningUnits,
)
from adwright.creative.lifetime.retire import fit_retirement, retirement_data, training_units
from adwright.creative.lifetime.spell_table import SpellTable, draw_ids
from adwright.creative.lifetime.spells import Where
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.creative.lifetime.survival_fit import LifetimeConfig
from adwright.creative.lifetime.survival_network import SurvivalConfig
from adwright.creative.records.delivery import DeliveryRecord, open_delivery, save_delivery
from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.data.deliveries import DAYS, FIRST, record
from tests.support.data.small_journey import N_PRODUCTS
from tests.support.data.small_life_log import small_life_log


def test_columns_that_do_not_fit_are_refused() -> None:
    log = small_life_log(20)
    assert len(log) == 20
    for changes in (
        {"cost": log.cost[:-1]},
        {"pool": log.pool[:-1]},
        {"offsets": log.offsets[:-1]},
        {"offsets": np.append(log.offsets[:-1], len(log.period) + 1)},
        {"ids": log.ids.head(19)},
    ):
        with pytest.raises(DataError, match="do not fit each other"):
            replace(log, **changes)  # type: ignore[arg-type]


def test_periods_have_names() -> None:
    log = small_life_log(20)
    assert log.period_name(7) == "week 7"
    assert replace(log, dated=True).period_name(2939) == "week of 2026-04-27"
    assert replace(log, dated=True, unit="day").period_name(20573) == "day 2026-04-30"


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
    table = training_units(lives, None, lives.log.closed)[0]
    assert table.vocabulary == ("coat", "hat", "warm")
    ads = DeliveryLives(opened, DeliverySpellConfig(unit_of="ad")).log.ids
    assert ads.filter(unit_id="ad 01")["item_id"][0] == "coat"
    assert DeliveryLives(days).log.ids["item_id"].is_null().all()
    catalogue = pl.DataFrame({"creative_id": ["c003"], "item_id": [77]})
    assert (
        DeliveryLives(days, creatives=catalogue).log.ids.filter(unit_id="c003")["item_id"][0]
        == "77"
    )


def test_what_is_outside_of_the_record_is_refused(lives: DeliveryLives, days: pl.DataFrame) -> None:
    for wrong in (-1, DAYS):
        with pytest.raises(ConfigError, match="outside of the record"):
            lives.running(lives.period_of(day(wrong)))
    empty = DeliveryLives(days.filter(pl.col("day") != day(30)))
    with pytest.raises(DataError, match=r"nothing ran then.*2024-01-31"):
        empty.running(empty.period_of(day(30)))
    with pytest.raises(ConfigError, match="not at a landmark"):
        DeliveryLives(days, DeliverySpellConfig(landmark=2))
    with pytest.raises(SchemaError, match="ad_id"):
        DeliveryLives(days, DeliverySpellConfig(unit_of="ad"))


@pytest.fixture(scope="module", params=["store", "chain"])
def where(request: pytest.FixtureRequest) -> Where:
    chosen: Where = request.param
    return chosen


@pytest.fixture(scope="module")
def journey_lives(small_journey: CompleteJourney, where: Where) -> JourneyLives:
    return JourneyLives(small_journey, where)


def assert_same(one: SpellTable, other: SpellTable) -> None:
    """To the bit."""
    for each in fields(SpellTable):
        left, right = getattr(one, each.name), getattr(other, each.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            assert left.tobytes() == right.tobytes(), each.name
        else:
            assert left == right, each.name


def test_each_unit_is_the_life_that_it_says(journey_lives: JourneyLives) -> None:
    record: LifeRecord = journey_lives
    log = record.log
    for week in (2, 17, 53):
        life, table = record.running(week)
        assert (np.diff(life) > 0).all()
        assert log.first[life].tolist() == table.start.tolist()
        assert (log.last[life] - log.first[life] + 1).tolist() == np.ceil(table.time).tolist()
        assert log.owner[life].tolist() == table.owner.tolist()
        assert (week - log.first[life]).tolist() == table.entry.tolist()
        # All that have the week among theirs, but for what ran when the data began.
        rows = np.flatnonzero(log.period == week)
        whose = np.searchsorted(log.offsets, rows, "right") - 1
        assert life.tolist() == whose[log.first[whose] > 1].tolist()


def test_a_life_costs_its_weeks_and_brings_what_was_sold(
    small_journey: CompleteJourney, where: Where, journey_lives: JourneyLives
) -> None:
    log = journey_lives.log
    sold = small_journey.transactions().collect()
    assert_log_is_whole(log)
    for life in range(0, len(log), 17):
        product, store, first = log.ids["unit_id"][life].split("/")
        assert (int(product), int(first)) == (log.owner[life], log.first[life])
        assert log.ids["item_id"][life] == product
        here = sold if where == "chain" else sold.filter(pl.col("store_id") == int(store))
        assert where == "store" or store == "all"
        for row in range(log.offsets[life], log.offsets[life + 1]):
            week = here.filter(pl.col("week") == log.period[row])
            mine = week.filter(pl.col("product_id") == int(product))
            assert log.value[row] == pytest.approx(mine["sales_value"].sum())
            assert log.shown[row] == week["household_id"].n_unique()
    assert log.ids.filter(item_id="3")["name"][0] == "tea, 1 KG"
    assert log.ids.filter(item_id=str(N_PRODUCTS - 1))["name"][0] == "1 KG"
    assert log.ids["creative_id"].is_null().all()


def assert_log_is_whole(log: LifeLog) -> None:
    """Each life has its weeks, one after another, at a cost of 1."""
    assert log.ids["unit_id"].is_unique().all()
    assert (np.diff(log.offsets) == log.last - log.first + 1).all()
    weeks = np.concatenate([np.arange(a, b + 1) for a, b in zip(log.first, log.last, strict=True)])
    assert log.period.tolist() == weeks.tolist()
    assert set(log.cost) == {1.0}
    assert (log.unit, log.closed) == ("week", 53)


def test_a_share_of_the_products_is_the_one_that_a_table_draws(
    small_journey: CompleteJourney, where: Where, journey_lives: JourneyLives
) -> None:
    some = JourneyLives(small_journey, where, share=0.5)
    drawn = draw_ids(np.arange(N_PRODUCTS), 0.5, 0)
    assert 0 < len(drawn) < N_PRODUCTS
    assert set(some.log.owner) == set(drawn.tolist())
    whole = journey_lives.running(30).table
    assert_same(some.running(30).table, whole.take(np.isin(whole.owner, drawn)))
    chosen = np.isin(journey_lives.log.owner, drawn)
    assert some.log.ids.equals(journey_lives.log.ids.filter(pl.Series(chosen)))
    assert (
        some.log.value.sum()
        == journey_lives.log.value[np.repeat(chosen, np.diff(journey_lives.log.offsets))].sum()
    )


@pytest.mark.parametrize("week", [0, 54])
def test_a_week_outside_of_the_year_is_refused(journey_lives: JourneyLives, week: int) -> None:
    with pytest.raises(ConfigError, match="outside of the record"):
        journey_lives.running(week)


CLOSED = 40


class DrawnLives:
    """Lives of 400 units that start in weeks 1 to 40; a life of odd number hazards .5 a week, one
    of even number .1. Some pause a week where the gap is 2; one in ten is cut off by a budget."""

    def __init__(self, gap: int = 0, lives: int = 400) -> None:
        rng = np.random.default_rng(3)
        self.gap = gap
        self.first = np.sort(rng.integers(1, CLOSED + 1, lives))
        fragile = np.arange(lives) % 2 == 1
        length = rng.geometric(np.where(fragile, 0.5, 0.1))
        self.fragile, self.budget = fragile, rng.random(lives) < 0.1
        self.weeks = [
            [w for w in range(f, f + n) if w <= CLOSED and (w in (f, f + n - 1) or draw() > 0.1)]
            if gap
            else list(range(f, min(f + n, CLOSED + 1)))
            for f, n, draw in zip(self.first, length, [rng.random] * lives, strict=True)
        ]

    @cached_property
    def log(self) -> LifeLog:
        lengths = [len(weeks) for weeks in self.weeks]
        period = np.concatenate([np.array(weeks) for weeks in self.weeks])
        ones = np.ones(len(period))
        number = np.arange(len(lengths))
        return LifeLog(
            unit="week",
            ids=pl.DataFrame({"unit_id": [f"u{n}" for n in number]}),
            first=self.first,
            last=np.array([weeks[-1] for weeks in self.weeks]),
            owner=number,
            pool=number,
            period=period,
            cost=ones,
            value=ones,
            shown=ones,
            offsets=np.concatenate(([0], np.cumsum(lengths))),
            cost_name="weeks",
            value_name="weeks",
            closed=CLOSED,
            gap=self.gap,
        )

    def running(self, period: int) -> RunningUnits:
        life = np.array([n for n, weeks in enumerate(self.weeks) if period in weeks])
        log = self.log
        first, last = log.first[life], log.last[life]
        seen = (last + self.gap < CLOSED) & ~self.budget[life]
        age = (period - first + 1).astype(np.float32)
        empty = np.empty(0, np.int32)
        table = SpellTable(
            entry=age - 1,
            time=(last - first + np.where(seen, 1, 0.5)).astype(np.float32),
            cause=seen.astype(np.int8),
            causes=("ended",),
            unit="week",
            numbers=np.stack((age, np.sin(first), self.fragile[life]), 1).astype(np.float32),
            number_names=("weeks_so_far", "season_sine", "fragile"),
            categories=np.zeros((len(life), 1), np.int32),
            category_names=("kind",),
            category_values=((f"of week {period}",),),
            words=empty,
            offsets=np.zeros(len(life) + 1, np.int64),
            vocabulary=(),
            clicks=None,
            shown=None,
            owner=life.astype(np.int32),
            group=life.astype(np.int32),
            start=first.astype(np.int32),
            landmark=0.0,
        )
        return RunningUnits(life, table)


@pytest.mark.parametrize("gap", [0, 2])
def test_units_are_all_that_ran_and_know_no_end_that_was_not_seen(gap: int) -> None:
    lives = DrawnLives(gap)
    before = 25
    known = before - 2 - gap
    expected = []
    for period in range(2, known + 1):
        for life, weeks in enumerate(lives.weeks):
            if period in weeks:
                first, last = weeks[0], weeks[-1]
                if last > known:  # it outlived the last week that is known of all
                    lived, cause = known - first + 1 + 0.5, 0
                elif lives.budget[life]:
                    lived, cause = last - first + 0.5, 0
                else:
                    lived, cause = last - first + 1, 1
                expected.append((life, first, period - first, lived, cause))
    table = training_units(lives, None, before)[0]
    columns = (table.owner, table.start, table.entry, table.time, table.cause)
    assert list(zip(*(each.tolist() for each in columns), strict=True)) == expected
    assert table.category_values == (tuple(f"of week {week}" for week in range(2, known + 1)),)


def test_periods_may_be_given() -> None:
    lives = DrawnLives()
    table = training_units(lives, [4, 9], 20)[0]
    assert sorted(set((table.start + table.entry).tolist())) == [4, 9]
    with pytest.raises(ConfigError, match="closes before"):
        training_units(lives, [4], CLOSED + 2)
    with pytest.raises(DataError, match="early enough"):
        training_units(lives, None, 3)


def test_periods_are_thinned_where_units_are_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lives = DrawnLives()
    whole = len(training_units(lives, None, 30)[0])
    monkeypatch.setattr(units, "MOST_ROWS", whole // 3)
    table = training_units(lives, None, 30)[0]
    assert sorted(set((table.start + table.entry).tolist())) == list(range(2, 29, 4))
    assert len(table) < whole / 3
    said = capsys.readouterr()
    assert "one week in 4 is taken" in said.out + said.err


def test_validation_is_the_end_of_the_time_and_sees_ends() -> None:
    lives = DrawnLives(lives=1500)
    data = retirement_data(lives, 35)
    assert data.before == 35
    at = data.valid.start + data.valid.entry
    # Of weeks 2 to 33, a fifth.
    assert data.valid_from == 28
    assert (at.min(), at.max()) == (28, 33)
    assert data.valid.ended.sum() >= 100
    # Training closed before, and knows no end from then on.
    assert (data.train.start + data.train.entry).max() == 26
    assert (data.train.start + data.train.time).max() <= 28
    assert set(data.train.owner) & set(data.valid.owner)
    # Bins from lives taken once: a life of 20 weeks is 20 units.
    first = np.unique(data.train.owner, return_index=True)[1]
    ends = data.train.time[first][data.train.ended[first]]
    assert data.terms.short[-1] == np.quantile(ends, 0.75, method="inverted_cdf")
    # The long head reaches the ages at which units are met.
    ends = data.train.time[data.train.ended]
    beyond = ends[ends > data.terms.short[-1]]
    assert data.terms.long[:2] == (0, data.terms.short[-1])
    assert (beyond > data.terms.long[-1]).sum() == pytest.approx(50, abs=15)
    for left, right in pairwise(data.terms.long[1:]):
        there = beyond > left
        share = (beyond[there] <= right).mean()
        assert 0.15 < share < 0.6, (left, right)  # ages are whole numbers
    np.testing.assert_array_equal(data.train.start, lives.log.first[data.train_life])
    np.testing.assert_array_equal(data.valid.start, lives.log.first[data.valid_life])


def test_lives_that_all_end_in_the_short_term_have_one_head() -> None:
    lives = DrawnLives()
    lives.weeks = [weeks[:1] for weeks in lives.weeks]
    terms = retirement_data(lives).terms
    assert (terms.short, terms.long) == ((0.0, 1.0), ())


def test_a_record_without_ends_cannot_validate() -> None:
    lives = DrawnLives()
    lives.budget[:] = True
    with pytest.raises(DataError, match="no end of a life was seen"):
        retirement_data(lives)


@pytest.fixture(scope="module")
def model() -> FittedLifetime:
    config = LifetimeConfig(network=SurvivalConfig(hidden=(16,)), epochs=4, learning_rate=0.02)
    return fit_retirement(DrawnLives(lives=1500), 35, config)


def test_a_model_says_what_it_saw_and_reads_no_season(
    model: FittedLifetime, tmp_path: pytest.TempPathFactory
) -> None:
    assert (model.config["before"], model.config["valid_from"]) == (35, 28)
    assert [each.name for each in model.network.spec.numbers] == ["weeks_so_far", "fragile"]
    model.save(f"{tmp_path}/model")
    assert FittedLifetime.load(f"{tmp_path}/model").config["before"] == 35


def test_a_season_is_read_where_years_are_known() -> None:
    class Long(DrawnLives):
        """The same, after two years of nothing."""

        @cached_property
        def log(self) -> LifeLog:
            log = DrawnLives(self.gap).log
            first, period = np.append(-80, log.first[1:]), np.append(-80, log.period[1:])
            return replace(log, first=first, period=period)

    config = LifetimeConfig(network=SurvivalConfig(hidden=(4,)), epochs=1)
    model = fit_retirement(Long(), None, config)
    assert "season_sine" in [each.name for each in model.network.spec.numbers]
