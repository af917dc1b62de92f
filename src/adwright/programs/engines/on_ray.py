"""An engine that is an actor of Ray, on any machine of its cluster.

    def build():
        return PagedEngine(PagedEngineConfig(TorchConfig("smollm2")))

    async with RayEngine(build, cpus=2) as engine:
        ...

The function travels to the machine that Ray chooses, and makes the engine there. Where that machine
or the process dies, the engine is gone, as any other; `restart` makes it anew wherever there is
room. Actors end with whoever made them. For models that vLLM serves under Ray Serve LLM no actor is
needed: that is a server of OpenAI's protocol, see `openai_http`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.engines.engine_errors import EngineGoneError
from adwright.programs.engines.hosted_engine import EngineBuilder, HostedEngine, value_of
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, EngineStats

__all__ = ["RayEngine"]

_NO_RESOURCES: Mapping[str, float] = {}
_Prompt = str | Sequence[int]
_SHOWN = 800


class RayEngine:
    """An `ExecutionEngine` in an actor. Its context manager opens it; Ray is connected by then.

    build: makes the engine, on its machine. cpus, gpus, resources: that Ray reserves for it, which
    also say where it may be. name: for errors.
    Raises MissingExtraError without Ray, EngineGoneError while there is no actor.
    """

    def __init__(
        self,
        build: EngineBuilder,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        resources: Mapping[str, float] = _NO_RESOURCES,
        name: str = "engine on Ray",
    ) -> None:
        self._build, self.name = build, name
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "resources": dict(resources)}
        self._actor: Any = None
        self._capabilities: EngineCapabilities | None = None
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.restart()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def capabilities(self) -> EngineCapabilities:
        """What it can do, as the opened engine says. Raises ConfigError before it is opened."""
        if self._capabilities is None:
            raise ConfigError("the engine is not open", where=self.name, hint="use `async with`")
        return self._capabilities

    async def restart(self) -> None:
        """End the actor, where there is one, and make another: it holds nothing.

        Waits until there is room on the cluster. Raises what the engine raises that cannot be
        opened.
        """
        async with self._starting:
            self._end()
            made = _ray().remote(HostedEngine)
            # Spread: what dies with one machine should not be all of them.
            actor = made.options(
                **self._options, max_restarts=0, scheduling_strategy="SPREAD"
            ).remote(self._build)
            self._actor = actor
            try:
                self._capabilities = await self._value(actor.open.remote())
            except BaseException:
                self._end()
                raise

    async def close(self) -> None:
        """End the actor; any number of times."""
        self._end()

    async def fill(
        self, job: str, prompt: _Prompt, *, salt: str = "", adapter: str | None = None
    ) -> int:
        """As the engine does."""
        asked = self._there().fill.remote(job, _plain(prompt), salt, adapter)
        return int(await self._value(asked))

    async def generate(
        self,
        job: str,
        prompt: _Prompt,
        *,
        max_tokens: int,
        adapter: str | None = None,
        schema: str | None = None,
        priority: int = 0,
        salt: str = "",
        settings: GenerationConfig | None = None,
    ) -> AsyncGenerator[EngineReport, None]:
        """As the engine does. Closing the iterator cancels the job."""
        told = {
            **{"max_tokens": max_tokens, "adapter": adapter, "schema": schema},
            **{"priority": priority, "salt": salt, "settings": settings},
        }
        actor, is_over = self._there(), False
        stream = actor.generate.options(num_returns="streaming").remote(job, _plain(prompt), told)
        try:
            async for part in stream:
                report: EngineReport = await self._value(part)
                is_over = report.over
                yield report
        except _ray().exceptions.RayError as error:
            raise self._gone(error) from error
        finally:
            if not is_over and actor is self._actor:
                actor.cancel.remote(job)

    async def cancel(self, job: str) -> None:
        """End a job."""
        await self._value(self._there().cancel.remote(job))

    async def free(self, prompt: _Prompt, *, salt: str = "") -> None:
        """As the engine does."""
        await self._value(self._there().free.remote(_plain(prompt), salt))

    async def stats(self) -> EngineStats:
        """As the engine says."""
        found: EngineStats = await self._value(self._there().stats.remote())
        return found

    async def _value(self, reference: Any) -> Any:
        try:
            answered = await reference
        except _ray().exceptions.RayError as error:
            raise self._gone(error) from error
        return value_of(answered, self.name)

    def _there(self) -> Any:
        if self._actor is None:
            raise EngineGoneError("the engine has no actor", where=self.name, hint="restart it")
        return self._actor

    def _gone(self, error: Exception) -> EngineGoneError:
        # The first line says what, and the last one why; between them are pages of the stack.
        first, *_, last = (str(error).strip() or type(error).__name__).splitlines() * 2
        told = f"{first} ... {last}"[:_SHOWN]
        return EngineGoneError(f"its actor is gone: {told}", where=self.name, hint="restart it")

    def _end(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None:
            _ray().kill(actor)


def _plain(prompt: _Prompt) -> str | list[int]:
    return prompt if isinstance(prompt, str) else list(prompt)


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError("engines on Ray", "ray") from error
    return ray
