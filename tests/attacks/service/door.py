"""Floods and stalls at the door of the service: heads, bodies and connections that never end.

What an honest tenant keeps meanwhile is measured, and whether /healthz answers.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from tests.attacks.attack import Area, Attack, NotKept
from tests.attacks.service.running import ATTACKER, Running, kept, running

Attacker = Callable[[threading.Event], object]
#: What an attack makes of the running service: those that run at the same time.
Attackers = Callable[[Running], Sequence[Attacker]]

HEALTHZ_MS = 100.0
SECONDS = 30.0
MB = 1 << 20
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


def head(service: Running | None, length: int | None, path: str = "/v1/decide") -> bytes:
    """The head of a POST, with the attacker's key where a service is given; chunked for None."""
    key = f"X-API-Key: {service.keys[ATTACKER]}\r\n" if service else ""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    kind = "Content-Type: application/json"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{key}{kind}\r\n{size}\r\n\r\n".encode()


async def _one(port: int, first: bytes, drip: bytes, every: float, stop: threading.Event) -> None:
    """One connection that sends a little now and then, opened again when it is closed."""
    while not stop.is_set():
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(first)
                while not stop.is_set():
                    try:
                        if not await asyncio.wait_for(reader.read(4096), every):
                            break
                    except TimeoutError:
                        writer.write(drip)
            finally:
                writer.close()
        await asyncio.sleep(every)


def hold(port: int, count: int, first: bytes, drip: bytes, every: float = 1.0) -> Attacker:
    """Hold `count` connections that drip."""

    async def run(stop: threading.Event) -> None:
        ones = []
        for number in range(count):
            ones.append(asyncio.create_task(_one(port, first, drip, every, stop)))
            if number % 50 == 49:
                await asyncio.sleep(0.01)
        await asyncio.gather(*ones)

    return lambda stop: asyncio.run(run(stop))


def send(port: int, make: Callable[[], Iterator[bytes]], pause: float = 0.05) -> Attacker:
    """Send a whole stream of pieces, again and again, each time over a new connection."""

    def run(stop: threading.Event) -> None:
        while not stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as door:
                for piece in make():
                    if stop.is_set():
                        break
                    door.sendall(piece)
                door.settimeout(2)
                door.recv(4096)
            stop.wait(pause)

    return run


