"""Credibility against loops over lives and pools."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.lives import LifeLog, RunningUnits
from adwright.creative.lifetime.stop_rule import (
    HALF_LIVES,
    Rates,
    ValueConfig,
    ValueModel,
    credibility,
    fit_values,
)
from tests.support.data.small_life_log import SmallLives, small_life_log

PERIOD = 14


def rows_of(log: LifeLog, life: int, until: int) -> list[tuple[int, float, float]]:
    """(period, cost, value) of a life's rows with cost, up to a period."""
    part = range(*log.offsets[life : life + 2])
    rows = [(int(log.period[at]), float(log.cost[at]), float(log.value[at])) for at in part]
    return [row for row in rows if row[0] <= until and row[1] > 0]


def literal(log: LifeLog, until: int, half_life: float) -> dict[str, Any]:
    """The formulas of the module, one by one."""

    def d(period: int) -> float:
        return float(2 ** (-(until - period) / half_life))

    lives = {i: rows for i in range(len(log)) if (rows := rows_of(log, i, until))}
    w = {i: sum(d(t) * c for t, c, _ in rows) for i, rows in lives.items()}
    x = {i: sum(d(t) * v for t, _, v in rows) / w[i] for i, rows in lives.items()}
    squares = sum(d(t) * c * (v / c - x[i]) ** 2 for i, rows in lives.items() for t, c, v in rows)
    free = sum(
        sum(d(t) for t, _, _ in rows) - sum(d(t) ** 2 * c for t, c, _ in rows) / w[i]
        for i, rows in lives.items()
    )
    s2 = squares / free
    pools: dict[int, list[int]] = {}
    for i in lives:
        pools.setdefault(int(log.pool[i]), []).append(i)
    w_p = {p: sum(w[i] for i in of) for p, of in pools.items()}
    centre = {p: sum(w[i] * x[i] for i in of) / w_p[p] for p, of in pools.items()}
    between = sum(w[i] * (x[i] - centre[p]) ** 2 for p, of in pools.items() for i in of)
    size = sum(w_p[p] - sum(w[i] ** 2 for i in of) / w_p[p] for p, of in pools.items())
    t2 = max((between - s2 * (len(lives) - len(pools))) / size, 0)
    u = {i: 1 / (t2 + s2 / w[i]) for i in lives}
    u_p = {p: sum(u[i] for i in of) for p, of in pools.items()}
    x_p = {p: sum(u[i] * x[i] for i in of) / u_p[p] for p, of in pools.items()}
    total = sum(u_p.values())
    mean = sum(u_p[p] * x_p[p] for p in pools) / total
    o2 = sum(u_p[p] * (x_p[p] - mean) ** 2 for p in pools) - (len(pools) - 1)
    o2 = max(o2 / (total - sum(each**2 for each in u_p.values()) / total), 0)
    y = {p: o2 * u_p[p] / (1 + o2 * u_p[p]) for p in pools}
    if o2:
        mean = sum(y[p] * x_p[p] for p in pools) / sum(y.values())
    m = {p: y[p] * x_p[p] + (1 - y[p]) * mean for p in pools}
    found: dict[str, Any] = {"noise": s2, "lives": t2, "pools": o2, "mean": {}, "spread": {}}
    for i in range(len(log)):
        p = int(log.pool[i])
        z = t2 / (t2 + s2 / w[i]) if i in lives else 0.0
        pool_mean = m.get(p, mean)
        y_p = y.get(p, 0.0)
        found["mean"][i] = z * x.get(i, 0.0) + (1 - z) * pool_mean
        left = t2 * (1 - z) + (1 - z) ** 2 * o2 * (1 - y_p)
        found["spread"][i] = math.sqrt(left * found["mean"][i] / mean)
    return found


def alive(log: LifeLog, period: int = PERIOD) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.flatnonzero((log.first <= period) & (log.last >= period))


