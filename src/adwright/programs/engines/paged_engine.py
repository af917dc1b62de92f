"""Our own engine in a child process: prefixes are shared by reference, and held as long as asked.

    async with PagedEngine(PagedEngineConfig()) as engine:
        await engine.fill("rules", policy)
        async for report in engine.generate("a", policy + question, max_tokens=32):
            print(report.text, end="")

Continuous batching, pages copied on write, adapters in one batch: all of that is `lm.serving`. What
crashes or is killed there ends here as an EngineGoneError; `restart` brings the engine back, empty.
Prefixes that are to outlive it are saved to files (`snapshot`, `restore`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

from adwright.core.config import Count, Gt, Natural, settings, to_jsonable
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.config import TorchConfig
from adwright.programs.engines.child_link import ChildLink, ChildRequest
from adwright.programs.engines.engine_errors import EngineGoneError, generation_settings
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, EngineStats

_WORKER = "adwright.programs.engines.paged_worker"
_NO_FOLDERS: Mapping[str, str] = {}
_Prompt = str | Sequence[int]


@settings
class PagedEngineConfig:
    """Which model, and the bounds of its process.

    torch: the model and how it is computed; its own `adapter` and `batch_size` play no part. name:
    that it answers to; "" for that of the model. adapters: folders of saved ones, by name.
    public: texts that prompts of all salts may begin with and share, as they are nobody's secret.
    pool_bytes: of pages for keys, values and adapters. prefix_bytes: for prefixes that the pool has
    no room for. block: tokens of a page. rows: of a batch. prompt_tokens: of prompts in a step.
    share_prefixes: switched off, every prompt is read whole.
    open_seconds: for opening the model. quiet_seconds: without a sign of life, after which the
    process is ended.

    Raises ConfigError for a number below 1, prefix_bytes below 0.
    """

    torch: TorchConfig = field(default_factory=TorchConfig)
    name: str = ""
    adapters: Mapping[str, str] = field(default_factory=lambda: _NO_FOLDERS)
    public: tuple[str, ...] = ()
    pool_bytes: Count = 512 << 20
    prefix_bytes: Natural = 0
    block: Count = 16
    rows: Count = 32
    prompt_tokens: Count = 256
    share_prefixes: bool = True
    open_seconds: Annotated[float, Gt(0)] = 300.0
    quiet_seconds: Annotated[float, Gt(0)] = 60.0

    def worker_settings(self) -> dict[str, Any]:
        """What the process is started with."""
        names = ("pool_bytes", "prefix_bytes", "block", "rows", "prompt_tokens", "share_prefixes")
        return {
            "torch": to_jsonable(self.torch),
            "name": self.name or self.torch.model,
            "adapters": dict(self.adapters),
            "public": list(self.public),
            "serving": {name: getattr(self, name) for name in names},
        }


class PagedEngine:
    """An `ExecutionEngine` on a process that runs `lm.serving`. Its context manager opens it.

    Beside what the Protocol asks for, what is filled may be under an adapter. All methods are for
    one event loop. Raises EngineGoneError while there is no process.
    """

    def __init__(self, config: PagedEngineConfig | None = None) -> None:
        self.config = PagedEngineConfig() if config is None else config
        self.name = self.config.name or self.config.torch.model
        self._link: ChildLink | None = None
        self._capabilities: EngineCapabilities | None = None
        self._jobs: dict[str, ChildRequest] = {}
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
        """What it can do, as the opened model says. Raises ConfigError before it is opened."""
        if self._capabilities is None:
            raise ConfigError("the engine is not open", where=self.name, hint="use `async with`")
        return self._capabilities

    @property
    def alive(self) -> bool:
        """Whether it answers, as far as is known."""
        return self._link is not None and self._link.alive

    @property
    def pid(self) -> int | None:
        """Id of the process; None where there is none."""
        return self._link.pid if self._link is not None and self._link.alive else None

    async def gone(self) -> None:
        """Return once there is no process any more."""
        if self._link is not None:
            await self._link.gone.wait()

    async def restart(self) -> None:
        """End the process, where there is one, and start another: it holds nothing.

        Raises AssetError where the model cannot be opened, as `TorchModel.open` says why;
        ResourceError where there can be no process, or it is not ready in time.
        """
        async with self._starting:
            await self.close()
            config = self.config
            link = await ChildLink.open(
                self.name,
                _WORKER,
                config.worker_settings(),
                open_seconds=config.open_seconds,
                quiet_seconds=config.quiet_seconds,
            )
            try:
                self._capabilities = _capabilities(await link.ask({"do": "describe"}))
            except BaseException:
                await link.close()
                raise
            self._link = link

    async def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def fill(
        self, job: str, prompt: _Prompt, *, salt: str = "", adapter: str | None = None
    ) -> int:
        """Read the prompt, and hold it until it is freed; returns tokens that were there before. 0
        where it is cancelled meanwhile."""
        told = {"do": "fill", "prompt": _plain(prompt), "adapter": adapter, "salt": salt}
        link, request = await self._begin(job, told)
        try:
            return int((await request.next()).get("cached", 0))
        finally:
            self._end(job, link, request)

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
        """Write an answer. settings: see `generation_settings`. priority: it has none. Closing the
        iterator cancels the job; one that is cancelled ends with what it has."""
        config = generation_settings(max_tokens, schema, settings)
        told = {"do": "generate", "prompt": _plain(prompt), "adapter": adapter, "salt": salt}
        link, request = await self._begin(job, told | {"settings": _changed(config)})
        try:
            async for part in request:
                yield EngineReport(
                    part.get("text", ""),
                    part.get("cached"),
                    bool(part.get("over")),
                    tuple(part.get("logprobs", ())),
                    part.get("tokens"),
                )
        finally:
            self._end(job, link, request)

    async def cancel(self, job: str) -> None:
        """End a job; its pages are free after the step that is being computed. One that is not
        there is over already."""
        request = self._jobs.get(job)
        if request is not None and self._link is not None:
            self._link.tell({"do": "cancel", "job": request.ident})

    async def free(self, prompt: _Prompt, *, salt: str = "") -> None:
        """Hold no more what was filled with this prompt, under whatever adapter: it is the next to
        go where room is needed."""
        await self._ask({"do": "free", "prompt": _plain(prompt), "salt": salt})

    async def stats(self) -> EngineStats:
        """What it holds after the step that is being computed."""
        told = await self._ask({"do": "stats"})
        return EngineStats(told["running"], told["waiting"], told["kv_tokens"])

    async def score(
        self,
        prompt: _Prompt,
        continuation: str,
        *,
        adapter: str | None = None,
        salt: str = "",
        shared: bool = True,
    ) -> tuple[float, ...]:
        """Log-probability of each token of the continuation, in nats. shared: whether it may use
        what others have read; both ways must give the same, up to rounding."""
        told: dict[str, Any] = {"do": "score", "prompt": _plain(prompt), "shared": shared}
        told |= {"continuation": continuation, "adapter": adapter, "salt": salt}
        return tuple((await self._ask(told))["logprobs"])

    async def snapshot(
        self, prompt: _Prompt, file: str | Path, *, adapter: str | None = None, salt: str = ""
    ) -> int:
        """Save what is there of the prompt's keys and values; returns how many tokens that are.
        Only whole blocks are saved; with none there is no file."""
        told = {"do": "snapshot", "prompt": _plain(prompt), "file": str(Path(file).absolute())}
        return int((await self._ask(told | {"adapter": adapter, "salt": salt}))["tokens"])

    async def restore(self, file: str | Path) -> int:
        """Take back what `snapshot` saved, bit by bit; returns how many tokens are there then.

        Raises ConfigError where the file is another model's or adapter's, or none.
        """
        told = {"do": "restore", "file": str(Path(file).absolute())}
        return int((await self._ask(told))["tokens"])

    async def _begin(self, job: str, told: Mapping[str, Any]) -> tuple[ChildLink, ChildRequest]:
        if job in self._jobs:
            raise ConfigError("the engine has a job of this name", where=job, hint="take another")
        link = self._open_link()
        request = await link.request(told)
        self._jobs[job] = request
        return link, request

    def _end(self, job: str, link: ChildLink, request: ChildRequest) -> None:
        self._jobs.pop(job, None)
        link.forget(request)

    async def _ask(self, told: Mapping[str, Any]) -> dict[str, Any]:
        return await self._open_link().ask(told)

    def _open_link(self) -> ChildLink:
        if self._link is None:
            raise EngineGoneError("the engine has no process", where=self.name, hint="restart it")
        return self._link


def _plain(prompt: _Prompt) -> str | list[int]:
    return prompt if isinstance(prompt, str) else list(prompt)


def _changed(config: GenerationConfig) -> dict[str, Any]:
    """The settings that are not as by default."""
    default = to_jsonable(GenerationConfig())
    return {name: value for name, value in to_jsonable(config).items() if value != default[name]}


def _capabilities(told: Mapping[str, Any]) -> EngineCapabilities:
    return EngineCapabilities(
        (told["name"],),
        fork=told["prefix_cache"],
        prefix_cache=told["prefix_cache"],
        in_flight_prefix=told["prefix_cache"],
        salt=True,
        adapters=bool(told["adapters"]),
        logprobs=True,
        grammar=told["grammar"],
        max_batch=told["max_batch"],
        kv_tokens=told["kv_tokens"],
        kv_bytes_per_token=told["kv_bytes_per_token"],
        block_size=told["block_size"],
        context_length=told["context_length"] or told["kv_tokens"],
        chunk_tokens=told["chunk_tokens"],
        shared_reads=told["prefix_cache"],
    )
