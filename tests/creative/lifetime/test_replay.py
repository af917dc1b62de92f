"""Replays against a walk that stops one life at a time."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.replay import (
    FatiguePoint,
    FatigueRule,
    Frontier,
    Replay,
    ReplayConfig,
    ReplayLead,
    RulePoint,
    StopPoints,
    StopSums,
    fatigue_grid,
    low_in_a_row,
    matched,
    replay,
)
from adwright.creative.lifetime.stop_rule import (
    RetireConfig,
    ValueConfig,
    credibility,
    fit_values,
    flat_outlook,
    keeping_index,
    keeping_value,
    outlook_of,
)
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.metrics.bootstrap import MethodInterval, draw_counts
from tests.support.data.small_life_log import SmallLives

WEEKS = range(15, 20)
#: LifeRecord bring about 5 a cost: at the default, half of it, nothing would be stopped.
RULE = RetireConfig(break_even=5.0, half_life=8.0)
SMALL = ReplayConfig(RULE, drops=(0.1, 0.2, 0.3), in_a_row=(1, 2, 3), draws=200)


@pytest.fixture(scope="module")
def replayed(drawn_lives: SmallLives, drawn_model: FittedLifetime) -> Replay:
    """With a model."""
    return replay(drawn_lives, drawn_model, WEEKS, SMALL)


def literal(lives: SmallLives, model: FittedLifetime | None) -> tuple[float, float, int, int]:
    """Cost saved, value lost, lives stopped and wrongly so, by a walk over weeks and lives."""
    log, gone = lives.log, set()
    saved = lost = 0.0
    stopped = wrong = 0
    for week in WEEKS:
        ran = lives.running(week)
        rates = credibility(log, week, ran.life, half_life=8.0)
        outlook = flat_outlook(log, week, len(rates))
        if model is not None:
            curves = model.predict(ran.table)
            outlook = outlook_of(curves, int(np.ceil(curves.edges[-1])))
        worth = keeping_value(rates, outlook, 5.0)
        for place, life in enumerate(ran.life.tolist()):
            if life in gone or worth[place] >= 0:
                continue
            gone.add(life)
            rows = range(*log.offsets[life : life + 2])
            after = [row for row in rows if log.period[row] > week]
            cost, value = log.cost[after].sum(), log.value[after].sum()
            saved, lost = saved + cost, lost + value
            stopped += cost > 0
            wrong += cost > 0 and value >= 5.0 * cost
    return saved, lost, stopped, wrong


@pytest.mark.parametrize("name", ["model", "rate rule"])
def test_a_rule_saves_what_a_walk_over_weeks_and_lives_saves(
    name: str, replayed: Replay, drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    row = replayed.point(name)
    saved, lost, stopped, wrong = literal(drawn_lives, drawn_model if name == "model" else None)
    assert stopped > 5
    assert row.saved == pytest.approx(saved)
    assert row.cost_saved == pytest.approx(saved / replayed.cost)
    assert 1 - row.value_kept == pytest.approx(lost / replayed.value)
    assert row.stopped == stopped
    assert row.wrongly == pytest.approx(wrong / stopped)
    log = drawn_lives.log
    counted = (log.period >= 15) & (log.period <= 20)
    assert replayed.cost == pytest.approx(log.cost[counted].sum())
    assert replayed.value == pytest.approx(log.value[counted].sum())


def literal_rule(
    clicks: np.ndarray, shown: np.ndarray, offsets: np.ndarray, rule: FatigueRule
) -> list[tuple[int, list[int]]]:
    """By life the period, from 1, in which the rule first fires, 0 for never; rows of low ones."""
    found = []
    for life in range(len(offsets) - 1):
        peak, row, fired, rows = 0.0, 0, 0, []
        for age, place in enumerate(range(*offsets[life : life + 2]), start=1):
            rows.append(0)
            value = clicks[place]
            if rule.measure == "rate":
                if shown[place] == 0:
                    continue
                value = value / shown[place]
            peak = max(peak, value)
            row = row + 1 if value < (1 - rule.drop) * peak else 0
            rows[-1] = row
            fired = fired or age * (row >= rule.periods)
        found.append((fired, rows))
    return found


@pytest.mark.parametrize("measure", ["rate", "sales"])
@pytest.mark.parametrize("drop", [0.2, 0.35])
def test_low_ones_in_a_row_are_those_of_a_loop(measure: Any, drop: float) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 12, 200)
    shown = rng.integers(0, 5, lengths.sum()) * 10.0
    clicks = rng.binomial(shown.astype(int), 0.3).astype(float)
    offsets, rule = np.concatenate(([0], np.cumsum(lengths))), FatigueRule(measure, drop)
    expected = [one for _, rows in literal_rule(clicks, shown, offsets, rule) for one in rows]
    assert low_in_a_row(clicks, shown, offsets, rule).tolist() == expected
    assert low_in_a_row(*np.empty((2, 0)), np.zeros(3, np.int64), rule).tolist() == []


def test_fatigue_rules_stop_where_they_first_fire(drawn_lives: SmallLives) -> None:
    log = drawn_lives.log
    # From the first week on, so that no rule fires before the replay begins.
    found = replay(drawn_lives, None, range(1, 20), SMALL)
    series = log.value, log.shown, log.offsets
    assert [each.rule for each in found.fatigue] == fatigue_grid(SMALL)
    for each in found.fatigue:
        fired = np.array([first for first, _ in literal_rule(*series, each.rule)])
        rows, life = np.arange(len(log.period)), log.whose
        late = (fired[life] > 0) & (rows >= log.offsets[life] + fired[life])
        assert each.point.saved == pytest.approx(log.cost[late].sum())
        lost = log.value[late].sum() / found.value
        assert 1 - each.point.value_kept == pytest.approx(lost)
    tools = found.point("ad tools' fatigue rule")
    at = [each.rule for each in found.fatigue].index(FatigueRule())
    assert tools.saved == found.fatigue[at].point.saved > 0


def test_the_best_fatigue_rule_is_given_or_the_best_in_hindsight(
    replayed: Replay, drawn_lives: SmallLives
) -> None:
    merit = [each.point.cost_saved + each.point.value_kept for each in replayed.fatigue]
    assert replayed.best == replayed.fatigue[int(np.argmax(merit))].rule
    given = FatigueRule("sales", 0.45, 2)
    found = replay(drawn_lives, None, WEEKS, replace(SMALL, best=given, draws=5))
    assert found.best == found.fatigue[-1].rule == given
    assert [lead.a for lead in found.leads] == ["rate rule"]


def test_rules_are_compared_at_equal_value_kept(replayed: Replay) -> None:
    own = replayed.point("model")
    for name in ("rate rule", "age rule", "random"):
        assert replayed.point(name, "as the model").value_kept == pytest.approx(own.value_kept)
    best = replayed.point("best fatigue rule")
    # The model's own threshold lies on its curve.
    again = replayed.point("model", "as the best fatigue rule")
    assert again.value_kept == pytest.approx(best.value_kept)
    lead = replayed.leads[0]
    assert lead.found.value == pytest.approx(again.cost_saved - best.cost_saved)
    for name, curve in replayed.curves.items():
        saved, kept = np.array(curve).T
        assert (np.diff(saved) >= -1e-9).all(), name
        assert (np.diff(kept) <= 1e-9).all(), name
        assert kept[0] == pytest.approx(1.0)


def test_the_interval_is_that_of_resamples_matched_anew(drawn_lives: SmallLives) -> None:
    found = replay(drawn_lives, None, WEEKS, SMALL)
    log = drawn_lives.log
    life, period, index = [], [], []
    for week in WEEKS:
        ran = drawn_lives.running(week)
        rates = credibility(log, week, ran.life, half_life=8.0)
        life.append(ran.life)
        period.append(np.full(len(ran.life), week))
        index.append(keeping_index(rates, flat_outlook(log, week, len(rates))) - 5.0)
    who, when, score = (np.concatenate(each) for each in (life, period, index))
    order = np.lexsort((when, who))
    points = StopPoints.of(log, who, when, 5.0, 20)
    low = low_in_a_row(log.value, log.shown, log.offsets, found.best)[points.row]
    fires = np.flatnonzero(low >= found.best.periods)
    stops = fires[np.unique(points.life[fires], return_index=True)[1]]
    drawn = []
    for counts in draw_counts(len(points.owners), 200, np.random.default_rng(0)):
        for times in counts:
            weighted = replace(
                points,
                sums=points.sums * times[points.owner, None],
                cost=points.cost * times,
                value=points.value * times,
            )
            frontier = Frontier.of(weighted, score[order])
            saved, lost = weighted.sums[stops, :2].sum(0)
            lost_at, saved_at = frontier.sums[None, :, 1], frontier.sums[None, :, 0]
            more = matched(lost_at, saved_at, np.array([lost]))[0] - saved
            drawn.append(more / weighted.cost.sum())
    low_end, high_end = np.quantile(drawn, [0.025, 0.975])
    lead = found.leads[0].found
    assert lead.low == pytest.approx(low_end, abs=0.004)
    assert lead.high == pytest.approx(high_end, abs=0.004)


def test_trainings_widen_the_interval_and_are_averaged(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    config = replace(SMALL, draws=50)
    found = replay(drawn_lives, [drawn_model, drawn_model], WEEKS, config)
    once = replay(drawn_lives, drawn_model, WEEKS, config)
    assert found.models == 2
    assert found.point("model").saved == pytest.approx(once.point("model").saved)
    assert found.leads[0].found.seeds == 2
    assert once.leads[0].found.seeds == 1
    assert found.leads[0].found.low == pytest.approx(once.leads[0].found.low)


def test_nothing_after_the_last_period_counts(drawn_lives: SmallLives) -> None:
    cut = replay(drawn_lives, None, range(12, 15), replace(SMALL, until=16, draws=5))
    log = drawn_lives.log
    counted = (log.period >= 12) & (log.period <= 16)
    assert cut.cost == pytest.approx(log.cost[counted].sum())
    whole = replay(drawn_lives, None, range(12, 15), replace(SMALL, draws=5))
    assert cut.point("rate rule").saved < whole.point("rate rule").saved


def test_a_model_that_may_know_the_answers_is_refused(
    drawn_lives: SmallLives, drawn_model: FittedLifetime
) -> None:
    for before, said in ((None, "does not say"), (16, "may know what"), (18, "before 18")):
        late = replace(drawn_model, config={**drawn_model.config, "before": before})
        with pytest.raises(ConfigError, match=said):
            replay(drawn_lives, late, WEEKS, SMALL)
    with pytest.raises(ConfigError, match="needs periods"):
        replay(drawn_lives, None, [], SMALL)
    with pytest.raises(ConfigError, match="draws must be at least 1"):
        ReplayConfig(draws=0)
    with pytest.raises(ConfigError, match="drops must be above 0 and below 1"):
        ReplayConfig(drops=(0.5, 1.0))
    with pytest.raises(ConfigError, match="periods must be at least 1"):
        FatigueRule(periods=0)


def test_what_is_expected_of_units_is_replayed_beside_their_record(
    drawn_lives: SmallLives, drawn_model: FittedLifetime, replayed: Replay
) -> None:
    values = fit_values(drawn_lives, 15, ValueConfig(hidden=8, batch=64, half_life=8.0))
    config = replace(SMALL, draws=20)
    found = replay(drawn_lives, drawn_model, WEEKS, config, values=values)
    assert found.point("model") == replayed.point("model")
    assert found.point("value model") != found.point("model")
    assert [lead.a for lead in found.leads][:3] == ["value model", "model", "rate rule"]
    # Without curves, all units have the same number of periods ahead.
    saved = 0.0
    gone: set[int] = set()
    log = drawn_lives.log
    for week in WEEKS:
        ran = drawn_lives.running(week)
        rates = credibility(log, week, ran.life, half_life=8.0)
        expected = values.rates(ran.table, rates)
        worth = keeping_value(expected, flat_outlook(log, week, len(rates)), 5.0)
        for life in ran.life[worth < 0].tolist():
            rows = slice(*log.offsets[life : life + 2])
            if life not in gone:
                saved += log.cost[rows][log.period[rows] > week].sum()
            gone.add(life)
    alone = replay(drawn_lives, None, WEEKS, config, values=values)
    assert alone.point("value model").saved == pytest.approx(saved)
    with pytest.raises(ConfigError, match="goes with one"):
        replay(drawn_lives, drawn_model, WEEKS, config, values=[values, values])
    with pytest.raises(ConfigError, match="before 15"):
        replay(drawn_lives, None, range(14, 20), config, values=values)


RULE_REPLAY_RESULT = FatigueRule("sales", 0.5, 2)
ROWS = (
    RulePoint.of("model", "own", StopSums(30, 5, 12, 3, 48, 100, 200)),
    RulePoint.of("best fatigue rule", "own", StopSums(0, 0, 0, 0, 0, 100, 200)),
    RulePoint.of("random", "as the model", StopSums(3, 5, 6, 6, 6, 100, 200)),
)
FOUND = Replay(
    periods=(15, 19),
    until=20,
    named=("week 15", "week 19", "week 20"),
    unit="week",
    cost_name="display weeks",
    value_name="sales",
    lives=40,
    owners=6,
    cost=100.0,
    value=200.0,
    break_even=1.0,
    half_life=None,
    models=3,
    best=RULE_REPLAY_RESULT,
    table=ROWS,
    fatigue=(FatiguePoint(RULE_REPLAY_RESULT, ROWS[1], {"model": 0.0}),),
    leads=(ReplayLead("model", "rate rule", 0.975, MethodInterval(0.02, 0.01, 0.03, 3)),),
    curves={"model": [(0.0, 1.0), (0.3, 0.975)]},
)


def test_sums_over_lives_become_shares() -> None:
    row = FOUND.point("model")
    assert (row.cost_saved, row.value_kept) == (0.3, 0.975)
    assert (row.wrongly, row.mean_age, row.stopped, row.saved) == (0.25, 4.0, 12, 30)
    none = FOUND.point("best fatigue")
    assert (none.wrongly, none.mean_age) == (None, None)
    assert FOUND.point("random", "as the model").wrongly == 1.0
    with pytest.raises(LookupError):
        FOUND.point("random")


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((0.01, 0.03), "more"), ((-0.03, -0.01), "less"), ((-0.1, 0.1), "no more")],
)
def test_a_comparison_says_no_more_than_its_interval(
    ends: tuple[float, float], verdict: str
) -> None:
    lead = ReplayLead("model", "rate rule", 0.975, MethodInterval(0.0, *ends, 1))
    last = replace(FOUND, leads=(lead,)).text().splitlines()[-1]
    assert f"the model saves {verdict}" in last
    assert "trainings" not in last
    assert "3 trainings" in FOUND.text().splitlines()[-1]


def test_the_table_is_told_in_words() -> None:
    text = FOUND.text()
    assert "Replay from week 15 to week 19, judged until week 20" in text
    assert "an upper bound" in text
    assert re.search(r"^model .* 30.0% +97.5% +25.0% +4.0$", text, re.M)
    assert re.search(r"^best fatigue rule .* 0.0% +100.0% +- +-$", text, re.M)
    assert "  random, value kept as the model" in text


def test_all_of_it_is_json() -> None:
    said = json.loads(FOUND.to_json())
    assert said["best"] == {"measure": "sales", "drop": 0.5, "periods": 2}
    assert said["curves"]["model"] == [[0.0, 1.0], [0.3, 0.975]]
    assert said["leads"][0]["found"]["low"] == 0.01
    assert len(said["table"]) == 3
