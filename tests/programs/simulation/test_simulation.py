"""The loop, and what may never happen in it whatever the programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ResourceError
from adwright.programs.program import THROUGHPUT
from adwright.programs.scheduling.engine import EngineCapabilities
from adwright.programs.scheduling.scheduler import ProgramScheduler
from benchmarks.programs import _sim_workloads as workloads
from benchmarks.programs._sim_baselines import SYSTEMS, compare
from benchmarks.programs.simulation import (
    ClientKind,
    Outage,
    Segment,
    SimCall,
    SimProgram,
    SimulatedEngine,
    SimulatedEvent,
    SimulatedRun,
    simulate,
)
from tests.support.chains import CAN, CURVE, chain_of, fixed, random_programs


def diamond(name: str = "p", tenant: str = "t") -> SimProgram:
    a = SimCall("a", (fixed("role", 10), Segment("text", 20)), 5)
    b = SimCall("b", (fixed("role", 10), Segment("a", 5)), 7)
    c = SimCall("c", (fixed("role", 10), Segment("a", 5), Segment("more", 3)), 2)
    d = SimCall("d", (Segment("b", 7), Segment("c", 2)), 4)
    return SimProgram(name, tenant, 1.5, (a, b, c, d))


def test_public_texts_are_shared_in_a_tenant_and_others_in_a_program() -> None:
    one, two, other = diamond(), diamond("q"), diamond(tenant="u")
    assert one.chains["a"].prefix[0] == two.chains["a"].prefix[0]
    assert one.chains["a"].prefix[1] != two.chains["a"].prefix[1]
    assert one.chains["b"].prefix == one.chains["c"].prefix[:2]
    # Parrot's fault 8: the tenant is in the key.
    assert not set(one.chains["a"].prefix) & set(other.chains["a"].prefix)


def test_upcoming_prefixes_with_their_steps() -> None:
    program = diamond()
    role, own = program.chains["a"].prefix
    first = {each.prefix: each.steps for each in program.upcoming([])}
    assert first == {role: 0, own: 0}
    after = {each.prefix: each.steps for each in program.upcoming(["a"])}
    assert after[role] == 0
    assert after[own] is None
    assert after[program.chains["b"].prefix[1]] == 0
    late = {each.prefix: each.steps for each in program.upcoming(["a", "b", "c"])}
    assert late[role] is None


def engines_of(number: int, **changes: object) -> list[SimulatedEngine]:
    can = replace(CAN, **changes)  # type: ignore[arg-type]
    return [SimulatedEngine(f"e{at}", can, CURVE) for at in range(number)]


def run(
    programs: Sequence[SimProgram],
    engines: list[SimulatedEngine],
    *,
    client: ClientKind | None = None,
    outages: Sequence[Outage] = (),
    cancels: Sequence[tuple[float, str]] = (),
) -> tuple[SimulatedRun, ProgramScheduler]:
    scheduler = ProgramScheduler([each.state() for each in engines])
    told = {"outages": outages, "cancels": cancels}
    return simulate(programs, engines, scheduler, client=client, **told), scheduler


def expect_nothing_left(scheduler: ProgramScheduler, engines: list[SimulatedEngine]) -> None:
    assert len(scheduler) == 0
    for engine in engines:
        assert (engine.held_tokens, engine.load) == (0, 0)
    for state in scheduler.engines.values():
        assert (state.own_tokens, state.unread_tokens, state.answer_tokens) == (0, 0, 0)
        assert (state.read_tokens, state.soon, state.expected_rows) == (0, 0, 0)
        assert state.index.held_tokens == 0
        assert [*state.parked, *state.filling, *state.followers] == []


def expect_each_ended_once(found: SimulatedRun) -> None:
    for outcome in found.outcomes:
        assert outcome.finished is not None
        assert outcome.answers == {call.name: 1 for call in outcome.program.calls}


def pair() -> SimProgram:
    a = SimCall("a", (Segment("x", 159),), 59, delay=1.0)
    return SimProgram("p", "t", 2.0, (a, SimCall("b", (Segment("a", 59), Segment("y", 100)), 59)))


def test_calls_follow_each_other_without_round_trips() -> None:
    (outcome,) = run([pair()], engines_of(1))[0].outcomes
    # Each reads 159 tokens and writes 59; a tool runs for a second.
    assert outcome.seconds == pytest.approx(2 * (0.1 + 0.5) + 1.0)
    assert outcome.calls["b"].ready == outcome.calls["a"].done + 1.0


@pytest.mark.parametrize(("sends", "trips"), [("graph", 1), ("parallel", 2), ("sequential", 2)])
def test_round_trips_of_clients(sends: str, trips: int) -> None:
    client = ClientKind(sends, 0.25)  # type: ignore[arg-type]
    (outcome,) = run([pair()], engines_of(1), client=client)[0].outcomes
    assert outcome.seconds == pytest.approx(2.2 + trips * 0.25)


def test_a_sequential_client_sends_one_call_at_a_time() -> None:
    programs = workloads.map_reduces(0, programs=1, parts=(6, 6))
    (outcome,) = run(programs, engines_of(1), client=ClientKind("sequential"))[0].outcomes
    spans = sorted((each.started, each.done) for each in outcome.calls.values())
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.sampled_from(["plain", "fork", "flight", "none"]),
    st.sampled_from([2, 8, 32]),
    st.sampled_from([5_000, 20_000]),
)
def test_every_chain_ends_exactly_once(
    seed: int, number: int, kind: str, rows: int, memory: int
) -> None:
    flags = {
        "plain": {},
        "fork": {"fork": True},
        "flight": {"in_flight_prefix": True},
        "none": {"prefix_cache": False},
    }[kind]
    engines = engines_of(number, max_batch=rows, kv_tokens=memory, **flags)
    found, scheduler = run(random_programs(seed), engines)
    expect_each_ended_once(found)
    expect_nothing_left(scheduler, engines)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 3), st.lists(st.floats(0.1, 12), max_size=8))
def test_death_loses_nothing(seed: int, number: int, moments: list[float]) -> None:
    engines = engines_of(number)
    outages = [
        Outage(f"e{at % number}", dies, dies + 0.5 + at / 7) for at, dies in enumerate(moments)
    ]
    found, scheduler = run(random_programs(seed), engines, outages=outages)
    expect_each_ended_once(found)
    expect_nothing_left(scheduler, engines)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.integers(0, 10_000), st.lists(st.tuples(st.floats(0, 12), st.integers(0, 11)), max_size=9)
)
def test_what_is_cancelled_ends_and_the_rest_does_not_mind(
    seed: int, cancels: list[tuple[float, int]]
) -> None:
    engines = engines_of(2)
    programs = random_programs(seed)
    # A program that has not arrived has nothing to cancel.
    asked = [(max(at, programs[p].arrived + 1e-6), f"p{p}") for at, p in cancels]
    found, scheduler = run(programs, engines, cancels=asked)
    gone = {name for _, name in asked}
    for outcome in found.outcomes:
        assert outcome.finished is not None or outcome.program.program_id in gone
        assert all(count == 1 for count in outcome.answers.values())
    expect_nothing_left(scheduler, engines)


def test_fifty_deaths_under_load() -> None:
    engines = engines_of(4)
    programs = random_programs(1, number=60)
    outages = [Outage(f"e{at % 4}", 0.4 * at + 0.2, 0.4 * at + 0.7) for at in range(50)]
    found, scheduler = run(programs, engines, outages=outages)
    expect_each_ended_once(found)
    expect_nothing_left(scheduler, engines)


def test_a_group_larger_than_the_engine_finishes() -> None:
    """Parrot's fault 4: a group had to fit one engine, or waited for ever."""
    programs = workloads.map_reduces(0, programs=1, parts=(40, 40))
    for number in (1, 3):
        engines = engines_of(number, max_batch=4, kv_tokens=3_000)
        found, _ = run(programs, engines)
        expect_each_ended_once(found)
        used = {each.engine_id for each in found.outcomes[0].calls.values()}
        assert len(used) == number  # it is split


