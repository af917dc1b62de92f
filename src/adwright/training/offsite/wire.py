"""Messages of JSON and tensors between two processes over TCP.

    message = "ADWOFF" | version u16 | length of head u32 | length of body u64 | head | body

in network order. The head is a JSON object with the message's kind, the body safetensors: nothing
that is received is ever run. A length is believed only up to a limit, before memory is taken for
it, and whoever waits does so for a stated time: for a message to begin as long as asked, then for
each MiB as long as the channel says, so that a large message may take its time and a peer that
drips may not.

Whoever listens draws a token, and a peer's hello must carry it: any process of the machine can
connect, and is turned away without it. An address is therefore HOST:PORT/TOKEN. The bytes are
neither encrypted nor signed, so that who can read the wire can read the token: addresses are of the
loopback unless another is asked for, and between machines this belongs into a tunnel.

Where a peer listens, and the token that it wants to hear: HOST:PORT/TOKEN.

Who connects is heard in a thread of its own, so that no peer keeps the next one waiting.

A stranger may say nothing, or drip: it has the time of a hello, and where too many wait the one
that came first is sent away. A peer that knows the token is served in its thread; only so many are
served at once.

    with Reception(Listener(), serve) as reception:
        ...                                           # serve(channel) is called for each peer
"""

from __future__ import annotations

import hmac
import io
import json
import logging
import os
import secrets
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from adwright.core.errors import ConfigError, DataError, ResourceError

#: Variable of the environment with the token, for both sides: it is in no list of processes.
TOKEN = "ADWRIGHT_OFFSITE_TOKEN"


class Address(NamedTuple):
    """Where a peer listens, and the token that it wants to hear."""

    host: str
    port: int
    token: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.token}"


def read_address(address: str) -> Address:
    """Read HOST:PORT/TOKEN, or @FILE, whose first line is that. Without /TOKEN the token is that of
    the environment (`TOKEN`), so that it need not stand in a list of processes.

    Raises ConfigError where it is no address, or there is no token.
    """
    if address.startswith("@"):
        address = _first_line(Path(address[1:]))
    place, _, token = address.partition("/")
    host, _, port = place.rpartition(":")
    if (
        not host
        or not (port.isascii() and port.isdecimal())
        or len(port) > 5
        or not 0 < int(port) < 1 << 16
    ):
        raise ConfigError(
            "an address is HOST:PORT/TOKEN", where=place, hint="127.0.0.1:4711/... as it is printed"
        )
    token = token or os.environ.get(TOKEN, "")
    if not token:
        raise ConfigError(
            "the address lacks the token of who listens there",
            where=place,
            hint=f"copy HOST:PORT/TOKEN as the other side prints it, or set {TOKEN}",
        )
    return Address(host, int(port), token)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.readline(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the file with the address cannot be read", where=str(path), hint="check the path"
        ) from error


#: The hello of version 1 carried no token.
VERSION = 2
_MAGIC = b"ADWOFF"
_FRONT = struct.Struct("!6sHIQ")
_HEAD_LIMIT = 1 << 20
#: A body of 16 GB: a model of 7 billion parameters in bfloat16.
_BODY_LIMIT = 16 << 30
#: Bytes that are sent and received under one timeout.
_PIECE = 1 << 20
#: Seconds for a hello to begin, and then for each of its parts; bytes of its head and of its body.
_HELLO, _HELLO_LIMIT = 10.0, 1 << 12
#: Characters of a peer's words that are shown or kept.
_SHOWN = 200


