"""uvicorn's HTTP protocol with bounds on what a client may send before its request is there.

uvicorn has settings for neither the size nor the time of a head with its fast parser, and that
parser takes quadratic time for a long one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adwright.web.connections import Connections
from adwright.web.errors import error_response

__all__ = ["PARSER_LOG", "DoorProtocol", "door_protocol"]

#: The parser's own logger. Whoever sends what is no HTTP would fill the log with warnings of it;
#: they are counted instead.
PARSER_LOG = "uvicorn.error.door"
#: Of a head; and of everything else that is not the content of a body, such as trailers.
_HEAD_BYTES = 1 << 16
_HEADERS = 256
#: A client that takes nothing of its answer for so long is gone.
_STUCK_SECONDS = 30.0


class DoorProtocol(HttpToolsProtocol):
    """One connection. A longer head is answered 431, a slower one 408; both are closed."""

    book: ClassVar[Connections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, or refuse it where there is no room."""
        super().connection_made(transport)
        self.logger = logging.getLogger(PARSER_LOG)
        # Bytes since a head was complete or content of a body came.
        self._loose = 0
        self._in_head = False
        self._oversized = False
        address = self.client[0] if self.client else ""
        if not self.book.opened(self, address):
            self._refuse(503, "there is no room for another connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self.book.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces, so that no head grows beyond its bound before it is counted."""
        while data and not self.transport.is_closing():
            room = _HEAD_BYTES - self._loose
            piece, data = data[:room], data[room:]
            self._loose += len(piece)
            super().data_received(piece)
            if self._loose >= _HEAD_BYTES and not self.transport.is_closing():
                self.book.end(self, "size")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True
        if self._is_idle():
            self.book.waits(self, self.book.limits.head_seconds)

    def on_headers_complete(self) -> None:
        """A head is complete: there is a request."""
        if len(self.headers) > _HEADERS:
            self._oversized = True
            raise ValueError("too many headers")
        self._loose = 0
        self._in_head = False
        super().on_headers_complete()
        self.book.works(self)

    def on_body(self, body: bytes) -> None:
        """Content of a body."""
        self._loose = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The answer is sent: the connection waits for the next head."""
        super().on_response_complete()
        self._rest()

    def pause_writing(self) -> None:
        """The client does not take its answer as fast as it is made."""
        super().pause_writing()
        self.book.waits(self, _STUCK_SECONDS)

    def resume_writing(self) -> None:
        """It has taken what was sent."""
        super().resume_writing()
        self.book.works(self)
        self._rest()

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses."""
        self.book.end(self, "size" if self._oversized else "http")

    def give_up(self, reason: str) -> None:
        """Close it; who was in the middle of a head is told why."""
        if reason == "http":
            super().send_400_response("Invalid HTTP request received.")
        elif reason == "size" and self._is_idle():
            self._refuse(431, "the head of the request is too long")
        elif reason == "time" and self._in_head and self._is_idle():
            self._refuse(408, "the head of the request did not arrive in time")
        else:
            self.transport.abort()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _rest(self) -> None:
        """Wait for the next head where nothing is in work."""
        if self._is_idle() and not self.pipeline and self.cycle is not None:
            limits = self.book.limits
            seconds = limits.head_seconds if self._in_head else self.timeout_keep_alive
            self.book.waits(self, seconds)

    def _refuse(self, status: int, message: str) -> None:
        answer = error_response(status, message)
        phrase = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}
        lines = [b"HTTP/1.1 %d %s" % (status, phrase.get(status, b"Service Unavailable"))]
        lines += [b"%s: %s" % pair for pair in answer.raw_headers]
        lines += [b"connection: close", b"", bytes(answer.body)]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()


def door_protocol(book: Connections) -> type[asyncio.Protocol]:
    """The protocol of a server whose connections are counted in `book`."""
    return type("Door", (DoorProtocol,), {"book": book})
