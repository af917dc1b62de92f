"""What is kept of an engine."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.programs.program import LATENCY, THROUGHPUT, Objective
from adwright.programs.scheduling.engine import (
    EngineCapabilities,
    LatencyCurve,
    ReadyChain,
    StepLimit,
    UpcomingPrefix,
)
from adwright.programs.scheduling.engine_state import (
    EngineState,
    KeepDecision,
    PrefixIndex,
    WaitingChain,
    keep_decisions,
)
from adwright.programs.scheduling.order import ChainQueue, OrderTerms, class_of
from tests.support.chains import CAN, CURVE, chain_of, state_of

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


def test_what_an_engine_accepts() -> None:
    assert CAN.accepts(chain_of())
    assert not CAN.accepts(chain_of(model="another"))
    assert not CAN.accepts(chain_of(adapter="a"))
    assert EngineCapabilities(("model",), adapters=True).accepts(chain_of(adapter="a"))


def test_a_chain_beyond_context_or_memory_is_not_accepted() -> None:
    assert CAN.accepts(chain_of(tokens=(8_000,), new=192))
    assert not CAN.accepts(chain_of(tokens=(8_000,), new=193))
    small = EngineCapabilities(("model",), kv_tokens=100)
    assert not small.accepts(chain_of(tokens=(80,), new=21))


def test_numbers_and_flags_are_checked() -> None:
    with pytest.raises(ConfigError, match="in flight"):
        EngineCapabilities(("model",), prefix_cache=False, in_flight_prefix=True)


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


def put(index: PrefixIndex, names: str, now: float = 0.0, tenant: str = "t", own: int = 10) -> int:
    """A prompt of one border a letter, each named by all up to it; returns the borders held."""
    prefix = [hash(names[: at + 1]) for at in range(len(names))]
    totals = [own * (at + 1) for at in range(len(names))]
    return index.insert(prefix, totals, tenant, names[0], now)[0]


def held(index: PrefixIndex, names: str) -> int:
    return index.hit([hash(names[: at + 1]) for at in range(len(names))])


def test_the_longest_prefix_is_found() -> None:
    index = PrefixIndex(1000)
    assert put(index, "abc") == 3
    assert [held(index, each) for each in ("abc", "abx", "axc", "x")] == [3, 2, 1, 0]
    assert (len(index), index.tokens) == (3, 30)


def test_what_was_used_last_stays() -> None:
    index = PrefixIndex(30)
    put(index, "a", 0)
    put(index, "b", 1)
    put(index, "c", 2)
    put(index, "a", 3)
    put(index, "d", 4)
    assert [held(index, each) for each in "abcd"] == [1, 0, 1, 1]


def test_what_is_continued_goes_after_what_continues_it() -> None:
    index = PrefixIndex(30)
    put(index, "ab", 0)
    put(index, "c", 1)
    put(index, "d", 2)
    assert held(index, "ab") == 1


def test_what_a_running_chain_reads_stays_with_all_before_it() -> None:
    index = PrefixIndex(30)
    put(index, "ab", 0)
    index.hold(hash("ab"))
    assert index.held_tokens == 20
    put(index, "c", 1)
    assert put(index, "de", 2) == 1  # there is room for one only
    assert held(index, "ab") == 2
    index.release(hash("ab"))
    assert index.held_tokens == 0
    assert put(index, "xyz", 3) == 3


def test_steps_to_execution_decide_over_the_last_use() -> None:
    index = PrefixIndex(20)
    index.step_seconds = 10.0
    put(index, "a", 0)
    put(index, "b", 5)
    index.expect("a", hash("a"), 1, 5.0)
    index.expect("b", hash("b"), 4, 5.0)
    put(index, "c", 6)
    assert (held(index, "a"), held(index, "b")) == (1, 0)


def test_what_nobody_reads_any_more_goes_at_once() -> None:
    index = PrefixIndex(20)
    put(index, "a", 0)
    put(index, "b", 5)
    index.expect("b", hash("b"), None, 6.0)
    put(index, "c", 7)
    assert (held(index, "a"), held(index, "b")) == (1, 0)


def test_what_another_program_has_read_is_not_let_go_for_one_that_ends() -> None:
    index = PrefixIndex(20)
    put(index, "a", 0)
    prefix = [hash("b")]
    index.insert(prefix, [10], "t", "one", 4)
    index.insert(prefix, [10], "t", "two", 5)
    index.expect("two", hash("b"), None, 6.0)
    put(index, "c", 7)
    assert (held(index, "a"), held(index, "b")) == (0, 1)


def test_an_engine_that_is_not_told_goes_by_the_last_use() -> None:
    index = PrefixIndex(20, informed=False)
    put(index, "a", 0)
    put(index, "b", 5)
    index.expect("b", hash("b"), None, 6.0)
    put(index, "c", 7)
    assert (held(index, "a"), held(index, "b")) == (0, 1)


def test_a_tenant_over_quota_pushes_out_only_itself() -> None:
    """Parrot's fault 8: no eviction, and no tenant in the key."""
    index = PrefixIndex(1000, quota=30)
    put(index, "q", 0, tenant="quiet")
    for at, name in enumerate("abcdef"):
        put(index, name, at + 1.0, tenant="loud")
    assert index.by_tenant == {"quiet": 10, "loud": 30}
    assert held(index, "q") == 1
    assert [held(index, each) for each in "abcdef"] == [0, 0, 0, 1, 1, 1]
    assert put(index, "wxyz", 9, tenant="loud") == 3  # more than the quota in one prompt


