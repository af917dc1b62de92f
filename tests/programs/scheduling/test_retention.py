"""What becomes of prefixes."""

from __future__ import annotations

from adwright.programs.scheduling.engine import StepLimit, UpcomingPrefix
from adwright.programs.scheduling.engine_state import EngineState, KeepDecision, keep_decisions
from tests.support.chains import chain_of, state_of


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
