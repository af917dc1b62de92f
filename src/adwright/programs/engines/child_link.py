"""One life of a child process, and the connection to it on the event loop.

What goes over the connection are lines of JSON. Each request has a number, and any number of them
are under way at once; what comes back for one names it:

    {"id": 7, "do": "generate", ...}        a request
    {"id": 7, ...}                          a part of its answer, in order
    {"id": 7, "over": true, ...}            the last part
    {"id": 7, "error": {...}}               or what went wrong, see `engine_errors`
    {"do": "cancel", "job": 7}              nothing is answered, but the request ends
    {"ping": 3}                             answered {"pong": 3} whatever is computed

A process that died, or stands still, ends all that waits for it with an EngineGoneError. It is not
started again here: whoever has several engines knows better when.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self

from adwright.core.child_process import WorkerProcess
from adwright.core.errors import AdwrightError, AssetError
from adwright.programs.engines.engine_errors import EngineGoneError, error_from_wire

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
