"""What is kept of an engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.programs.program import THROUGHPUT, Objective
from adwright.programs.scheduling.engine import ReadyChain, StepLimit
from adwright.programs.scheduling.engine_state import EngineState, WaitingChain
from tests.support.chains import CURVE, chain_of, state_of

FREE = StepLimit()


def run(state: EngineState, chain: ReadyChain, limit: StepLimit = FREE, now: float = 0.0) -> None:
    state.start(chain, limit, now)


def fits(state: EngineState, chain: ReadyChain, limit: StepLimit = FREE, now: float = 0.0) -> bool:
    return state.fits(chain, state.cached(chain), limit, now)


def test_memory_moves_into_the_index_and_is_free_in_the_end() -> None:
    state = state_of()
    run(state, chain_of("a", tokens=(100, 140), new=50))
    assert (state.own_tokens, state.unread_tokens, state.held_tokens) == (190, 140, 190)
    state.prefilled("a", 1.0)
    assert (state.own_tokens, state.unread_tokens, state.index.tokens) == (50, 0, 140)
    assert state.index.held_tokens == 140
    state.end("a", 2.0)
    assert (state.own_tokens, state.batch, state.index.held_tokens) == (0, 0, 0)
    assert state.index.tokens == 140  # until somebody needs the room


def test_a_shared_prefix_is_held_once() -> None:
    state = state_of()
    run(state, chain_of("a", tokens=(1000, 1020), prefix=(1, 2), new=50))
    state.prefilled("a", 1.0)
    b = chain_of("b", tokens=(1000, 1030), prefix=(1, 3), new=50)
    assert state.cached(b) == 1000
    run(state, b, now=2.0)
    assert state.held_tokens == 1020 + 50 + 80


def test_the_last_token_is_computed_in_any_case_and_only_blocks_are_found() -> None:
    state = state_of(block_size=16)
    run(state, chain_of("a", tokens=(100,), prefix=(1,)))
    state.prefilled("a", 1.0)
    assert state.cached(chain_of("b", tokens=(100,), prefix=(1,))) == 96
    whole = state_of()
    run(whole, chain_of("a", tokens=(100,), prefix=(1,)))
    whole.prefilled("a", 1.0)
    assert whole.cached(chain_of("b", tokens=(100,), prefix=(1,))) == 99


def test_an_engine_that_serves_what_is_in_flight_holds_it_at_once() -> None:
    state = state_of(in_flight_prefix=True)
    run(state, chain_of("a", tokens=(1000, 1020), prefix=(1, 2)))
    assert state.cached(chain_of("b", tokens=(1000, 1030), prefix=(1, 3))) == 1000


def test_an_engine_without_a_cache_holds_nothing() -> None:
    state = state_of(prefix_cache=False)
    run(state, chain_of("a", prefix=(1,)))
    state.prefilled("a", 1.0)
    assert state.cached(chain_of("b", prefix=(1,))) == 0
    state.end("a", 2.0)
    assert state.held_tokens == 0


def test_places_and_memory_are_limits() -> None:
    state = state_of(max_batch=2, kv_tokens=400)
    assert fits(state, chain_of("a", tokens=(300,)))
    run(state, chain_of("a", tokens=(300,)))
    state.prefilled("a", 0.5)
    assert not fits(state, chain_of("b", tokens=(10,), new=50))
    assert fits(state, chain_of("b", tokens=(10,), new=30))
    run(state, chain_of("b", tokens=(10,), new=30))
    assert not fits(state, chain_of("c", tokens=(1,), new=1))


@pytest.mark.parametrize("strict_first", [True, False])
def test_token_limits_of_an_objective_hold(strict_first: bool) -> None:
    """Parrot's fault 2: nobody looked at the limit. Whoever comes second, the step keeps within."""
    strict = StepLimit(step=CURVE.step_seconds(2) * 1.001)
    state = state_of()
    run(state, chain_of("a"), strict if strict_first else FREE)
    state.prefilled("a", 0.1)
    run(state, chain_of("b"), FREE)
    state.prefilled("b", 0.2)
    assert not fits(state, chain_of("c"), FREE if strict_first else strict)
    state.end("a", 1.0)
    assert fits(state, chain_of("c"), FREE if strict_first else strict)


def test_whoever_is_bound_by_the_first_token_waits_for_few_prompts() -> None:
    state = state_of(chunk_tokens=10_000)
    run(state, chain_of("a", tokens=(1590,)))  # a second
    assert not fits(state, chain_of("b", tokens=(159,)), StepLimit(queue=1.05))
    assert fits(state, chain_of("b", tokens=(159,)), StepLimit(queue=1.15))


def test_prompts_beyond_eight_steps_are_held_back() -> None:
    state = state_of(chunk_tokens=100)
    run(state, chain_of("a", tokens=(790,)))
    assert not state.refuses(1, 0.0)
    assert fits(state, chain_of("b", tokens=(10,)))
    assert not fits(state, chain_of("b", tokens=(20,)))
    run(state, chain_of("b", tokens=(10,)))
    assert state.refuses(1, 0.0)
    state.prefilled("a", 0.4)
    assert not state.refuses(1, 0.0)
    assert fits(state, chain_of("c", tokens=(600,)))