def test_a_report_of_less_drops_what_was_used_before_that() -> None:
    index = PrefixIndex(1000)
    put(index, "a", 0)
    put(index, "b", 1)
    put(index, "c", 2)
    index.correct(1.0)
    assert [held(index, each) for each in "abc"] == [0, 0, 1]


def test_nothing_is_held_after_clear() -> None:
    index = PrefixIndex(100, quota=50)
    put(index, "abc", 0)
    index.clear()
    assert (len(index), index.tokens, held(index, "abc")) == (0, 0, 0)
    assert put(index, "abc", 1) == 3


def test_random_use_keeps_the_sums_and_the_parents() -> None:
    draw = Random(3)
    index = PrefixIndex(200, quota=120)
    holding: list[int] = []
    for step in range(3000):
        name = "".join(draw.choice("abc") for _ in range(draw.randint(1, 5)))
        borders = put(index, name, float(step), tenant=f"t{name[0]}")
        if borders and draw.random() < 0.2 and len(holding) < 4:
            holding.append(hash(name[:borders]))
            index.hold(holding[-1])
        elif holding and draw.random() < 0.3:
            index.release(holding.pop(draw.randrange(len(holding))))
        assert index.tokens <= 200
        assert sum(index.by_tenant.values()) == index.tokens
        assert all(tokens <= 120 for tokens in index.by_tenant.values())
        assert all(each in index for each in holding)
        # Whatever is found, all before it is held.
        found = held(index, name)
        assert all(hash(name[: at + 1]) in index for at in range(found))


def test_the_prompt_is_up_to_the_last_border() -> None:
    assert chain_of(tokens=(10, 25)).prompt_tokens == 25


@pytest.mark.parametrize("tokens", [(), (0, 5), (5, 5), (9, 4)])
def test_borders_ascend(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValueInvalidError, match="chain a"):
        chain_of(tokens=tokens)


def test_each_border_has_a_hash() -> None:
    with pytest.raises(ValueInvalidError, match="1 borders and 2 counts"):
        chain_of(tokens=(5, 9), prefix=(1,))


def holding(prefix: int, *, fork: bool = True, kv_tokens: int = 20_000) -> EngineState:
    state = state_of(fork=fork, kv_tokens=kv_tokens)
    state.start(chain_of("a", tokens=(1000,), prefix=(prefix,), program="p"), StepLimit(), 0.0)
    state.prefilled("a", 1.0)
    state.end("a", 2.0)
    return state


def said(steps: int | None, program: str = "p") -> UpcomingPrefix:
    return UpcomingPrefix(program, 7, steps)


def test_the_next_one_is_pinned_and_what_is_over_is_freed() -> None:
    state = holding(7)
    assert keep_decisions([said(1)], [state]) == [KeepDecision("e", 7, "pin")]
    assert keep_decisions([said(None)], [state]) == [KeepDecision("e", 7, "free")]


