"""Stacked landmarks: against a loop over lives, and what may not be known of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.hazards.fit import LifetimeConfig
from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.hazards.network import SurvivalConfig
from adwright.creative.lifetime.retirement import training_units as units
from adwright.creative.lifetime.retirement.journey_lives import JourneyLives
from adwright.creative.lifetime.retirement.lives import LifeLog, RunningUnits
from adwright.creative.lifetime.retirement.training_units import (
    fit_retirement,
    retirement_data,
    training_units,
)
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.data.sources.complete_journey import CompleteJourney

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
    table = training_units(lives, None, before).check()
    columns = (table.owner, table.start, table.entry, table.time, table.cause)
    assert list(zip(*(each.tolist() for each in columns), strict=True)) == expected
    assert table.category_values == (tuple(f"of week {week}" for week in range(2, known + 1)),)


def test_what_comes_after_changes_nothing() -> None:
    lives, other = DrawnLives(2), DrawnLives(2)
    other.weeks = [[w for w in weeks if w < 25] or weeks for weeks in other.weeks]
    one, two = training_units(lives, None, 25), training_units(other, None, 25)
    assert one.time.tolist() == two.time.tolist()
    assert one.cause.tolist() == two.cause.tolist()


def test_periods_may_be_given_but_not_those_of_which_nothing_is_known() -> None:
    lives = DrawnLives()
    table = training_units(lives, [4, 9], 20)
    assert sorted(set((table.start + table.entry).tolist())) == [4, 9]
    for wrong in ([], [4, 19], [30]):
        with pytest.raises(ConfigError, match="up to 18"):
            training_units(lives, wrong, 20)
    with pytest.raises(ConfigError, match="closes before"):
        training_units(lives, [4], CLOSED + 2)
    with pytest.raises(DataError, match="early enough"):
        training_units(lives, None, 3)


def test_periods_are_thinned_where_units_are_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lives = DrawnLives()
    whole = len(training_units(lives, None, 30))
    monkeypatch.setattr(units, "MOST_ROWS", whole // 3)
    table = training_units(lives, None, 30)
    assert sorted(set((table.start + table.entry).tolist())) == list(range(2, 29, 4))
    assert len(table) < whole / 3
    said = capsys.readouterr()
    assert "one week in 4 is taken" in said.out + said.err


def test_hazards_of_the_units_are_those_of_the_lives() -> None:
    """Ended by units at risk, at each age: unbiased by the censoring."""
    lives = DrawnLives(lives=6000)
    table = training_units(lives, None, 20)
    for fragile, hazard in ((1, 0.5), (0, 0.1)):
        mine = (table.numbers[:, 2] == fragile) & (table.entry == 0)
        at_risk = mine & (table.time >= 1)
        ended = at_risk & table.ended & (table.time == 1) & ~lives.budget[table.owner]
        kept = at_risk & ~lives.budget[table.owner]
        assert ended.sum() / kept.sum() == pytest.approx(hazard, abs=0.03)


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


def test_validation_is_longer_where_few_ends_were_seen() -> None:
    assert retirement_data(DrawnLives(), 35).valid_from == 23


def test_a_record_without_ends_cannot_validate() -> None:
    lives = DrawnLives()
    lives.budget[:] = True
    with pytest.raises(DataError, match="no end of a life was seen"):
        retirement_data(lives)


@pytest.fixture(scope="module")
def model() -> FittedLifetime:
    config = LifetimeConfig(network=SurvivalConfig(hidden=(16,)), epochs=4, learning_rate=0.02)
    return fit_retirement(DrawnLives(lives=1500), 35, config)


def test_a_model_of_all_ages_knows_who_lives_on(model: FittedLifetime) -> None:
    table = DrawnLives(lives=1500).running(36).table
    curves = model.predict(table)
    chance = curves.survival[:, 1]
    fragile = table.numbers[:, 2] > 0
    young = table.entry == 0
    assert chance[fragile & young].mean() == pytest.approx(0.5, abs=0.12)
    assert chance[~fragile & young].mean() == pytest.approx(0.9, abs=0.07)
    assert curves.risk()[fragile & young].min() > curves.risk()[~fragile & young].max()


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


def test_displays_are_stacked(small_journey: CompleteJourney) -> None:
    lives = JourneyLives(small_journey)
    table = training_units(lives, None, 30)
    weeks = [lives.running(week).table for week in range(2, 29)]
    assert len(table) == sum(len(each) for each in weeks)
    seen = SpellTable.concat(weeks).seen_before(30)
    assert table.cause.tolist() == seen.cause.tolist()
    assert table.time.tolist() == seen.time.tolist()
    assert table.numbers.tobytes() == seen.numbers.tobytes()
