"""Attacks on the store below a running service: locked, frozen, full, gone, read-only, flooded."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.errors import ResourceError
from tests.attacks.attack import Area, Attack
from tests.attacks.service.standstill import (
    START,
    TENANTS,
    Shop,
    call,
    event,
    require_kept,
    shop,
    stand_still,
)
from tests.support.store.postgres import Postgres, programs, running

#: Room for the start of a service, its end and its recovery, beside what an attack says itself.
AROUND = 120.0
_FREEZE = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE tenants SET created = created + 0")
print("holds it", flush=True)
time.sleep(600)
"""


@contextmanager
def sqlite_shop(scratch: Path) -> Iterator[tuple[Shop, Path]]:
    """A service on an SQLite file, and that file."""
    folder = scratch / secrets.token_hex(4)
    path = folder / "disk" / "store.db"
    with shop(f"sqlite:///{path}", folder) as opened:
        yield opened, path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """This process keeps the right to write."""
    holder = sqlite3.connect(path, isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        yield
    finally:
        holder.close()


@contextmanager
def frozen_writer(path: Path) -> Iterator[None]:
    """Another process was stopped in the middle of a write, and is killed in the end."""
    command = [sys.executable, "-c", _FREEZE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.kill()


@contextmanager
def no_byte_more(opened: Shop) -> Iterator[None]:
    """The service may write to no file beyond its first kilobyte, as with a quota that is used."""
    hard = resource.prlimit(opened.service.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(opened.service.pid, resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.prlimit(opened.service.pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def taken_away(path: Path) -> Iterator[None]:
    """The file, or the folder, has another name for a while."""
    away = path.with_name(f"{path.name}.away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


Disturb = Callable[[Shop, Path], AbstractContextManager[object]]
STILL: dict[str, tuple[Disturb, float, bool]] = {
    "SQLite's lock is kept for 5 s": (lambda _, path: locked(path), 5.5, True),
    "SQLite's lock is kept for 20 s": (lambda _, path: locked(path), 20, True),
    "SQLite's lock is kept for 45 s": (lambda _, path: locked(path), 45, True),
    "a writer of SQLite is frozen for 60 s": (lambda _, path: frozen_writer(path), 60, True),
    "no file may grow any more, for 15 s": (lambda opened, _: no_byte_more(opened), 15, True),
    "the file is taken away for 12 s": (lambda _, path: taken_away(path), 12, False),
    "the folder is taken away for 12 s": (lambda _, path: taken_away(path.parent), 12, False),
}


def still(name: str, scratch: Path) -> dict[str, float]:
    disturb, seconds, reads = STILL[name]
    with sqlite_shop(scratch) as (opened, path):
        return stand_still(opened, disturb(opened, path), seconds, reads=reads)


def blocked_campaign_writes(scratch: Path) -> dict[str, float]:
    """Sixty campaign writes of one tenant wait for a lock: nobody else notices."""
    with sqlite_shop(scratch) as (opened, path), locked(path):
        body = {"campaign_id": "c", "start": START}
        statuses: list[int] = []
        post = lambda: statuses.append(call(opened, "POST", "/v1/campaigns", body)[0])  # noqa: E731
        threads = [threading.Thread(target=post, daemon=True) for _ in range(60)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        other, longest = opened.keys[TENANTS[1]], 0.0
        for path_asked in ("/v1/campaigns", "/v1/models") * 5:
            began = time.monotonic()
            assert call(opened, "GET", path_asked, key=other)[0] == 200  # never seen before
            longest = max(longest, time.monotonic() - began)
        assert longest < 1.5, longest
        for thread in threads:
            thread.join(30)
        assert set(statuses) == {429, 503}, Counter(statuses)
        return {"longest_s": round(longest, 2)}


def invented_keys(scratch: Path) -> dict[str, float]:
    """Keys that look like keys, by many callers: a key never seen is let in at once."""
    with sqlite_shop(scratch) as (opened, _):
        stop, sent = threading.Event(), Counter[int]()

        def flood() -> None:
            while not stop.is_set():
                key = f"adw_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"
                sent[call(opened, "GET", "/v1/models", key=key)[0]] += 1

        threads = [threading.Thread(target=flood, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        with Store.open(opened.url) as store:
            keys = [store.create_key(TENANTS[1], SCOPES) for _ in range(20)]
        longest = 0.0
        for key in keys:
            began = time.monotonic()
            assert call(opened, "GET", "/v1/models", key=key)[0] == 200
            longest = max(longest, time.monotonic() - began)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert set(sent) == {401}, sent
        assert longest < 1, longest
        return {"longest_s": round(longest, 2), "invented": float(sum(sent.values()))}


def revoked_meanwhile(scratch: Path) -> None:
    """A key that is revoked while the store cannot be asked opens nothing once it can."""
    with sqlite_shop(scratch) as (opened, path):
        assert call(opened, "GET", "/v1/models")[0] == 200
        with taken_away(path):
            time.sleep(6)  # no longer fresh
            assert call(opened, "GET", "/v1/models")[0] == 200
            assert call(opened, "GET", "/v1/models", key=opened.keys[TENANTS[1]])[0] == 503
        with Store.open(opened.url) as store:
            assert store.revoke_key(TENANTS[0], opened.keys[TENANTS[0]])
        for _ in range(100):
            if call(opened, "GET", "/v1/models")[0] == 401:
                return
            time.sleep(0.1)
        raise AssertionError("the revoked key is still believed")


@contextmanager
def small_disk(scratch: Path) -> Iterator[Path]:
    """A file system of 24 MiB, which needs root."""
    disk = Path(tempfile.mkdtemp(dir=scratch))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def full_disk(scratch: Path) -> dict[str, float]:
    """Filled by 35,000 events and a stranger's file, under the service; then a spare file is
    deleted, the events are compacted onto another disk, and the service goes on by itself."""
    with small_disk(scratch) as disk:
        spare = disk / "spare"
        spare.write_bytes(bytes(2 << 20))
        with shop(f"sqlite:///{disk / 'store.db'}", disk.parent / disk.name[::-1]) as opened:
            acknowledged = [one for n in range(70) for one in _sent(opened, f"a{n}", 500)]
            assert len(acknowledged) == 35_000
            _fill(disk / "strange")
            refused = sum(not _sent(opened, f"b{n}", 500) for n in range(20))
            assert refused > 0
            _until(lambda: call(opened, "GET", "/readyz")[0] == 503, "readyz says ready")
            statuses = {call(opened, "POST", "/v1/decide", _ask(n))[0] for n in range(20)}
            assert statuses <= {200, 429, 503}, statuses
            assert call(opened, "GET", "/v1/models")[0] == 200
            spare.unlink()
            log = opened.folder / "log"
            with Store.open(opened.url) as store:
                later = datetime(2024, 5, 3, tzinfo=UTC)
                assert store.compact(TENANTS[0], log, before=later)
            _until(lambda: call(opened, "GET", "/readyz")[0] == 200, "readyz does not recover")
            more = _sent(opened, "after", 100)
            assert len(more) == 100
            opened.service.stop()
            require_kept(opened, acknowledged + more, folder=log)
            return {"acknowledged": float(len(acknowledged)), "refused_batches": float(refused)}


def _ask(number: int) -> dict[str, object]:
    return {"request_id": f"full-{number}", "user_id": "ann", "k": 3}


def _sent(opened: Shop, name: str, many: int) -> list[str]:
    """The ids of a batch, if it was acknowledged."""
    ids = [f"{name}-{n}" for n in range(many)]
    body = {"events": [event(one) for one in ids]}
    return ids if call(opened, "POST", "/v1/events", body)[0] == 200 else []


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(otherwise)


def _may_mount() -> bool:
    return os.geteuid() == 0 and sys.platform == "linux"


def sqlite_attacks() -> Iterator[Attack]:
    for name, (_, seconds, _) in STILL.items():
        yield Attack(name, partial(still, name), seconds=seconds + AROUND)
    yield Attack("60 campaign writes wait for a lock", blocked_campaign_writes, seconds=AROUND)
    yield Attack("a flood of invented keys", invented_keys, quick=True, seconds=AROUND)
    yield Attack("a key revoked while the store is away", revoked_meanwhile, seconds=AROUND)
    if _may_mount():
        yield Attack("a full disk below 35,000 events", full_disk, seconds=2 * AROUND)


@contextmanager
def server() -> Iterator[tuple[Postgres, Path]]:
    """A PostgreSQL, and a scratch folder."""
    found = programs()
    assert found is not None
    with running(found) as postgres, tempfile.TemporaryDirectory(prefix="attacks-") as name:
        yield postgres, Path(name)


def _all_of(postgres: Postgres) -> list[int]:
    parent = postgres.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *map(int, children)]


@contextmanager
def frozen_server(postgres: Postgres) -> Iterator[None]:
    """All its processes are stopped; the kernel goes on to take connections for it."""
    stopped = _all_of(postgres)
    try:
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in stopped:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


@contextmanager
def _statement(url: str, *statements: str, undo: str = "") -> Iterator[None]:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
        yield
        if undo:
            connection.execute(undo.encode())
            connection.execute(b"SELECT pg_reload_conf()")


def tables_locked(opened: Shop) -> AbstractContextManager[None]:
    # In the order in which the service takes them, so that neither waits for the other.
    lock = "LOCK TABLE decisions, event_ids, events, campaigns, api_keys IN ACCESS EXCLUSIVE MODE"
    return _statement(opened.url, "BEGIN", lock, undo="ROLLBACK")


def read_only(opened: Shop) -> AbstractContextManager[None]:
    """What a provider does whose disk is full. Holds for transactions that begin later."""
    change = "ALTER SYSTEM SET default_transaction_read_only = on"
    back = "ALTER SYSTEM RESET default_transaction_read_only"
    return _statement(opened.url, change, "SELECT pg_reload_conf()", undo=back)


Hold = Callable[[Shop, Postgres], AbstractContextManager[object]]
SERVER_STILL: dict[str, tuple[Hold, float, bool]] = {
    "PostgreSQL is frozen for 15 s": (lambda _, server: frozen_server(server), 15, False),
    "PostgreSQL is frozen for 60 s": (lambda _, server: frozen_server(server), 60, False),
    "its tables are locked for 20 s": (lambda opened, _: tables_locked(opened), 20, False),
    "it only reads for 12 s": (lambda opened, _: read_only(opened), 12, True),
}


def server_still(name: str, shared: tuple[Postgres, Path]) -> dict[str, float]:
    postgres, scratch = shared
    disturb, seconds, reads = SERVER_STILL[name]
    with shop(postgres.new_database(), scratch / secrets.token_hex(4)) as opened:
        return stand_still(opened, disturb(opened, postgres), seconds, reads=reads)


def starts_on_a_frozen_server(shared: tuple[Postgres, Path]) -> dict[str, float]:
    """Opening a store gives up within its bounds, too."""
    postgres, _ = shared
    url = postgres.new_database()
    with frozen_server(postgres):
        began = time.monotonic()
        with pytest.raises(ResourceError, match="database refuses"):
            Store.open(url, seconds=3).close()
        taken = time.monotonic() - began
    assert taken < 10, taken
    return {"seconds": round(taken, 1)}


def server_attacks() -> Iterator[Attack]:
    for name, (_, seconds, _) in SERVER_STILL.items():
        yield Attack(name, partial(server_still, name), seconds=seconds + AROUND)
    yield Attack("a store is opened on a frozen server", starts_on_a_frozen_server)


AREAS = [Area("store stands still, SQLite", list(sqlite_attacks()), memory=0)]
if programs() is not None:
    found = Area("store stands still, PostgreSQL", list(server_attacks()), server, memory=0)
    AREAS.append(found)
