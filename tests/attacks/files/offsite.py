"""The owner of a model that is tuned elsewhere, and who connects to it: strangers, liars, bombs.

Each attack has an owner of its own in a thread, with a tiny model. After it, an honest trainer has
to be served: whatever was sent, the owner lives and goes on.
"""

from __future__ import annotations

import json
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from adwright.core.errors import AdwrightError
from adwright.training.offsite.sandwich import (
    OwnerRun,
    Sandwich,
    adapter_of,
    emulator_of,
    run_owner,
)
from adwright.training.offsite.wire import (
    VERSION,
    Address,
    Channel,
    WireMessage,
    connect,
    read_address,
)
from adwright.tuning.tuned import Tuned
from tests.attacks.attack import Area, Attack
from tests.support.training.offsite_pair import model, tokenizer

RANK, ENDS, KEPT = 4, 2, 2
MIB = 1 << 20
#: Seconds within which an honest peer has to be served, whatever else is connected.
SOON = 20.0


@dataclass
class Owner:
    """An owner at work. ended: what it ended with, if it did."""

    address: Address
    thread: threading.Thread
    out: Path
    ended: list[BaseException] = field(default_factory=list)

    def stranger(self, said: bytes = b"") -> socket.socket:
        """A connection that says this, and stays."""
        raw = socket.create_connection((self.address.host, self.address.port), timeout=SOON)
        with suppress(OSError):
            raw.sendall(said)
        return raw

    def peer(self) -> Channel:
        """One that knows the token and has got the emulator."""
        channel = connect(self.address, timeout=SOON)
        channel.greet()
        channel.receive("emulator")
        return channel

    def raw_peer(self) -> socket.socket:
        """The same, to go on by hand, byte by byte."""
        fields = {"token": self.address.token}
        raw = self.stranger(frame({"kind": "hello", "fields": fields}))
        assert heard(raw)["kind"] == "emulator"
        return raw

    def honest(self) -> float:
        """Bring an adapter that fits; the seconds until it was plugged in."""
        start = time.monotonic()
        with self.peer() as channel:
            channel.send(WireMessage("adapter", FIELDS, ADAPTER))
            channel.receive("plugged")
        seconds = time.monotonic() - start
        self.thread.join(SOON)
        assert not self.ended, self.ended
        assert (self.out / "config.json").is_file(), "nothing was written"
        return seconds


def _small() -> dict[str, Tensor]:
    method = Sandwich(ends=ENDS, rank=RANK)
    return adapter_of(Tuned(emulator_of(model(), ENDS, KEPT), method))


ADAPTER = _small()
NAME = next(iter(ADAPTER))
FIELDS: Mapping[str, Any] = {"ends": ENDS, "rank": RANK, "alpha": 16.0}


@contextmanager
def base() -> Iterator[Path]:
    """A folder with a tiny model, for all owners."""
    with TemporaryDirectory(prefix="attacks-") as name:
        model().save_pretrained(Path(name) / "base")
        tokenizer(Path(name) / "base")
        yield Path(name)


@contextmanager
def owner(folder: Path, label: str) -> Iterator[Owner]:
    told = Queue[str]()
    out = folder / f"out-{label}"
    asked = OwnerRun(model=str(folder / "base"), out=out, ends=ENDS, kept=KEPT, wait=60.0)
    ended = list[BaseException]()

    def work() -> None:
        try:
            run_owner(asked, overwrite=True, on_listening=told.put)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield Owner(read_address(told.get(timeout=60)), thread, out, ended)


def frame(head: object, body: bytes = b"", *, sizes: tuple[int, int] | None = None) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    lengths = sizes or (len(text), len(body))
    return struct.pack("!6sHIQ", b"ADWOFF", VERSION, *lengths) + text + body


