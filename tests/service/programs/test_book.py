"""The programs that are open."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from adwright.core.clock import FixedClock
from adwright.programs.persistence import KeptFolder
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.service.programs.book import ProgramBook, ProgramServiceConfig, Refused
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


def a_kept_book(folder: Path, router: ScriptedRouter) -> ProgramBook:
    keep = KeptFolder(folder, patience=0.0)
    return ProgramBook(router, ProgramServiceConfig(), FixedClock(), ["m"], keep)


def team() -> Program:
    """A writer who waits for a brief, and an editor."""
    writer = SemanticCall("writer", "An ad for {{brief}}: {{ad:output}}")
    editor = SemanticCall("editor", "Shorten {{ad}}: {{short:output}}")
    wanted = (WantedOutput("short"), WantedOutput("never"))
    return Program(calls=(writer, editor), awaited=("brief", "never"), outputs=wanted)


def test_kept_programs_go_on_in_the_next_process(tmp_path: Path) -> None:
    async def first() -> str:
        book = a_kept_book(tmp_path, ScriptedRouter(held="editor"))
        await book.restore()
        one, _ = book.open("t", team(), key="k", digest="d", on_disconnect="cancel")
        book.extend(one, asking(), key="more", digest="e")
        one.set("brief", "tea")
        one.cancel("never")
        deleted, _ = book.open("t", asking())
        book.open("t", asking(), keep=False)
        await settle()
        book.end(deleted, "deleted")
        assert [path.suffix for path in tmp_path.iterdir()].count(".jsonl") == 1
        assert one.session.variable("ad").text == "[An ad for tea: ]"
        # Only what was written stays, as where the process is killed.
        await book.close()
        return one.program_id

    async def second(program_id: str) -> None:
        router = ScriptedRouter()
        book = a_kept_book(tmp_path, router)
        await book.restore()
        (one,) = book.programs
        assert (one.program_id, one.tenant, one.on_disconnect) == (program_id, "t", "cancel")
        assert one.session.variable("ad").text == "[An ad for tea: ]"
        assert one.session.variable("never").failure is not None
        await settle()
        assert one.session.variable("short").text == "[Shorten [An ad for tea: ]: ]"
        assert [asked.chain.call.name for _, asked in router.asked] == ["editor"]
        assert book.open("t", team(), key="k", digest="d") == (one, False)
        assert not book.extend(one, asking(), key="more", digest="e")
        with pytest.raises(ApiError, match="no program"):
            book.get("u", program_id)
        book.end(one, "idle")
        await book.close()
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]

    asyncio.run(second(asyncio.run(first())))


def test_a_kept_program_that_is_too_old_ends(tmp_path: Path) -> None:
    async def first() -> None:
        book = a_kept_book(tmp_path, ScriptedRouter())
        await book.restore()
        book.open("t", asking())
        await book.close()

    async def second() -> None:
        clock = FixedClock()
        clock.advance(86_401)
        keep = KeptFolder(tmp_path)
        book = ProgramBook(ScriptedRouter(), ProgramServiceConfig(), clock, ["m"], keep)
        await book.restore()
        assert len(book) == 1
        book.look()
        assert book.ended == {"old": 1}
        await book.close()

    asyncio.run(first())
    asyncio.run(second())


def test_what_was_kept_under_another_name_of_the_model_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(model: str) -> list[str]:
        router, keep = ScriptedRouter(), KeptFolder(tmp_path)
        book = ProgramBook(router, ProgramServiceConfig(), FixedClock(), [model], keep)
        await book.restore()
        if not len(book):
            book.open("t", asking(model=model))
        (one,) = book.programs
        models = [each.model for each in one.session.graph.program.calls]
        await book.close()
        return models

    assert asyncio.run(main("other")) == ["other"]
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(main("m")) == ["m"]
    assert "goes on without the model other" in caplog.text
