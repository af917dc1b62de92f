"""Lives of displays, against loops over the raw tables and `spells_of`."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.journey_weeks import Where
from adwright.creative.lifetime.retirement.journey_lives import JourneyLives
from adwright.creative.lifetime.retirement.lives import LifeLog, LifeRecord
from adwright.creative.lifetime.spell_table import SpellTable, draw_ids
from adwright.creative.lifetime.spells import SpellConfig, spells_of
from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.data.small_journey import N_PRODUCTS


@pytest.fixture(scope="module", params=["store", "chain"])
def where(request: pytest.FixtureRequest) -> Where:
    chosen: Where = request.param
    return chosen


@pytest.fixture(scope="module")
def lives(small_journey: CompleteJourney, where: Where) -> JourneyLives:
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


def test_what_runs_in_a_week_is_what_spells_of_says(
    small_journey: CompleteJourney, where: Where, lives: JourneyLives
) -> None:
    for week in (2, 30):
        found = lives.running(week)
        assert_same(found.table, spells_of(small_journey, SpellConfig(where=where, as_of=week)))


def test_each_unit_is_the_life_that_it_says(lives: JourneyLives) -> None:
    record: LifeRecord = lives
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
    small_journey: CompleteJourney, where: Where, lives: JourneyLives
) -> None:
    log = lives.log
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
    small_journey: CompleteJourney, where: Where, lives: JourneyLives
) -> None:
    some = JourneyLives(small_journey, where, share=0.5, seed=3)
    drawn = draw_ids(np.arange(N_PRODUCTS), 0.5, 3)
    assert 0 < len(drawn) < N_PRODUCTS
    assert set(some.log.owner) == set(drawn.tolist())
    whole = lives.running(30).table
    assert_same(some.running(30).table, whole.hold_out(whole.draw_owners(0.5, 3))[1])
    chosen = np.isin(lives.log.owner, drawn)
    assert some.log.ids.equals(lives.log.ids.filter(pl.Series(chosen)))
    assert (
        some.log.value.sum() == lives.log.value[np.repeat(chosen, np.diff(lives.log.offsets))].sum()
    )


def test_what_ran_when_the_data_began_may_be_given_an_age(small_journey: CompleteJourney) -> None:
    late = JourneyLives(small_journey, running_age=3)
    life, table = late.running(1)
    assert set(late.log.first[life]) == {1}
    assert set(table.entry) == {3}
    assert_same(table, spells_of(small_journey, SpellConfig(as_of=1, running_age=3)))


def test_the_tables_are_read_once(lives: JourneyLives, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object, **__: object) -> pl.LazyFrame:
        raise AssertionError("read again")

    for name in ("promotions", "transactions", "products"):
        monkeypatch.setattr(CompleteJourney, name, no_more)
    assert len(lives.running(40).life) > 5


@pytest.mark.parametrize("week", [0, 54])
def test_a_week_outside_of_the_year_is_refused(lives: JourneyLives, week: int) -> None:
    with pytest.raises(ConfigError, match="week of the year"):
        lives.running(week)


def test_a_wrong_share_is_refused(small_journey: CompleteJourney) -> None:
    with pytest.raises(ConfigError, match="share"):
        JourneyLives(small_journey, share=1.5)
