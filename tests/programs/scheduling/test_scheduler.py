"""Events in, decisions out."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from adwright.core.errors import ValueInvalidError
from adwright.programs.program import LATENCY, THROUGHPUT
from adwright.programs.scheduling.engine import ReadyChain, StepLimit, UpcomingPrefix
from adwright.programs.scheduling.engine_state import (
    EngineRest,
    EngineState,
    KeepDecision,
    WaitingChain,
)
from adwright.programs.scheduling.scheduler import (
    Aside,
    Dropped,
    Fill,
    Placement,
    PlacementTerms,
    ProgramScheduler,
    Start,
    Stop,
    Wait,
    place,
    program_policy,
)
from tests.support.chains import chain_of, started, state_of


def scheduler_of(*names: str, **changes: object) -> ProgramScheduler:
    return ProgramScheduler([state_of(name, **changes) for name in names or ("e",)])


def test_a_chain_starts_and_ends_once() -> None:
    scheduler = scheduler_of()
    chain = chain_of("a")
    scheduler.ready(chain, 0.0)
    (decision,) = scheduler.decide(0.0)
    assert isinstance(decision, Start)
    assert decision.placement is not None
    assert decision.placement.score.prefill > 0
    assert scheduler.done("a", "e", 1.0) == chain
    assert scheduler.done("a", "e", 1.1) is None
    assert len(scheduler) == 0


def test_the_policy_changes_nothing() -> None:
    scheduler = scheduler_of("e0", "e1")
    for at in range(3):
        scheduler.ready(chain_of(f"a{at}"), 0.0)
    first = program_policy(scheduler.queue, scheduler.engines, 0.0)
    assert first == program_policy(scheduler.queue, scheduler.engines, 0.0)
    assert (len(scheduler.queue), scheduler.engines["e0"].batch) == (3, 0)


def test_a_prefix_is_read_once_while_the_others_wait() -> None:
    scheduler = scheduler_of()
    for at in range(4):
        chain = chain_of(f"u{at}", tokens=(1000, 1030), prefix=(7, 10 + at))
        scheduler.ready(chain, 0.0)
    fill = next(each for each in scheduler.decide(0.0) if isinstance(each, Fill))
    assert fill.chain.prompt_tokens == 1000
    assert fill.chain.new_tokens == 0
    assert scheduler.done(fill.chain.chain_id, "e", 0.7) is None
    found = [each for each in scheduler.decide(0.7) if isinstance(each, Start)]
    assert len(found) == 4
    assert {scheduler.engines["e"].running[f"u{at}"].cached for at in range(4)} == {1000}


def test_an_engine_that_dies_loses_nothing() -> None:
    scheduler = scheduler_of("e0", "e1")
    for at in range(6):
        scheduler.ready(chain_of(f"a{at}"), 0.0)
    where = dict(started(scheduler, 0.0))
    lost = {name for name, engine in where.items() if engine == "e0"}
    assert lost
    for name, engine in where.items():
        scheduler.prefilled(name, engine, 0.5)
    scheduler.engine_died("e0", 1.0)
    # What it says after its death is not news.
    assert all(scheduler.done(name, "e0", 1.1) is None for name in lost)
    ended = []
    for at in range(10):
        for name, engine in started(scheduler, 1.0 + at):
            where[name] = engine
        for name, engine in list(where.items()):
            if scheduler.done(name, engine, 1.5 + at) is not None:
                ended.append(name)
    assert sorted(ended) == [f"a{at}" for at in range(6)]
    assert {where[name] for name in lost} == {"e1"}
    scheduler.engine_back("e0", 3.0)
    scheduler.ready(chain_of("b"), 3.0)
    assert len(started(scheduler, 3.0)) == 1


def test_followers_of_an_engine_that_died_look_elsewhere() -> None:
    scheduler = scheduler_of("e0", "e1", chunk_tokens=5000)
    for at in range(4):
        chain = chain_of(f"u{at}", tokens=(1000, 1030), prefix=(7, 10 + at))
        scheduler.ready(chain, 0.0)
    scheduler.decide(0.0)
    scheduler.engine_died("e0", 0.1)
    scheduler.engine_died("e1", 0.1)
    assert len(scheduler.queue) == 4
    scheduler.engine_back("e1", 0.2)
    assert all(engine == "e1" for _, engine in started(scheduler, 0.2))


def test_one_error_poisons_neither_the_engine_nor_the_program() -> None:
    """Parrot's fault 5: one error marked the engine bad and poisoned the session."""
    scheduler = scheduler_of()
    for name in "ab":
        scheduler.ready(chain_of(name, program="p"), 0.0)
    started(scheduler, 0.0)
    scheduler.failed("a", "e", 0.5, "out of luck")
    assert started(scheduler, 0.5) == [("a", "e")]
    assert scheduler.done("b", "e", 1.0) is not None
    assert scheduler.done("a", "e", 1.5) is not None
    scheduler.failed("a", "e", 1.6, "late")
    assert scheduler.decide(2.0) == []


