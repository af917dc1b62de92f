"""Budgets end a run before more is used."""

from __future__ import annotations

import pytest

from adwright.agent.language.problems import BudgetMeter, RunBudget, ScriptError
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError


def test_steps_acts_and_writes_are_counted() -> None:
    meter = BudgetMeter(RunBudget(steps=1, acts=2, writes=1), FixedClock())
    meter.step()
    with pytest.raises(ScriptError, match="1 steps"):
        meter.step()
    meter.act(writes=True)
    with pytest.raises(ScriptError, match="written 1 times"):
        meter.act(writes=True)
    meter.act(writes=False)
    with pytest.raises(ScriptError, match="acted 2 times"):
        meter.act(writes=False)
    assert (meter.steps, meter.acts, meter.writes) == (1, 2, 1)


def test_time_ends_a_run() -> None:
    clock = FixedClock()
    meter = BudgetMeter(RunBudget(seconds=5), clock)
    clock.advance(4.9)
    meter.act(writes=False)
    clock.advance(0.1)
    with pytest.raises(ScriptError, match="5 seconds") as caught:
        meter.act(writes=False)
    assert caught.value.code == "budget"


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"writes": -1}, {"acts": 1.5}, {"seconds": 0}])
def test_a_budget_is_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RunBudget(**wrong)  # type: ignore[arg-type]
