"""A client that costs next to nothing: HTTP/1.1 over kept connections, one request at a time each.

Written for the benchmarks of the service, where a general client would use more of the processor
than what it measures.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

MAX_CONNECTIONS = 1000


@dataclass(frozen=True)
class Answer:
    """status: 0 where the connection failed before an answer. body: as it came."""

    status: int
    body: bytes


def post(path: str, key: str, body: bytes) -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


class Pool:
    """Connections to one server; a new one is opened where none is free."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._free: deque[_Connection] = deque()
        self.opened = 0

    async def send(self, request: bytes) -> Answer:
        """The answer to a request that `post` made. Never raises for a server that fails."""
        try:
            connection = await self._take()
        except OSError:
            return Answer(0, b"")
        answer = await connection.send(request)
        if answer.status and not connection.closed:
            self._free.append(connection)
        return answer

    def close(self) -> None:
        """Close the free connections."""
        while self._free:
            self._free.pop().close()

    async def _take(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.closed:
                return connection
        if self.opened >= MAX_CONNECTIONS * 100:
            raise OSError("too many connections")
        self.opened += 1
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(_Connection, self._host, self._port)
        return protocol


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._buffer = b""

    async def send(self, request: bytes) -> Answer:
        self._buffer = b""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self.closed:
            return Answer(0, b"")
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._settle(Answer(0, b""))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if len(body) >= length:
            self.closed = self.closed or b"connection: close" in lines
            self._settle(Answer(int(head[9:12]), body[:length]))

    def _settle(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
