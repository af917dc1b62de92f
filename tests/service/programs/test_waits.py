from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Request

from adwright.programs.program import LATENCY, Program, SemanticCall
from adwright.programs.runner import Session
from adwright.service.lm.work import Gone
from adwright.service.programs.routes import event, settled, text_events, waited
from tests.support.programs.echo_engine import EchoEngine


def request(*, gone: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


def test_waiting_ends_with_the_work_the_time_or_the_caller() -> None:
    async def scenario() -> None:
        gone, ended = asyncio.Event(), []

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        assert await waited(asyncio.sleep(0), request(gone=gone), 60)
        assert not await waited(work(), request(gone=gone), 0.01)
        gone.set()
        with pytest.raises(Gone):
            await waited(work(), request(gone=gone), 60)
        assert ended == [True, True]

    asyncio.run(scenario())


def test_a_text_that_is_begun_anew() -> None:
    async def scenario() -> None:
        engine = EchoEngine(held="a")
        async with Session(engine) as session:
            session.submit(Program(calls=(SemanticCall("a", "tea{{b:output}}"),)))
            found = text_events(session, "b", LATENCY)
            assert await anext(found) == event("piece", {"text": "["})
            session.variable("b").take_back()
            assert await anext(found) == event("restart", {})
            rest = asyncio.ensure_future(anext(found))
            await asyncio.sleep(0)
            engine.held["a"].set()
            assert await rest == event("piece", {"text": "[tea]"})
            assert [one async for one in found] == [event("done", {"characters": 5})]

    asyncio.run(scenario())


def test_leaving_a_stream_ends_what_nobody_else_reads() -> None:
    async def scenario() -> None:
        engine = EchoEngine(held="a")
        async with Session(engine) as session:
            session.submit(Program(calls=(SemanticCall("a", "tea{{b:output}}"),)))
            found = text_events(session, "b", LATENCY)
            await anext(found)
            await found.aclose()
            await asyncio.sleep(0.01)
            assert (engine.cancelled, session.running) == (["a"], ())

    asyncio.run(scenario())


def test_all_of_several_are_settled() -> None:
    async def scenario() -> None:
        async with Session(EchoEngine(broken="a")) as session:
            calls = (SemanticCall("a", "tea{{b:output}}"), SemanticCall("c", "tea{{d:output}}"))
            session.submit(Program(calls=calls))
            task = asyncio.ensure_future(settled(session, ("b", "d")))
            await asyncio.sleep(0)
            session.cancel("b")
            session.cancel("d")
            await task
            assert session.variable("b").is_settled

    asyncio.run(scenario())
