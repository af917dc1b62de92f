"""Events in, decisions out."""

from __future__ import annotations

import math

import pytest

from adwright.core.errors import ValueInvalidError
from adwright.programs.program import THROUGHPUT
from adwright.programs.scheduling.engine import UpcomingPrefix
from adwright.programs.scheduling.engine_state import EngineRest, KeepDecision
from adwright.programs.scheduling.scheduler import (
    Aside,
    Dropped,
    Fill,
    ProgramScheduler,
    Start,
    Stop,
    Wait,
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
