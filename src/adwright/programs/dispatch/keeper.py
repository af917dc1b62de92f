"""Engines die and come back: who notices, and who starts them again.

An engine is dead once a call of it raises ResourceError, or it gives no sign for `silent` seconds.
Then it is started again, where it can be (`RestartableEngine`), or asked until it answers; at once
after a long life, ever more slowly where it dies again and again.

One that is there may rest, so that others get what it would fail at: once it has failed a few times
in a row, at once where it refuses whoever asks, and for as long as it says where it has too much to
do. It is asked for a token then (`ProbedEngine`), by us and by no caller's call, until it writes
one. Where others have its model and it writes nothing for long, it is asked in the same way, and is
dead without an answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, runtime_checkable

from adwright.core.config import Positive, settings
from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import EngineBusyError, EngineRefusesError
from adwright.programs.scheduling.engine import ExecutionEngine
from adwright.programs.scheduling.engine_state import EngineRest

_log = logging.getLogger("adwright.programs")
#: Failures in a row after which an engine rests; and the longest, in seconds, that one waits to be
#: asked which nobody here starts, and that one rests as it is busy.
_IN_A_ROW, _ASKED, _BUSY = 3, 5.0, 60.0


@runtime_checkable
class RestartableEngine(Protocol):
    """An engine whose process is ours."""

    async def restart(self) -> None:
        """Be there again, and empty; ends what is left of the life before. Raises where that does
        not work."""
        ...


@runtime_checkable
class ProbedEngine(Protocol):
    """An engine of which only an answer says that its model answers."""

    async def probe(self) -> None:
        """Have the model write a token. Raises as `generate` does."""
        ...


def why_rest(error: Exception) -> EngineRest:
    """Why an engine rests that fails in this way again and again."""
    match error:
        case EngineBusyError():
            return "busy"
        case EngineRefusesError():
            return "refuses"
        case _:
            return "fails"


async def ask_engine(engine: ExecutionEngine) -> None:
    """Whether it answers, by its model where only that says so. Raises what it says."""
    await (engine.probe() if isinstance(engine, ProbedEngine) else engine.stats())


@settings
class KeeperBounds:
    """Seconds. first, longest: between two starts where lives are short; `longest` is also what a
    life has to last not to be one. start: that a start may take. beat: between two looks at engines
    at work; silent: that an answer to one may take."""

    first: Positive = 0.25
    longest: Positive = 30.0
    start: Positive = 300.0
    beat: Positive = 5.0
    silent: Positive = 30.0


class EngineKeeper:
    """Keeps engines alive. died, rests, back: told of an engine, by its id. working: ids of those
    that have something to do; quiet: of those that write nothing though others could. deaths: how
    often each died."""

    def __init__(
        self,
        engines: Mapping[str, ExecutionEngine],
        *,
        bounds: KeeperBounds,
        died: Callable[[str, str], None],
        rests: Callable[[str, EngineRest, str], None],
        back: Callable[[str], None],
        working: Callable[[], Collection[str]],
        quiet: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._engines, self._bounds = engines, bounds
        self._died, self._rests, self._back = died, rests, back
        self._working, self._quiet = working, quiet
        self._row: Counter[str] = Counter()
        #: Of those that are away, the ones that are dead.
        self._dead: set[str] = set()
        self.deaths = dict.fromkeys(engines, 0)
        self._since = dict.fromkeys(engines, -float("inf"))
        self._waits = dict.fromkeys(engines, 0.0)
        self._returns: dict[str, asyncio.Task[None]] = {}
        self._looks: asyncio.Task[None] | None = None

    @property
    def gone(self) -> tuple[str, ...]:
        """Ids of the engines that are dead now."""
        return tuple(self._dead)

    def start(self) -> None:
        """Begin to look after them."""
        self._looks = asyncio.get_running_loop().create_task(self._look())

    def dead(self, engine_id: str, why: str) -> None:
        """An engine is gone; does nothing where that is known."""
        if engine_id in self._dead:
            return
        self.deaths[engine_id] += 1
        self._dead.add(engine_id)
        _log.warning("engine %s is gone: %s", engine_id, why)
        if engine_id not in self._returns:
            self._leave(engine_id)
        self._died(engine_id, why)

    def failed(self, engine_id: str, error: Exception) -> None:
        """It failed at what was asked of it."""
        self._row[engine_id] += 1
        if engine_id in self._returns:
            return
        told, rest = str(error) or repr(error), why_rest(error)
        if isinstance(error, EngineBusyError):
            self._leave(engine_id, min(error.retry_after or 0.0, _BUSY), is_busy=True)
        elif rest == "refuses" or self._row[engine_id] >= _IN_A_ROW:
            _log.warning("engine %s rests, as it %s: %s", engine_id, rest, told)
            self._leave(engine_id)
        else:
            return
        self._rests(engine_id, rest, told)

    def unfit(self, engine_id: str, error: Exception) -> None:
        """It was asked for a token, and wrote none."""
        if isinstance(error, TimeoutError | ResourceError):
            self.dead(engine_id, _told(error))
        else:
            self._row[engine_id] += _IN_A_ROW
            self.failed(engine_id, error)

    async def ask(self, engine_id: str) -> None:
        """Ask its model for a token, where only that says whether it answers."""
        engine = self._engines[engine_id]
        if engine_id not in self._returns and isinstance(engine, ProbedEngine):
            try:
                await engine.probe()
            except Exception as error:
                self.unfit(engine_id, error)

    def answered(self, engine_id: str) -> None:
        """An answer of it is whole."""
        self._row[engine_id] = 0

    def _leave(self, engine_id: str, least: float = 0.0, *, is_busy: bool = False) -> None:
        """It is away, for so many seconds at least."""
        loop, bounds = asyncio.get_running_loop(), self._bounds
        if loop.time() - self._since[engine_id] > bounds.longest:
            self._waits[engine_id] = 0.0
        else:
            self._wait_longer(engine_id)
        if is_busy:
            least = max(least, bounds.first)
        self._waits[engine_id] = max(self._waits[engine_id], least)
        returns = self._bring_back(engine_id, is_busy=is_busy)
        self._returns[engine_id] = loop.create_task(returns)

    def _wait_longer(self, engine_id: str) -> None:
        is_ours = isinstance(self._engines[engine_id], RestartableEngine)
        bounds, is_dead = self._bounds, engine_id in self._dead
        most = bounds.longest if is_ours and is_dead else min(bounds.longest, _ASKED)
        wait = max(bounds.first, 2 * self._waits[engine_id])
        self._waits[engine_id] = min(wait, most)

    async def look(self, engine_id: str) -> None:
        """Ask an engine for a sign; without one it is dead."""
        try:
            async with asyncio.timeout(self._bounds.silent):
                await self._engines[engine_id].stats()
        except Exception as error:  # whatever it is, an engine that cannot say how it is, is gone
            self.dead(engine_id, _told(error))
            return
        if engine_id in self._returns or engine_id not in self._quiet():
            return
        try:
            await ask_engine(self._engines[engine_id])
        except Exception as error:
            if engine_id in self._quiet():
                self.unfit(engine_id, error)

    async def close(self) -> None:
        """Leave them alone from now on."""
        tasks = [*self._returns.values(), *([self._looks] if self._looks else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._returns.clear()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._bounds.beat)
            there = [one for one in self._working() if one not in self._returns]
            await asyncio.gather(*(self.look(one) for one in there))

    async def _bring_back(self, engine_id: str, *, is_busy: bool) -> None:
        engine, bounds = self._engines[engine_id], self._bounds
        while True:
            await asyncio.sleep(self._waits[engine_id])
            was_dead = engine_id in self._dead
            try:
                async with asyncio.timeout(bounds.start):
                    if was_dead and isinstance(engine, RestartableEngine):
                        await engine.restart()
                    if was_dead or not is_busy:
                        await ask_engine(engine)
                if was_dead or engine_id not in self._dead:
                    break
            except Exception as error:
                self._wait_longer(engine_id)
                told = _told(error)
                _log.warning("engine %s does not come back: %s", engine_id, told)
                if engine_id in self._dead:
                    continue
                if isinstance(error, TimeoutError | ResourceError):
                    self.dead(engine_id, told)
                else:
                    self._rests(engine_id, why_rest(error), told)
        self._since[engine_id] = asyncio.get_running_loop().time()
        del self._returns[engine_id]
        self._dead.discard(engine_id)
        self._row[engine_id] = 0
        _log.info("engine %s is back", engine_id)
        self._back(engine_id)


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
