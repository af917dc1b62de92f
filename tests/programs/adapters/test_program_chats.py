from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from adwright.core.errors import ConfigError, ProgramError
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.programs.adapters.program_chats import ProgramChats
from adwright.programs.objective import THROUGHPUT
from adwright.programs.runner import Session
from tests.support.programs.dispatching import check_empty, dispatcher_of
from tests.support.programs.scripted_engine import ScriptedEngine

RULES = "Be brief, and never lie. " * 400
SETTINGS = GenerationConfig(max_tokens=50)


def line_prompt(turns: Sequence[Message]) -> str:
    return "".join(f"{one.role}: {one.content}\n" for one in turns) + "assistant:"


def turns_of(question: str) -> list[Message]:
    return [Message("system", RULES), Message("user", question)]


def test_chats_at_a_time_share_what_they_begin_with_and_are_one_program() -> None:
    engine = ScriptedEngine()

    async def main() -> list[str]:
        async with dispatcher_of({"e0": engine}) as dispatcher:
            with dispatcher.for_program("p", "shop") as chains:
                chats = ProgramChats(lambda: Session(chains), line_prompt, objective=THROUGHPUT)
                found = await asyncio.gather(*(chats.ask(turns_of(one), SETTINGS) for one in "abc"))
                assert sum(one.kind == "set" for one in chains.trace.events) == 3
                groups = {one.group for one in chains.trace.events}
                assert groups == {None}
            await asyncio.sleep(0)
            check_empty(dispatcher, {"e0": engine})
            return found

    texts = asyncio.run(main())
    assert texts == [f"[{line_prompt(turns_of(one))}]" for one in "abc"]
    assert engine.filled == [f"system: {RULES}"]


def test_from_a_thread_it_waits_and_on_the_loop_it_refuses_to() -> None:
    async def main() -> str:
        async with dispatcher_of({"e0": ScriptedEngine()}) as dispatcher:
            with dispatcher.for_program("p") as chains:
                loop = asyncio.get_running_loop()
                chats = ProgramChats(lambda: Session(chains), line_prompt, loop=loop)
                with pytest.raises(ConfigError, match="cannot be made on an event loop"):
                    chats.ask_and_wait(turns_of("a"), SETTINGS)
                # Another loop, in another thread: it is run on the one that it belongs to.
                await asyncio.to_thread(lambda: asyncio.run(chats.ask(turns_of("b"), SETTINGS)))
                return await asyncio.to_thread(chats.ask_and_wait, turns_of("a"), SETTINGS)

    assert asyncio.run(main()).startswith("[system")


def test_a_loop_that_is_closed_is_named() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    chats = ProgramChats(lambda: pytest.fail("nothing is opened"), line_prompt, loop=loop)
    with pytest.raises(ConfigError, match="the event loop of the engines is closed"):
        chats.ask_and_wait(turns_of("a"), SETTINGS)


def test_what_the_engine_refuses_is_said() -> None:
    async def main() -> None:
        async with dispatcher_of({"e0": ScriptedEngine()}) as dispatcher:
            with dispatcher.for_program("p") as chains:
                chats = ProgramChats(lambda: Session(chains), line_prompt, model="other")
                with pytest.raises(ProgramError, match="no engine has the model 'other'"):
                    await chats.ask(turns_of("a"), SETTINGS)

    asyncio.run(main())
