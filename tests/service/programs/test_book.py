"""The programs that are open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adwright.core.clock import FixedClock
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.service.programs.book import ProgramBook
from adwright.service.programs.config import ProgramServiceConfig
from adwright.service.programs.refusals import Refused
from adwright.web.errors import ApiError, Busy
from tests.support.service.program_apps import ScriptedRouter


def asking(name: str = "a", model: str = "") -> Program:
    call = SemanticCall(name, f"an ad {{{{{name}_text:output}}}}", model=model)
    return Program(calls=(call,), outputs=(WantedOutput(f"{name}_text"),))


def a_book(router: ScriptedRouter | None = None, **settings: Any) -> tuple[ProgramBook, FixedClock]:
    clock = FixedClock()
    config = ProgramServiceConfig(**settings)
    return ProgramBook(router or ScriptedRouter(), config, clock, ["m", "other"]), clock


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_programs_end_when_nobody_calls() -> None:
    async def scenario() -> None:
        router = ScriptedRouter(held="slow")
        book, clock = a_book(router, keep_seconds=10, most_seconds=100)
        one, _ = book.open("t", asking())
        runs, _ = book.open("t", asking("slow"))
        waited, _ = book.open("t", asking())
        waited.waiting += 1
        await settle()
        assert (one.state, runs.state) == ("done", "running")
        clock.advance(9)
        assert book.get("t", one.program_id) is one
        clock.advance(9)
        book.look()
        assert len(book) == 3
        clock.advance(2)
        book.look()
        assert book.programs == (runs, waited)
        clock.advance(100)
        book.look()
        await settle()
        assert (len(book), router.cancelled) == (0, ["slow"])
        assert book.ended == {"idle": 1, "old": 2}
        await book.close()

    asyncio.run(scenario())


def test_bounds() -> None:
    async def scenario() -> None:
        router = ScriptedRouter(held="slow")
        book, _ = a_book(
            router,
            tenant_programs=2,
            max_programs=3,
            tenant_queued_tokens=520,
            queued_tokens=700,
        )
        first, _ = book.open("t", asking("slow"))  # 2 tokens to read, 128 to write
        assert book.owed() == book.owed("t") == 130
        book.open("t", asking())
        with pytest.raises(Busy) as told:
            book.open("t", asking())
        assert (told.value.reason, told.value.status) == ("tenant_programs", 429)
        assert int(told.value.headers["Retry-After"]) >= 1
        for n in range(2):
            book.extend(first, asking(f"slow{n}"))
        with pytest.raises(Busy) as told:
            book.extend(first, asking("slow3"))
        assert told.value.reason == "tenant_tokens"
        assert first.session.graph.get_producer("slow3_text") is None
        other, _ = book.open("u", asking())
        with pytest.raises(Busy) as told:
            book.extend(other, asking("slow3"))
        assert told.value.reason == "tokens"
        with pytest.raises(Busy) as told:
            book.open("v", asking())
        assert told.value.reason == "programs"
        await settle()
        router.let("slow")
        await asyncio.sleep(0.01)
        assert book.owed() == 0
        await book.close()

    asyncio.run(scenario())


def test_keys_and_models() -> None:
    async def scenario() -> None:
        router = ScriptedRouter()
        book, _ = a_book(router)
        one, is_new = book.open("t", asking(), key="k", digest="d")
        assert (is_new, book.open("t", asking(), key="k", digest="d")) == (True, (one, False))
        assert book.open("u", asking(), key="k", digest="d")[1]
        with pytest.raises(ApiError) as told:
            book.open("t", asking(), key="k", digest="other")
        assert told.value.status == 409
        assert book.extend(one, asking("b"), key="k2", digest="d")
        assert not book.extend(one, asking("b"), key="k2", digest="d")
        with pytest.raises(ApiError):
            book.extend(one, asking("b"), key="k2", digest="e")
        book.end(one, "deleted")
        book.end(one, "deleted")
        assert book.open("t", asking(), key="k", digest="d")[1]
        assert book.ended == {"deleted": 1}
        with pytest.raises(Refused):
            book.open("t", asking(model="none"))
        book.open("t", asking(model="other"))
        await settle()
        assert {asked.chain.call.model for _, asked in router.asked} == {"m", "other"}
        await book.close()

    asyncio.run(scenario())


def test_what_runs_a_program_is_closed_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        router = ScriptedRouter(held="slow")
        book, _ = a_book(router)
        book.start()
        book.open("t", asking("slow"))
        with pytest.raises(Refused):
            book.open("t", asking("9"))
        assert router.closed == 1
        await settle()
        await book.close()
        assert (router.closed, router.cancelled) == (2, ["slow"])

    asyncio.run(scenario())
    assert caplog.records == []


def test_when_to_come_back_follows_from_what_is_done() -> None:
    async def scenario(done: int) -> float:
        router = ScriptedRouter(held="slow")
        book, _ = a_book(router, tenant_queued_tokens=20_000)
        slow = Program(calls=tuple(asking(f"slow{n}").calls[0] for n in range(150)))
        one, _ = book.open("t", slow)
        for n in range(done):
            one.session.cancel(f"slow{n}_text")
        book.look()
        with pytest.raises(Busy) as told:
            book.open("t", slow)
        await book.close()
        return float(told.value.headers["Retry-After"])

    assert asyncio.run(scenario(20)) < asyncio.run(scenario(0))
