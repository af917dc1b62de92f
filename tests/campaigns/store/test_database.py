"""?"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from sqlalchemy import inspect, make_url, select, text

from adwright.campaigns.store import compaction, database
from adwright.campaigns.store.compaction import Compactor
from adwright.campaigns.store.database import Database, masked, migrate
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import COMPACTIONS, Recorded
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, FileUnreadableError, MissingExtraError, ResourceError
from adwright.data.schema import EVENT_SCHEMA, KINDS
from adwright.data.sources.log import describe, open_log
from tests.support.store import store_processes as workers
from tests.support.store.events import START, event, events
from tests.support.store.postgres import Postgres
from tests.support.store.store_processes import STEPS, start

DAY = timedelta(days=1)
END = START + 10 * DAY


def ids(log: pl.DataFrame | pl.LazyFrame) -> list[str]:
    return sorted(log.lazy().select("event_id").collect()["event_id"])


def names(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["event_id"] for row in rows)


def rows_of(store: Store, tenant: str) -> list[tuple[str, int]]:
    query = select(COMPACTIONS.c.state, COMPACTIONS.c.rows).where(COMPACTIONS.c.tenant == tenant)
    with store._database.read() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(COMPACTIONS.c.number))]


def ad_counts(store: Store, tenant: str) -> Counter[tuple[str, str]]:
    """Events by creative and kind, compacted or not."""
    compacted, others = store.ad_events(tenant, KINDS)
    counts = Counter(others.select("creative_id", "kind").iter_rows())
    for creative, kinds in compacted.items():
        counts.update({(creative, kind): events for kind, events in kinds.items()})
    return counts


def test_whole_days_become_files_that_data_reads(store: Store, tenant: str, tmp_path: Path) -> None:
    store.record_events(tenant, events(600))  # two days and a half
    before = store.events(tenant)
    parts = store.compact(tenant, tmp_path, before=START + 2 * DAY + timedelta(hours=5))
    assert [part.parent.name for part in parts] == ["date=2024-05-01", "date=2024-05-02"]
    assert all(pq.read_schema(part).equals(EVENT_SCHEMA) for part in parts)
    assert store.events(tenant)["event_id"].to_list() == [f"e{n}" for n in range(480, 600)]
    log = open_log(tmp_path)
    assert log.events.collect().equals(before[:480])
    assert describe(log).events == 480
    assert store.parts(tenant, tmp_path) == parts
    assert store.log(tenant, tmp_path).collect().equals(before)
    assert rows_of(store, tenant) == [("done", 240), ("done", 240)]


def test_a_day_is_settled_when_it_is_over(store: Store, tenant: str, tmp_path: Path) -> None:
    last = START + DAY - timedelta(microseconds=1)
    store.record_events(
        tenant, [event(0, time=START), event(1, time=last), event(2, time=last + DAY)]
    )
    assert store.compact(tenant, tmp_path, before=last) == []
    naive = (START + DAY).replace(tzinfo=None)
    (part,) = store.compact(tenant, tmp_path, before=naive)
    assert ids(pl.read_parquet(part)) == ["e0", "e1"]
    assert store.compact(tenant, tmp_path, before=START + DAY) == []
    assert store.compact("nobody", tmp_path / "other", before=END) == []


def test_large_days_become_several_files(store: Store, tenant: str, tmp_path: Path) -> None:
    rows = events(240)
    random.Random(1).shuffle(rows)
    store.record_events(tenant, rows)
    parts = store.compact(tenant, tmp_path, before=END, part=100)
    assert [pl.read_parquet(part).height for part in parts] == [100, 100, 40]
    assert parts == sorted(parts)
    assert open_log(tmp_path).events.collect()["event_id"].to_list() == [
        f"e{n}" for n in range(240)
    ]


def test_late_events_get_another_file(store: Store, tenant: str, tmp_path: Path) -> None:
    store.record_events(tenant, events(100))
    store.compact(tenant, tmp_path, before=END)
    store.record_events(tenant, events(20, start=90))
    (late,) = store.compact(tenant, tmp_path, before=END)
    assert late.parent.name == "date=2024-05-01"
    assert ids(pl.read_parquet(late)) == names(events(10, start=100))
    assert ids(open_log(tmp_path).events) == names(events(110))


def test_a_compacted_event_does_not_come_back(store: Store, tenant: str, tmp_path: Path) -> None:
    store.record_events(tenant, events(30))
    store.compact(tenant, tmp_path, before=END)
    again = [*events(30), event(3, value=1.0), event(30)]
    assert store.record_events(tenant, again) == Recorded(1, 31, 1)
    assert ids(store.events(tenant)) == ["e30"]
    assert ids(store.log(tenant, tmp_path)) == names(events(31))


def test_tenants_do_not_share_a_folder(store: Store, tenant: str, tmp_path: Path) -> None:
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    for name in (tenant, other):
        store.record_events(name, events(10))
    store.compact(tenant, tmp_path, before=END)
    with pytest.raises(ConfigError, match="another tenant"):
        store.compact(other, tmp_path / ".", before=END)
    assert store.events(other).height == 10
    assert store.parts(other, tmp_path) == []


def test_a_moved_folder_is_found_and_a_lost_file_is_missed(
    store: Store, tenant: str, tmp_path: Path
) -> None:
    store.record_events(tenant, events(10))
    store.compact(tenant, tmp_path / "a", before=END)
    (tmp_path / "a").rename(tmp_path / "b")
    assert ids(store.log(tenant, tmp_path / "b")) == names(events(10))
    for read in (store.log, store.parts):
        with pytest.raises(FileUnreadableError, match="missing"):
            read(tenant, tmp_path / "a")


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_each_event_is_kept_once(
    step: str, store: Store, tenant: str, tmp_path: Path
) -> None:
    url = str(store._database.engine.url.render_as_string(hide_password=False))
    rows = [
        {**row, "creative_id": f"c{n % 3}" if n % 5 else None} for n, row in enumerate(events(300))
    ]
    store.record_events(tenant, rows)  # a day and a quarter
    counts = ad_counts(store, tenant)
    assert sum(counts.values()) == 240
    process = start(workers.compact_and_die, url, tenant, tmp_path, END, step)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    # What counts is whole at once, before anything is repaired.
    assert ids(store.log(tenant, tmp_path)) == names(events(300))
    files = [path for path in tmp_path.rglob("part-*") if path.is_file()]
    assert len(files) == (0 if step in ("announced", "half written") else 1)
    assert len(store.parts(tenant, tmp_path)) == (1 if step == "settled" else 0)
    assert ad_counts(store, tenant) == counts
    assert store.record_events(tenant, rows).accepted == 0
    written = store.compact(tenant, tmp_path, before=END)
    assert ad_counts(store, tenant) == counts
    assert len(written) == (1 if step == "settled" else 2)
    assert store.events(tenant).height == 0
    # Now the folder alone is the log as well, and nothing lies about.
    assert ids(open_log(tmp_path).events) == names(events(300))
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 3  # two parts and the lock
    states = [state for state, _ in rows_of(store, tenant)]
    assert states == (["done"] if step == "settled" else ["abandoned", "done"]) + ["done"]


def test_a_part_that_was_given_up_cannot_be_finished(
    store: Store, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record_events(tenant, events(20))
    slow = Compactor(store._database, tenant, tmp_path / "a", FixedClock())
    events_of_day, numbers = slow._choose(START.date())
    number, path = slow._announce(START.date(), len(numbers))
    # Another process compacts the same tenant elsewhere before this one goes on.
    store.compact(tenant, tmp_path / "b", before=END)
    compaction._write(path, events_of_day)
    with pytest.raises(ResourceError, match="another compaction"):
        slow._settle(number, numbers)
    assert path.exists()
    store.compact(tenant, tmp_path / "a", before=END)
    assert not path.exists()
    assert ids(store.log(tenant, tmp_path / "b")) == names(events(20))


def test_a_deletion_that_finds_too_little_is_undone(
    store: Store, tenant: str, tmp_path: Path
) -> None:
    store.record_events(tenant, events(20))
    slow = Compactor(store._database, tenant, tmp_path, FixedClock())
    _, numbers = slow._choose(START.date())
    number, _ = slow._announce(START.date(), len(numbers))
    with pytest.raises(ResourceError, match="another compaction"):
        slow._settle(number, [*numbers, 2**40])
    assert store.events(tenant).height == 20


def test_a_full_disk_loses_nothing(
    store: Store, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ResourceError("the disk is full")

    store.record_events(tenant, events(20))
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "atomic_write_bytes", full)
        with pytest.raises(ResourceError, match="full"):
            store.compact(tenant, tmp_path, before=END)
    assert store.events(tenant).height == 20
    assert len(store.compact(tenant, tmp_path, before=END)) == 1


def test_compacting_beside_writers_and_killed_at_random(store_url: str, tmp_path: Path) -> None:
    """Two days of events are posted while another process compacts them and is killed again and
    again; whoever reads in between sees every acknowledged event once."""
    rng = random.Random(3)
    folder, told = tmp_path / "log", tmp_path / "told"
    told.touch()
    with Store.open(store_url) as store:
        store.create_tenant("acme")
        writer = start(workers.post_and_tell, store_url, "acme", 3_000, 30, told)
        kills = 0
        deadline = time.monotonic() + 120
        while (writer.is_alive() or kills < 4) and time.monotonic() < deadline:
            compactor = start(workers.compact, store_url, "acme", folder, END + 90 * DAY, 70)
            time.sleep(rng.uniform(0.1, 0.4))
            os.kill(compactor.pid or 0, signal.SIGKILL)
            compactor.join()
            kills += 1
            acknowledged = set(told.read_text().split())
            seen = ids(store.log("acme", folder))
            assert len(seen) == len(set(seen))
            assert acknowledged <= set(seen)
        writer.join(60)
        assert writer.exitcode == 0
        store.compact("acme", folder, before=END + 90 * DAY)
        assert ids(open_log(folder).events) == names(events(3_000))
        assert store.events("acme").height == 0
        assert json.loads(open_log(folder).events.collect()["context"][0])["stage"] == "fine"


@pytest.mark.parametrize("room", [240, 30, 0])
def test_on_a_full_disk_a_few_events_at_a_time_are_moved(
    store: Store, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    store.record_events(tenant, events(480))
    monkeypatch.setattr(compaction, "FEWEST", 20)
    # PostgreSQL's own driver raises nothing of SQLite's.
    monkeypatch.setattr(store._database, "_driver_error", sqlite3.Error)

    def little_room(_: object, __: object, statement: str, chosen: Sized, *___: object) -> None:
        if statement.startswith("DELETE FROM events") and len(chosen) > room:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    engine = store._database.engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", little_room)
    try:
        if room:
            parts = store.compact(tenant, tmp_path, before=END, part=240)
            assert len(parts) == {240: 2, 30: 20}[room]
            assert sorted(tmp_path.rglob("*.parquet")) == sorted(parts)
        else:
            with pytest.raises(ResourceError, match=r"disk is full.*free a few MiB on the disk"):
                store.compact(tenant, tmp_path, before=END, part=240)
    finally:
        sqlalchemy.event.remove(engine, "before_cursor_execute", little_room)
    assert ids(store.log(tenant, tmp_path)) == names(events(480))


def setting(opened: Database, query: str) -> object:
    with opened.read() as connection:
        return connection.execute(text(query)).scalar_one()


def test_passwords_are_never_shown() -> None:
    url = "postgresql+psycopg://ann:hush@/db?host=/tmp&password=hush&sslpassword=hush"
    shown = masked(make_url(url))
    assert "hush" not in shown
    assert "ann" in shown
    opened = Database.open("postgresql://ann:hush@/db?host=/nowhere&password=hush")
    assert "hush" not in repr(opened)
    with pytest.raises(ResourceError, match="the database refuses") as caught, opened.read():
        pass
    assert "hush" not in str(caught.value)
    opened.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://ann:hush@host/db", "cannot be kept in mysql"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "needs a file"),
        ("hush at home", "cannot be read"),
    ],
)
def test_other_urls_are_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Database.open(url)
    assert "hush" not in str(caught.value)


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("psycopg")

    monkeypatch.setattr(database, "create_engine", absent)
    with pytest.raises(MissingExtraError, match=r"adwright\[service\]"):
        Database.open("postgresql://host/db")


def test_sqlite_waits_for_the_disk(tmp_path: Path) -> None:
    opened = Database.open(f"sqlite:///{tmp_path / 'deep' / 'down' / 'a.db'}")
    assert setting(opened, "PRAGMA journal_mode") == "wal"
    assert setting(opened, "PRAGMA synchronous") == 2  # FULL
    assert setting(opened, "PRAGMA foreign_keys") == 1
    assert setting(opened, "PRAGMA busy_timeout") == 30_000
    opened.close()


def test_a_reader_sees_one_state_while_another_writes(store_url: str) -> None:
    opened = Database.open(store_url)
    with opened.write() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    with opened.read() as reader:
        assert reader.execute(text("SELECT COUNT(*) FROM t")).scalar_one() == 0
        with opened.write() as writer:
            writer.execute(text("INSERT INTO t VALUES (1)"))
        assert reader.execute(text("SELECT COUNT(*) FROM t")).scalar_one() == 0
    assert setting(opened, "SELECT COUNT(*) FROM t") == 1
    opened.close()


def test_writers_queue(store_url: str) -> None:
    opened = Database.open(store_url, connections=4)
    with opened.write() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (0)"))

    def add() -> None:
        for _ in range(10):
            with opened.write() as connection:
                connection.execute(text("UPDATE t SET x = x + 1"))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert setting(opened, "SELECT x FROM t") == 80
    opened.close()


def test_errors_quote_no_rows(store_url: str) -> None:
    opened = Database.open(store_url)
    with opened.write() as connection:
        connection.execute(text("CREATE TABLE t (x TEXT PRIMARY KEY)"))
    values = "(:x), (:x)"
    with pytest.raises(ResourceError) as caught, opened.write() as connection:
        connection.execute(text(f"INSERT INTO t VALUES {values}"), {"x": "a private matter"})
    assert "private" not in str(caught.value)
    assert "private" not in str(caught.value.__cause__).splitlines()[0]
    opened.close()


def test_another_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("no database at all, but long enough to be looked at" * 20)
    opened = Database.open(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(ResourceError, match="not a database"), opened.read():
        pass
    opened.close()


def test_all_connections_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Database.open(f"sqlite:///{tmp_path / 'a.db'}", connections=1)
    monkeypatch.setattr(opened.engine.pool, "_timeout", 0.01)
    with opened.read(), pytest.raises(ResourceError, match="all connections"), opened.read():
        pass
    opened.close()


def test_who_comes_second_waits_for_the_first_to_switch(tmp_path: Path) -> None:
    """SQLite refuses to switch to WAL while somebody writes, and does not wait by itself."""
    path, told = tmp_path / "store.db", list[object]()
    with sqlite3.connect(path) as first:
        first.execute("CREATE TABLE t (x)")
        first.execute("BEGIN IMMEDIATE")
        first.execute("INSERT INTO t VALUES (1)")

        def second() -> None:
            opened = Database.open(f"sqlite:///{path}")
            told.append(setting(opened, "PRAGMA journal_mode"))
            opened.close()

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        first.commit()
    first.close()
    thread.join(20)
    assert told == ["wal"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program that keeps the right to write."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def test_a_lock_is_waited_for_no_longer_than_allowed_and_readers_do_not_wait(
    tmp_path: Path,
) -> None:
    opened = Database.open(f"sqlite:///{tmp_path / 'a.db'}", seconds=0.1)
    with opened.write() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    with locked(tmp_path / "a.db"):
        assert setting(opened, "SELECT COUNT(*) FROM t") == 0
        with pytest.raises(ResourceError, match="locked"), opened.write():
            pass
    opened.close()


def test_a_write_of_this_process_is_waited_for_no_longer_either(tmp_path: Path) -> None:
    opened = Database.open(f"sqlite:///{tmp_path / 'a.db'}", seconds=0.1)
    with (
        opened.write(),
        pytest.raises(ResourceError, match="another write has taken longer than"),
        opened.write(),
    ):
        pass
    opened.close()


def test_limits_in_the_url_stand(postgres: Postgres) -> None:
    opened = Database.open(f"{postgres.new_database()}&keepalives_idle=77")
    with opened.read() as connection:
        driver: Any = connection.connection.driver_connection
        found = driver.info.get_parameters()
    assert found["keepalives_idle"] == "77"
    assert (found["connect_timeout"], found["tcp_user_timeout"]) == ("10", "30000")
    opened.close()


def test_a_file_that_is_gone_takes_nothing_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    opened = Database.open(f"sqlite:///{path}")
    with opened.write() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    setting(opened, "SELECT COUNT(*) FROM t")
    path.rename(tmp_path / "away.db")
    for transaction in (opened.read, opened.write):
        with pytest.raises(ResourceError, match="cannot be reached"), transaction():
            pass
    (tmp_path / "away.db").rename(path)
    assert setting(opened, "SELECT COUNT(*) FROM t") == 0
    opened.close()


def test_a_file_that_was_exchanged_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for name, value in (("a.db", 1), ("b.db", 2)):
        with sqlite3.connect(tmp_path / name) as made:
            made.execute("PRAGMA journal_mode=WAL")
            made.execute("CREATE TABLE t (x INTEGER)")
            made.execute("INSERT INTO t VALUES (?)", (value,))
        made.close()
    opened = Database.open(f"sqlite:///{path}")
    assert setting(opened, "SELECT x FROM t") == 1
    for side in tmp_path.glob("a.db-*"):
        side.unlink()
    (tmp_path / "b.db").rename(path)
    assert setting(opened, "SELECT x FROM t") == 2
    opened.close()


def test_a_row_that_is_refused_says_nothing_of_others(store_url: str) -> None:
    opened = Database.open(store_url)
    opened.check_writes()
    with opened.write() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER PRIMARY KEY)"))
    with pytest.raises(ResourceError), opened.write() as connection:
        connection.execute(text("INSERT INTO t VALUES (1), (1)"))
    opened.check_writes()
    opened.close()


def test_a_database_that_only_reads_takes_no_writes(postgres: Postgres) -> None:
    url = f"{postgres.new_database()}&options=-c%20default_transaction_read_only%3Don"
    opened = Database.open(url)
    assert setting(opened, "SELECT 1") == 1
    with pytest.raises(ResourceError, match="only reads"):
        opened.check_writes()
    opened.close()


def test_a_write_that_failed_is_believed_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Database.open(f"sqlite:///{tmp_path / 'a.db'}", seconds=0.05)
    opened.check_writes()
    with locked(tmp_path / "a.db"):
        with pytest.raises(ResourceError, match="locked"):
            opened.check_writes()  # tried
        with pytest.raises(ResourceError, match="locked"), opened.write():
            pass
    with pytest.raises(ResourceError, match="the last write was refused"):
        opened.check_writes()
    monkeypatch.setattr(database, "REFUSED_SECONDS", 0.0)
    opened.check_writes()  # tried again
    monkeypatch.undo()
    with opened.write():
        pass
    opened.check_writes()
    opened.close()


def test_a_write_that_does_not_come_through_says_that_none_does(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SLOW_SECONDS", 0.0)
    opened = Database.open(store_url)
    with opened.write(), pytest.raises(ResourceError, match="has been under way for"):
        opened.check_writes()
    opened.check_writes()
    opened.close()


def test_a_file_that_is_not_there_is_not_made_unasked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sub' / 'store.db'}"
    with pytest.raises(ConfigError, match="no such store"):
        Database.open(url, create=False)
    assert list(tmp_path.iterdir()) == []


def postgresql_setting(opened: Database, query: str) -> object:
    with opened.read() as connection:
        return connection.execute(text(query)).scalar_one()


@pytest.mark.parametrize(("asked", "got"), [("off", "on"), ("local", "on"), ("remote_apply",) * 2])
def test_postgresql_waits_for_the_disk(postgres: Postgres, asked: str, got: str) -> None:
    url = postgres.new_database()
    opened = Database.open(f"{url}&options=-c%20synchronous_commit%3D{asked}")
    assert postgresql_setting(opened, "SHOW synchronous_commit") == got
    opened.close()


def test_postgresql_ends_a_statement_that_takes_too_long(postgres: Postgres) -> None:
    opened = Database.open(postgres.new_database(), seconds=1)
    with pytest.raises(ResourceError, match="statement timeout"), opened.read() as connection:
        connection.execute(text("SELECT pg_sleep(60)"))
    with opened.read(long=True) as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "10min"
    assert postgresql_setting(opened, "SHOW statement_timeout") == "1s"
    opened.close()


def test_a_frozen_postgresql_is_given_up(postgres: Postgres) -> None:
    opened = Database.open(postgres.new_database(), seconds=1)
    with opened.read() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    os.kill(backend, signal.SIGSTOP)
    try:
        # The connection that lay idle is given up, and another one made.
        assert postgresql_setting(opened, "SELECT 1") == 1
    finally:
        os.kill(backend, signal.SIGCONT)

    def freeze_within() -> None:
        with opened.write() as connection:
            stopped.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            os.kill(stopped[0], signal.SIGSTOP)
            connection.execute(text("SELECT 1"))

    stopped = list[int]()
    with pytest.raises(ResourceError, match="said nothing"):
        freeze_within()
    os.kill(stopped[0], signal.SIGCONT)
    assert postgresql_setting(opened, "SELECT 1") == 1
    opened.close()


def test_a_server_that_takes_connections_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        opened = Database.open(f"postgresql://ann@127.0.0.1:{port}/db", seconds=1)
        with pytest.raises(ResourceError, match="timeout"), opened.read():
            pass
        opened.close()


def test_many_come_at_once(store_url: str) -> None:
    failed = []

    def come() -> None:
        opened = Database.open(store_url)
        try:
            migrate(opened)
        except Exception as error:
            failed.append(error)
        opened.close()

    threads = [threading.Thread(target=come) for _ in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def test_a_revision_that_fails_leaves_nothing(store_url: str) -> None:
    opened = Database.open(store_url)
    with opened.write() as connection:
        connection.execute(text("CREATE TABLE events (mine INTEGER)"))
    with pytest.raises(Exception, match="already exists"):
        migrate(opened)
    assert inspect(opened.engine).get_table_names() == ["events"]
    opened.close()


def test_a_store_of_the_future_is_refused(store_url: str) -> None:
    opened = Database.open(store_url)
    migrate(opened)
    with opened.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="revision 9999, which this version does not know"):
        migrate(opened)
    opened.close()


def test_it_tells_whether_there_was_a_store_and_makes_none_unasked(store_url: str) -> None:
    opened = Database.open(store_url)
    with pytest.raises(ConfigError, match="no store in this database"):
        migrate(opened, create=False)
    assert inspect(opened.engine).get_table_names() == []
    assert migrate(opened)
    assert not migrate(opened)
    assert not migrate(opened, create=False)
    opened.close()
