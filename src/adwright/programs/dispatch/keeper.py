"""Engines die and come back: who notices, and who starts them again.

An engine is dead once a call of it raises ResourceError, or it gives no sign for `silent` seconds.
Then it is started again, where it can be (`RestartableEngine`), or asked until it answers; at once
after a long life, ever more slowly where it dies again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

from adwright.core.config import checked
from adwright.core.errors import ConfigError
from adwright.programs.scheduling.engine import ExecutionEngine

__all__ = ["EngineKeeper", "KeeperBounds", "RestartableEngine"]

_log = logging.getLogger("adwright.programs")


@runtime_checkable
class RestartableEngine(Protocol):
    """An engine whose process is ours."""

    async def restart(self) -> None:
        """Be there again, and empty; ends what is left of the life before. Raises where that does
        not work."""
        ...


@checked
@dataclass(frozen=True)
class KeeperBounds:
    """Seconds. first, longest: between two starts where lives are short; `longest` is also what a
    life has to last not to be one. start: that a start may take. beat: between two looks at engines
    at work; silent: that an answer to one may take."""

    first: float = 0.25
    longest: float = 30.0
    start: float = 300.0
    beat: float = 5.0
    silent: float = 30.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ConfigError(f"{each.name} must be above 0", where=f"KeeperBounds.{each.name}")


class EngineKeeper:
    """Keeps engines alive. died, back: told of an engine, by its id. working: ids of those that
    have something to do. deaths: how often each died."""

    def __init__(
        self,
        engines: Mapping[str, ExecutionEngine],
        *,
        bounds: KeeperBounds,
        died: Callable[[str, str], None],
        back: Callable[[str], None],
        working: Callable[[], Collection[str]],
    ) -> None:
        self._engines, self._bounds = engines, bounds
        self._died, self._back, self._working = died, back, working
        self.deaths = dict.fromkeys(engines, 0)
        self._since = dict.fromkeys(engines, -float("inf"))
        self._waits = dict.fromkeys(engines, 0.0)
        self._returns: dict[str, asyncio.Task[None]] = {}
        self._looks: asyncio.Task[None] | None = None

    @property
    def gone(self) -> tuple[str, ...]:
        """Ids of the engines that are dead now."""
        return tuple(self._returns)

    def start(self) -> None:
        """Begin to look after them."""
        self._looks = asyncio.get_running_loop().create_task(self._look())

    def dead(self, engine_id: str, why: str) -> None:
        """An engine is gone; does nothing where that is known."""
        if engine_id in self._returns:
            return
        loop = asyncio.get_running_loop()
        self.deaths[engine_id] += 1
        bounds, lived = self._bounds, loop.time() - self._since[engine_id]
        wait = self._waits[engine_id]
        wait = 0.0 if lived > bounds.longest else min(max(bounds.first, 2 * wait), bounds.longest)
        self._waits[engine_id] = wait
        _log.warning("engine %s is gone: %s", engine_id, why)
        self._returns[engine_id] = loop.create_task(self._bring_back(engine_id))
        self._died(engine_id, why)

    async def look(self, engine_id: str) -> None:
        """Ask an engine for a sign; without one it is dead."""
        try:
            async with asyncio.timeout(self._bounds.silent):
                await self._engines[engine_id].stats()
        except Exception as error:  # whatever it is, an engine that cannot say how it is, is gone
            self.dead(engine_id, _told(error))

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

    async def _bring_back(self, engine_id: str) -> None:
        engine, bounds = self._engines[engine_id], self._bounds
        while True:
            await asyncio.sleep(self._waits[engine_id])
            try:
                async with asyncio.timeout(bounds.start):
                    if isinstance(engine, RestartableEngine):
                        await engine.restart()
                    await engine.stats()
                break
            except Exception as error:
                wait = max(bounds.first, 2 * self._waits[engine_id])
                self._waits[engine_id] = min(wait, bounds.longest)
                told = _told(error)
                _log.warning("engine %s does not come back: %s", engine_id, told)
        self._since[engine_id] = asyncio.get_running_loop().time()
        del self._returns[engine_id]
        _log.info("engine %s is back", engine_id)
        self._back(engine_id)


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
