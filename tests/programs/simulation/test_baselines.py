"""Systems beside ours: they finish, and where sharing and graphs pay is where we are ahead."""

from __future__ import annotations

from statistics import mean

import pytest

from adwright.programs.scheduling.order import ChainQueue
from adwright.programs.scheduling.scheduler import Start, chain_costs
from benchmarks.programs import _sim_workloads as workloads
from benchmarks.programs._sim_baselines import SYSTEMS, compare, router
from benchmarks.programs.simulation import SimProgram
from tests.support.chains import CAN, CURVE, chain_of, state_of


def mean_seconds(programs: list[SimProgram], name: str, engines: int, trip: float = 0.0) -> float:
    told = {"engines": engines, "capabilities": CAN, "curve": CURVE, "round_trip": trip}
    run, _ = compare(programs, SYSTEMS[name], **told)  # type: ignore[arg-type]
    return mean(each.seconds for each in run.outcomes)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_finishes(name: str) -> None:
    programs = workloads.map_reduces(0, programs=2, parts=(4, 6))
    assert mean_seconds(programs, name, 2) > 0


def test_old_engines_read_everything_again() -> None:
    programs = workloads.shared_prompts(0, users=12, rate=1.0)
    told = {"engines": 1, "capabilities": CAN, "curve": CURVE}
    read = {}
    for name in ("B3", "B2 old"):
        _, (engine,) = compare(programs, SYSTEMS[name], **told)  # type: ignore[arg-type]
        read[name] = engine.read_tokens
    assert read["B2 old"] > 3 * read["B3"]


def test_few_rows_are_the_knee() -> None:
    programs = workloads.shared_prompts(0, users=30)
    told = {"engines": 1, "capabilities": CAN, "curve": CURVE}
    peaks = {
        name: compare(programs, SYSTEMS[name], **told)[1][0].peak_tokens  # type: ignore[arg-type]
        for name in ("B1", "B3")
    }
    assert peaks["B1"] < peaks["B3"]


def test_ours_is_ahead_where_one_prompt_is_shared_by_a_burst() -> None:
    programs = workloads.shared_prompts(0, users=24)
    assert 4 * mean_seconds(programs, "ours", 1) < mean_seconds(programs, "B3", 1)


def test_ours_is_ahead_where_many_chains_run_at_once() -> None:
    programs = workloads.chain_summaries(0, programs=10, chunks=(4, 16))
    assert 1.2 * mean_seconds(programs, "ours", 1) < mean_seconds(programs, "B3", 1)


def test_round_trips_count_for_clients_once_a_call() -> None:
    programs = workloads.chain_summaries(0, programs=1, chunks=(10, 10))
    ours = mean_seconds(programs, "ours", 1, 0.25) - mean_seconds(programs, "ours", 1)
    theirs = mean_seconds(programs, "B0", 1, 0.25) - mean_seconds(programs, "B0", 1)
    assert (ours, theirs) == (pytest.approx(0.25), pytest.approx(2.5))


def test_a_router_sends_each_on_at_once() -> None:
    states = {name: state_of(name) for name in ("e0", "e1")}
    queue = ChainQueue(cost=chain_costs(states.values()))
    queue.push(chain_of("a"), 0.0)
    for route in ("any", "load", "affinity"):
        found = router(route)(queue, states, 0.0)  # type: ignore[arg-type]
        assert isinstance(found, Start)
        assert found.chain.chain_id == "a"
    for state in states.values():
        state.alive = False
    assert router("load")(queue, states, 0.0) is None
