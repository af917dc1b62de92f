from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, make_url, text

from adwright.campaigns.store import database
from adwright.campaigns.store.database import Database, masked, migrate
from adwright.core.errors import ConfigError, MissingExtraError, ResourceError
from tests.support.store.postgres import Postgres


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