@dataclass(frozen=True)
class WireMessage:
    """A message between the two sides. fields: plain values as JSON has them."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """Read a whole number. Raises DataError where the field is none."""
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataError("a message lacks a number", column=f"{self.kind}.{name}", value=value)
        return value

    def real(self, name: str) -> float:
        """Read a finite number. Raises DataError where the field is none."""
        value = self.fields.get(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Compared, since a whole number may be too large to be made a float; NaN fails as well.
        if not is_number or not abs(value) <= sys.float_info.max:  # type: ignore[arg-type]
            what = "a message lacks a finite number"
            raise DataError(what, column=f"{self.kind}.{name}", value=value)
        return float(value)  # type: ignore[arg-type]

    def tensor(self, name: str) -> Tensor:
        """Read a tensor. Raises DataError where it is missing."""
        if name not in self.tensors:
            raise DataError("a message lacks a tensor", column=f"{self.kind}.{name}")
        return self.tensors[name]


#: Bytes of a body, or what tells them from the head of the message to which it belongs.
Limit = int | Callable[[WireMessage], int]


class Channel:
    """One end of a connection; close it, or use it as a context.

    timeout: seconds for each MiB of a message, and for a message to begin, unless `receive` is told
    otherwise. limit: bytes of a body. token: what the hello carries, or must. sent, received: bytes
    by kind of message, everything counted.
    """

    def __init__(
        self,
        connected: socket.socket,
        *,
        timeout: float = 60.0,
        limit: int = _BODY_LIMIT,
        token: str = "",
    ) -> None:
        self._socket, self._timeout, self._limit = connected, timeout, limit
        self._token, self._greeted = token, False
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Who waits a day for an adapter should learn that the other machine is off.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            host, port = connected.getpeername()[:2]
            self.peer = f"{host}:{port}"
        except OSError:
            # It hung up already; the first message will say so.
            self.peer = "a peer without address"
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()

    def send(self, message: WireMessage) -> None:
        """Send a message. Raises ResourceError where the peer is gone or takes too long."""
        head = json.dumps({"kind": message.kind, "fields": dict(message.fields)}).encode()
        tensors = {name: value.detach().contiguous() for name, value in message.tensors.items()}
        body = save(tensors) if tensors else b""
        self.sent[message.kind] += _FRONT.size + len(head) + len(body)
        front = _FRONT.pack(_MAGIC, VERSION, len(head), len(body)) + head
        try:
            self._socket.settimeout(self._timeout)
            # A small message goes as one piece: a tunnel that waits for the acknowledgement of a
            # piece before it passes the next on would hold each body for 40 ms.
            self._socket.sendall(front + body[:_PIECE])
            # The timeout bounds a whole sendall: in pieces, a slow tunnel can carry gigabytes.
            rest = memoryview(body)
            for start in range(_PIECE, len(body), _PIECE):
                self._socket.sendall(rest[start : start + _PIECE])
        except OSError as error:
            raise self._gone(error, f"{message.kind} could not be sent") from error

    def receive(
        self, *kinds: str, timeout: float | None = None, limit: Limit | None = None
    ) -> WireMessage:
        """Wait for the next message, which must be of one of these kinds.

        timeout: seconds, instead of the channel's, for its first byte. limit: of its body, instead
        of the channel's. Raises ResourceError where the peer is gone, gave up (its own words), or
        is silent or too slow; ConfigError where it speaks another version; DataError where it sends
        what is no such message, or too much.
        """
        first = self._timeout if timeout is None else timeout
        body = self._limit if limit is None else limit
        return self._received(kinds, first, self._timeout, _HEAD_LIMIT, body)

    def greet(self) -> None:
        """Send the hello. Raises as `send`."""
        self.send(WireMessage("hello", {"token": self._token}))

    def receive_hello(self) -> None:
        """Wait for the peer's hello, with little time and memory for a stranger; where it has come
        already, this does nothing. Raises as `receive`, and DataError for another token."""
        if self._greeted:
            return
        seconds = min(_HELLO, self._timeout)
        came = self._received(("hello",), seconds, seconds, _HELLO_LIMIT, _HELLO_LIMIT)
        said = came.fields.get("token")
        # In constant time: a stranger may not learn the token letter by letter.
        if not isinstance(said, str) or not hmac.compare_digest(
            said.encode(), self._token.encode()
        ):
            raise self._wrong("the peer does not know the token")
        self._greeted = True

    def refuse(self, why: str) -> None:
        """Tell the peer that it is turned away, where it still listens, and close."""
        with suppress(ResourceError, OSError):
            self.send(WireMessage("failed", {"what": why}))
        self.close()

    def interrupt(self) -> None:
        """End the connection from another thread: who waits on it learns that the peer is gone."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            # Our own reason, so that the other side need not guess; without values of any text.
            self.refuse(type(error).__name__)
        self.close()

    def _received(
        self, kinds: tuple[str, ...], first: float, each: float, head_limit: int, limit: Limit
    ) -> WireMessage:
        """first: seconds for the first byte, each: for each piece."""
        front = self._read(1, kinds, first) + self._read(_FRONT.size - 1, kinds, each)
        magic, version, head_size, body_size = _FRONT.unpack(front)
        if magic != _MAGIC:
            raise self._wrong("the peer speaks another protocol")
        if version != VERSION:
            raise ConfigError(
                f"the peer speaks version {version}, this is version {VERSION}",
                where=self.peer,
                hint="install the same version of adwright on both sides",
            )
        if head_size > head_limit:
            raise self._wrong(f"the peer announces a head of {head_size:,} bytes, too many")
        message = self._parsed(self._read(head_size, kinds, each))
        self.received[message.kind] += _FRONT.size + head_size
        if message.kind == "failed":
            raise ResourceError(
                f"the peer gave up: {printable(str(message.fields.get('what', '')))}",
                where=self.peer,
                hint="see its own error",
            )
        if message.kind not in kinds:
            raise self._wrong(f"the peer sent {message.kind!r} where {' or '.join(kinds)} was due")
        most = limit if isinstance(limit, int) else limit(message)
        if body_size > most:
            raise self._wrong(
                f"the peer announces {body_size:,} bytes, too many: {message.kind} has {most:,}"
            )
        self.received[message.kind] += body_size
        return WireMessage(message.kind, message.fields, self._loaded(body_size, kinds, each))

    def _parsed(self, head: bytes) -> WireMessage:
        """A message without its tensors."""
        try:
            found = json.loads(head, parse_constant=_no_number)
            kind, fields = found["kind"], found["fields"]
            if not isinstance(kind, str) or not isinstance(fields, dict):
                raise TypeError
            return WireMessage(printable(kind), fields)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._wrong("the peer sent a message that cannot be read") from error

    def _loaded(self, size: int, kinds: tuple[str, ...], seconds: float) -> dict[str, Tensor]:
        body = self._read(size, kinds, seconds)
        try:
            tensors: dict[str, Tensor] = load(body) if body else {}
        except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise self._wrong("the peer sent a message that cannot be read") from error
        if not all(name.isprintable() and len(name) <= _SHOWN for name in tensors):
            raise self._wrong("the peer sent a tensor whose name cannot be shown")
        return tensors

    def _read(self, size: int, kinds: tuple[str, ...], seconds: float) -> bytes:
        # Grows as bytes come, and gives its own memory away: joined pieces would need it twice.
        buffer = io.BytesIO()
        for start in range(0, size, _PIECE):
            buffer.write(self._piece(min(_PIECE, size - start), kinds, seconds))
        return buffer.getvalue()

    def _piece(self, size: int, kinds: tuple[str, ...], seconds: float) -> bytes:
        """Read `size` bytes within `seconds`, however small the pieces in which they come."""
        parts, left, until = [], size, time.monotonic() + seconds
        while left:
            try:
                if (remaining := until - time.monotonic()) <= 0:
                    raise TimeoutError
                self._socket.settimeout(remaining)
                part = self._socket.recv(left)
            except OSError as error:
                raise self._gone(error, f"no {' or '.join(kinds)} came") from error
            if not part:
                raise self._gone(None, f"no {' or '.join(kinds)} came")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _gone(self, error: OSError | None, what: str) -> ResourceError:
        if isinstance(error, TimeoutError):
            why, hint = (
                "the peer is silent or too slow",
                "see whether it still runs, or raise the timeout",
            )
        else:
            why, hint = "the peer is gone", "see its own error, and start both sides again"
        return ResourceError(f"{why}: {what}", where=self.peer, hint=hint)

    def _wrong(self, what: str) -> DataError:
        return DataError(what, file=self.peer, hint="connect to the other side of adwright alone")


