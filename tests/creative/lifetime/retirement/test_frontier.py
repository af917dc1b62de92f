"""Frontiers against a loop over lives and thresholds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.lifetime.retirement.frontier import (
    Frontier,
    StopPoints,
    StopSums,
    matched,
    stopped_where,
)
from adwright.creative.lifetime.retirement.lives import LifeLog
from tests.support.data.small_life_log import SmallLives

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
    # One owner, as if there were no other.
    mine = points.owner == points.owner[0]
    alone = (points.sums * mine[:, None])[:, :2]
    place = len(grid) // 2
    below = stopped_where(points, frontier_score(frontier, points) < grid[place])
    np.testing.assert_allclose(saved[points.owner[0], place + 1], alone[below, 0].sum())
    np.testing.assert_allclose(lost[points.owner[0], place + 1], alone[below, 1].sum())


def frontier_score(frontier: Frontier, points: StopPoints) -> Floats:
    """The scores of `test_owners_add_up_to_the_whole_on_a_grid` anew."""
    _, _, score = drawn()
    return score + np.random.default_rng(3).random(len(score)) / 8


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
    assert np.isnan([none.wrongly, none.mean_age]).all()


def test_stops_that_never_come_and_always_come() -> None:
    _, points, _ = drawn()
    never = Frontier.of(points, np.full(len(points), np.inf))
    assert never.at(np.inf).saved == 0
    assert len(never.threshold) == 1
    always = Frontier.of(points, np.full(len(points), -np.inf))
    assert (
        always.at(-1e9).saved
        == points.sums[stopped_where(points, np.ones(len(points), bool)), 0].sum()
    )


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
    log, points, score = drawn()
    score[3] = np.nan
    with pytest.raises(ValueInvalidError, match="not a number"):
        Frontier.of(points, score)
    with pytest.raises(DataError, match="did not run"):
        StopPoints.of(log, np.array([0]), log.last[:1] + 1, PAYS, UNTIL)
    with pytest.raises(DataError, match="did not run"):
        StopPoints.of(log, np.array([1]), log.first[1:2] - 1, PAYS, UNTIL)
    with pytest.raises(DataError, match="nothing is up"):
        StopPoints.of(log, np.empty(0, int), np.empty(0, int), PAYS, UNTIL)
