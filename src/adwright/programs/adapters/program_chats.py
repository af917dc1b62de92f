"""Ask one chat after the other in the name of one program.

    with dispatcher.for_program("p1", "shop") as engine:
        chats = ProgramChats(lambda: Session(engine), text.chat_text)
        answer = await chats.ask([Message("user", "Name three teas.")], GenerationConfig())

Each chat is a chain of that program, its prompt cut behind each turn: chats that are asked at the
same time share the turns that they begin with, and count as one program where several have to
share engines. `lambda: RemoteProgram(url)` asks a service elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.programs.adapters.chat_calls import chat_program
from adwright.programs.frontend.flow import Runtime
from adwright.programs.objective import LATENCY, Objective

__all__ = ["ProgramChats", "RuntimeOpener"]

#: Opens what runs one part of a program, and closes it behind it.
RuntimeOpener = Callable[[], AbstractAsyncContextManager[Runtime]]


class ProgramChats:
    """Asks chats. opened: opens what runs one. render: the prompt of a chat in the template of the
    model. model: "" for the default one. objective: what counts for the answers. loop: that what is
    opened belongs to; None: it belongs to none, as a `RemoteProgram` does."""

    def __init__(
        self,
        opened: RuntimeOpener,
        render: Callable[[Sequence[Message]], str],
        *,
        model: str = "",
        objective: Objective = LATENCY,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._opened, self._render, self._loop = opened, render, loop
        self._model, self._objective = model, objective

    async def ask(self, turns: Sequence[Message], settings: GenerationConfig) -> str:
        """The answer to a chat, from any loop. Raises ProgramError where there is none."""
        asking = self._ask(turns, settings)
        if self._loop in (None, asyncio.get_running_loop()):
            return await asking
        return await asyncio.wrap_future(self._elsewhere(asking))

    def ask_and_wait(self, turns: Sequence[Message], settings: GenerationConfig) -> str:
        """The same from a thread without a loop. Raises ConfigError on the loop itself, which would
        wait for ever."""
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not None:
            raise ConfigError(
                "a call that blocks cannot be made on an event loop",
                where="ask_and_wait()",
                hint="await it (in DSPy: acall), or call from another thread",
            )
        asking = self._ask(turns, settings)
        return asyncio.run(asking) if self._loop is None else self._elsewhere(asking).result()

    def _elsewhere(self, asking: Coroutine[Any, Any, str]) -> Any:
        if self._loop is None or self._loop.is_closed():
            asking.close()
            what, hint = "the event loop of the engines is closed", "open them again"
            raise ConfigError(what, where="ProgramChats", hint=hint)
        return asyncio.run_coroutine_threadsafe(asking, self._loop)

    async def _ask(self, turns: Sequence[Message], settings: GenerationConfig) -> str:
        call = chat_program(
            turns, self._render, settings, model=self._model, objective=self._objective
        )
        async with self._opened() as runtime:
            runtime.submit(call.part)
            return await runtime.get(call.outputs[0], self._objective)
