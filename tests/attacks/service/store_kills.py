"""kill -9 of writers, compactors and the database's own processes: is all that was acknowledged
kept, once? One attack is one kill."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg

from adwright.campaigns.store.store import Store
from adwright.core.errors import ResourceError
from tests.attacks.attack import Area, Attack
from tests.attacks.service.standstill import Shop, call, event, require_kept, shop
from tests.support.store.events import START
from tests.support.store.postgres import Postgres, programs, running
from tests.support.store.store_processes import compact, post_and_tell, start

SQLITE_KILLS, SERVER_KILLS, CRASHES, SERVED_CRASHES = 60, 30, 8, 5
#: More than the writers get done before they are killed.
MANY = 20_000
WRITERS = 2
END = START + timedelta(days=3_000)


@dataclass(frozen=True)
class Killed:
    """A database that outlives the kills. postgres: its server, None for SQLite."""

    url: str
    folder: Path
    postgres: Postgres | None = None


@contextmanager
def sqlite_file() -> Iterator[Killed]:
    """An SQLite file that all attacks of a process share."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        yield Killed(f"sqlite:///{name}/store.db", Path(name))


@contextmanager
def server() -> Iterator[Killed]:
    """A PostgreSQL that all attacks of a process share."""
    found = programs()
    assert found is not None
    with running(found) as postgres, tempfile.TemporaryDirectory(prefix="attacks-") as name:
        yield Killed(postgres.new_database(), Path(name), postgres)


def kill_writers(number: int, killed: Killed) -> dict[str, float]:
    """Two writers of the same events and a compactor are killed at a moment of chance."""
    rng = random.Random(number)
    tenant, folder = f"shop-{number}", killed.folder / f"log-{number}"
    told = [killed.folder / f"told-{number}-{writer}" for writer in range(WRITERS)]
    with Store.open(killed.url) as store:
        store.create_tenant(tenant)
    processes = _started(killed.url, tenant, folder, told, rng)
    _until_told(told, rng.randint(1, 150))
    time.sleep(rng.uniform(0, 0.3))
    for process in rng.sample(processes, len(processes)):
        process.kill()
    return _counted(killed.url, tenant, folder, told, processes)


def crash_backend(number: int, killed: Killed) -> dict[str, float]:
    """A process of the server is killed, which ends them all; the server begins anew."""
    rng = random.Random(number)
    tenant, folder = f"crashed-{number}", killed.folder / f"log-c{number}"
    told = [killed.folder / f"told-c{number}-{writer}" for writer in range(WRITERS)]
    with Store.open(killed.url) as store:
        store.create_tenant(tenant)
    processes = _started(killed.url, tenant, folder, told, rng)
    _until_told(told, rng.randint(1, 150))
    _kill_a_backend(killed.url, rng)
    for process in processes:
        process.join(10)
        process.kill()
    _until_it_answers(killed.url)
    return _counted(killed.url, tenant, folder, told, processes)


def _started(
    url: str, tenant: str, folder: Path, told: Sequence[Path], rng: random.Random
) -> list[BaseProcess]:
    size = rng.choice((1, 20, 300))
    writers = [start(post_and_tell, url, tenant, MANY, size, path) for path in told]
    return [*writers, start(compact, url, tenant, folder, END, rng.choice((50, 1_000)))]


def _until_told(told: Sequence[Path], many: int) -> None:
    for _ in range(1_000):
        if sum(len(_lines(path)) for path in told) >= many:
            return
        time.sleep(0.02)
    raise AssertionError("the writers acknowledge nothing")


def _lines(path: Path) -> list[str]:
    """Whole lines alone: the last one may have been cut off by the kill."""
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].split()


