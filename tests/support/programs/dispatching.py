"""A dispatcher for tests, and what must hold of it once everything is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.keeper import KeeperBounds
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.scheduling.engine import LatencyCurve
from tests.support.programs.scripted_engine import ScriptedEngine

#: A scripted engine's own: 1,000 tokens of a prompt take as long as a piece.
SCRIPTED_CURVE = LatencyCurve((1, 64), (100.0, 6_400.0), 100_000.0)
QUICK = DispatchTerms(
    canary=None, retry_seconds=0.001, keeper=KeeperBounds(first=0.001, longest=0.1)
)


def dispatcher_of(
    engines: Mapping[str, ScriptedEngine],
    terms: DispatchTerms = QUICK,
    tokens: Callable[[str], int] = len,
) -> ChainDispatcher:
    """One that counts characters, or as told."""
    curves = dict.fromkeys(engines, SCRIPTED_CURVE)
    return ChainDispatcher(engines, tokens, curves=curves, terms=terms)


def check_empty(dispatcher: ChainDispatcher, engines: Mapping[str, ScriptedEngine]) -> None:
    """Nothing is held, counted or under way any more."""
    scheduler, admission = dispatcher.carrier.scheduler, dispatcher.admission
    assert len(scheduler) == len(scheduler.queue) == 0
    for state in scheduler.engines.values():
        assert (state.batch, state.parked, state.followers) == (0, [], {})
        assert state.unread_tokens == state.answer_tokens == state.read_tokens == 0
        assert state.own_tokens == 0
        assert state.index.held_tokens == 0
        assert state.expected_rows == state.expected_unread == state.expected_answers == 0
        assert state.soon == 0
        assert not state.soon_programs
    assert admission.tokens == 0
    assert not admission.by_tenant
    assert not admission.in_flight
    assert not dispatcher.carrier.jobs
    assert not dispatcher.programs
    assert dispatcher.carrier.attempts.tasks == len(dispatcher.carrier.attempts) == 0
    assert all(not engine.held for engine in engines.values())


def with_terms(**changes: object) -> DispatchTerms:
    """Quick terms, but for these."""
    return replace(QUICK, **changes)  # type: ignore[arg-type]
