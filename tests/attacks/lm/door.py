"""Attacks at the door of the endpoint of language models: keys, names, pages, heads and bodies.

python -m tests.attacks.lm.door FD [KEY]
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.web.server import listen, serve
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT
from tests.attacks.attack import Area, Attack

KEY = "s3cret"
PROMPT = json.dumps({"model": "m", "prompt": "a", "max_tokens": 4}).encode()
NESTED = b"[" * 900_000
HEALTHZ_MS = 100.0
PATIENCE = 60.0


@dataclass(frozen=True)
class Endpoint:
    """An endpoint with a scripted model. open: where it needs no key; else where it needs one."""

    open: int
    keyed: int


def request(
    port: int, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes]:
    """Status and content of one answer, over a connection of its own; 0 where none came."""
    sent = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json", "Connection": "close"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return exchange(port, head.encode("latin-1") + body)


def exchange(port: int, *pieces: bytes) -> tuple[int, bytes]:
    """The same for bytes as they are."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as door:
        with suppress(OSError):
            for piece in pieces:
                door.sendall(piece)
        came = b""
        with suppress(ConnectionResetError):
            while more := door.recv(65536):
                came += more
    head, _, body = came.partition(b"\r\n\r\n")
    return (int(head[9:12]), body) if head else (0, b"")


def healthz(port: int) -> float:
    """Milliseconds until /healthz says yes; the slower of two, for a stall meets one of them."""
    took = 0.0
    for _ in range(2):
        began = time.perf_counter()
        assert request(port, "GET", "/healthz")[0] == 200
        took = max(took, (time.perf_counter() - began) * 1e3)
    return took


def answers(port: int, **headers: str) -> None:
    """An honest caller is answered."""
    status, body = request(port, "POST", "/v1/completions", PROMPT, **headers)
    assert status == 200, (status, body)


# --- keys and names -----------------------------------------------------------------------------


def wrong_key(sent: dict[str, str], at: Endpoint) -> None:
    """A key that is none, or not in its place, opens nothing."""
    for method, path in (("POST", "/v1/completions"), ("GET", "/v1/models")):
        status, body = request(at.keyed, method, path, PROMPT, **sent)
        assert (status, json.loads(body)["error"]["code"]) == (401, "unauthorized"), body
    answers(at.keyed, Authorization=f"Bearer {KEY}")


KEYS: dict[str, dict[str, str]] = {
    "no key": {},
    "a key without its scheme": {"Authorization": KEY},
    "a key of another scheme": {"Authorization": f"Basic {KEY}"},
    "a key that sticks to its scheme": {"Authorization": f"Bearer{KEY}"},
    "an empty key": {"Authorization": "Bearer "},
    "half a key": {"Authorization": f"Bearer {KEY[:3]}"},
    "a key twice": {"Authorization": f"Bearer {KEY}, Bearer {KEY}"},
    "a key in another header": {"X-API-Key": KEY},
    "a key beyond ASCII": {"Authorization": "Bearer s3crét"},
}


