"""Limits from a measured curve."""

from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.program import LATENCY, THROUGHPUT, Objective
from adwright.programs.scheduling.engine import LatencyCurve, StepLimit
from tests.support.chains import CURVE, chain_of


def test_between_two_batches_the_rate_is_linear() -> None:
    assert CURVE.step_seconds(4) == pytest.approx(4 / 413)
    assert CURVE.step_seconds(6) == pytest.approx(6 / ((413 + 595) / 2))
    assert CURVE.step_seconds(64) == pytest.approx(64 / 1045)
    assert CURVE.step_seconds(0) == 0


def test_the_knee_has_the_greatest_power() -> None:
    steps = {b: CURVE.step_seconds(b) for b in range(1, 33)}
    power = {b: (b / s) / s for b, s in steps.items()}
    assert power[CURVE.knee] == max(power.values())
    assert CURVE.knee == 8


def test_a_burst_is_over_soonest_at_the_batch_that_is_best_of_all() -> None:
    """Against the formula written out, for several mixes."""
    for chains, programs, prefill, new in ((12, 12, 0.32, 50), (16, 1, 0.32, 50), (20, 5, 0.1, 9)):
        width = chains / programs

        def mean_end(b: int) -> float:
            busy = prefill + new * CURVE.step_seconds(b) / b  # noqa: B023
            return (2 * programs + max(1.0, b / width)) * busy  # noqa: B023

        found = CURVE.burst(chains, programs, prefill, new)
        best = min(map(mean_end, range(1, chains + 1)))
        assert mean_end(found) == pytest.approx(best, rel=0.01)


def test_chains_of_one_program_do_not_wait_for_each_other() -> None:
    assert CURVE.burst(16, 1, 0.3, 50) == 16
    assert CURVE.burst(16, 16, 0.3, 50) < 16


def test_limits_of_objectives() -> None:
    assert CURVE.limit(chain_of(objective=THROUGHPUT), 0.0) == StepLimit()
    assert CURVE.limit(chain_of(objective=LATENCY), 0.0, chains=3).rows == 3
    tpot = chain_of(objective=Objective("tpot", 0.02))
    assert CURVE.limit(tpot, 0.0).step == 0.02
    late = Objective("deadline", 3.1)
    limit = CURVE.limit(chain_of(tokens=(159,), new=100, objective=late), 1.0)
    assert limit.step == pytest.approx((3.1 - 1.0 - 0.1) / 100)
    first = CURVE.limit(chain_of(objective=Objective("ttft", 2.0), arrived=1.0), 1.5)
    assert first.queue == pytest.approx(1.5)


def test_what_cannot_be_kept_is_bound_by_what_the_engine_can_do_alone() -> None:
    for objective in (Objective("tpot", 1e-6), Objective("deadline", 1e-6)):
        limit = CURVE.limit(chain_of(objective=objective), 5.0)
        assert limit.step == pytest.approx(CURVE.step_seconds(1))


def test_what_is_held_makes_a_step_longer() -> None:
    curve = LatencyCurve((1, 2), (10, 16), 100, kv_seconds=1e-4)
    assert curve.step_seconds(2, 1000) == pytest.approx(2 / 16 + 0.1)
    # So that fewer with a long prompt of their own run at once.
    chain = chain_of(tokens=(5000,), new=100)
    told = {"cached": 4999, "chains": 2, "programs": 2}
    assert curve.limit(chain, 0.0, **told).rows == 1
    assert curve.limit(chain, 0.0, shared=4999, **told).rows == 2


@pytest.mark.parametrize(
    ("batches", "rates", "prefill", "kv"),
    [
        ((), (), 1, 0),
        ((2,), (1,), 1, 0),
        ((1, 1), (1, 1), 1, 0),
        ((1,), (1, 2), 1, 0),
        ((1,), (0,), 1, 0),
        ((1,), (1,), 0, 0),
        ((1,), (1,), 1, -1),
    ],
)
def test_curves_are_checked(
    batches: tuple[int, ...], rates: tuple[float, ...], prefill: float, kv: float
) -> None:
    with pytest.raises(ConfigError):
        LatencyCurve(batches, rates, prefill, kv)