@pytest.mark.parametrize("half_life", [1.0, 3.0, math.inf])
@pytest.mark.parametrize("pools", [12, 2, 100])
def test_it_is_what_the_formulas_say(half_life: float, pools: int) -> None:
    log = small_life_log(pools=pools)
    begun = np.flatnonzero(log.first <= PERIOD)
    rates, expected = (
        credibility(log, PERIOD, begun, half_life=half_life),
        literal(log, PERIOD, half_life),
    )
    for name in ("noise", "lives", "pools"):
        assert getattr(rates, name) == pytest.approx(expected[name], rel=1e-9), name
    for name in ("mean", "spread"):
        wanted = [expected[name][i] for i in begun]
        np.testing.assert_allclose(getattr(rates, name), wanted, rtol=1e-9, err_msg=name)
    rows = [row for i in range(len(log)) for row in rows_of(log, i, PERIOD)]
    assert rates.overall == pytest.approx(sum(r[2] for r in rows) / sum(r[1] for r in rows))


def test_the_cost_of_a_period_counts_periods_without_cost() -> None:
    log = small_life_log()
    asked = alive(log)
    for half_life in (2.0, math.inf):
        found = credibility(log, PERIOD, asked, half_life=half_life).recent
        for unit, i in enumerate(asked):
            weights = [2 ** (-(PERIOD - t) / half_life) for t in range(log.first[i], PERIOD + 1)]
            cost = {t: c for t, c, _ in rows_of(log, i, PERIOD)}
            spent = [cost.get(t, 0.0) for t in range(log.first[i], PERIOD + 1)]
            assert found[unit] == pytest.approx(np.average(spent, weights=weights))


def next_error(log: LifeLog, until: int, half_life: float) -> float:
    """Of the rows of lives but their first: squared error of what was known before, by cost."""
    fit, error = literal(log, until, half_life), 0.0
    rates = credibility(log, until, np.flatnonzero(log.first <= until), half_life=half_life)
    prior = dict(zip(np.flatnonzero(log.first <= until).tolist(), rates.pool, strict=True))
    for i in range(len(log)):
        rows = rows_of(log, i, until)
        for k, (now, cost, value) in enumerate(rows):
            if k:
                fade = [2 ** (-(now - 1 - t) / half_life) for t, _, _ in rows[:k]]
                w = sum(f * c for f, (_, c, _) in zip(fade, rows, strict=False))
                own = sum(f * v for f, (_, _, v) in zip(fade, rows, strict=False)) / w
                z = fit["lives"] * w / (fit["lives"] * w + fit["noise"])
                error += cost * (value / cost - z * own - (1 - z) * prior[i]) ** 2
    return error


@pytest.mark.parametrize(("drift", "noise"), [(0.0, 1.0), (2.0, 0.3)])
def test_the_half_life_is_the_one_that_told_the_next_period_best(
    drift: float, noise: float
) -> None:
    log = small_life_log(300, drift=drift, noise=noise, seed=3)
    errors = {half_life: next_error(log, PERIOD, half_life) for half_life in HALF_LIVES}
    chosen = credibility(log, PERIOD, alive(log)).half_life
    assert chosen == min(errors, key=lambda each: errors[each])
    # What a unit brings changes by the week, or it does not.
    assert chosen < 4 if drift else chosen > 8


def of_rows(log: LifeLog, **changes: Any) -> Rates:
    return credibility(replace(log, **changes), PERIOD, alive(log))


def test_value_that_never_came_is_worth_nothing_for_certain() -> None:
    log = small_life_log()
    rates = of_rows(log, value=np.zeros_like(log.value))
    assert not rates.mean.any()
    assert not rates.spread.any()
    assert (rates.overall, rates.value_left_out) == (0, 0)


def test_a_pool_of_one_is_judged_by_itself_and_the_whole() -> None:
    log = small_life_log(pools=3)
    asked = alive(log)
    alone = int(asked[0])
    log = replace(log, pool=np.where(np.arange(len(log)) == alone, 99, log.pool))
    rates = credibility(log, PERIOD, asked)
    assert np.isfinite(rates.mean).all()
    assert rates.spread[0] > 0
    # Where all pools are of one life, what they differ by is the pools' own.
    rates = credibility(replace(log, pool=np.arange(len(log))), PERIOD, asked)
    assert (rates.lives, rates.trust.max()) == (0, 0)
    assert rates.pools > 0
    assert np.std(rates.mean) > 0