def strange(sent: dict[str, str], at: Endpoint) -> None:
    """A page of another site, which a browser shows on this machine, calls nothing."""
    for method, path in (
        ("POST", "/v1/completions"),
        ("POST", "/v1/adapters/rescan"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
    ):
        status, body = request(at.open, method, path, PROMPT if method == "POST" else b"", **sent)
        assert (status, json.loads(body)["error"]["code"]) == (403, "forbidden"), (path, body)
    answers(at.open)
    answers(at.open, Origin="http://localhost:3000")


STRANGERS: dict[str, dict[str, str]] = {
    "a name that points here": {"Host": "evil.example"},
    "a name that begins like ours": {"Host": "localhost.evil.example"},
    "a name behind ours": {"Host": "127.0.0.1@evil.example"},
    "an empty name": {"Host": ""},
    "a page of another site": {"Origin": "https://evil.example"},
    "a page without an origin": {"Origin": "null"},
    "a form without an origin header": {"Sec-Fetch-Site": "cross-site"},
    "a page that sends text": {"Origin": "https://evil.example", "Content-Type": "text/plain"},
}


# --- heads and bodies ---------------------------------------------------------------------------

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


def long_head(megabytes: int, at: Endpoint) -> None:
    """A head of so many megabytes is refused before it is there."""
    began = time.perf_counter()
    pieces = (b"a" * (1 << 16) for _ in range(16 * megabytes))
    status, _ = exchange(at.open, HEAD + b"X: ", *pieces)
    assert status in (0, 431), status
    assert time.perf_counter() - began < 10
    answers(at.open)


@contextmanager
def held(port: int, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    """Connections that sent the beginning of something."""
    doors = list[socket.socket]()
    try:
        for _ in range(count):
            door = socket.create_connection(("127.0.0.1", port), PATIENCE)
            doors.append(door)
            with suppress(OSError):
                door.sendall(first)
        yield doors
    finally:
        for door in doors:
            door.close()


def stall(count: int, first: bytes, keyed: bool, at: Endpoint) -> Mapping[str, float]:
    """So many that begin and do not end: others are answered, and so is /healthz."""
    port = at.keyed if keyed else at.open
    headers = {"Authorization": f"Bearer {KEY}"} if keyed else {}
    with held(port, count, first):
        for _ in range(20):
            answers(port, **headers)
        took = healthz(port)
    assert took <= HEALTHZ_MS, took
    return {"healthz_ms": round(took, 1)}


def slow_head(at: Endpoint) -> None:
    """A head that does not end is closed after its time, which is 2 s here."""
    with held(at.open, 1, HEAD) as (door,):
        began = time.perf_counter()
        door.settimeout(20)
        assert door.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert 1 < time.perf_counter() - began < 10


def keyless_body(at: Endpoint) -> None:
    """Without a key, the answer comes before a byte of the body."""
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    status, body = exchange(at.keyed, head)
    assert (status, json.loads(body)["error"]["code"]) == (401, "unauthorized")


def odd_body(body: bytes, at: Endpoint) -> Mapping[str, float]:
    """A body that is costly to parse is refused, and holds up nobody."""
    began = time.perf_counter()
    status, said = request(at.open, "POST", "/v1/completions", body)
    took = time.perf_counter() - began
    assert status in (400, 422), (status, said[:200])
    assert took < 2
    answers(at.open)
    return {"healthz_ms": round(healthz(at.open), 1)}


POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
FIELDS = json.dumps({f"f{number}": 1 for number in range(80_000)}).encode()
TYPED = b"Content-Type: application/json\r\n\r\n{"


def attacks() -> list[Attack]:
    """All of them."""
    key = f"Authorization: Bearer {KEY}\r\n".encode()
    runs: dict[str, Callable[[Endpoint], Mapping[str, float] | None]] = {
        **{name: partial(wrong_key, sent) for name, sent in KEYS.items()},
        **{name: partial(strange, sent) for name, sent in STRANGERS.items()},
        "a head of 4 MB": partial(long_head, 4),
        "a head of 64 MB": partial(long_head, 64),
        "a head of 256 MB": partial(long_head, 256),
        "a head that does not end": slow_head,
        "600 heads that do not end": partial(stall, 600, HEAD, False),
        "600 connections that say nothing": partial(stall, 600, b"", False),
        "550 slow bodies without a key": partial(stall, 550, POST + TYPED, True),
        "550 slow bodies with the key": partial(stall, 550, POST + key + TYPED, True),
        "550 slow bodies where none is needed": partial(stall, 550, POST + TYPED, False),
        "a body without a key": keyless_body,
        "lists in lists": partial(odd_body, NESTED),
        "300,000 lists": partial(odd_body, b'{"prompt":[' + b"[]," * 300_000 + b"[]]}"),
        "80,000 unknown fields": partial(odd_body, FIELDS),
    }
    return [Attack(name, run, quick=name in QUICK, seconds=60) for name, run in runs.items()]


QUICK = {"a key without its scheme", "a name that points here", "a page of another site"}


@contextmanager
def endpoints() -> Iterator[Endpoint]:
    """One endpoint without a key and one with it, each in a process of its own."""
    with _process("") as free, _process(KEY) as keyed:
        yield Endpoint(free, keyed)


@contextmanager
def _process(key: str) -> Iterator[int]:
    with listen("127.0.0.1", 0) as opened:
        port: int = opened.getsockname()[1]
        line = command("tests.attacks.lm.door", opened.fileno(), *([key] if key else []))
        process = subprocess.Popen(
            line, cwd=ROOT, pass_fds=[opened.fileno()], env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    try:
        ends = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, "the endpoint did not start"
            assert time.monotonic() < ends, "the endpoint did not become ready"
            with suppress(OSError):
                if request(port, "GET", "/readyz")[0] == 200:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def main(descriptor: str, key: str = "") -> None:
    """Serve until a signal comes."""
    settings = LmServiceConfig(key=key, head_seconds=2.0)
    model = ScriptedModel(ScriptedConfig(replies=("fresh tea",)))
    serve(create_lm_app(settings, {"m": model}), socket.socket(fileno=int(descriptor)))


AREAS = [Area("language models: the door", attacks(), shared=endpoints, memory=0)]

if __name__ == "__main__":
    main(*sys.argv[1:])