def test_who_is_wanted_soon_keeps_room_from_those_who_can_wait() -> None:
    state = state_of()
    soon = StepLimit(rows=20)
    run(state, chain_of("s"), soon)
    state.prefilled("s", 0.0)
    for at in range(30):
        now = state.quiet_until + 1e-6 if at else 1.0
        can_wait = chain_of(f"w{at}", objective=THROUGHPUT)
        if not fits(state, can_wait, now=now):
            break
        run(state, can_wait, now=now)
        state.prefilled(f"w{at}", now)
    assert state.batch == CURVE.knee
    assert fits(state, chain_of("more"), soon, now=99.0)


def test_prompts_of_those_who_can_wait_come_at_intervals_beside_others() -> None:
    state = state_of()
    run(state, chain_of("s"), StepLimit(rows=4))
    state.prefilled("s", 0.0)
    run(state, chain_of("w", tokens=(500,), objective=THROUGHPUT), now=1.0)
    state.prefilled("w", 1.3)
    another = chain_of("x", tokens=(500,), objective=THROUGHPUT)
    assert not fits(state, another, now=1.3)
    assert fits(state, another, now=state.quiet_until)
    state.end("s", 2.0)
    assert fits(state, another, now=1.3)


def test_a_report_of_less_corrects_what_is_thought_to_be_held() -> None:
    state = state_of()
    for at, name in enumerate("abc"):
        run(state, chain_of(name, tokens=(100, 110), prefix=(at, 10 + at)), now=at)
        state.prefilled(name, at + 0.5)
        state.end(name, at + 0.9)
    run(state, chain_of("d", tokens=(100, 120), prefix=(1, 20)), now=5.0)
    state.prefilled("d", 6.0, cached_tokens=0)
    assert state.cached(chain_of("e", tokens=(100, 130), prefix=(0, 30))) == 0
    assert state.cached(chain_of("e", tokens=(100, 130), prefix=(1, 30))) == 100
    assert state.cached(chain_of("e", tokens=(100, 130), prefix=(2, 30))) == 100


def test_who_waits_here_is_counted_and_comes_by_class() -> None:
    state = state_of()
    first = WaitingChain(2, 1, 9.0, None, 90, chain_of("a"))
    second = WaitingChain(1, 2, 9.0, None, 80, chain_of("b"))
    third = WaitingChain(1, 3, 9.0, 7, 70, chain_of("c"))
    for each in (first, second, third):
        state.park(each)
    assert (state.expected_rows, state.expected_unread) == (3, 240)
    assert [each.chain.chain_id for each in state.parked] == ["b", "a"]
    assert state.refuses(1, 0.0)
    assert not state.refuses(0, 0.0)
    (moved,) = state.filled(7)
    assert [each.chain.chain_id for each in state.parked] == ["b", "c", "a"]
    for each in (first, second, moved):
        state.unpark(each)
    assert (state.expected_rows, state.expected_unread, state.expected_reads) == (0, 0, 0)
    assert not state.refuses(2, 0.0)


def test_a_refusal_is_remembered_until_something_happens_or_more_wait() -> None:
    state = state_of()
    state.refuse(1, 2.0)
    assert state.refuses(1, 2.0)
    assert not state.refuses(2, 2.0)
    assert not state.refuses(1, 3.0)
    state.refuse(1, 2.0)
    state.look_again()
    assert not state.refuses(1, 2.0)


def test_waiting_is_bounded() -> None:
    state = state_of(max_batch=4)
    assert state.waits(0.5)
    for at in range(2):
        state.park(WaitingChain(1, at, 9.0, None, 1, chain_of(f"a{at}")))
    assert not state.waits(0.5)


def test_an_engine_that_died_holds_nothing() -> None:
    state = state_of()
    run(state, chain_of("a", group="g", objective=Objective("tpot", 1.0)), StepLimit(step=1.0))
    run(state, chain_of("b", prefix=(1,)), StepLimit(rows=2))
    state.prefilled("b", 1.0)
    assert [each.chain.chain_id for each in state.died()] == ["a", "b"]
    assert not state.alive
    assert (state.batch, state.held_tokens, state.unread_tokens, state.soon) == (0, 0, 0, 0)
    assert state.cached(chain_of("c", prefix=(1,))) == 0
    assert state.tightest == StepLimit()


def test_shared_reads_count_a_prefix_once() -> None:
    once, each = state_of(shared_reads=True), state_of()
    for state in (once, each):
        for at in range(3):
            run(state, chain_of(f"a{at}", tokens=(1000, 1010), prefix=(1, 10 + at)), now=at)
            state.prefilled(f"a{at}", at + 0.5)
    assert each.reads() == 3 * 1060
    assert once.reads() == 1000 + 3 * 60
    assert replace(each.capabilities, shared_reads=True) == once.capabilities
