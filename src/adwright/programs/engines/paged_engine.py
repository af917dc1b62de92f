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
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import field
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Self

from adwright.core.child_process import WorkerProcess
from adwright.core.config import Count, Gt, Natural, settings, to_jsonable
from adwright.core.errors import AdwrightError, AssetError, ConfigError
from adwright.lm.engine.generation import (
    EngineGoneError,
    GenerationConfig,
    error_from_wire,
    generation_settings,
)
from adwright.lm.torch_engine.config import TorchConfig
from adwright.programs.engines.model_engine import JobEngine, require_new
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, EngineStats

# --------------------------------------------------------------------------------------------------
# One life of a child process, and the connection to it on the event loop.
#
# What goes over the connection are lines of JSON. Each request has a number, and any number of them
# are under way at once; what comes back for one names it:
#
#     {"id": 7, "do": "generate", ...}        a request
#     {"id": 7, ...}                          a part of its answer, in order
#     {"id": 7, "over": true, ...}            the last part
#     {"id": 7, "error": {...}}               or what went wrong, see `engine_errors`
#     {"do": "cancel", "job": 7}              nothing is answered, but the request ends
#     {"ping": 3}                             answered {"pong": 3} whatever is computed
#
# A process that died, or stands still, ends all that waits for it with an EngineGoneError. It is
# not started again here: whoever has several engines knows better when.

_log = logging.getLogger("adwright.programs")

#: Bytes of a line that it sends.
_LONGEST = 64 << 20
_GONE_SECONDS = 2.0
_Told = dict[str, Any]


class ChildRequest:
    """A request that is under way. over: whether its last part, or an error, was read."""

    def __init__(self, ident: int) -> None:
        self.ident, self.over = ident, False
        self.arrived: asyncio.Queue[_Told | Exception] = asyncio.Queue()

    async def next(self) -> _Told:
        """The next part; raises what went wrong."""
        told = await self.arrived.get()
        if isinstance(told, Exception):
            self.over = True
            raise told
        self.over = bool(told.get("over"))
        return told

    async def __aiter__(self) -> AsyncIterator[_Told]:
        while not self.over:
            yield await self.next()


class ChildLink:
    """The connection to a process that has opened its model; see `open`."""

    def __init__(
        self,
        name: str,
        process: WorkerProcess,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        quiet_seconds: float,
    ) -> None:
        self.name, self._process = name, process
        self._reader, self._writer, self._quiet = reader, writer, quiet_seconds
        self._idents = count(1)
        self._live: dict[int, ChildRequest] = {}
        self._over: EngineGoneError | None = None
        self._closed = False
        self.gone = asyncio.Event()
        self._heard = asyncio.get_running_loop().time()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]

    @classmethod
    async def open(
        cls,
        name: str,
        module: str,
        settings: Mapping[str, Any],
        *,
        open_seconds: float,
        quiet_seconds: float,
    ) -> Self:
        """Start `module` with these settings and wait until it has opened its model.

        quiet_seconds: without a sign of it, after which it is ended. Raises AssetError where it
        cannot open its model, EngineGoneError where it does not in time, ResourceError where no
        process can be started.
        """
        process = await asyncio.to_thread(WorkerProcess, module, settings)
        try:
            await _opened(name, process, open_seconds)
            reader, writer = await asyncio.open_unix_connection(process.socket, limit=_LONGEST)
        except BaseException:
            process.end()
            raise
        return cls(name, process, reader, writer, quiet_seconds)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it answers, as far as is known."""
        return self._over is None

    async def request(self, what: Mapping[str, Any]) -> ChildRequest:
        """Send a request. Raises EngineGoneError where the process is gone."""
        if self._over is not None:
            raise _again(self._over)
        request = ChildRequest(next(self._idents))
        self._live[request.ident] = request
        self.tell({"id": request.ident, **what})
        with contextlib.suppress(ConnectionError):  # the reader finds out
            await self._writer.drain()
        return request

    async def ask(self, what: Mapping[str, Any]) -> _Told:
        """Send a request that has one answer, and wait for it."""
        return await (await self.request(what)).next()

    def tell(self, what: Mapping[str, Any]) -> None:
        """Send what has no answer."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(what).encode() + b"\n")

    def forget(self, request: ChildRequest) -> None:
        """Nobody waits for it any more: cancel it, unless it is over."""
        if self._live.pop(request.ident, None) is not None and self._over is None:
            self.tell({"do": "cancel", "job": request.ident})

    async def close(self) -> None:
        """End the process, at once and whatever it computes; any number of times."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._end(EngineGoneError("the engine was closed", where=self.name, hint="open it again"))
        self._writer.close()
        await asyncio.to_thread(self._process.end)

    async def _read(self) -> None:
        with contextlib.suppress(Exception):  # a line that is cut, far too long, or nonsense
            async for line in self._reader:
                self._heard = asyncio.get_running_loop().time()
                self._hand(json.loads(line))
        self._writer.close()
        gone = await asyncio.to_thread(self._process.gone_within, _GONE_SECONDS)
        if not gone:
            self._process.kill()
        how = self._process.ending if gone else "broke the connection and was ended"
        _log.error("the process of %s %s", self.name, how)
        self._end(
            EngineGoneError(
                f"the process of {self.name} {how}",
                where=self.name,
                hint="start it again; where it was killed for memory, give it less",
            )
        )

    async def _watch(self) -> None:
        """Ask for signs of life, and end a process that gives none."""
        loop = asyncio.get_running_loop()
        for number in count():
            await asyncio.sleep(self._quiet / 4)
            if self._over is not None:
                return
            if loop.time() - self._heard > self._quiet:
                _log.error("the process of %s stands still; it is ended", self.name)
                self._process.kill()
            self.tell({"ping": number})

    def _hand(self, told: _Told) -> None:
        request = self._live.get(told.get("id", 0))
        if request is None:
            return
        error = told.get("error")
        request.arrived.put_nowait(told if error is None else error_from_wire(error))
        if error is not None or told.get("over"):
            self._live.pop(request.ident, None)

    def _end(self, error: EngineGoneError) -> None:
        if self._over is None:
            self._over = error
        self.gone.set()
        live, self._live = list(self._live.values()), {}
        for request in live:
            request.arrived.put_nowait(_again(self._over))


def _again(error: EngineGoneError) -> EngineGoneError:
    """The same for another caller: each has a traceback of its own."""
    return EngineGoneError(error.what, where=error.where, hint=error.hint)


async def _opened(name: str, process: WorkerProcess, seconds: float) -> None:
    def refused(told: str, log: Path) -> AdwrightError:
        lines = told.strip().splitlines()
        return AssetError(
            f"the model cannot be opened: {lines[-1] if lines else 'it failed'}",
            where=name,
            hint="see the message; where the process was killed, give it more memory",
        )

    await asyncio.to_thread(process.ready, seconds, refused)


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


class PagedEngine(JobEngine):
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
        require_new(job, self._jobs)
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
