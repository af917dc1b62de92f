"""Servers that fail in every way, and a dispatcher before them: real HTTP on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from adwright.core.errors import ProgramError
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.keeper import KeeperBounds
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.engines.openai_http import OpenAIEngine, OpenAIEngineConfig
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from tests.support.programs.faulty_server import FAULTS, Fault, FaultyServer, faulty_servers

BOUNDS = KeeperBounds(first=0.05, beat=1.0)
TERMS = DispatchTerms(keeper=BOUNDS, canary=None, retry_seconds=0.05)


@asynccontextmanager
async def before(*servers: FaultyServer) -> AsyncIterator[ChainDispatcher]:
    """A dispatcher of two tenants before the servers."""
    async with AsyncExitStack() as stack:
        engines = {}
        for at, url in enumerate(await stack.enter_async_context(faulty_servers(*servers))):
            config = OpenAIEngineConfig(url, "m", domain=None, connect_seconds=3.0)
            engines[f"e{at}"] = await stack.enter_async_context(OpenAIEngine(config))
        told = (engines, lambda text: len(text) // 4)
        yield await stack.enter_async_context(ChainDispatcher(*told, terms=TERMS))


async def texts(dispatcher: ChainDispatcher, name: str, tenant: str) -> list[str]:
    """The texts of a program of three calls and one that reads them."""
    made = [SemanticCall(f"c{at}", f"Call {at} of {name}: {{{{v{at}:output}}}}") for at in range(3)]
    reads = " ".join(f"{{{{v{at}}}}}" for at in range(3))
    made.append(SemanticCall("all", f"{reads}: {{{{all:output}}}}"))
    with dispatcher.for_program(name, tenant) as engine:
        async with Session(engine) as session:
            engine.watch(session)
            session.submit(Program(calls=tuple(made), outputs=(WantedOutput("all"),)))
            return [await session.get("all")]


@pytest.mark.parametrize("fault", FAULTS)
def test_all_programs_finish_while_one_of_four_servers_is_healthy(fault: Fault) -> None:
    async def main() -> None:
        servers = [FaultyServer(slow=0.1) for _ in range(4)]
        async with before(*servers) as dispatcher:
            for healthy in (3, 0):
                for at, one in enumerate(servers):
                    one.fault = "" if at == healthy else fault
                names = [(f"p{healthy}-{at}", "ab"[at % 2]) for at in range(10)]
                found = await asyncio.gather(*(texts(dispatcher, *one) for one in names))
                assert found == [["fine"]] * 10
                assert servers[healthy].asked[""] > 0
            for one in servers:
                one.fault = ""
            until = time.monotonic() + 20
            while not all(dispatcher.stats.alive.values()) and time.monotonic() < until:
                await asyncio.sleep(0.05)
            assert all(dispatcher.stats.alive.values()), "all come back"

    asyncio.run(main())


def test_one_at_a_time_goes_to_the_one_that_answers() -> None:
    async def main() -> None:
        servers = [FaultyServer(), FaultyServer()]
        servers[0].fault = "500"
        async with before(*servers) as dispatcher:
            for at in range(10):
                assert await texts(dispatcher, f"p{at}", "t") == ["fine"]
        assert servers[1].asked[""] == 40
        # Beside the first few failures only we ask it, not the calls of programs.
        assert servers[0].asked["500"] < 25

    asyncio.run(main())


@pytest.mark.parametrize("number", [1, 2])
def test_a_key_that_no_server_knows_is_told(number: int) -> None:
    async def main() -> None:
        servers = [FaultyServer() for _ in range(number)]
        for one in servers:
            one.fault = "401"
        async with before(*servers) as dispatcher:
            for at in range(2):
                began = time.monotonic()
                with pytest.raises(ProgramError, match=r"401.*the key is not known"):
                    await texts(dispatcher, f"p{at}", "t")
                assert time.monotonic() - began < (2 if number == 1 else 20)

    asyncio.run(main())
