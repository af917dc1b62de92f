from __future__ import annotations

import pytest

from adwright.audit.attacks.attack import AttackBudget, Spending, SpendingMeter
from adwright.core.errors import ConfigError


def test_calls_are_allowed_until_they_are_spent() -> None:
    meter = SpendingMeter(AttackBudget(10), cpu=lambda: 0.0)
    meter.add(calls=7.5, trials=90)
    assert meter.allows(2.5)
    assert not meter.allows(3)
    assert (meter.calls_left, meter.spent.trials) == (2.5, 90)
    meter.add(calls=5)
    assert meter.calls_left == 0


def test_seconds_end_an_attack_too() -> None:
    now = [0.0]
    meter = SpendingMeter(AttackBudget(1000, cpu_seconds=5), cpu=lambda: now[0])
    now[0] = 4.9
    assert meter.allows()
    now[0] = 5.0
    assert not meter.allows()
    assert SpendingMeter(AttackBudget(1000), cpu=lambda: now[0]).allows()


def test_what_a_job_spent_before_counts_once() -> None:
    now = [3.0]
    meter = SpendingMeter(AttackBudget(10), Spending(1, 1.0, 1), cpu=lambda: now[0])
    meter.add(calls=2)
    meter.resume(Spending(4, 9.0, 20))
    now[0] = 5.0
    meter.add(calls=1, trials=3)
    assert meter.spent == Spending(5, 11.0, 23)
    assert Spending(1, 2.0, 3) + Spending(1, 1.0, 1) == Spending(2, 3.0, 4)


@pytest.mark.parametrize(
    ("calls", "seconds"), [(0, 0), (float("nan"), 0), (1, -1), (1, float("inf"))]
)
def test_budgets_that_are_none_are_refused(calls: float, seconds: float) -> None:
    with pytest.raises(ConfigError):
        AttackBudget(calls, seconds)