def test_what_fails_again_and_again_is_dropped_with_its_reason() -> None:
    scheduler = scheduler_of()
    scheduler.ready(chain_of("a"), 0.0)
    for at in range(4):
        assert started(scheduler, float(at)) == [("a", "e")]
        scheduler.failed("a", "e", at + 0.5, "bad prompt")
    (dropped,) = scheduler.decide(9.0)
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "bad prompt; it was tried 4 times"
    assert len(scheduler) == 0


def test_what_no_engine_takes_is_dropped_at_once_and_ready_twice_is_refused() -> None:
    scheduler = scheduler_of()
    scheduler.ready(chain_of("a", model="other"), 0.0)
    (dropped,) = scheduler.decide(0.0)
    assert isinstance(dropped, Dropped)
    assert "no engine takes other" in dropped.reason
    scheduler.ready(chain_of("b"), 0.0)
    with pytest.raises(ValueInvalidError, match="twice"):
        scheduler.ready(chain_of("b"), 0.0)
    with pytest.raises(ValueInvalidError, match="needs an engine"):
        ProgramScheduler([])


def test_cancelling_wherever_a_chain_is() -> None:
    scheduler = scheduler_of(max_batch=1)
    for name in "ab":
        scheduler.ready(chain_of(name, program="p"), 0.0)
    ((running, _),) = started(scheduler, 0.0)
    scheduler.cancel_program("p", 0.5)
    assert scheduler.decide(0.5) == [Stop(running, "e")]
    assert len(scheduler) == 0
    state = scheduler.engines["e"]
    assert (state.batch, state.own_tokens, state.unread_tokens) == (0, 0, 0)
    scheduler.cancel(running, 0.6)
    assert scheduler.decide(0.6) == []
    assert scheduler.done(running, "e", 0.7) is None


def warm(scheduler: ProgramScheduler, engine_id: str, tokens: int) -> None:
    """The engine has read prefix 7."""
    state = scheduler.engines[engine_id]
    limit = state.curve.limit(chain_of(objective=THROUGHPUT), 0.0)
    state.start(chain_of("w", tokens=(tokens,), prefix=(7,), new=0), limit, 0.0)
    state.prefilled("w", 0.0)
    state.end("w", 0.0)


def test_who_waits_at_an_engine_is_first_there_and_waits_no_longer_than_it_pays() -> None:
    scheduler = scheduler_of("e0", "e1", max_batch=2)
    warm(scheduler, "e0", 7000)
    for name in ("x", "y"):
        scheduler.ready(chain_of(name, tokens=(7000, 7010), prefix=(7, hash(name)), new=20), 0.0)
    assert dict(started(scheduler, 0.0)) == {"x": "e0", "y": "e0"}
    for name in ("x", "y"):
        scheduler.prefilled(name, "e0", 0.1)
    scheduler.ready(chain_of("z", tokens=(7000, 7010), prefix=(7, 9), new=20), 0.1)
    (wait,) = scheduler.decide(0.1)
    assert isinstance(wait, Wait)
    assert wait.engine_id == "e0"
    assert scheduler.next_timer() == wait.placement.until
    scheduler.done("x", "e0", 0.4)
    assert started(scheduler, 0.4) == [("z", "e0")]
    assert scheduler.next_timer() is None


