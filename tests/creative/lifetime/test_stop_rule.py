"""The rule against loops over ages, and a simulation of what it values."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from adwright.core.errors import ArtifactError, ConfigError, DataError, ResourceError
from adwright.creative.lifetime import retire
from adwright.creative.lifetime.lives import LifeLog
from adwright.creative.lifetime.replay import Frontier, StopPoints, StopSums, matched, stopped_where
from adwright.creative.lifetime.retire import (
    fit_retirement,
    open_retirement,
    train_retirement,
)
from adwright.creative.lifetime.stop_rule import (
    Rates,
    RetireConfig,
    break_even_of,
    decide,
    flat_outlook,
    keeping_index,
    keeping_value,
    outlook_of,
)
from adwright.creative.lifetime.survival_curves import FittedLifetime, LifeCurves
from adwright.creative.lifetime.survival_fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.survival_network import LifeTerms
from adwright.training.loop.trainee import Callback
from tests.support.data.small_life_log import SmallLives, small_life_log

TERMS = LifeTerms(short=(0.0, 1.0, 2.0, 4.0), long=(0.0, 4.0, 8.0, 14.0))
LAST = 14


def curves(units: int = 40, *, causes: int = 1, terms: LifeTerms = TERMS) -> LifeCurves:
    rng = np.random.default_rng(5)
    steps = tuple(
        np.log1p(-rng.uniform(0.02, 0.7, (units, len(edges) - 1))).astype(np.float32)
        for edges in terms.heads
    )
    shares = tuple(rng.dirichlet(np.ones(causes), step.shape).astype(np.float32) for step in steps)
    names = tuple(f"cause {c}" for c in range(causes))
    entry = rng.integers(0, LAST + 3, units).astype(np.float32)
    return LifeCurves(terms, names, entry, steps, shares if causes > 1 else None)


def rates(units: int = 40, seed: int = 0) -> Rates:
    rng = np.random.default_rng(seed)
    mean, spread = rng.uniform(0, 2, units), rng.uniform(0, 0.5, units)
    spread[::7] = 0
    recent = rng.uniform(1, 5, units)
    return Rates(mean, spread, mean, mean, mean, recent, 1.5, math.inf, 1.0, 1.0, 1.0)


def survival(found: LifeCurves, unit: int, age: float) -> float:
    """S at an age given survival to entry, the last bin going on beyond the curve."""
    hazard, edges = found.hazard[unit].sum(1), found.edges

    def log_s(until: float) -> float:
        total = 0.0
        for j, h in enumerate(hazard):
            right = math.inf if j == len(hazard) - 1 else edges[j + 1]
            lived = min(max(until - edges[j], 0), right - edges[j])
            total += math.log1p(-float(h)) * lived / (edges[j + 1] - edges[j])
        return total

    return math.exp(log_s(age) - log_s(float(found.entry[unit])))


@pytest.mark.parametrize("horizon", [1, 9, 30])
def test_what_lies_ahead_is_the_sum_over_ages(horizon: int) -> None:
    found = curves()
    outlook = outlook_of(found, horizon)
    for unit, entry in enumerate(found.entry.tolist()):
        ages = [entry + 1 + j for j in range(horizon)]
        expected = [survival(found, unit, age) for age in ages]
        assert outlook.next[unit] == pytest.approx(expected[0], rel=1e-5)
        assert outlook.further[unit] == pytest.approx(sum(expected), rel=1e-5)
    # On the curve it is what the curve itself says.
    young = found.take(found.entry == found.entry.min())
    on_curve = np.arange(young.entry[0] + 1, LAST + 1, dtype=np.float32)
    there = outlook_of(young, horizon).survival
    assert there is not None
    np.testing.assert_allclose(there[:, : len(on_curve)], young.at(on_curve), rtol=1e-4)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_periods_left_are_whole_ones_on_the_curve(share: float) -> None:
    found = curves()
    left = outlook_of(found, 5).left(share)
    for unit, entry in enumerate(found.entry.tolist()):
        expected, age = math.inf, entry + 1
        for periods in range(LAST):
            if age + periods <= LAST and 1 - survival(found, unit, age + periods) >= share:
                expected = periods
                break
        assert left[unit] == expected
    assert 0 < np.isfinite(left).mean() < 1


def test_the_index_is_the_break_even_at_which_keeping_is_worth_nothing() -> None:
    found, known = curves(), rates()
    outlook = outlook_of(found, 20)
    index = keeping_index(known, outlook)
    for unit in range(0, 40, 3):
        one = replace(
            known,
            **{name: getattr(known, name)[unit : unit + 1] for name in ("mean", "spread")},
            recent=known.recent[unit : unit + 1],
        )
        ahead = replace(
            outlook, next=outlook.next[unit : unit + 1], further=outlook.further[unit : unit + 1]
        )
        step = 1e-4
        assert keeping_value(one, ahead, float(index[unit]) - step)[0] > 0
        assert keeping_value(one, ahead, float(index[unit]) + step)[0] < 0
    sure = replace(known, spread=np.zeros(40))
    np.testing.assert_allclose(keeping_index(sure, outlook), known.mean)


@pytest.mark.parametrize("gap", [0, 3])
def test_without_a_model_one_share_of_last_periods_counts(gap: int) -> None:
    log = replace(small_life_log(), gap=gap)
    at_risk = ends = 0
    for first, last in zip(log.first, log.last, strict=True):
        for week in range(first, last + 1):
            if week + gap < 14:
                at_risk += 1
                ends += week == last
    hazard = ends / at_risk
    outlook = flat_outlook(log, 14, 3)
    np.testing.assert_allclose(outlook.further - 1, (1 - hazard) / hazard)
    assert outlook.next.tolist() == [1, 1, 1]
    assert np.isnan(outlook.left(0.5)).all()
    assert np.isnan(outlook.ends_within(2)).all()
    assert flat_outlook(log, 14, 1, horizon=2).further[0] == 3
    # Nothing ended yet.
    young = replace(log, last=np.full(len(log), 20))
    assert flat_outlook(young, 3, 1).further[0] == 4


def test_units_are_stopped_refreshed_or_kept() -> None:
    found, known = curves(200), rates(200)
    config = RetireConfig(break_even=1.0, ahead=2)
    decided = decide(config, found, known)
    outlook = outlook_of(found, 14)
    score, ends = keeping_value(known, outlook, 1.0), outlook.ends_within(2)
    for unit, entry in enumerate(found.entry.tolist()):
        old = entry + 1 > 4
        expected = "stop" if score[unit] < 0 else "refresh" if old and ends[unit] >= 0.5 else "keep"
        assert decided.action[unit] == expected
        assert decided.cause[unit] == ("wear-out" if old else "cut-out")
    assert set(decided.action) == {"stop", "refresh", "keep"}
    np.testing.assert_allclose(decided.saving, known.recent * outlook.further)
    np.testing.assert_allclose(decided.loss, known.mean * decided.saving)
    np.testing.assert_allclose(decided.net, decided.saving - decided.loss)
    assert set(decided.ending) == {""}
    assert decided.left.shape == (200, 3)


def test_of_several_causes_the_likelier_is_named() -> None:
    found = curves(50, causes=2)
    decided = decide(RetireConfig(), found, rates(50))
    likely = found.incidence[:, -1].argmax(1)
    assert decided.ending.tolist() == [f"cause {c}" for c in likely]


def test_one_head_knows_no_terms() -> None:
    decided = decide(RetireConfig(), curves(50, terms=TERMS.one_head), rates(50))
    assert set(decided.cause) == {""}
    assert "refresh" not in decided.action


def test_every_setting_changes_what_is_decided() -> None:
    found, known = curves(200), rates(200)
    base = decide(RetireConfig(), found, known)
    assert break_even_of(RetireConfig(), known) == 0.75
    assert break_even_of(RetireConfig(break_even=0.2), known) == 0.2
    for config in (
        RetireConfig(floor=0.9),
        RetireConfig(break_even=0.2),
        RetireConfig(threshold=0.5),
        RetireConfig(ahead=1),
    ):
        assert (decide(config, found, known).action != base.action).any(), config
    short = decide(RetireConfig(horizon=2), found, known)
    assert (short.saving <= base.saving).all()
    assert (RetireConfig().ahead_of(TERMS), RetireConfig().horizon_of(TERMS)) == (4, 14)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="each curve needs a rate"):
        decide(RetireConfig(), curves(3), rates(2))


Floats = npt.NDArray[np.float64]
PERIODS, UNTIL, PAYS = range(8, 16), 18, 5.0


def drawn(lives: int = 150, seed: int = 0) -> tuple[LifeLog, StopPoints, Floats]:
    """A log, its points in periods 8 to 15, and scores with ties."""
    found = SmallLives(lives, seed=seed)
    running = [(found.running(period).life, period) for period in PERIODS]
    life = np.concatenate([each for each, _ in running])
    period = np.concatenate([np.full(len(each), at) for each, at in running])
    points = StopPoints.of(found.log, life, period, PAYS, UNTIL)
    rng = np.random.default_rng(seed)
    return found.log, points, rng.integers(0, 12, len(life)) / 4


def literal(log: LifeLog, points: StopPoints, score: Floats, threshold: float) -> StopSums:
    """A life and a period at a time."""
    saved = lost = stopped = wrong = age = cost = value = 0.0
    for life in range(len(log)):
        rows = range(*log.offsets[life : life + 2])
        for row in rows:
            if PERIODS[0] <= log.period[row] <= UNTIL:
                cost, value = cost + log.cost[row], value + log.value[row]
        mine = [d for d in range(len(points)) if points.life[d] == life]
        below = [d for d in mine if score[d] < threshold]
        if below:
            at = min(points.period[d] for d in below)
            after = [row for row in rows if at < log.period[row] <= UNTIL]
            spared, gone = sum(log.cost[after]), sum(log.value[after])
            saved, lost = saved + spared, lost + gone
            if spared:
                stopped, age = stopped + 1, age + at - log.first[life] + 1
                wrong += gone >= PAYS * spared
    return StopSums(saved, lost, stopped, wrong, age, cost, value)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_threshold_is_what_a_loop_over_lives_says(seed: int) -> None:
    log, points, score = drawn(seed=seed)
    frontier = Frontier.of(points, score)
    for threshold in (-np.inf, 0.0, 0.1, 1.0, 1.25, 2.6, np.inf):
        np.testing.assert_allclose(
            frontier.at(threshold), literal(log, points, score, threshold), atol=1e-9
        )
    assert frontier.at(0.0).saved == 0 < frontier.at(0.1).saved
    assert (np.diff(frontier.sums[:, :2], axis=0) >= -1e-9).all()
    assert (np.diff(frontier.threshold) > 0).all()


def test_owners_add_up_to_the_whole_on_a_grid() -> None:
    _, points, score = drawn()
    frontier = Frontier.of(points, score + np.random.default_rng(3).random(len(score)) / 8)
    grid = frontier.grid(16)
    assert 8 <= len(grid) <= 16
    saved, lost = frontier.by_owner(grid)
    assert saved.shape == (len(points.owners), len(grid) + 1)
    for place, threshold in enumerate((-np.inf, *grid)):
        whole = frontier.at(threshold)
        np.testing.assert_allclose(saved[:, place].sum(), whole.saved, atol=1e-9)
        np.testing.assert_allclose(lost[:, place].sum(), whole.lost, atol=1e-9)
    np.testing.assert_allclose(lost[:, -1].sum(), frontier.sums[-1, 1])


def test_a_share_of_value_kept_is_met_between_two_thresholds() -> None:
    _, points, score = drawn()
    frontier = Frontier.of(points, score)
    for share in (1.0, 0.99, 0.8, 0.62):
        found = frontier.at_kept(share)
        assert found.value_kept == pytest.approx(share)
        below = frontier.sums[frontier.sums[:, 1] <= found.lost + 1e-9, 0].max()
        above = frontier.sums[frontier.sums[:, 1] >= found.lost - 1e-9, 0].min()
        assert below - 1e-9 <= found.saved <= max(below, above) + 1e-9
    # What loses nothing is all taken.
    idle = replace(
        points, sums=np.where((points.life % 2 == 0)[:, None], [1.0, 0, 1, 0, 1], points.sums)
    )
    free = len(np.unique(points.life[points.life % 2 == 0]))
    assert Frontier.of(idle, (points.life % 2).astype(np.float64)).at_kept(1.0).saved == free > 0
    # Beyond what the rule can lose, all that it can save.
    assert frontier.at_kept(0.0).saved == pytest.approx(frontier.at(np.inf).saved)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        frontier.at_kept(1.2)


def test_matching_is_what_numpy_interpolates_where_points_differ() -> None:
    rng = np.random.default_rng(0)
    lost, saved = (np.cumsum(rng.random((5, 9)), 1) for _ in range(2))
    lost, saved = lost - lost[:, :1], saved - saved[:, :1]
    wanted = rng.random(5) * lost[:, -1] * 1.2
    expected = [np.interp(w, x, y) for w, x, y in zip(wanted, lost, saved, strict=True)]
    np.testing.assert_allclose(matched(lost, saved, wanted), expected)
    flat = np.array([[0.0, 0.0, 1.0, 1.0, 3.0]])
    assert matched(flat, np.arange(5.0)[None], np.array([1.0])).tolist() == [3.0]
    assert matched(flat, np.arange(5.0)[None], np.array([0.0])).tolist() == [1.0]


def test_a_rule_that_only_fires_stops_at_its_first_time() -> None:
    log, points, score = drawn()
    fires = score < 0.6
    stops = stopped_where(points, fires)
    assert len(np.unique(points.life[stops])) == len(stops) > 20
    found = points.total(points.sums[stops].sum(0))
    np.testing.assert_allclose(found, literal(log, points, np.where(fires, -1.0, 0.0), 0.0))
    none = points.total(points.sums[stopped_where(points, fires & False)].sum(0))
    assert (none.cost_saved, none.value_kept) == (0.0, 1.0)


def test_what_comes_later_than_the_last_period_is_not_seen() -> None:
    found = SmallLives(150)
    running = found.running(10)
    near = StopPoints.of(found.log, running.life, np.full(len(running.life), 10), PAYS, 12)
    far = StopPoints.of(found.log, running.life, np.full(len(running.life), 10), PAYS, 99)
    whose = np.repeat(np.arange(len(found.log)), np.diff(found.log.offsets))
    for points, until in ((near, 12), (far, 99)):
        after = (found.log.period > 10) & (found.log.period <= until)
        cost = np.bincount(whose[after], found.log.cost[after], len(found.log))
        np.testing.assert_allclose(points.sums[:, 0], cost[points.life])
    assert near.sums[:, 0].sum() < far.sums[:, 0].sum()
    assert near.cost.sum() < far.cost.sum()


def test_wrong_points_and_scores_are_refused() -> None:
    log = drawn()[0]
    with pytest.raises(DataError, match="did not run"):
        StopPoints.of(log, np.array([0]), log.last[:1] + 1, PAYS, UNTIL)
    with pytest.raises(DataError, match="did not run"):
        StopPoints.of(log, np.array([1]), log.first[1:2] - 1, PAYS, UNTIL)
    with pytest.raises(DataError, match="nothing is up"):
        StopPoints.of(log, np.empty(0, int), np.empty(0, int), PAYS, UNTIL)


CONFIG = LifetimeConfig(epochs=2, batch=64)


@pytest.fixture(scope="module")
def lives() -> SmallLives:
    return SmallLives(200)


class CutOff(Exception):
    """Stands for the power that went."""


class _Dies(Callback):
    def on_validation(self, *_: object, **__: object) -> None:
        raise CutOff


def test_what_is_trained_is_saved_and_opened(lives: SmallLives, tmp_path: Path) -> None:
    made = train_retirement(lives, tmp_path / "run", CONFIG, before=16)
    assert made.model.config["before"] == 16
    first, told, *_ = made.text().splitlines()
    assert "is kept: C ahead of" in first
    assert told.startswith("expect C 0.")
    table = lives.running(16).table
    for place in (tmp_path / "run", made.folder):
        opened = open_retirement(place)
        assert opened.id == made.id
        assert opened.model.choice == made.model.choice
        found = opened.model.predict(table).survival
        np.testing.assert_array_equal(found, made.model.predict(table).survival)
    with pytest.raises(ResourceError):
        train_retirement(lives, tmp_path / "run", CONFIG, before=16)
    again = train_retirement(lives, tmp_path / "run", CONFIG, before=16, overwrite=True)
    assert again.model.digest() == made.model.digest()


def test_a_run_that_was_cut_off_goes_on(
    lives: SmallLives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit_retirement(lives, 16, CONFIG, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(retire, "fit_lifetime", partial(fit_lifetime, callbacks=[_Dies()]))
        with pytest.raises(CutOff):
            fit_retirement(lives, 16, CONFIG, out=tmp_path / "cut")
    resumed = fit_retirement(lives, 16, CONFIG, out=tmp_path / "cut", resume=True)
    table = lives.running(16).table
    np.testing.assert_array_equal(resumed.predict(table).survival, whole.predict(table).survival)


def test_a_model_of_another_training_is_refused(
    drawn_model: FittedLifetime, tmp_path: Path
) -> None:
    replace(drawn_model, config={}).save(tmp_path / "model")
    with pytest.raises(ArtifactError, match="up to when it was trained"):
        open_retirement(tmp_path)
