"""A program's own engine: what is let in for it, and its end."""

from __future__ import annotations

import asyncio

import pytest

from adwright.core.errors import ProgramError
from adwright.programs.dispatch.ready import ChainReader, TokenCounts
from adwright.programs.dispatch.terms import (
    Admission,
    AdmissionBounds,
    OverloadedError,
    ProgramEngine,
)
from adwright.programs.dispatch.trace import TraceStore
from adwright.programs.runner import AskedChain, ChainEngine, Saying, Session
from tests.support.programs.asking import SEAT, Said, asked_for
from tests.support.programs.dispatching import dispatcher_of
from tests.support.programs.scripted_engine import ScriptedEngine
from tests.support.programs.virtual_loop import run_virtually


class Owner:
    """Notes what a program's engine asks of the dispatcher."""

    def __init__(self, most: int = 100) -> None:
        self.over: list[str] = []
        self.admission = Admission(AdmissionBounds(all_tokens=most), float)
        self.engine = ProgramEngine(
            SEAT,
            TraceStore().begin("p", "shop", 0.0),
            self.admission,
            ChainReader(TokenCounts(len), model="small"),
            run=self._run,
            over=lambda engine: self.over.append(engine.seat.program_id),
        )

    async def _run(self, engine: ProgramEngine, asked: AskedChain, say: Saying) -> str:
        say(asked.prompt)
        return engine.seat.program_id


def test_it_is_what_a_session_asks() -> None:
    owner, said = Owner(), Said()
    engine: ChainEngine = owner.engine
    assert asyncio.run(engine.generate(asked_for("tea"), said)) == "p"
    assert said.pieces == ["tea"]


def test_what_is_reserved_is_used_by_its_chains_and_given_back_at_the_end() -> None:
    owner = Owner()
    owner.engine.reserve(60)
    assert (owner.engine.use(40), owner.engine.reserved) == (True, 20)
    assert not owner.engine.use(30)
    with pytest.raises(OverloadedError):
        owner.engine.reserve(50)
    owner.engine.reserve(30)
    owner.engine.close()
    assert owner.admission.tokens == 40, "its chain is not over"
    owner.engine.close()
    assert (owner.over, owner.engine.is_closed) == (["p"], True)


def test_a_session_is_watched() -> None:
    owner = Owner()
    owner.engine.watch(Session(owner.engine))
    assert owner.engine.outlook is not None
    assert owner.engine.outlook.left() == (0, 0)


def test_a_closed_program_runs_nothing() -> None:
    engines = {"e": ScriptedEngine()}

    async def work() -> None:
        async with dispatcher_of(engines) as dispatcher:
            with dispatcher.for_program("p") as engine:
                pass
            with pytest.raises(ProgramError, match="the program is closed"):
                await engine.generate(asked_for("tea"), Said())

    run_virtually(work())
    assert engines["e"].begun == []