def heard(raw: socket.socket) -> dict[str, Any]:
    """The head of the next message; its body is read and forgotten."""

    def exactly(size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = raw.recv(size - len(parts))
            if not part:
                raise ConnectionError("the owner hung up")
            parts += part
        return bytes(parts)

    _, _, head, body = struct.unpack("!6sHIQ", exactly(20))
    found: dict[str, Any] = json.loads(exactly(head))
    exactly(body)
    return found


HELLO = {"kind": "hello", "fields": {"token": "guess"}}
STRANGERS: dict[str, bytes] = {
    "nothing": b"",
    "a page is asked for": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS begins": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "SSH begins": b"SSH-2.0-OpenSSH_9.6\r\n",
    "random bytes": bytes(range(256)) * 40,
    "zeros": bytes(100_000),
    "half a front": frame(HELLO)[:10],
    "another version": struct.pack("!6sHIQ", b"ADWOFF", 99, 2, 0) + b"{}",
    "a head of 4 GB": frame(b"{", sizes=(2**32 - 1, 0)),
    "a body of 16 EB": frame(HELLO, sizes=(len(json.dumps(HELLO)), 2**64 - 1)),
    "no JSON": frame(b"hello"),
    "JSON 100,000 deep": frame(b"[" * 3000),
    "a number of 4,000 digits": frame(b'{"kind":"hello","fields":{"token":' + b"9" * 4000 + b"}}"),
    "another kind": frame({"kind": "adapter", "fields": {}}),
    "a wrong token": frame(HELLO),
    "a token that is none": frame({"kind": "hello", "fields": {"token": ["", None]}}),
}


def _stranger(folder: Path, said: bytes) -> dict[str, float]:
    with owner(folder, "strangers") as found:
        raw = found.stranger(said)
        stays = found.stranger(said)
        raw.close()
        seconds = found.honest()
        stays.close()
        return {"honest_seconds": round(seconds, 2)}


def lied(fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    head = {"kind": "adapter", "fields": {**FIELDS, **fields}}
    return frame(head, save({**ADAPTER, **tensors}))


def _wrong(value: Tensor) -> bytes:
    return lied({}, {NAME: value})


GOOD = ADAPTER[NAME]
HEAD = {"kind": "adapter", "fields": FIELDS}
LIES: dict[str, Callable[[], bytes]] = {
    "a layer of 5,000 digits": lambda: lied({}, {"first." + "9" * 5000 + ".x": GOOD.clone()}),
    "a layer of four digits": lambda: lied({}, {"first.9999.x": GOOD.clone()}),
    "a layer in Arabic digits": lambda: lied({}, {"first.\u0661.x": GOOD.clone()}),
    "a name with a path": lambda: lied({}, {"../../evil": GOOD.clone()}),
    "a name with a colour": lambda: lied({}, {"\x1b[31mred": GOOD.clone()}),
    "one tensor too many": lambda: lied({}, {"first.0.more": GOOD.clone()}),
    "NaN": lambda: _wrong(torch.full_like(GOOD, float("nan"))),
    "infinity": lambda: _wrong(torch.full_like(GOOD, float("inf"))),
    "numbers that overflow": lambda: lied({}, {n: v + 3e38 for n, v in ADAPTER.items()}),
    "another shape": lambda: _wrong(torch.zeros(3)),
    "whole numbers": lambda: _wrong(torch.zeros(GOOD.shape, dtype=torch.int64)),
    "rank 1,000,000,000": lambda: lied({"rank": 10**9}, {}),
    "rank -1": lambda: lied({"rank": -1}, {}),
    "rank 10^400": lambda: lied({"rank": 10**400}, {}),
    "another rank": lambda: lied({"rank": RANK - 1}, {}),
    "alpha of 1e308": lambda: lied({"alpha": 1e308}, {}),
    "alpha of text": lambda: lied({"alpha": "16"}, {}),
    "other ends": lambda: lied({"ends": 1}, {}),
    "a body that is no safetensors": lambda: frame(HEAD, b"x" * 99),
}


def _liar(folder: Path, said: Callable[[], bytes]) -> dict[str, float]:
    with owner(folder, "liars") as found:
        liar = found.raw_peer()
        liar.sendall(said())
        try:
            answer = heard(liar)
        except OSError:
            answer = {"kind": "failed"}  # hung up on, with bytes that were not read
        assert answer["kind"] == "failed", f"the adapter was {answer['kind']}"
        liar.close()
        return {"honest_seconds": round(found.honest(), 2)}


def _silent_with_the_token(folder: Path) -> dict[str, float]:
    with owner(folder, "silent") as found:
        stays = [found.peer() for _ in range(3)]
        seconds = found.honest()
        for each in stays:
            each.close()
        return {"honest_seconds": round(seconds, 2)}


def _silent_strangers(folder: Path) -> dict[str, float]:
    with owner(folder, "queue") as found:
        stays = [found.stranger() for _ in range(200)]
        seconds = found.honest()
        for each in stays:
            each.close()
        return {"honest_seconds": round(seconds, 2)}


def _poison(folder: Path) -> dict[str, float]:
    with owner(folder, "poison") as found:
        other = found.address._replace(token="guess")
        noise = {name: torch.randn_like(value) for name, value in ADAPTER.items()}
        with suppress(AdwrightError), connect(other, timeout=SOON) as channel:
            channel.greet()
            channel.send(WireMessage("adapter", FIELDS, noise))
            came = channel.receive("emulator", "plugged")
            raise AssertionError(f"a stranger was served: {came.kind}")
        return {"honest_seconds": round(found.honest(), 2)}


def _bomb(folder: Path, kind: str, size: int) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with owner(folder, "bomb") as found:
        raw = found.raw_peer()
        head = json.dumps({"kind": kind, "fields": FIELDS}).encode()
        with suppress(OSError):
            raw.sendall(frame(head, sizes=(len(head), size)))
            for _ in range(size // MIB):
                raw.sendall(bytes(MIB))
        seconds = found.honest()
        raw.close()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 400, f"{grown:.0f} MB"
    return {"honest_seconds": round(seconds, 2), "mb": round(grown, 1)}


def _attacks() -> Iterator[Attack]:
    for label, said in STRANGERS.items():
        quick = label == "a wrong token"
        yield Attack(f"a stranger: {label}", partial(_stranger, said=said), quick, "", 60.0)
    for label, lie in LIES.items():
        quick = label == "a layer of 5,000 digits"
        name = f"an adapter that lies: {label}"
        yield Attack(name, partial(_liar, said=lie), quick, "", 60.0)
    yield Attack("three that know the token and say nothing more", _silent_with_the_token)
    yield Attack("200 silent connections in front", _silent_strangers)
    yield Attack("an adapter of noise from one without the token", _poison)
    for label, kind, size in (
        ("an adapter of 2 GiB of zeros", "adapter", 2 << 30),
        ("a message of another kind of 2 GiB", "hello", 2 << 30),
    ):
        yield Attack(label, partial(_bomb, kind=kind, size=size), False, "", 60.0)


AREAS = [Area("offsite sockets", list(_attacks()), shared=base)]