def test_a_wait_that_lasts_too_long_ends() -> None:
    scheduler = scheduler_of("e0", "e1", max_batch=2)
    warm(scheduler, "e0", 7000)
    for name in ("x", "y", "z"):
        scheduler.ready(chain_of(name, tokens=(7000, 7010), prefix=(7, hash(name)), new=20), 0.0)
    scheduler.decide(0.0)
    scheduler.prefilled("x", "e0", 0.1)
    scheduler.prefilled("y", "e0", 0.1)
    found = [each for each in scheduler.decide(0.1) if isinstance(each, Wait)]
    for _ in range(3):
        timer = scheduler.next_timer()
        if timer is None:
            break
        scheduler.decide(timer)
    assert len(scheduler) == 3
    assert len(found) <= 1


def test_who_has_waited_in_vain_does_not_wait_again() -> None:
    scheduler = scheduler_of("e0", "e1", max_batch=2)
    warm(scheduler, "e0", 7000)
    for name in ("x", "y", "z"):
        scheduler.ready(chain_of(name, tokens=(7000, 7010), prefix=(7, hash(name)), new=20), 0.0)
        for running, engine in started(scheduler, 0.0):
            scheduler.prefilled(running, engine, 0.0)
    timer = scheduler.next_timer()
    assert timer is not None, "z waits at e0, which holds what it begins with"
    assert started(scheduler, timer) == [("z", "e1")]
    assert scheduler.done("z", "e1", timer + 9.0) is not None
    assert scheduler.queue.impatient == set()


def test_fewer_tokens_than_expected_are_charged_less() -> None:
    scheduler = scheduler_of()
    scheduler.ready(chain_of("a", tenant="t", new=100), 0.0)
    scheduler.decide(0.0)
    before = scheduler.queue.attained("t")
    scheduler.done("a", "e", 1.0, tokens=50)
    assert scheduler.queue.attained("t") == pytest.approx(before / 2)


def test_what_the_graphs_say_of_prefixes_reaches_engines_that_obey() -> None:
    scheduler = scheduler_of("e", fork=True)
    scheduler.ready(chain_of("a", tokens=(500,), prefix=(7,), program="p"), 0.0)
    scheduler.decide(0.0)
    scheduler.done("a", "e", 1.0)
    scheduler.expect([UpcomingPrefix("p", 7, 1)], 1.0)
    assert scheduler.decide(1.0) == [KeepDecision("e", 7, "pin")]
    scheduler.expect([UpcomingPrefix("p", 7, None)], 2.0)
    assert scheduler.decide(2.0) == [KeepDecision("e", 7, "free")]


def test_the_outlook_of_a_program_orders_it() -> None:
    scheduler = scheduler_of(max_batch=1)
    scheduler.ready(chain_of("busy"), 0.0)
    scheduler.decide(0.0)
    scheduler.ready(chain_of("wide", program="wide"), 0.0)
    scheduler.ready(chain_of("narrow", program="narrow", new=60, critical=60), 0.0)
    scheduler.outlook("wide", "t", 5000, 5000)
    scheduler.done("busy", "e", 1.0)
    assert started(scheduler, 1.0) == [("narrow", "e")]


