"""A server of OpenAI's protocol that can be told to fail: before a real one, or by itself."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

Fault = Literal["", "500", "429", "404", "401", "hang", "garbage", "empty", "slow"]
FAULTS: tuple[Fault, ...] = ("500", "429", "404", "401", "hang", "garbage", "empty", "slow")
_TOLD = {
    "500": (500, "CUDA out of memory"),
    "429": (429, "come again later"),
    "404": (404, "the model does not exist"),
    "401": (401, "the key is not known"),
}


class FaultyServer:
    """fault: how it fails at generations from now on; it lists its models all the same. upstream:
    host and port of the server that answers in truth; None: it answers "fine". seconds: that its
    own answers take; slow: that they take where it is slow. asked: how often, by fault."""

    def __init__(
        self, upstream: tuple[str, int] | None = None, *, seconds: float = 0.01, slow: float = 2.0
    ) -> None:
        self.fault: Fault = ""
        self.upstream, self.seconds, self.slow = upstream, seconds, slow
        self.asked: Counter[str] = Counter()
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.partition(b":")[2])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length:")
                    ),
                    0,
                )
                await self._answer(head, await reader.readexactly(length), writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET"):
            await _send(writer, 200, b'{"object": "list", "data": []}')
            return
        fault = self.fault
        self.asked[fault] += 1
        if fault in _TOLD:
            status, what = _TOLD[fault]
            told = json.dumps({"error": {"message": what}}).encode()
            await _send(writer, status, told, b"Retry-After: 1\r\n" if fault == "429" else b"")
        elif fault == "hang":
            await asyncio.sleep(3600)
        elif fault == "garbage":
            await _send(writer, 200, b'<html>data: {"choices": 3}\n\n</html>')
        elif fault == "empty":
            await _send(writer, 200, b"", b"Content-Type: text/event-stream\r\n")
        else:
            await asyncio.sleep(self.slow if fault else 0.0)
            if self.upstream is None:
                await self._write_fine(writer)
            else:
                await self._pass_on(head, body, writer)

    async def _write_fine(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.seconds)
        pieces = [
            {"choices": [{"index": 0, "text": "fine", "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}},
        ]
        told = "".join(f"data: {json.dumps(one)}\n\n" for one in pieces) + "data: [DONE]\n\n"
        await _send(writer, 200, told.encode(), b"Content-Type: text/event-stream\r\n")

    async def _pass_on(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        assert self.upstream is not None
        from_there, to_there = await asyncio.open_connection(*self.upstream)
        try:
            lines = [
                line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")
            ]
            lines.insert(1, b"Connection: close")
            to_there.write(b"\r\n".join(lines) + body)
            while data := await from_there.read(1 << 16):
                writer.write(data)
                await writer.drain()
        finally:
            to_there.close()


async def _send(
    writer: asyncio.StreamWriter, status: int, body: bytes, further: bytes = b""
) -> None:
    head = b"HTTP/1.1 %d told\r\n%sConnection: close\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % (status, further, len(body)) + body)
    await writer.drain()


@asynccontextmanager
async def faulty_servers(*servers: FaultyServer) -> AsyncIterator[list[str]]:
    """The addresses of the servers, while the block runs."""
    open_ones = [await asyncio.start_server(one.serve, "127.0.0.1", 0) for one in servers]
    for one, door in zip(servers, open_ones, strict=True):
        one.url = f"http://127.0.0.1:{door.sockets[0].getsockname()[1]}/v1"
    try:
        yield [one.url for one in servers]
    finally:
        for door in open_ones:
            door.close()
        for one in servers:
            await one.close()
