"""24 hours with all of it mixed at random: what is acknowledged stays, memory and files are flat.

1,440 rounds of a minute on the service's wall clock. In each an honest tenant asks for decisions
and reports events, while one to three disturbances, drawn from a seed, come from strangers, from
another tenant and from the folders beneath. The first six hours warm up; from then on memory may
not grow by more than GROWTH from the first third to the last, and no file may stay open.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import publish
from adwright.web.server import listen
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT
from benchmarks.service._client import Answer, Pool, post
from tests.attacks.attack import Area, Attack
from tests.support.delivery.cascade_parts import deployment

SEED = 20261127
ROUNDS, QUICK_ROUNDS = 24 * 60, 20
WARM = 6 * 60
#: Of the resident memory after warming; the interpreter's own pools breathe by some of it.
GROWTH = 0.05
HONEST, STRANGER = "honest", "loud"
ASKED = 10
SETTINGS = {"deadline_ms": 250.0, "poll_seconds": 0.2}


@dataclass
class World:
    """One day: the service, who calls it, and what was acknowledged."""

    folder: Path
    models: Path
    port: int
    keys: Mapping[str, str]
    process: subprocess.Popen[str]
    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: list[str] = field(default_factory=list)
    held: list[asyncio.StreamWriter] = field(default_factory=list)
    number: int = 0

    def new(self, prefix: str) -> str:
        """An id that was not used before."""
        self.number += 1
        return f"{prefix}-{self.number}"

    def step(self, seconds: float) -> None:
        """Push the service's wall clock on."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline(), "the service has ended"

    def resident(self) -> int:
        """Bytes of memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def files(self) -> int:
        """Open files and sockets."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def let_go(self) -> None:
        """Close what attackers hold open."""
        for writer in self.held:
            writer.close()
        self.held.clear()


Disturbance = Callable[[World, np.random.Generator], Awaitable[None]]


def event(world: World, tenant: str, **changes: Any) -> dict[str, Any]:
    """A purchase of the catalogue of the small cascade."""
    return {
        "event_id": world.new(f"e-{tenant}"),
        "time": datetime.now(UTC).isoformat(),
        "request_id": f"v-{world.number}",
        "user_id": f"u{world.number % 40}",
        "kind": "purchase",
        "item_id": f"i{world.number % 7}",
        **changes,
    }