def long_head(megabytes: int) -> Iterator[bytes]:
    """One header of so many megabytes."""
    yield GET + b"X-Long: "
    for _ in range(megabytes * 16):
        yield b"a" * (MB // 16)
    yield b"\r\n\r\n"


def many_headers(count: int, size: int) -> Iterator[bytes]:
    """So many headers of so many bytes."""
    yield GET
    for number in range(count):
        yield b"X-%d: %s\r\n" % (number, b"a" * size)
    yield b"\r\n"


def long_target() -> Iterator[bytes]:
    """A path of 32 MB."""
    yield b"GET /"
    for _ in range(512):
        yield b"a" * (MB // 16)
    yield b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


def trailers(service: Running) -> Iterator[bytes]:
    """A chunked body with one trailer of 32 MB."""
    yield head(service, None) + b"2\r\n{}\r\n0\r\nX-Trailer: "
    for _ in range(512):
        yield b"a" * (MB // 16)


def whole(service: Running | None, body: bytes, path: str = "/v1/decide") -> Iterator[bytes]:
    """A request with this body."""
    yield head(service, len(body), path) + body


def unread(service: Running) -> Iterator[bytes]:
    """Thousands of requests whose answers nobody reads."""
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(200):
        yield request


NESTED = b"[" * 900_000
LISTS = b'{"request_id":[' + b"[]," * 300_000 + b"[]]}"
FIELDS = json.dumps({f"f{number}": 1 for number in range(90_000)})[: MB - 10].encode()
UNKNOWN = json.dumps({f"f{number}": 1 for number in range(50_000)}).encode()
IDS = json.dumps({"request_id": "r", "user_id": "u", "exclude": [0] * 300_000}).encode()
CONTEXT = {"request_id": "r", "user_id": "u", "context": {f"k{n}": 1 for n in range(50_000)}}
EVENTS = json.dumps({"events": [{"event_id": str(n)} for n in range(9_000)]}).encode()


def half_open(service: Running, count: int = 1000) -> list[Attacker]:
    """Heads that do not end."""
    return [hold(service.port, count, GET, b"X-A: b\r\n")]


def slow_bodies(service: Running, known: bool, count: int = 550) -> list[Attacker]:
    """Bodies of which a byte comes now and then."""
    first = head(service if known else None, 1000) + b"{"
    return [hold(service.port, count, first, b" ", 4.0)]


def bodies(known: bool, body: bytes, path: str, service: Running) -> list[Attacker]:
    """The same body from four callers."""
    make = partial(whole, service if known else None, body, path)
    return [send(service.port, make)] * 4


def invented(service: Running) -> list[Attacker]:
    """Keys that do not exist, another one each time."""
    numbers = iter(range(10**9))

    def make() -> Iterator[bytes]:
        yield b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-API-Key: adw_%d_x\r\n\r\n" % next(
            numbers
        )

    return [send(service.port, make, pause=0.002)] * 4


def at_once(service: Running) -> list[Attacker]:
    """Some of everything."""
    return [
        *half_open(service),
        *slow_bodies(service, known=False),
        *slow_bodies(service, known=True),
        send(service.port, partial(long_head, 256)),
        *bodies(False, NESTED, "/v1/decide", service)[:1],
        *bodies(True, NESTED, "/v1/decide", service)[:1],
    ]


def chunks(service: Running) -> list[Attacker]:
    """A chunked body of one byte after the other, and one of endless extensions."""
    dripping = hold(service.port, 200, head(service, None), b"1\r\n \r\n", 0.5)
    return [dripping, hold(service.port, 200, head(service, None) + b"1;", b"a=b;", 0.5)]


FLOODS: dict[str, Attackers] = {
    "1,000 heads that do not end": half_open,
    "1,000 connections that say nothing": lambda s: [hold(s.port, 1000, b"", b"")],
    "300 heads of a byte each half second": lambda s: [hold(s.port, 300, b"G", b"E", 0.5)],
    "1,000 connections of empty lines": lambda s: [hold(s.port, 1000, b"\r\n", b"\r\n")],
    "550 slow bodies without a key": partial(slow_bodies, known=False),
    "550 slow bodies with a key": partial(slow_bodies, known=True),
    "400 slow bodies in chunks": chunks,
    "a head of 64 MB": lambda s: [send(s.port, partial(long_head, 64))],
    "a head of 128 MB": lambda s: [send(s.port, partial(long_head, 128))],
    "a head of 256 MB": lambda s: [send(s.port, partial(long_head, 256))],
    "2,000 headers of 1 kB": lambda s: [send(s.port, partial(many_headers, 2000, 1000))],
    "12,000 headers of no length": lambda s: [send(s.port, partial(many_headers, 12_000, 0))],
    "a path of 32 MB": lambda s: [send(s.port, long_target)],
    "a trailer of 32 MB": lambda s: [send(s.port, partial(trailers, s))],
    "answers that nobody reads": lambda s: [send(s.port, partial(unread, s), 1.0)] * 8,
    "keys that do not exist": invented,
    "lists in lists without a key": partial(bodies, False, NESTED, "/v1/decide"),
    "lists in lists with a key": partial(bodies, True, NESTED, "/v1/decide"),
    "300,000 lists in a list": partial(bodies, True, LISTS, "/v1/decide"),
    "90,000 unknown fields": partial(bodies, True, FIELDS, "/v1/decide"),
    "50,000 unknown fields": partial(bodies, True, UNKNOWN, "/v1/events"),
    "300,000 wrong ids": partial(bodies, True, IDS, "/v1/decide"),
    "50,000 keys of a context": partial(bodies, True, json.dumps(CONTEXT).encode(), "/v1/decide"),
    "9,000 wrong events": partial(bodies, True, EVENTS, "/v1/events"),
    "everything at once": at_once,
}
#: At a service that may have no more than 300 connections.
CROWDS: dict[str, Attackers] = {
    "1,000 heads for 300 places": half_open,
    "1,000 silent ones for 300 places": lambda s: [hold(s.port, 1000, b"", b"")],
    "550 slow bodies for 300 places": partial(slow_bodies, known=True),
    "answered ones that stay, for 300 places": lambda s: [hold(s.port, 1000, GET + b"\r\n", b"")],
}


def flood(make: Attackers, service: Running) -> Mapping[str, float]:
    """What is kept while they attack."""
    measures = kept(service, *make(service), seconds=SECONDS)
    if measures["healthz_ms"] > HEALTHZ_MS:
        raise NotKept(f"/healthz: {measures}", measures)
    return measures


@contextmanager
def crowded() -> Iterator[Running]:
    """A service that is soon full."""
    with running(settings={"max_connections": 300}) as service:
        yield service


def attacks(floods: Mapping[str, Attackers]) -> list[Attack]:
    """One attack for each."""
    return [Attack(name, partial(flood, make), seconds=300) for name, make in floods.items()]


AREAS = [
    Area("service: floods at the door", attacks(FLOODS), shared=running, memory=0),
    Area("service: a full house", attacks(CROWDS), shared=crowded, memory=0),
]
