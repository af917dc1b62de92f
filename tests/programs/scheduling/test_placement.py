"""On which engine."""

from __future__ import annotations

from collections import Counter

import pytest

from adwright.programs.program import LATENCY
from adwright.programs.scheduling.engine import ReadyChain, StepLimit
from adwright.programs.scheduling.engine_state import EngineState, WaitingChain
from adwright.programs.scheduling.scheduler import Placement, PlacementTerms, place
from tests.support.chains import chain_of, state_of

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