def test_nobody_starves_while_stricter_ones_keep_coming() -> None:
    """One program that can wait, against more chats than the engine can take."""
    text = (fixed("chat", 200), Segment("line", 100))
    chats = [
        SimProgram(f"c{at}", "loud", at * 0.1, (SimCall("a", text, 100),)) for at in range(900)
    ]
    quiet = SimCall("a", (Segment("x", 300),), 100, THROUGHPUT)
    late = SimCall("a", (Segment("x", 300),), 100)
    programs = [
        *chats,
        SimProgram("quiet", "quiet", 5.0, (quiet,)),
        SimProgram("long", "loud", 5.0, (late, SimCall("b", (Segment("a", 100),), 100))),
    ]
    found, _ = run(programs, engines_of(1))
    ends = {each.program.program_id: each.finished or 0.0 for each in found.outcomes}
    assert ends["c899"] > 110  # it is overloaded indeed
    # Whoever can wait counts 60 seconds as later, and a long one by its work, ten for each second:
    # nobody who came later than that is before them.
    for name, later in (("quiet", 60), ("long", 30)):
        after = [at for at in range(900) if at * 0.1 > 5 + later + 5]
        assert after
        assert ends[name] < min(ends[f"c{at}"] for at in after)


def test_tenants_attain_service_by_their_weights() -> None:
    text = (Segment("x", 300),)
    programs = [
        SimProgram(f"{tenant}{at}", tenant, 0.0, (SimCall("a", text, 60),))
        for at in range(150)
        for tenant in ("gold", "base")
    ]
    engines = engines_of(2)
    scheduler = ProgramScheduler([each.state() for each in engines], weights={"gold": 2.0})
    found = simulate(programs, engines, scheduler)
    order = sorted(found.outcomes, key=lambda each: each.finished or 0)
    first = [each.program.tenant for each in order[:150]]
    assert first.count("gold") == pytest.approx(100, abs=8)