def test_the_soonest_program_decides() -> None:
    state = holding(7)
    for both in ([said(None), said(1, "q")], [said(1, "q"), said(None)], [said(5), said(0, "q")]):
        assert [each.action for each in keep_decisions(both, [state])] == ["pin"]


def test_later_ones_move_out_where_room_is_short_and_coming_back_is_faster() -> None:
    short, roomy = holding(7, kv_tokens=1100), holding(7)
    assert [each.action for each in keep_decisions([said(4)], [short])] == ["spill"]
    assert keep_decisions([said(4)], [roomy]) == []
    assert keep_decisions([said(4)], [short], restore_rate=100.0) == []
    assert keep_decisions([said(4)], [short], short=0.99) == []


def test_what_another_program_reads_is_not_freed() -> None:
    state = holding(7)
    state.index.expect("q", 7, 3, 2.0)
    assert keep_decisions([said(None)], [state]) == []


def test_only_engines_that_obey_and_hold_it_are_told() -> None:
    dead = holding(7)
    dead.died()
    assert keep_decisions([said(1)], [holding(7, fork=False), holding(8), dead]) == []


def seconds(chain: ReadyChain, critical: int) -> float:
    """A second for ten tokens of an answer."""
    return max(critical, chain.new_tokens) / 10


def queue_of(terms: OrderTerms | None = None, **weights: float) -> ChainQueue:
    return ChainQueue(terms, cost=seconds, weights=weights)


def drained(queue: ChainQueue, spent: float = 0.0) -> list[str]:
    found = []
    while (head := next(queue.heads(), None)) is not None:
        queue.charge(head, spent)
        found.append(queue.remove(head.chain_id).chain_id)
    return found


def test_the_longest_way_comes_first_inside_a_program() -> None:
    queue = queue_of()
    for name, critical, depth in (("a", 50, 1), ("b", 200, 3), ("c", 50, 1), ("d", 200, 2)):
        queue.push(chain_of(name, program="p", critical=critical, depth=depth), 0.0)
    assert drained(queue) == ["d", "b", "a", "c"]


def test_without_the_critical_path_they_come_as_they_were_ready() -> None:
    queue = queue_of(OrderTerms(critical=False))
    for name, critical in (("a", 50), ("b", 200), ("c", 60)):
        queue.push(chain_of(name, program="p", critical=critical), 0.0)
    assert drained(queue) == ["a", "b", "c"]


def test_what_is_nearly_done_is_finished_first() -> None:
    queue = queue_of()
    queue.push(chain_of("long", critical=500), 0.0)
    queue.push(chain_of("short", critical=60), 0.0)
    assert drained(queue) == ["short", "long"]


def test_a_graph_says_what_is_left() -> None:
    queue = queue_of()
    queue.push(chain_of("wide", program="w", critical=50), 0.0)
    queue.push(chain_of("narrow", program="n", critical=60), 0.0)
    queue.outlook("w", "t", 100.0)
    assert drained(queue) == ["narrow", "wide"]
    queue.forget("w")
    queue.push(chain_of("wide", program="w", critical=50), 0.0)
    queue.push(chain_of("narrow", program="n", critical=60), 0.0)
    assert drained(queue) == ["wide", "narrow"]


def test_programs_by_arrival_and_by_attained_service() -> None:
    arrival = queue_of(OrderTerms("arrival"))
    arrival.push(chain_of("late", critical=50, arrived=2.0), 2.0)
    arrival.push(chain_of("early", critical=500, arrived=1.0), 2.0)
    assert drained(arrival) == ["early", "late"]
    attained = queue_of(OrderTerms("attained"))
    for name in ("a1", "b1", "a2", "b2"):
        attained.push(chain_of(name, program=name[0]), 0.0)
    assert drained(attained, spent=1.0) == ["a1", "b1", "a2", "b2"]
    for name in ("a3", "b3"):
        attained.push(chain_of(name, program=name[0]), 0.0)
    attained.charge(chain_of(program="a"), 5.0)
    assert drained(attained) == ["b3", "a3"]