@pytest.mark.parametrize("tenant", ["t", "b"])
def test_who_waits_for_a_dead_engine_holds_nobody_up(tenant: str) -> None:
    scheduler = ProgramScheduler(
        [state_of("small", context_length=1024), state_of("big", context_length=8192)]
    )
    scheduler.engine_died("big", 0.0)
    scheduler.ready(chain_of("long", tokens=(3000,), prefix=(1,)), 0.0)
    for at in range(4):
        scheduler.ready(chain_of(f"s{at}", tenant=tenant), 0.1)
    found, why = scheduler.decide(0.2), "no engine takes it now (big is gone)"
    assert Aside(chain_of("long", tokens=(3000,), prefix=(1,)), why) in found
    starts = [one.chain.chain_id for one in found if isinstance(one, Start)]
    assert sorted(starts) == ["s0", "s1", "s2", "s3"]
    assert len(scheduler) == 5
    assert scheduler.decide(1e6) == []
    scheduler.engine_back("big", 1e6)
    assert started(scheduler, 1e6) == [("long", "big")]
    scheduler.engine_died("big", 2e6)
    scheduler.decide(2e6)
    scheduler.cancel("long", 2e6)
    assert len(scheduler) == 4


def test_who_failed_goes_where_it_has_not_and_waits_for_its_place_there() -> None:
    scheduler = scheduler_of("e0", "e1", max_batch=1)
    for name in "ab":
        scheduler.ready(chain_of(name), 0.0)
    where = dict(started(scheduler, 0.0))
    scheduler.failed("a", where["a"], 0.1, "out of luck", wait=0.5)
    (wait,) = scheduler.decide(0.1)
    assert isinstance(wait, Wait)
    assert (wait.chain.chain_id, wait.engine_id) == ("a", where["b"])
    assert scheduler.done("b", where["b"], 1.0) is not None
    assert started(scheduler, 1.0) == [("a", where["b"])]
    # Now it has failed on both: there is a pause before each further time, up to four.
    scheduler.failed("a", where["b"], 2.0, "out of luck", wait=0.5)
    assert scheduler.decide(2.0) == []
    ((_, at),) = started(scheduler, 2.5)
    scheduler.failed("a", at, 3.0, "out of luck", wait=0.5)
    ((_, at),) = started(scheduler, 3.5)
    scheduler.failed("a", at, 4.0, "out of luck", wait=0.5)
    (dropped,) = scheduler.decide(4.0)
    assert dropped == Dropped(chain_of("a"), "out of luck; it was tried 4 times")
    assert len(scheduler) == 0


def test_a_pause_before_another_attempt_is_not_the_end_where_the_engine_rests_by_then() -> None:
    scheduler = scheduler_of("e0")
    scheduler.ready(chain_of("a"), 0.0)
    started(scheduler, 0.0)
    scheduler.failed("a", "e0", 0.1, "out of luck", wait=0.5)
    scheduler.engine_rests("e0", "fails", "out of luck", 0.2)
    assert [type(one) for one in scheduler.decide(0.7)] == [Aside]
    scheduler.engine_back("e0", 2.0)
    assert started(scheduler, 2.0) == [("a", "e0")]


@pytest.mark.parametrize(
    ("rest", "seconds"), [("refuses", 6.0), ("fails", 30.0), ("busy", math.inf)]
)
def test_an_engine_that_rests_is_given_nothing_new(rest: EngineRest, seconds: float) -> None:
    scheduler = scheduler_of("e0", "e1")
    scheduler.ready(chain_of("a"), 0.0)
    ((_, at),) = started(scheduler, 0.0)
    for name in ("e0", "e1"):
        scheduler.engine_rests(name, rest, "out of order", 0.0)
    assert scheduler.done("a", at, 0.5) is not None
    scheduler.ready(chain_of("b"), 1.0)
    told = scheduler.decide(1.0)
    why = "no engine takes it now (e0: out of order; e1: out of order)"
    assert told == [Aside(chain_of("b"), why)]
    assert scheduler.next_timer() == (None if seconds == math.inf else 1.0 + seconds)
    told = scheduler.decide(31.0)
    assert told == ([] if seconds == math.inf else [Dropped(chain_of("b"), why)])
    scheduler.engine_back("e1", 40.0)
    scheduler.ready(chain_of("c"), 40.0)
    assert ("c", "e1") in started(scheduler, 40.0)


SHARED = 77