def test_a_unit_without_cost_is_judged_by_its_pool() -> None:
    log = small_life_log()
    unit = int(alive(log)[0])
    cost = log.cost.copy()
    cost[log.offsets[unit] : log.offsets[unit + 1]] = 0
    rates = of_rows(log, cost=cost)
    assert math.isnan(rates.own[0])
    assert rates.mean[0] == rates.pool[0]
    assert (rates.recent[0], rates.trust[0]) == (0, 0)
    assert 0 < rates.value_left_out < 0.1
    with pytest.raises(DataError, match="nothing cost anything up to week 14"):
        of_rows(log, cost=np.zeros_like(cost))


def test_without_a_second_period_all_that_differs_is_noise() -> None:
    log = small_life_log()
    first = np.array([rows_of(log, i, 20)[0][0] if rows_of(log, i, 20) else 0 for i in range(120)])
    life = np.repeat(np.arange(len(log)), np.diff(log.offsets))
    only = replace(log, cost=np.where(log.period == first[life], log.cost, 0.0))
    for pools in (log.pool, np.arange(len(log))):
        rates = credibility(replace(only, pool=pools), 20, np.arange(len(log)))
        assert (rates.lives, rates.trust.max()) == (0, 0)
        assert rates.half_life == math.inf
    assert np.ptp(rates.mean) < 1e-9


def test_values_without_noise_are_believed() -> None:
    log = small_life_log()
    life = np.repeat(np.arange(len(log)), np.diff(log.offsets))
    exact = replace(log, value=log.cost * (1.0 + life))
    rates = credibility(exact, PERIOD, alive(log))
    known = rates.recent > 0
    np.testing.assert_allclose(rates.mean[known], 1.0 + alive(log)[known], rtol=1e-9)
    np.testing.assert_allclose(rates.spread[known], 0, atol=1e-6)
    by_pool = replace(log, value=log.cost * (10.0 + log.pool[life]))
    rates = credibility(by_pool, PERIOD, alive(log))
    np.testing.assert_allclose(rates.mean, 10.0 + log.pool[alive(log)])


def test_a_period_teaches_what_a_draw_of_it_teaches() -> None:
    rates = credibility(small_life_log(), PERIOD, alive(small_life_log()), half_life=math.inf)
    rng = np.random.default_rng(0)
    for unit in range(0, len(rates), 9):
        if rates.recent[unit] == 0:
            assert rates.learned[unit] == 0
            continue
        # What it is worth, what a period of it then shows, and what is believed after that.
        true = rates.spread[unit] * rng.normal(size=200_000)
        noise = rates.noise * rates.mean[unit] / rates.overall / rates.recent[unit]
        shown = true + np.sqrt(noise) * rng.normal(size=200_000)
        believed = np.polyfit(shown, true, 1)[0] * shown
        assert rates.learned[unit] == pytest.approx(believed.std(), rel=0.03)
    silent = replace(rates, spread=np.zeros(len(rates)), noise=0.0)
    assert silent.learned.tolist() == [0.0] * len(rates)


def test_what_cannot_be_asked_is_refused() -> None:
    log = small_life_log()
    with pytest.raises(ConfigError, match="above 0"):
        credibility(log, PERIOD, alive(log), half_life=0)
    with pytest.raises(ConfigError, match="has not begun by week 14"):
        credibility(log, PERIOD, np.arange(len(log)))
    with pytest.raises(ConfigError, match="none of the log"):
        credibility(log, PERIOD, [len(log)])
    assert len(credibility(log, PERIOD, [])) == 0


QUICK = ValueConfig(hidden=8, batch=64, epochs=8, learning_rate=1e-2, half_life=8.0)


class HintedLives(SmallLives):
    """Half of the lives bring nothing from their third week on, and a number says which."""

    def __init__(self) -> None:
        super().__init__(300)
        log = self.log
        life = np.repeat(np.arange(len(log)), np.diff(log.offsets))
        gone = (life % 2 == 0) & (log.period > log.first[life] + 1)
        self.log = replace(log, value=np.where(gone, 0.0, log.value), cost=np.maximum(log.cost, 1))

    def running(self, period: int) -> RunningUnits:
        """With the number, missing for every tenth life."""
        ran = super().running(period)
        hint = np.where(ran.life % 10 == 0, np.nan, ran.life % 2)[:, None].astype(np.float32)
        table = replace(
            ran.table,
            numbers=np.concatenate([ran.table.numbers, hint], 1),
            number_names=(*ran.table.number_names, "hint"),
        )
        return RunningUnits(ran.life, table)


@pytest.fixture(scope="module")
def hinted() -> HintedLives:
    """LifeRecord."""
    return HintedLives()