def test_what_cannot_run_anywhere_is_dropped_with_a_reason() -> None:
    huge = SimProgram("p", "t", 0.0, (SimCall("a", (Segment("x", 50_000),), 10),))
    found, _ = run([huge], engines_of(1))
    assert "no engine takes" in found.dropped[0]
    with pytest.raises(ResourceError, match="p was not finished"):
        _ = found.outcomes[0].seconds


def engine_of(max_rows: int | None = None, **changes: object) -> SimulatedEngine:
    can: EngineCapabilities = replace(CAN, **changes)  # type: ignore[arg-type]
    return SimulatedEngine("e", can, CURVE, max_rows=max_rows)


def played(engine: SimulatedEngine, until: float = 1e6) -> dict[str, SimulatedEvent]:
    """The ends of all chains."""
    found = {}
    while (due := engine.next_time()) is not None and due <= until:
        for event in engine.advance(due):
            if event.kind == "done":
                found[event.chain_id] = event
    return found


def test_one_chain_takes_what_the_roofline_says() -> None:
    engine = engine_of()
    engine.submit(chain_of("a", tokens=(1590,), new=118), 5.0)
    assert played(engine)["a"].time == pytest.approx(5.0 + 1.0 + 1.0)
    assert engine.read_tokens == 1590
    assert engine.busy == pytest.approx(2.0)


def test_rows_write_together_and_prompts_are_read_in_turn() -> None:
    engine = engine_of()
    for at in range(4):
        engine.submit(chain_of(f"a{at}", tokens=(100,), new=100), 0.0)
    ends = played(engine)
    # 100 tokens are a fifth of a step's prompt: the four are read in the first step but one.
    assert max(each.time for each in ends.values()) == pytest.approx(
        400 / 1590 + 100 * 4 / 413, rel=0.05
    )


def test_memory_and_rows_bound_what_runs() -> None:
    engine = engine_of(max_rows=2)
    for at in range(3):
        engine.submit(chain_of(f"a{at}", new=100), 0.0)
    assert engine.load == 3
    ends = played(engine)
    assert ends["a2"].time > ends["a1"].time + 0.5
    tight = engine_of(kv_tokens=400)
    for at in range(3):
        tight.submit(chain_of(f"a{at}", tokens=(150,), new=50), 0.0)
    assert len(played(tight)) == 3
    assert tight.peak_tokens == 400


def test_what_is_held_is_not_read_again() -> None:
    engine = engine_of()
    engine.submit(chain_of("a", tokens=(1000, 1030), prefix=(1, 2)), 0.0)
    played(engine)
    engine.submit(chain_of("b", tokens=(1000, 1040), prefix=(1, 3)), 50.0)
    assert played(engine)["b"].cached == 1000
    assert engine.read_tokens == 1030 + 40


@pytest.mark.parametrize(("flight", "read"), [(False, 2 * 1030), (True, 1030 + 30)])
def test_a_prefix_in_flight_is_found_where_the_engine_can(flight: bool, read: int) -> None:
    engine = engine_of(in_flight_prefix=flight)
    for at in range(2):
        engine.submit(chain_of(f"a{at}", tokens=(1000, 1030), prefix=(1, 2 + at)), 0.0)
    played(engine)
    assert engine.read_tokens == read


def mean_seconds(programs: list[SimProgram], name: str, engines: int, trip: float = 0.0) -> float:
    told = {"engines": engines, "capabilities": CAN, "curve": CURVE, "round_trip": trip}
    run, _ = compare(programs, SYSTEMS[name], **told)  # type: ignore[arg-type]
    return mean(each.seconds for each in run.outcomes)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_finishes(name: str) -> None:
    programs = workloads.map_reduces(0, programs=2, parts=(4, 6))
    assert mean_seconds(programs, name, 2) > 0


def test_ours_is_ahead_where_one_prompt_is_shared_by_a_burst() -> None:
    programs = workloads.shared_prompts(0, users=24)
    assert 4 * mean_seconds(programs, "ours", 1) < mean_seconds(programs, "B3", 1)


def test_ours_is_ahead_where_many_chains_run_at_once() -> None:
    programs = workloads.chain_summaries(0, programs=10, chunks=(4, 16))
    assert 1.2 * mean_seconds(programs, "ours", 1) < mean_seconds(programs, "B3", 1)