def placed(
    chain: ReadyChain,
    engines: list[EngineState],
    *,
    now: float = 0.0,
    others: int = 0,
    terms: PlacementTerms | None = None,
) -> Placement | None:
    waiting = Counter({SHARED: others + 1})
    return place(
        chain,
        engines,
        now,
        sharing=lambda prefix: waiting[prefix],
        backlog=(1.0, 1.0),
        terms=terms or PlacementTerms(),
    )


def hold(state: EngineState, tokens: int = 1000) -> None:
    """The engine has read the shared prefix."""
    state.start(chain_of("before", tokens=(tokens,), prefix=(SHARED,), new=1), StepLimit(), 0.0)
    state.prefilled("before", 0.0)
    state.end("before", 0.0)


def busy(state: EngineState, rows: int, new: int = 50) -> None:
    for at in range(rows):
        state.start(chain_of(f"{state.engine_id}{at}", tokens=(1,), new=new), StepLimit(), 0.0)
        state.prefilled(f"{state.engine_id}{at}", 0.0)


def user(name: str = "u", tokens: int = 1000) -> ReadyChain:
    return chain_of(name, tokens=(tokens, tokens + 30), prefix=(SHARED, hash(name)))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_an_engine_with_the_prefix_is_not_displaced_by_one_without(order: tuple[int, ...]) -> None:
    """Parrot's fault 1: a later engine without the prefix displaced one that had it."""
    states = [state_of(f"e{at}") for at in range(3)]
    hold(states[1])
    busy(states[1], 2)
    found = placed(user(), [states[at] for at in order])
    assert found is not None
    assert (found.engine_id, found.action) == ("e1", "start")


def test_it_is_displaced_where_the_score_says_so_in_numbers() -> None:
    with_it, without = state_of("with"), state_of("without")
    hold(with_it)
    for rows in range(31):
        found = placed(user(), [with_it, without])
        assert found is not None
        cost = {}
        for state in (with_it, without):
            alone = placed(user(), [state])
            assert alone is not None
            cost[state.engine_id] = alone.score.total
        assert found.engine_id == min(cost, key=lambda each: cost[each])
        busy(with_it, 1, new=50 + rows) if rows == 0 else with_it.start(
            chain_of(f"x{rows}", tokens=(1,), new=200), StepLimit(), 0.0
        )
        if rows:
            with_it.prefilled(f"x{rows}", 0.0)
    assert cost["without"] < cost["with"]


def test_the_terms_are_seconds() -> None:
    state = state_of()
    busy(state, 2)
    found = placed(chain_of("a", tokens=(1590,), new=100), [state])
    assert found is not None
    curve = state.curve
    assert found.score.prefill == pytest.approx(1.0)
    assert found.score.queue == 0.0
    slower = 50 * (curve.step_seconds(3) - curve.step_seconds(2))
    assert found.score.interference == pytest.approx(100 * curve.step_seconds(3) + slower + 2)
    assert found.score.total == pytest.approx(sum(found.score))


def test_each_term_can_be_left_out() -> None:
    state = state_of(chunk_tokens=5000)
    state.start(chain_of("r", tokens=(500,)), StepLimit(), 0.0)
    chain = chain_of("a", tokens=(300,))
    full = placed(chain, [state])
    assert full is not None
    assert min(full.score.prefill, full.score.queue, full.score.interference) > 0
    for name in ("prefill", "queue", "interference"):
        found = placed(chain, [state], terms=PlacementTerms(**{name: False}))
        assert found is not None
        assert getattr(found.score, name) == 0
        assert found.score.total == pytest.approx(full.score.total - getattr(full.score, name))


def test_the_emptiest_of_equals_is_taken() -> None:
    states = [state_of("e0"), state_of("e1")]
    hold(states[0])
    found = placed(chain_of("a"), states)
    assert found is not None
    assert found.engine_id == "e1"


def test_nothing_is_placed_where_nothing_is_free() -> None:
    state, dead = state_of(max_batch=1), state_of("dead")
    busy(state, 1)
    dead.died()
    assert placed(chain_of("a"), [state, dead]) is None
    assert placed(chain_of("a", model="other"), [state_of()]) is None


