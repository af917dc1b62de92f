"""A service of programs over a scripted engine, for the tests of its endpoints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
from fastapi import FastAPI

from adwright.core.clock import Clock
from adwright.core.errors import AssetError
from adwright.lm.engine.generation import Message
from adwright.programs.runner import AskedChain, Session
from adwright.service.programs.app import create_programs_app
from adwright.service.programs.book import ProgramServiceConfig
from adwright.service.programs.engine_room import EngineMeasures, EngineRoom, ServedText
from adwright.web.gate import LOCAL_HOSTS
from tests.support.programs.scripted_engine import ScriptedEngine

#: A writer, two reviewers of what it wrote, and an editor who reads all.
TEAM: dict[str, Any] = {
    "values": {"product": "green tea"},
    "calls": [
        {"name": "writer", "template": "An ad for {{product}}: {{ad:output}}"},
        {"name": "brand", "template": "Is it like us? {{ad}} {{brand_view:output}}"},
        {"name": "legal", "template": "Is it lawful? {{ad}} {{legal_view:output}}"},
        {
            "name": "editor",
            "template": "{{ad}} {{brand_view}} {{legal_view}} Better: {{final:output}}",
        },
    ],
    "outputs": [{"variable": "final"}],
}


class ScriptedRouter:
    """Writes its prompt in brackets, in two pieces; `held` calls wait until they are let, `broken`
    ones fail, and `slow` is the seconds that each takes."""

    def __init__(self, *, held: str = "", broken: str = "", slow: float = 0.0) -> None:
        self.held = {one: asyncio.Event() for one in held.split()}
        self.broken = broken.split()
        self.slow = slow
        self.tenants: dict[str, str] = {}
        self.asked: list[tuple[str, AskedChain]] = []
        self.cancelled: list[str] = []
        self.closed = 0

    def for_program(self, program_id: str, tenant: str, /) -> ScriptedChains:
        self.tenants[program_id] = tenant
        return ScriptedChains(self, tenant)

    def let(self, name: str) -> None:
        """Let a held call go on; from any thread."""
        event = self.held[name]
        event.set()


class ScriptedEvent(NamedTuple):
    """An event of a trace."""

    time: float
    kind: str
    chain: str = ""
    tokens: int | None = None

    def as_json(self) -> dict[str, object]:
        told = self._asdict()
        return {name: value for name, value in told.items() if value is not None}


@dataclass
class ScriptedChains:
    """Runs the chains of one program."""

    router: ScriptedRouter
    tenant: str
    events: list[ScriptedEvent] = field(default_factory=lambda: [ScriptedEvent(5.0, "submit")])
    placed: dict[str, str] = field(default_factory=dict)

    @property
    def trace(self) -> ScriptedChains:
        return self

    def watch(self, session: Session) -> None:
        assert session.running == ()

    def close(self) -> None:
        self.router.closed += 1

    async def generate(self, asked: AskedChain, say: Callable[[str], None]) -> str:
        router, name = self.router, asked.chain.call.name
        router.asked.append((self.tenant, asked))
        self.placed[asked.chain.node_id] = "e0"
        self.events.append(ScriptedEvent(7.5, "placed", asked.chain.node_id))
        say("[")
        try:
            if name in router.held:
                while not router.held[name].is_set():
                    await asyncio.sleep(0.001)
            if router.slow:
                await asyncio.sleep(router.slow)
        except asyncio.CancelledError:
            router.cancelled.append(name)
            raise
        if name in router.broken:
            raise OSError(f"{name} is broken")
        return f"[{asked.prompt}]"


class OpenedEngine(ScriptedEngine):
    """A scripted engine that is opened and closed as those of a service are."""

    is_open = False
    fails = False

    async def __aenter__(self) -> OpenedEngine:
        if self.fails:
            raise AssetError("there is no such model", where="engine")
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False


def room_app(room: EngineRoom, model: str = "model", **settings: Any) -> FastAPI:
    """The application over a room of engines, whose tokens are characters."""
    settings.setdefault("allowed_hosts", ("test", *LOCAL_HOSTS))
    return create_programs_app(
        ProgramServiceConfig(**settings),
        room,
        {model: ServedText(len, chat_prompt)},
        ready=room.asked,
        beside=room,
        measures=[EngineMeasures(room)],
    )


def chat_prompt(messages: Sequence[Message], settings: Mapping[str, Any]) -> str:
    """The prompt of a chat in a template of a line a turn."""
    return "".join(f"{one.role}: {one.content}\n" for one in messages) + "assistant:"


def program_app(
    router: Any, *, clock: Clock | None = None, chat: bool = True, **settings: Any
) -> FastAPI:
    """The application with the model "m", which the tests' client calls "test"."""
    settings.setdefault("allowed_hosts", ("test", *LOCAL_HOSTS))
    text = ServedText(lambda one: len(one.split()), chat_prompt if chat else None, "scripted", 4096)
    return create_programs_app(
        ProgramServiceConfig(**settings), router, {"m": text, "other": text}, clock=clock
    )


def events_of(answer: httpx.Response) -> list[tuple[str, Any]]:
    """The server-sent events of a stream: of each its kind and what it tells."""
    found = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found