async def raw(world: World, data: bytes, *, hold: bool = False) -> bytes:
    """Send bytes; the first of the answer, or nothing where the connection is held open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    with suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
    if hold:
        world.held.append(writer)
        return b""
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(5):
            return await reader.read(200)
    writer.close()
    return b""


async def half_open(world: World, rng: np.random.Generator) -> None:
    for _ in range(40):
        await raw(world, b"GET /healthz HTTP/1.1\r\nHost:", hold=True)


async def silent(world: World, rng: np.random.Generator) -> None:
    for _ in range(40):
        await raw(world, b"", hold=True)


async def slow_bodies(world: World, rng: np.random.Generator) -> None:
    for _ in range(30):
        await raw(world, post("/v1/decide", world.keys[STRANGER], b"x" * 500)[:-499], hold=True)


async def large_heads(world: World, rng: np.random.Generator) -> None:
    head = b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 2_000_000
    await raw(world, head)


async def nested(world: World, rng: np.random.Generator) -> None:
    for key in (world.keys[STRANGER], "nobody's"):
        await raw(world, post("/v1/decide", key, b"[" * 900_000))


async def unknown_fields(world: World, rng: np.random.Generator) -> None:
    body = json.dumps({f"f{n}": 1 for n in range(50_000)}).encode()
    await raw(world, post("/v1/decide", world.keys[STRANGER], body))


async def unknown_keys(world: World, rng: np.random.Generator) -> None:
    pool = Pool("127.0.0.1", world.port)
    tries = [pool.send(post("/v1/decide", world.new("key"), b"{}")) for _ in range(60)]
    answers = await asyncio.gather(*tries)
    assert {answer.status for answer in answers} <= {0, 401, 429, 503}
    pool.close()


async def flood(world: World, rng: np.random.Generator) -> None:
    pool = Pool("127.0.0.1", world.port)
    bodies = [[event(world, STRANGER) for _ in range(1000)] for _ in range(4)]
    key = world.keys[STRANGER]
    sent = [pool.send(post("/v1/events", key, _body({"events": rows}))) for rows in bodies]
    for answer, rows in zip(await asyncio.gather(*sent), bodies, strict=True):
        if answer.status == 200:
            world.acknowledged += [row["event_id"] for row in rows]
    pool.close()


async def many_people(world: World, rng: np.random.Generator) -> None:
    rows = [event(world, STRANGER, user_id=world.new("made-up")) for _ in range(500)]
    body = _body({"events": rows})
    await raw(world, post("/v1/events", world.keys[STRANGER], body))


async def future(world: World, rng: np.random.Generator) -> None:
    rows = [event(world, HONEST, time="2099-01-01T00:00:00Z")]
    await raw(world, post("/v1/events", world.keys[HONEST], _body({"events": rows})))


async def cut_off(world: World, rng: np.random.Generator) -> None:
    for _ in range(20):
        await raw(world, post("/v1/decide", world.keys[STRANGER], b"{}" * 200)[:-7], hold=True)
    world.let_go()


async def campaigns(world: World, rng: np.random.Generator) -> None:
    for _ in range(5):
        await raw(world, post("/v1/campaigns", world.keys[STRANGER], b"{}"))
    head = f"GET /v1/campaigns HTTP/1.1\r\nHost: x\r\nX-API-Key: {world.keys[STRANGER]}\r\n\r\n"
    await raw(world, head.encode())


async def garbage_model(world: World, rng: np.random.Generator) -> None:
    folder = world.models / STRANGER / world.new("bad")
    folder.mkdir()
    (folder / "manifest.json").write_bytes(rng.bytes(200))
    pointer = world.models / STRANGER / "current"
    pointer.unlink(missing_ok=True)  # it may be a FIFO, on which writing never ends
    pointer.write_text(folder.name)


async def pipe_as_pointer(world: World, rng: np.random.Generator) -> None:
    pointer = world.models / STRANGER / "current"
    pointer.unlink(missing_ok=True)
    os.mkfifo(pointer)


async def good_model(world: World, rng: np.random.Generator) -> None:
    name = world.new("good")
    ids = [f"i{n}" for n in range(30)]
    save_popularity(world.models / STRANGER / name, ids, rng.random(len(ids)) + 1)
    (world.models / STRANGER / "current").unlink(missing_ok=True)
    publish(world.models, STRANGER, name)


async def same_cascade(world: World, rng: np.random.Generator) -> None:
    current = (world.models / HONEST / "current").read_text().strip()
    publish(world.models, HONEST, "v2" if current == "v1" else "v1")


async def locked_store(world: World, rng: np.random.Generator) -> None:
    other = sqlite3.connect(world.folder / "day.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(0.1)
        other.execute("ROLLBACK")
    finally:
        other.close()


async def reuse_of_ids(world: World, rng: np.random.Generator) -> None:
    row = event(world, STRANGER)
    for _ in range(3):
        body = _body({"events": [{**row, "value": float(rng.random())}]})
        await raw(world, post("/v1/events", world.keys[STRANGER], body))


DISTURBANCES: tuple[Disturbance, ...] = (
    *(half_open, silent, slow_bodies, large_heads, nested, unknown_fields, unknown_keys, flood),
    *(many_people, future, cut_off, campaigns, garbage_model, pipe_as_pointer, good_model),
    *(same_cascade, locked_store, reuse_of_ids),
)


def _body(content: Any) -> bytes:
    return json.dumps(content).encode()


async def honest(world: World, pool: Pool, rng: np.random.Generator) -> None:
    """One minute of the honest tenant."""
    key = world.keys[HONEST]
    for _ in range(ASKED):
        asked = {"request_id": world.new("r"), "user_id": f"u{rng.integers(40)}", "k": 5}
        answer = await pool.send(post("/v1/decide", key, _body(asked)))
        world.statuses[answer.status] += 1
    rows = [event(world, HONEST) for _ in range(5)]
    answer = await pool.send(post("/v1/events", key, _body({"events": rows})))
    if answer.status == 200:
        world.acknowledged += [row["event_id"] for row in rows]


async def live(world: World, rounds: int) -> dict[str, float]:
    """Let the rounds pass; memory and files by the hour."""
    rng = np.random.default_rng(SEED)
    pool = Pool("127.0.0.1", world.port)
    memory, files = list[int](), list[int]()
    for number in range(rounds):
        which = rng.choice(len(DISTURBANCES), size=rng.integers(1, 4), replace=False)
        disturbed = [asyncio.create_task(DISTURBANCES[n](world, rng)) for n in which]
        await honest(world, pool, rng)
        await asyncio.gather(*disturbed)
        world.step(60)
        if number % 60 == 59:
            world.let_go()
            await asyncio.sleep(1.0)
            memory.append(world.resident())
            files.append(world.files())
    world.let_go()
    last = await pool.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    pool.close()
    assert last.status == 200, f"/readyz says {last}"
    asked = world.statuses.total()
    found = {"honest_share_of_the_day": world.statuses[200] / asked, "asked": float(asked)}
    if memory:
        found |= _flatness(memory[WARM // 60 :], files[WARM // 60 :])
    return found


def _flatness(memory: list[int], files: list[int]) -> dict[str, float]:
    third = len(memory) // 3
    first, last = np.median(memory[:third]), np.median(memory[-third:])
    found = {
        "memory_mb": round(float(last) / 1e6, 1),
        "memory_growth": round(float(last / first - 1), 4),
        "files_first": float(np.median(files[:third])),
        "files_last": float(np.median(files[-third:])),
    }
    assert found["memory_growth"] <= GROWTH, f"memory grew: {[m >> 20 for m in memory]} MiB"
    assert found["files_last"] <= found["files_first"] + 5, f"files stay open: {files}"
    return found


@contextmanager
def world_of_a_day() -> Iterator[World]:
    """The service with two tenants: one with a cascade, one with the most popular items."""
    with tempfile.TemporaryDirectory(dir=_on_disk(), prefix="day-") as name:
        folder = Path(name)
        for version in ("v1", "v2"):
            deployment().save(folder / "models" / HONEST / version)
        ids = [f"i{n}" for n in range(30)]
        save_popularity(folder / "models" / STRANGER / "v1", ids, np.arange(30.0) + 1)
        for tenant in (HONEST, STRANGER):
            publish(folder / "models", tenant, "v1")
        url = f"sqlite:///{folder / 'day.db'}"
        with Store.open(url) as store:
            keys = {tenant: store.create_key(tenant, SCOPES) for tenant in (HONEST, STRANGER)}
        opened = listen("127.0.0.1", 0)
        process = subprocess.Popen(
            command(
                "tests.attacks.service.day_process",
                *(url, folder / "models", opened.fileno(), json.dumps(SETTINGS)),
            ),
            cwd=ROOT,
            pass_fds=[opened.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        port = opened.getsockname()[1]
        try:
            yield World(folder, folder / "models", port, keys, process)
        finally:
            process.kill()
            process.wait()
            opened.close()


def _on_disk() -> Path:
    """Where a commit is synced to a disk: the system's folder may lie in memory."""
    runs = ROOT / "runs"
    runs.mkdir(exist_ok=True)
    return runs