def test_ageing_bounds_the_wait() -> None:
    """However many short programs arrive, a long one comes after what / ageing seconds."""
    queue = queue_of(OrderTerms(ageing=0.5))
    queue.push(chain_of("long", new=100, arrived=0.0), 0.0)  # ten seconds of work
    served = []
    for at in range(100):
        queue.push(chain_of(f"s{at}", new=10, arrived=float(at)), float(at))
        served.append(queue.remove(next(queue.heads()).chain_id).chain_id)
    assert served.index("long") == 18  # (10 - 1) / 0.5 seconds


def test_tenants_get_their_weights() -> None:
    queue = queue_of(gold=3.0)
    for at in range(400):
        queue.push(chain_of(f"g{at}", tenant="gold"), 0.0)
        queue.push(chain_of(f"b{at}", tenant="base"), 0.0)
    first = []
    for _ in range(400):
        head = next(queue.heads())
        queue.charge(head, 1.0)
        first.append(queue.remove(head.chain_id).tenant)
    assert first.count("gold") == pytest.approx(300, abs=2)


def test_a_fan_out_counts_as_one_and_idling_earns_nothing() -> None:
    queue = queue_of()
    for at in range(50):
        queue.push(chain_of(f"a{at}", tenant="a", program="fan"), 0.0)
    for _ in range(40):
        queue.charge(chain_of(tenant="a"), 1.0)
        queue.remove(next(queue.heads()).chain_id)
    # b was idle all the time: it gets the next places one by one, not forty.
    for at in range(10):
        queue.push(chain_of(f"b{at}", tenant="b"), 40.0)
    order = []
    for _ in range(8):
        head = next(queue.heads())
        queue.charge(head, 1.0)
        order.append(queue.remove(head.chain_id).tenant)
    assert order.count("b") in (4, 5)


def test_without_fairness_tenants_are_one() -> None:
    queue = queue_of(OrderTerms("arrival", fair=False), gold=100.0)
    queue.push(chain_of("b", tenant="base", arrived=0.0), 0.0)
    queue.push(chain_of("g", tenant="gold", arrived=1.0), 1.0)
    queue.charge(chain_of(tenant="base"), 50.0)
    assert drained(queue) == ["b", "g"]


def test_stricter_classes_come_first_until_others_have_waited() -> None:
    timed = Objective("deadline", 5.0)
    assert [class_of(chain_of(objective=each)) for each in (timed, THROUGHPUT)] == [0, 2]
    queue = queue_of(OrderTerms(patience=10.0))
    queue.push(chain_of("whenever", objective=THROUGHPUT), 0.0)
    queue.push(chain_of("soon"), 5.0)
    queue.push(chain_of("timed", objective=timed), 5.0)
    assert [each.chain_id for each in queue.heads()] == ["timed", "soon", "whenever"]
    queue = queue_of(OrderTerms(patience=2.0))
    queue.push(chain_of("whenever", objective=THROUGHPUT), 0.0)
    queue.push(chain_of("soon"), 5.0)
    assert [each.chain_id for each in queue.heads()] == ["whenever", "soon"]


def test_what_waits_is_counted() -> None:
    queue = queue_of()
    queue.push(chain_of("a", tokens=(5, 9), prefix=(1, 2), program="p"), 0.0)
    queue.push(chain_of("b", tokens=(5, 9), prefix=(1, 3), program="p"), 0.0)
    queue.push(chain_of("c", tokens=(7,), prefix=(4,), objective=THROUGHPUT), 0.0)
    assert (len(queue), queue.soon, "a" in queue) == (3, (2, 1), True)
    assert [queue.sharing(each) for each in (1, 2, 4, 9)] == [2, 1, 1, 0]
    queue.remove("a")
    assert (queue.sharing(1), queue.sharing(2), queue.soon) == (1, 0, (1, 1))


def test_a_chain_that_comes_back_is_found_once() -> None:
    queue = queue_of()
    for _ in range(3):
        queue.push(chain_of("a"), 0.0)
        queue.push(chain_of("b"), 0.0)
        assert queue.remove("a").chain_id == "a"
        assert drained(queue) == ["b"]


def test_terms_are_checked() -> None:
    for terms in ({"ageing": 0.0}, {"patience": -1.0}):
        with pytest.raises(ConfigError):
            OrderTerms(**terms)  # type: ignore[arg-type]
