"""The engines of a service and the dispatcher before them, open while the service runs.

room = EngineRoom({"e0": PagedEngine(config)}, text.count)
app = create_programs_app(settings, room, {"smollm2": text}, ready=room.asked, beside=room)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self

from adwright.core.errors import AdwrightError, ProgramError
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.keeper import ProbedEngine
from adwright.programs.dispatch.ready import ProgramSeat
from adwright.programs.dispatch.terms import DispatchTerms, ProgramEngine
from adwright.programs.engines.engine_errors import EngineFailedError
from adwright.programs.engines.measured_curve import curve_file, load_curve, measured_curve
from adwright.programs.scheduling.engine import ExecutionEngine, LatencyCurve

_log = logging.getLogger("adwright.service")
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

    engines: by id. count: tokens of a text. measured_for: the tenant in whose name an
    engine is measured, if the machine does not remember how fast it is; None: it is not, and what
    is remembered is used all the same. error: why they could not be opened, for whoever only
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
        measured_for: str | None = None,
    ) -> None:
        self._engines, self._count, self._terms = dict(engines), count, terms
        self._measured_for = measured_for
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
                unfit = await self._unfit()
                fit = [one for one in self._engines if one not in unfit]
                curves = {one: await self._curve(one) for one in fit}
                self.dispatcher = await stack.enter_async_context(
                    ChainDispatcher(
                        self._engines,
                        self._count,
                        model=self._model,
                        version=self._version,
                        curves={one: curve for one, curve in curves.items() if curve},
                        terms=self._terms,
                    )
                )
                for one, error in unfit.items():
                    self.dispatcher.carrier.keeper.unfit(one, error)
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

    async def _unfit(self) -> dict[str, Exception]:
        """The engines elsewhere whose models do not answer, and why."""
        asked = {one: it for one, it in self._engines.items() if isinstance(it, ProbedEngine)}
        told = await asyncio.gather(*(it.probe() for it in asked.values()), return_exceptions=True)
        return {
            one: error
            for one, error in zip(asked, told, strict=True)
            if isinstance(error, Exception)
        }

    async def _curve(self, engine_id: str) -> LatencyCurve | None:
        """How fast an engine is; None where nobody has measured it."""
        engine = self._engines[engine_id]
        found = load_curve(curve_file(engine.capabilities))
        if found is None and self._measured_for is not None:
            _log.info("measuring engine %s, once: a few seconds", engine_id)
            # A cache without salts is for the first who asks.
            tenant = self._measured_for
            salt = ProgramSeat("", tenant, tenant, False, 0.0).salt
            try:
                found = await measured_curve(engine, self._count, salt=salt)
            except (AdwrightError, EngineFailedError) as error:
                _log.warning("engine %s cannot be measured: %s", engine_id, error)
        return None if found is None else found.curve

    async def asked(self) -> Mapping[str, bool]:
        """Whether each engine answers; those elsewhere that have written nothing lately are asked
        for a token."""
        if self.dispatcher is not None:
            await self.dispatcher.carrier.ask()
        return self.ready()

    def ready(self) -> Mapping[str, bool]:
        """Whether each engine answers, as far as is known."""
        if self.dispatcher is None:
            return dict.fromkeys(self._engines, False)
        return self.dispatcher.stats.alive
