"""The engines of a service and the dispatcher before them, open while the service runs.

room = EngineRoom({"e0": PagedEngine(config)}, text.count)
app = create_programs_app(settings, room, {"smollm2": text}, ready=room.ready, beside=room)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self

from adwright.core.errors import AdwrightError, ProgramError
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.program_engine import ProgramEngine
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.scheduling.engine import ExecutionEngine

__all__ = ["EngineRoom", "OpenableEngine"]

_TERMS = DispatchTerms()


class OpenableEngine(ExecutionEngine, Protocol):
    """An engine that its context manager opens and closes."""

    async def __aenter__(self) -> object:
        """Open it, in the event loop that it is used in."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        ...


class EngineRoom:
    """Engines that are opened together, and run the chains of all programs.

    engines: by id. count: tokens of a text. error: why they could not be opened, for whoever only
    sees that the service did not start.
    """

    def __init__(
        self,
        engines: Mapping[str, OpenableEngine],
        count: Callable[[str], int],
        *,
        model: str = "",
        version: str = "",
        terms: DispatchTerms = _TERMS,
    ) -> None:
        self._engines, self._count, self._terms = dict(engines), count, terms
        self._model, self._version = model, version
        self._stack = AsyncExitStack()
        self.dispatcher: ChainDispatcher | None = None
        self.error: AdwrightError | None = None

    async def __aenter__(self) -> Self:
        try:
            async with AsyncExitStack() as stack:
                # One after the other: each may take all of the memory bus while it reads weights.
                for engine in self._engines.values():
                    await stack.enter_async_context(engine)
                self.dispatcher = await stack.enter_async_context(
                    ChainDispatcher(
                        self._engines,
                        self._count,
                        model=self._model,
                        version=self._version,
                        terms=self._terms,
                    )
                )
                self._stack = stack.pop_all()
        except AdwrightError as error:
            self.error = error
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.shield(self._stack.aclose())

    def for_program(self, program_id: str, tenant: str, /) -> ProgramEngine:
        """What runs the chains of one program. Raises ProgramError where the room is not open."""
        if self.dispatcher is None:
            raise ProgramError("the engines are not open", where="engines", hint="open the room")
        return self.dispatcher.for_program(program_id, tenant)

    def ready(self) -> Mapping[str, bool]:
        """Whether each engine answers."""
        if self.dispatcher is None:
            return dict.fromkeys(self._engines, False)
        return self.dispatcher.stats.alive
