"""The seven workloads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from statistics import mean

import pytest

from adwright.programs.simulation import workloads as w
from adwright.programs.simulation.sim_program import SimProgram

EVERY: list[Callable[[int], list[SimProgram]]] = [
    w.chain_summaries,
    w.map_reduces,
    w.shared_prompts,
    w.assistants,
    w.creative_teams,
    w.chats_and_maps,
    w.agents,
]


@pytest.mark.parametrize("make", EVERY)
def test_a_seed_makes_the_same_programs(make: Callable[[int], list[SimProgram]]) -> None:
    assert make(1) == make(1)
    assert make(1) != make(2)
    names = [each.program_id for each in make(1)]
    assert len({*names}) == len(names)


def test_their_shapes() -> None:
    chain = w.chain_summaries(0, programs=1, chunks=(12, 12))[0]
    assert chain.chains["c0"].depth == 12
    maps = w.map_reduces(0, programs=1, parts=(9, 9))[0]
    assert len(maps.producers["reduce"]) == 9
    team = w.creative_teams(0, files=2)[0]
    assert len(team.calls) == 2 * (1 + 4 * 4 + 1)
    assert len(team.producers["edit0"]) == 16
    agent = w.agents(0, programs=1, turns=(4, 4))[0]
    assert agent.producers["t3"] == ("t0", "t1", "t2")
    assert all(call.delay > 0 for call in agent.calls)


def test_all_users_share_one_prompt_and_assistants_are_asked_by_zipf() -> None:
    users = w.shared_prompts(0, users=5)
    assert len({each.chains["answer"].prefix[0] for each in users}) == 1
    asked = [each.chains["answer"].prefix[0] for each in w.assistants(0, requests=2000)]
    counts = sorted((asked.count(each) for each in {*asked}), reverse=True)
    assert counts[0] / counts[1] == pytest.approx(2.0, rel=0.25)


def test_arrivals_are_poisson_or_at_once() -> None:
    assert {each.arrived for each in w.map_reduces(0)} == {0.0}
    moments = [each.arrived for each in w.assistants(0, requests=2000, rate=4.0)]
    assert moments == sorted(moments)
    gaps = [b - a for a, b in pairwise(moments)]
    assert mean(gaps) == pytest.approx(0.25, rel=0.1)


def test_chats_are_wanted_soon_and_maps_cheaply() -> None:
    found = w.chats_and_maps(0, chats=5, programs=2, chat_seconds=0.05)
    kinds = {(each.kind, each.calls[0].objective.kind) for each in found}
    assert kinds == {("chat", "tpot"), ("batch", "throughput")}
