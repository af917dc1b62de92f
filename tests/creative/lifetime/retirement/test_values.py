"""The regression of what units will bring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.retirement.lives import LifeLog, RunningUnits
from adwright.creative.lifetime.retirement.rates import Rates, credibility
from adwright.creative.lifetime.retirement.values import ValueConfig, ValueModel, fit_values
from tests.support.data.small_life_log import SmallLives

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
    with pytest.raises(ConfigError):
        ValueConfig(hidden=0)