def test_a_chain_waits_for_the_engine_that_is_worth_it() -> None:
    full, free = state_of("full", max_batch=1, kv_tokens=90_000), state_of("free", kv_tokens=90_000)
    hold(full, tokens=7000)
    busy(full, 1, new=20)
    found = placed(user(tokens=7000), [full, free])
    assert found is not None
    assert (found.engine_id, found.action, found.border) == ("full", "park", None)
    # No longer than the free one would have cost.
    alone = placed(user(tokens=7000), [free])
    assert alone is not None
    assert found.until <= alone.score.total + 2 * found.score.queue + found.score.prefill
    assert placed(user(tokens=7000), [full, free], terms=PlacementTerms(park=0.0)) != found
    short = state_of("full", max_batch=1)
    hold(short, tokens=40)
    busy(short, 1, new=200)
    found = placed(user(tokens=40), [short, free])
    assert found is not None
    assert found.engine_id == "free"


def test_a_cold_prefix_of_several_is_filled_first() -> None:
    found = placed(user(), [state_of()], others=1)
    assert found is not None
    assert (found.action, found.borders) == ("fill", 1)


@pytest.mark.parametrize(
    ("others", "tokens", "flight", "terms"),
    [
        (0, 1000, False, PlacementTerms()),  # nobody shares it
        (1, 5, False, PlacementTerms()),  # read faster than a step
        (1, 1000, True, PlacementTerms()),  # the engine finds it by itself
        (1, 1000, False, PlacementTerms(fill=False)),
    ],
)
def test_filling_is_left_out_where_it_does_not_pay(
    others: int, tokens: int, flight: bool, terms: PlacementTerms
) -> None:
    state = state_of(in_flight_prefix=flight)
    found = placed(user(tokens=tokens), [state], others=others, terms=terms)
    assert found is not None
    assert found.action == "start"


def test_no_filling_for_an_engine_without_a_cache_or_of_what_it_holds() -> None:
    found = placed(user(), [state_of(prefix_cache=False)], others=1)
    assert found is not None
    assert found.action == "start"
    state = state_of()
    hold(state)
    found = placed(user(), [state], others=1)
    assert found is not None
    assert found.action == "start"


def test_followers_wait_for_a_prefix_with_a_bound() -> None:
    state = state_of(chunk_tokens=5000)
    state.start(chain_of("f", tokens=(1000,), prefix=(SHARED,), new=0), StepLimit(), 0.0, fill=True)
    state.filling[SHARED] = 0.6
    found = placed(user(), [state], now=0.1)
    assert found is not None
    assert (found.action, found.border) == ("park", SHARED)
    assert 0.6 < found.until < 5.0
    # It is so late that nobody counts on it any more.
    found = placed(user(), [state], now=9.0)
    assert found is not None
    assert found.action == "start"


def test_who_waits_counts_as_one_who_runs() -> None:
    crowded, empty = state_of("a"), state_of("b")
    for at in range(4):
        crowded.park(WaitingChain(2, at, 99.0, 5, 30, chain_of(f"w{at}")))
    found = placed(chain_of("x", objective=LATENCY), [crowded, empty])
    assert found is not None
    assert found.engine_id == "b"


def test_groups_spread_where_the_queue_costs_more_than_the_prefix() -> None:
    """Parrot's fault 4, of the placement: the members need not all fit one engine."""
    states = [state_of(f"e{at}", max_batch=4) for at in range(2)]
    used: Counter[str] = Counter()
    for at in range(8):
        chain = chain_of(f"m{at}", tokens=(50, 80), prefix=(SHARED, at), group="g")
        found = placed(chain, states)
        assert found is not None
        state = states[int(found.engine_id[1])]
        state.start(chain, StepLimit(), 0.0)
        state.prefilled(chain.chain_id, 0.0)
        used[found.engine_id] += 1
    assert used == {"e0": 4, "e1": 4}
