"""A database by its URL: connections set up so that what is committed stays, and transactions.

SQLite runs with a write-ahead log, so that readers never wait, and syncs it to the disk at each
commit. PostgreSQL is reached through psycopg 3, and a connection whose server or role has
switched waiting for the disk off switches it on again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from adwright.core.errors import ConfigError, MissingExtraError, ResourceError

__all__ = ["Database", "masked"]

_BUSY_SECONDS = 30
_SECRET = ("password", "sslpassword", "passfile")


def masked(url: URL) -> str:
    """The URL as text that may be shown: without its password, wherever that stands."""
    query = {key: "***" if key in _SECRET else value for key, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


class Database:
    """Connections to one database; may be shared by threads, not by forked processes.

    url: of the database, fit to be shown.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.url = masked(engine.url)
        self.is_sqlite = engine.dialect.name == "sqlite"
        # Bulk loading talks to the driver directly, whose errors SQLAlchemy does not wrap.
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        # SQLite has one writer at a time and lets the others poll: a queue of our own is fair.
        self._writer: AbstractContextManager[Any] = (
            threading.Lock() if self.is_sqlite else nullcontext()
        )

    def __repr__(self) -> str:
        return f"Database({self.url!r})"

    @classmethod
    def open(cls, url: str, *, connections: int = 20) -> Database:
        """Connect lazily; the folder of an SQLite file is created.

        url: "sqlite:///relative/path", "sqlite:////absolute/path" or "postgresql://...".
        connections: at most so many at once; a thread waits for a free one.
        Raises ConfigError for another URL, MissingExtraError without psycopg, ResourceError
        where the folder cannot be created.
        """
        parsed = _checked(url)
        options: dict[str, Any] = {
            "hide_parameters": True,  # what people did is not for logs
            "pool_size": connections,
            "max_overflow": 0,
        }
        if parsed.get_backend_name() == "sqlite":
            folder = Path(parsed.database or "").parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ResourceError(
                    f"the store's folder cannot be created: {error.strerror}",
                    where=str(folder),
                    hint="choose another path",
                ) from error
            engine = create_engine(
                parsed,
                connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
                **options,
            )
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return cls(engine)
        try:
            engine = create_engine(parsed, pool_pre_ping=True, **options)
        except ImportError as error:
            raise MissingExtraError("PostgreSQL", "service") from error
        event.listen(engine, "connect", _set_up_postgresql)
        return cls(engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database from its first query to its end.

        Raises ResourceError where the database cannot be reached or used, here and in `write`.
        """
        # PostgreSQL's default shows each query the newest state instead.
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._errors(), self.engine.connect() as plain:
            connection = plain.execution_options(**options)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed when the block ends, and undone when it raises."""
        with self._errors(), self._writer, self.engine.connect() as plain:
            connection = plain.execution_options(adwright_write=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise ResourceError(
                "all connections to the database are in use",
                where=self.url,
                hint="allow more connections, or send fewer requests at once",
            ) from error
        except (DBAPIError, self._driver_error) as error:
            # The first line says what is wrong; those below it may quote rows.
            cause = error.orig if isinstance(error, DBAPIError) else error
            said = str(cause).strip().splitlines()
            raise ResourceError(
                f"the database refuses: {said[0] if said else type(error).__name__}",
                where=self.url,
                hint="check that the database is there, not full, and not held by another program",
            ) from error


def _checked(url: str) -> URL:
    hint = "write sqlite:///path or postgresql://user@host/database"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # Not shown: what cannot be parsed cannot be masked either.
        raise ConfigError("the database's URL cannot be read", where="url", hint=hint) from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigError(
            f"the store cannot be kept in {parsed.drivername}", where=masked(parsed), hint=hint
        )
    if parsed.database in (None, "", ":memory:") or parsed.query:
        raise ConfigError(
            "the store needs a file: what it has acknowledged must outlive the process",
            where=masked(parsed),
            hint=hint,
        )
    return parsed


def _set_up_sqlite(connection: Any, _: object) -> None:
    # Transactions are begun by `_begin_sqlite`, not by the driver when it sees fit.
    connection.isolation_level = None
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Readers go on while one writes. The file remembers it, so only the first has to switch; where
    several come first, SQLite refuses the later ones at once, and they wait here."""
    until = time.monotonic() + _BUSY_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its turn at the start: one that read first could not, if another wrote since.
    writes = connection.get_execution_options().get("adwright_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _set_up_postgresql(connection: Any, _: object) -> None:
    with connection.cursor() as cursor:
        # Stronger settings than "on" are left alone.
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone()[0] in ("off", "local"):
            cursor.execute("SET synchronous_commit = on")
    connection.commit()