def _counted(
    url: str, tenant: str, folder: Path, told: Sequence[Path], processes: Sequence[BaseProcess]
) -> dict[str, float]:
    for process in processes:
        process.join(30)
    acknowledged = {line for path in told for line in _lines(path)}
    assert acknowledged
    with Store.open(url) as store:
        store.compact(tenant, folder, before=END)
        counts = Counter(store.log(tenant, folder).collect()["event_id"].to_list())
    lost = [one for one in acknowledged if not counts[one]]
    twice = [one for one, many in counts.items() if many > 1]
    assert not lost, f"{len(lost)} of {len(acknowledged)} are lost"
    assert not twice, f"{len(twice)} are there twice"
    return {"acknowledged": float(len(acknowledged))}


def _kill_a_backend(url: str, rng: random.Random) -> None:
    with suppress(psycopg.OperationalError), _plain(url) as connection:
        query = b"SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        backends = [pid for (pid,) in connection.execute(query)]
        os.kill(rng.choice(backends), signal.SIGKILL)


def _plain(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True, connect_timeout=5)


def _until_it_answers(url: str) -> None:
    for _ in range(300):
        try:
            with Store.open(url, seconds=5) as store:
                store.ping()
                return
        except ResourceError:
            time.sleep(0.1)
    raise AssertionError("the server does not begin anew")


@dataclass(frozen=True)
class Served:
    """A service on a server, and what it has acknowledged so far."""

    shop: Shop
    url: str
    acknowledged: list[str]


@contextmanager
def served() -> Iterator[Served]:
    """A service on PostgreSQL."""
    with server() as killed, shop(killed.url, killed.folder / "shop") as opened:
        yield Served(opened, killed.url, [])


def crash_below_a_service(number: int, served: Served) -> dict[str, float]:
    """Callers send events to a service below which a process of PostgreSQL is killed."""
    rng, stop = random.Random(number), threading.Event()
    statuses: Counter[int] = Counter()

    def send(caller: int) -> None:
        for turn in range(10_000):
            if stop.is_set():
                return
            ids = [f"s{number}-{caller}-{turn}-{n}" for n in range(3)]
            body = {"events": [event(one) for one in ids]}
            status = call(served.shop, "POST", "/v1/events", body)[0]
            statuses[status] += 1
            if status == 200:
                served.acknowledged.extend(ids)

    callers = [threading.Thread(target=send, args=(n,), daemon=True) for n in range(4)]
    for caller in callers:
        caller.start()
    time.sleep(rng.uniform(0.5, 1.5))
    _kill_a_backend(served.url, rng)
    _until_it_answers(served.url)
    before = len(served.acknowledged)
    for _ in range(300):
        if len(served.acknowledged) > before + 30:
            break
        time.sleep(0.1)
    stop.set()
    for caller in callers:
        caller.join(60)
    assert len(served.acknowledged) > before, f"it takes nothing any more: {statuses}"
    assert set(statuses) <= {200, 429, 503}, statuses
    for _ in range(100):
        if call(served.shop, "GET", "/readyz")[0] == 200:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("not ready again")
    require_kept(served.shop, served.acknowledged)
    return {"acknowledged": float(len(served.acknowledged))}


def _attacks(name: str, function: object, many: int, first: int = 0) -> list[Attack]:
    assert callable(function)
    return [
        Attack(f"{name}, {number + 1} of {many}", partial(function, first + number), seconds=120)
        for number in range(many)
    ]


AREAS = [
    Area(
        "store killed, SQLite",
        _attacks("kill -9 of two writers and a compactor", kill_writers, SQLITE_KILLS),
        sqlite_file,
        memory=0,
    )
]
if programs() is not None:
    kills = _attacks("kill -9 of two writers and a compactor", kill_writers, SERVER_KILLS)
    crashes = _attacks("kill -9 of a process of the server", crash_backend, CRASHES)
    # A crash after every fourth kill.
    mixed = [
        each
        for place, kill in enumerate(kills)
        for each in ([kill, crashes[place // 4]] if place % 4 == 3 else [kill])
    ]
    mixed += crashes[len(kills) // 4 :]
    below = _attacks("kill -9 of a process of the server", crash_below_a_service, SERVED_CRASHES)
    AREAS += [
        Area("store killed, PostgreSQL", mixed, server, memory=0),
        Area("store killed, PostgreSQL below a service", below, served, memory=0),
    ]
