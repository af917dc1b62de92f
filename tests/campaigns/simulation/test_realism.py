from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import cache

import polars as pl
import pytest

from adwright.campaigns.simulation.population import Population, PopulationConfig
from adwright.campaigns.simulation.report import RealAndExpected, check_population
from adwright.core.errors import DataError
from adwright.data.sources.complete_journey import STORE_TIME_ZONE, CompleteJourney
from tests.support.store.small_world import SMALL, START, before, events, population

#: The first moment of week 45 of Complete Journey, and that of week 49.
WEEK_45 = datetime(2017, 11, 6, 5, tzinfo=UTC)
WEEK_49 = datetime(2017, 12, 4, 5, tzinfo=UTC)


@cache
def journey() -> tuple[pl.LazyFrame, Population, float]:
    """Complete Journey's purchases, the population fitted on weeks 1-44, and CPU seconds."""
    source = CompleteJourney.open()
    log = source.events().filter(pl.col("kind") == "purchase").collect().lazy()
    items = source.catalogue().items
    started = time.process_time()
    config = PopulationConfig(start=WEEK_45, zone=STORE_TIME_ZONE)
    return log, Population.fit(log, items, config), time.process_time() - started


def test_the_real_households_of_four_later_weeks() -> None:
    log, people, seconds = journey()
    found = check_population(people, log.filter(pl.col("time") < WEEK_49))
    assert found.weeks == pytest.approx(4, abs=0.01)
    assert 2_900 < found.visits.real < 3_000
    assert found.visits.ratio == pytest.approx(1, abs=0.05)
    assert found.basket.ratio == pytest.approx(1, abs=0.06)
    assert 0.09 < found.favourites.real < 0.13
    assert found.favourites.ratio == pytest.approx(1, abs=0.15)
    assert seconds < 20


def test_simulated_visits_are_as_many_and_as_late_as_real_ones() -> None:
    log, people, _ = journey()
    _, simulated = people.visits(28)
    later = pl.col("time").is_between(WEEK_45, WEEK_49, closed="left")
    real = log.filter(later).select("user_id", "time").unique().collect()["time"]
    assert len(simulated) == pytest.approx(len(real), rel=0.05)
    shares = []
    for times in (real, pl.from_epoch(pl.Series(simulated), "s").dt.replace_time_zone("UTC")):
        local = times.dt.convert_time_zone(STORE_TIME_ZONE)
        morning = (local.dt.hour() < 12).mean()
        weekend = (local.dt.weekday() >= 6).mean()
        shares.append((morning, weekend))
    assert shares[0] == pytest.approx(shares[1], abs=0.02)


def test_the_village_is_like_itself() -> None:
    found = check_population(population(), events())
    for beside in (found.visits, found.basket, found.favourites):
        assert beside.ratio == pytest.approx(1, abs=0.12)


def test_other_people_are_told_apart() -> None:
    people = population()
    later = events().filter(pl.col("time") >= START)
    # Weeks in which half of the visits and of the items are missing.
    poor = later.filter(pl.col("request_id").hash(0) % 2 == 0, pl.col("event_id").hash(1) % 2 == 0)
    found = check_population(people, poor)
    assert found.visits.ratio > 1.6
    assert found.basket.ratio > 1.3


def test_nothing_later() -> None:
    with pytest.raises(DataError, match="nothing in this log lies after"):
        check_population(population(SMALL), before())
    assert str(RealAndExpected(0.0, 1.0).ratio) == "nan"