@pytest.fixture(scope="module")
def model(hinted: HintedLives) -> ValueModel:
    """Of the weeks before 15."""
    return fit_values(hinted, 15, QUICK)


def asked(
    lives: HintedLives, model: ValueModel, week: int = 15
) -> tuple[RunningUnits, Rates, Rates]:
    """What runs, by credibility, and as expected."""
    ran = lives.running(week)
    rates = credibility(lives.log, week, ran.life, half_life=8.0)
    return ran, rates, model.rates(ran.table, rates)


def squared(log: LifeLog, ran: RunningUnits, found: np.ndarray, week: int) -> float:
    """Error by cost over the weeks to come."""
    error = total = 0.0
    for place, life in enumerate(ran.life.tolist()):
        for row in range(*log.offsets[life : life + 2]):
            if log.period[row] > week:
                off = log.value[row] / log.cost[row] - found[place]
                error, total = error + log.cost[row] * off**2, total + log.cost[row]
    return error / total


def test_what_features_say_of_the_periods_to_come_is_learned(
    hinted: HintedLives, model: ValueModel
) -> None:
    ran, rates, expected = asked(hinted, model)
    young = hinted.log.first[ran.life] >= 14
    dead = (ran.life % 2 == 0) & (ran.life % 10 != 0)
    assert expected.mean[young & dead].mean() < 0.5 * expected.mean[young & ~dead].mean()
    by_record = squared(hinted.log, ran, rates.mean, 15)
    assert squared(hinted.log, ran, expected.mean, 15) < 0.8 * by_record
    # All else is as credibility has it, and who brings more varies more.
    np.testing.assert_allclose(
        expected.spread**2 * rates.mean, rates.spread**2 * expected.mean, atol=1e-12
    )
    assert expected.recent is rates.recent


def test_nothing_from_the_last_period_on_is_read(hinted: HintedLives, model: ValueModel) -> None:
    changed = HintedLives()
    late = changed.log.period >= 15
    changed.log = replace(changed.log, value=np.where(late, 99.0, changed.log.value))
    again = fit_values(changed, 15, QUICK)
    ran, rates, expected = asked(hinted, model)
    assert again.rates(ran.table, rates).mean.tolist() == expected.mean.tolist()
    assert model.before == 15


def test_a_model_comes_back_from_its_folder(
    hinted: HintedLives, model: ValueModel, tmp_path: Path
) -> None:
    model.save(tmp_path / "values")
    ran, rates, expected = asked(hinted, model)
    again = ValueModel.load(tmp_path / "values")
    assert again.rates(ran.table, rates).mean.tolist() == expected.mean.tolist()
    assert (again.names, again.before, again.config) == (model.names, 15, model.config)


def test_a_column_that_is_not_there_is_a_gap(hinted: HintedLives, model: ValueModel) -> None:
    ran, rates, expected = asked(hinted, model)
    hidden = replace(
        ran.table, numbers=ran.table.numbers[:, :-1], number_names=ran.table.number_names[:-1]
    )
    found = model.rates(hidden, rates).mean
    assert np.isfinite(found).all()
    unknown = ran.life % 10 == 0
    np.testing.assert_allclose(found[unknown], expected.mean[unknown])
    assert (found[~unknown] != expected.mean[~unknown]).any()


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 9},
        {"epochs": 2},
        {"batch": 32},
        {"rows": 200},
        {"learning_rate": 1e-3},
        {"weight_decay": 0.5},
        {"half_life": 1.0},
        {"seed": 1},
    ],
)
def test_each_setting_changes_the_model(
    change: dict[str, Any], hinted: HintedLives, model: ValueModel
) -> None:
    other = fit_values(hinted, 15, replace(QUICK, **change))
    ran, rates, expected = asked(hinted, model)
    assert (other.rates(ran.table, rates).mean != expected.mean).any()


def test_too_short_a_record_is_refused(hinted: HintedLives) -> None:
    with pytest.raises(DataError, match="too short"):
        fit_values(hinted, 3, QUICK)
    nothing = HintedLives()
    nothing.log = replace(nothing.log, value=np.where(nothing.log.period > 1, 0.0, 1.0))
    with pytest.raises(DataError, match="nothing is known"):
        fit_values(nothing, 8, QUICK)