def _no_number(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which JSON does not know."""
    raise ValueError(f"{name} is no number")


def printable(text: str) -> str:
    """Words of a peer as they may be shown: no signs that move a cursor or colour a terminal."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text[:_SHOWN])
    return shown + "..." * (len(text) > _SHOWN)


class Listener:
    """Listens for peers until the last `accept`, `close`, or the end of its context. host: an
    address of this machine. port: 0 for a free one. token: what a peer has to know; None for that
    of the environment (`TOKEN`), or a fresh one."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, token: str | None = None) -> None:
        self.token = token or os.environ.get(TOKEN) or secrets.token_urlsafe(16)
        try:
            self._socket = socket.create_server((host, port), backlog=64)
        except OSError as error:
            raise ResourceError(
                f"cannot listen: {error}", where=f"{host}:{port}", hint="choose another port"
            ) from error
        self.host, self.port = self._socket.getsockname()[:2]
        self.address = Address(self.host, self.port, self.token)

    def accept(
        self,
        *,
        timeout: float = 60.0,
        limit: int = _BODY_LIMIT,
        wait: float | None = None,
        last: bool = True,
    ) -> Channel:
        """Wait for the next peer. last: stop listening afterwards.

        timeout: of the channel. wait: seconds for a peer, None for as many as timeout.
        Raises ResourceError where nobody comes.
        """
        seconds = timeout if wait is None else wait
        try:
            self._socket.settimeout(seconds)
            connected, _ = self._socket.accept()
        except OSError as error:
            raise ResourceError(
                "nobody connected",
                where=f"{self.host}:{self.port}, {seconds:g} s",
                hint="start the other side, or wait longer",
            ) from error
        finally:
            if last:
                self.close()
        return Channel(connected, timeout=timeout, limit=limit, token=self.token)

    def close(self) -> None:
        """Stop listening; a second time does nothing."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(address: Address, *, timeout: float = 60.0, limit: int = _BODY_LIMIT) -> Channel:
    """Connect to a listener. Raises ResourceError where there is none."""
    host, port, token = address
    try:
        connected = socket.create_connection((host, port), timeout=timeout)
    except OSError as error:
        raise ResourceError(
            f"cannot connect: {error}", where=f"{host}:{port}", hint="start the other side first"
        ) from error
    return Channel(connected, timeout=timeout, limit=limit, token=token)


_logger = logging.getLogger("adwright")
#: Seconds after which the thread that accepts looks whether it should go on.
_LOOK = 0.2
#: Seconds in which all that is served is to end, once it was interrupted.
_PATIENCE = 30.0


class Reception:
    """Accepts until the end of the context, which interrupts all that is still served and waits for
    it: a thread that is inside torch when the process ends takes the process down.

    listener: is not closed. serve: gets a channel whose peer has said hello; what it raises is
    logged, and told to the peer. at_once: peers that are served, and four times as many strangers
    that have yet to say hello.
    """

    def __init__(
        self, listener: Listener, serve: Callable[[Channel], None], *, at_once: int = 8
    ) -> None:
        self._listener, self._serve, self._at_once = listener, serve, at_once
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._strangers, self._served = list[Channel](), list[Channel]()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._receiving = set[threading.Thread]()
        self.last: Exception | None = None

    @property
    def served(self) -> int:
        """How many peers are served now."""
        return len(self._served)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        until = time.monotonic() + _PATIENCE
        self._accepting.join(_PATIENCE)
        with self._lock:
            for channel in (*self._strangers, *self._served):
                channel.interrupt()
        for thread in self._receiving:
            thread.join(max(0.0, until - time.monotonic()))

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                channel = self._listener.accept(wait=_LOOK, last=False, timeout=60.0)
            except ResourceError:
                # Nobody came, or no descriptor is left: either way a little later.
                self._ended.wait(_LOOK / 10)
                continue
            with self._lock:
                self._strangers.append(channel)
                if len(self._strangers) > 4 * self._at_once:
                    self._strangers[0].interrupt()
                    del self._strangers[0]
            self._receiving = {each for each in self._receiving if each.is_alive()}
            thread = threading.Thread(target=self._receive, args=[channel], daemon=True)
            self._receiving.add(thread)
            thread.start()

    def _receive(self, channel: Channel) -> None:
        """Hear the hello and serve the peer. Whatever a peer may cause ends here."""
        try:
            channel.receive_hello()
            with self._lock:
                if channel in self._strangers:
                    self._strangers.remove(channel)
                if len(self._served) >= self._at_once:
                    raise ResourceError("too many peers are served", where=channel.peer)
                self._served.append(channel)
            self._serve(channel)
        except Exception as error:
            self.last = error
            if not self._ended.is_set():
                _logger.warning("a peer was turned away: %s", printable(str(error)))
            channel.refuse(type(error).__name__)
        finally:
            with self._lock:
                for held in (self._strangers, self._served):
                    if channel in held:
                        held.remove(channel)
