"""The simulated engine, against what its curve says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.programs.scheduling.engine import EngineCapabilities
from benchmarks.programs.simulation import SimulatedEngine, SimulatedEvent
from tests.support.chains import CAN, CURVE, chain_of


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


def test_long_prompts_are_read_in_chunks_beside_the_answers() -> None:
    engine = engine_of()
    engine.submit(chain_of("a", tokens=(10,), new=20), 0.0)
    engine.submit(chain_of("b", tokens=(5120,), new=1), 0.0)
    assert played(engine)["a"].time > 20 / 118 + 9 * 512 / 1590


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


def test_no_cache_reads_everything_again() -> None:
    engine = engine_of(prefix_cache=False)
    for at in range(2):
        engine.submit(chain_of(f"a{at}", prefix=(1,)), 50.0 * at)
        played(engine)
    assert engine.read_tokens == 200
    assert engine.held_tokens == 0


def test_prefixes_make_way_for_rows() -> None:
    engine = engine_of(kv_tokens=1500)
    for at in range(4):
        engine.submit(chain_of(f"a{at}", tokens=(900,), prefix=(at,), new=10), 10.0 * at)
        played(engine)
    engine.submit(chain_of("b", tokens=(900,), prefix=(3,), new=10), 90.0)
    engine.submit(chain_of("c", tokens=(900,), prefix=(0,), new=10), 95.0)
    ends = played(engine)
    assert (ends["b"].cached, ends["c"].cached) == (899, 0)


def test_a_fill_answers_nothing() -> None:
    engine = engine_of()
    engine.submit(chain_of("f", tokens=(159,), prefix=(1,), new=0), 0.0)
    assert played(engine)["f"].time == pytest.approx(0.1)
    engine.submit(chain_of("a", tokens=(159, 200), prefix=(1, 2)), 1.0)
    assert played(engine)["a"].cached == 159


def test_a_cancelled_chain_frees_its_memory_at_the_next_step() -> None:
    engine = engine_of()
    engine.submit(chain_of("a", tokens=(159,), new=1000), 0.0)
    engine.submit(chain_of("b", tokens=(159,), new=1000), 0.0)
    engine.advance(1.0)
    before = engine.held_tokens
    engine.cancel("a", 1.0)
    due = engine.next_time()
    assert due is not None
    assert due - 1.0 <= CURVE.step_seconds(2) + 1e-9
    engine.advance(due)
    assert engine.held_tokens == before - 1159
    assert [*played(engine)] == ["b"]


def test_a_cancelled_chain_that_waits_never_runs() -> None:
    engine = engine_of(max_rows=1)
    engine.submit(chain_of("a", prefix=(1,)), 0.0)
    played(engine)
    engine.submit(chain_of("b", prefix=(2,)), 9.0)
    engine.submit(chain_of("c", prefix=(1,)), 9.0)
    engine.cancel("c", 9.1)
    assert [*played(engine)] == ["b"]
    assert engine.held_tokens == 0


def test_death_loses_everything_and_it_comes_back_empty() -> None:
    engine = engine_of()
    engine.submit(chain_of("a", prefix=(1,)), 0.0)
    engine.die()
    assert (engine.alive, engine.next_time(), engine.load) == (False, None, 0)
    engine.revive()
    engine.submit(chain_of("b", prefix=(1,)), 5.0)
    assert played(engine)["b"].cached == 0
