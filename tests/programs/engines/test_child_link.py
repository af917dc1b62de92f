"""What goes over the connection, with a process that is played."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adwright.core.errors import AssetError, ConfigError
from adwright.programs.engines.child_link import ChildLink
from adwright.programs.engines.engine_errors import EngineGoneError

_Work = Callable[[ChildLink, "Child"], Awaitable[None]]


class Child:
    """A process without one: the test reads and writes the other end of its connection."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.pid, self.killed = 17, threading.Event()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    ending = property(lambda self: "was killed by SIGKILL")

    def gone_within(self, seconds: float) -> bool:
        return self.killed.wait(min(seconds, 0.05))

    def kill(self) -> None:
        self.killed.set()
        self.writer.transport.abort()

    def end(self) -> None:
        self.killed.set()

    async def told(self) -> dict[str, Any]:
        while True:
            line = json.loads(await self.reader.readline())
            if "ping" not in line:
                return dict(line)

    def say(self, **what: Any) -> None:
        self.writer.write(json.dumps(what).encode() + b"\n")


def played(work: _Work, quiet: float = 30.0) -> None:
    async def main() -> None:
        child = Child()
        child.reader, child.writer = await asyncio.open_connection(sock=child.there)
        reader, writer = await asyncio.open_connection(sock=child.here)
        link = ChildLink("tiny", child, reader, writer, quiet)  # type: ignore[arg-type]
        try:
            await work(link, child)
        finally:
            await link.close()
            child.writer.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_several_requests_at_once() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        one, two = await link.request({"do": "a"}), await link.request({"do": "b"})
        assert await child.told() == {"id": 1, "do": "a"}
        assert await child.told() == {"id": 2, "do": "b"}
        child.say(id=2, text="x")
        child.say(id=1, text="y", over=True)
        child.say(id=9, text="nobody asked")
        child.say(id=2, error={"kind": "config", "what": "no"})
        assert [part["text"] async for part in one] == ["y"]
        assert (await two.next())["text"] == "x"
        with pytest.raises(ConfigError, match="no"):
            await two.next()
        assert two.over

    played(work)


def test_what_nobody_waits_for_is_cancelled_once() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        one = await link.request({"do": "a"})
        link.forget(one)
        link.forget(one)
        link.tell({"do": "last"})
        assert [(await child.told())["do"] for _ in range(3)] == ["a", "cancel", "last"]

    played(work)


def test_all_that_waits_ends_with_the_process() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        waiting = [asyncio.create_task(link.ask({"do": "a"})) for _ in range(3)]
        await child.told()
        assert link.alive
        child.kill()
        await link.gone.wait()
        for found in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(found, EngineGoneError)
            assert "SIGKILL" in str(found)
        assert not link.alive
        with pytest.raises(EngineGoneError):
            await link.request({"do": "b"})

    played(work)


@pytest.mark.parametrize("line", [b"{half\n", b"[1]\n", b"\xff\n"])
def test_a_line_that_is_none_ends_the_process(line: bytes) -> None:
    async def work(link: ChildLink, child: Child) -> None:
        child.writer.write(line)
        await link.gone.wait()
        assert child.killed.is_set()

    played(work)


def test_one_that_stands_still_is_ended() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        with pytest.raises(EngineGoneError):
            await link.ask({"do": "a"})
        assert child.killed.is_set()

    played(work, quiet=0.2)


def test_signs_of_life_keep_it() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        for _ in range(12):
            line = json.loads(await child.reader.readline())
            child.say(pong=line["ping"])
        assert link.alive

    played(work, quiet=0.2)


def test_closing_ends_what_waits() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        waiting = asyncio.create_task(link.ask({"do": "a"}))
        await child.told()
        await link.close()
        await link.close()
        with pytest.raises(EngineGoneError, match="closed"):
            await waiting
        assert child.killed.is_set()

    played(work)


def test_a_process_that_cannot_begin() -> None:
    async def main() -> None:
        with pytest.raises(AssetError, match="cannot be opened"):
            await ChildLink.open("tiny", "no_such_module", {}, open_seconds=60, quiet_seconds=60)

    asyncio.run(main())