async def _ready(world: World) -> None:
    pool = Pool("127.0.0.1", world.port)
    answer = Answer(0, b"")
    for _ in range(600):
        answer = await pool.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        if answer.status == 200:
            break
        await asyncio.sleep(0.1)
    pool.close()
    assert answer.status == 200, f"the service did not become ready: {answer}"


def passes(rounds: int) -> dict[str, float]:
    """A world of its own, and its rounds."""
    with world_of_a_day() as world:
        return _passes(world, rounds)


def _passes(world: World, rounds: int) -> dict[str, float]:
    """The rounds, the end by a signal, and a look for everything that was acknowledged."""
    asyncio.run(_ready(world))
    found = asyncio.run(live(world, rounds))
    world.process.send_signal(signal.SIGTERM)
    world.process.wait(60)
    with Store.open(f"sqlite:///{world.folder / 'day.db'}") as store:
        stored = Counter[str]()
        for tenant in (HONEST, STRANGER):
            stored.update(store.events(tenant)["event_id"].to_list())
    lost = [one for one in world.acknowledged if stored[one] != 1]
    assert not lost, f"{len(lost)} of {len(world.acknowledged)} events are not stored once"
    assert found["honest_share_of_the_day"] >= 0.99, dict(world.statuses)
    return {**found, "acknowledged": float(len(world.acknowledged))}


AREAS = [
    Area(
        "a day of everything",
        [
            Attack("20 minutes", lambda _: passes(QUICK_ROUNDS), quick=True, seconds=120),
            Attack("24 hours", lambda _: passes(ROUNDS), seconds=3600),
        ],
        memory=0,
    )
]
