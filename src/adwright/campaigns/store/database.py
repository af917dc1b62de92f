"""A database by its URL: connections set up so that what is committed stays, and transactions.

SQLite runs with a write-ahead log, so that readers never wait, and syncs it to the disk at each
commit. PostgreSQL is reached through psycopg 3, and a connection whose server or role has
switched waiting for the disk off switches it on again.

Nothing waits without end: a connection, a lock and a statement each have a time limit, and so has
a server that says nothing any more.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from adwright.core.addresses import shown_address
from adwright.core.errors import ConfigError, MissingExtraError, ResourceError

# --------------------------------------------------------------------------------------------------
# What a connection to PostgreSQL is set up with, and how it gives up on a server that is silent.
#
# The server ends a statement that takes too long, and the kernel a connection whose other end is
# gone. Neither helps where the server is frozen: it lives, so that the kernel answers for it, and
# says nothing. So the client listens for how long it has said nothing.

#: So much later than the server, which ends a statement in good order, the client gives up on it.
_LATER = 1.0
#: For what is asked between transactions, such as whether a connection is still one.
_ASIDE_SECONDS = 2.0
#: A server whose client is silent in a transaction keeps its locks no longer than this.
_IDLE_SECONDS = 60


def connect(places: Any, named: Any) -> Any:
    """A connection of psycopg that gives up on a silent server: between transactions after two
    seconds, in one after as long as `patient` says.

    places, named: arguments of `psycopg.connect`.
    """
    return _bounded().connect(*places, **named)


@cache
def _bounded() -> Any:
    """The class of psycopg's connections that give up on a server which says nothing."""
    import psycopg

    class Bounded(psycopg.Connection[Any]):
        seconds = _ASIDE_SECONDS

        def wait(self, gen: Any, *places: Any) -> Any:
            try:
                return super().wait(_heard_within(gen, self.seconds), *places)
            except TimeoutError as error:
                self.close()  # in the middle of an answer, it can be used for nothing else
                raise psycopg.OperationalError(str(error)) from error

    return Bounded


def _heard_within(generator: Any, seconds: float) -> Generator[Any, Any, Any]:
    """psycopg's `generator`, resumed several times a second, until `seconds` without a word."""
    last = time.monotonic()
    try:
        waits_for = next(generator)
        while True:
            ready = yield waits_for
            now = time.monotonic()
            if ready:
                last = now
            elif now > last + seconds:
                raise TimeoutError(f"the server has said nothing for {seconds:g} s")
            waits_for = generator.send(ready)
    except StopIteration as end:
        return end.value


@contextmanager
def patient(connection: Connection, seconds: float) -> Iterator[None]:
    """Let the driver wait for its server a little longer than the server for the statement."""
    driver: Any = connection.connection.driver_connection
    driver.seconds = seconds + _LATER
    try:
        yield
    finally:
        driver.seconds = _ASIDE_SECONDS


def set_up(connection: Any, seconds: float) -> None:
    """Let a new connection wait for the disk; its server ends what takes more than `seconds`."""
    with connection.cursor() as cursor:
        # Stronger settings than "on" are left alone.
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone()[0] in ("off", "local"):
            cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET statement_timeout = {round(seconds * 1e3)}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
    connection.commit()


#: For statements over a whole log. SQLite has no limit on these, which wait for nobody.
_LONG_SECONDS = 600.0
#: A failed write is evidence for so long, unless one goes through; one that went through, for less.
REFUSED_SECONDS, WRITTEN_SECONDS = 5.0, 1.0
#: A write that is longer under way does not seem to come through.
SLOW_SECONDS = 2.0
#: A row that the database does not take says nothing about whether it takes others.
_ABOUT_ROWS = (DataError, IntegrityError, ProgrammingError)
_WRITES = {"adwright_write": True}
_DISK_FULL = "53100"  # PostgreSQL's code
#: What the log of the database has to take, beside whether it only reads.
_POSTGRESQL_WRITE = (
    "SELECT current_setting('transaction_read_only') "
    "FROM pg_logical_emit_message(true, 'adwright', '')"
)
_REFUSES = "check that the database is there, not full, and not held by another program"
_FULL = (
    "free a few MiB on the disk of the database, by deleting a spare file for one, and compact "
    "onto another disk; what was acknowledged is safe"
)


def masked(url: URL) -> str:
    """The URL as text that may be shown: without its password, wherever that stands."""
    return shown_address(url.render_as_string(hide_password=False))


def is_full(error: BaseException | None) -> bool:
    """Whether this error of a driver, or one that it caused, says that the disk is full."""
    while error is not None:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if getattr(error, "sqlstate", None) == _DISK_FULL:
            return True
        error = error.__cause__
    return False


class Database:
    """Connections to one database; may be shared by threads, not by forked processes.

    url: of the database, fit to be shown.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self.engine = engine
        self.url = masked(engine.url)
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._seconds = seconds
        # Bulk loading talks to the driver directly, whose errors SQLAlchemy does not wrap.
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        # SQLite has one writer at a time and lets the others poll: a queue of our own is fair.
        self._writer = threading.Lock() if self.is_sqlite else None
        self._file = _SqliteFile(engine) if self.is_sqlite else None
        self._writing: dict[object, float] = {}
        self._written = self._refused = float("-inf")

    def __repr__(self) -> str:
        return f"Database({self.url!r})"

    @classmethod
    def open(
        cls, url: str, *, connections: int = 20, seconds: float = 30.0, create: bool = True
    ) -> Database:
        """Connect lazily; the folder of an SQLite file is created.

        url: "sqlite:///relative/path", "sqlite:////absolute/path" or "postgresql://...".
        connections: at most so many at once; a thread waits for a free one.
        seconds: how long a lock, a free connection, a new connection (2 to 10 s) and a statement
            of PostgreSQL is waited for; ten minutes for statements of long transactions.
        create: without it, the file of SQLite has to be there.
        Raises ConfigError for another URL and for a file that is not there, MissingExtraError
        without psycopg, ResourceError where the folder cannot be created.
        """
        parsed = _checked(url)
        if not create and not _is_there(parsed):
            raise ConfigError(
                "there is no such store",
                where=masked(parsed),
                hint="check --store; `adwright key` and `adwright serve` make a new store",
            )
        options: dict[str, Any] = {
            "hide_parameters": True,  # what people did is not for logs
            "pool_size": connections,
            "max_overflow": 0,
            "pool_timeout": seconds,
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
            waits = {"timeout": seconds, "check_same_thread": False}
            engine = create_engine(parsed, connect_args=waits, **options)
            event.listen(engine, "connect", lambda made, _: _set_up_sqlite(made, seconds))
            event.listen(engine, "begin", _begin_sqlite)
            return cls(engine, seconds)
        # What the URL says stands. The kernel answers for a server that is only frozen: it is
        # `connect` that notices those.
        limits = {
            "connect_timeout": round(min(max(seconds, 2), 10)),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": round(seconds * 1e3),
        }
        limits = {name: value for name, value in limits.items() if name not in parsed.query}
        try:
            engine = create_engine(parsed, connect_args=limits, pool_pre_ping=True, **options)
        except ImportError as error:
            raise MissingExtraError("PostgreSQL", "service") from error
        event.listen(engine, "do_connect", lambda _, __, places, named: connect(places, named))
        event.listen(engine, "connect", lambda made, _: set_up(made, seconds))
        return cls(engine, seconds)

    @contextmanager
    def read(self, *, long: bool = False) -> Iterator[Connection]:
        """A transaction that sees one state of the database from its first query to its end.

        long: its statements may take minutes.
        Raises ResourceError where the database cannot be reached or used in time, here and in
        `write`.
        """
        # PostgreSQL's default shows each query the newest state instead.
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._errors(), self._transaction(long, options) as connection:
            yield connection

    @contextmanager
    def write(self, *, long: bool = False) -> Iterator[Connection]:
        """A transaction that is committed when the block ends, and undone when it raises."""
        mine = object()
        if not long:
            self._writing[mine] = time.monotonic()
        try:
            with self._errors(), self._turn(), self._transaction(long, _WRITES) as connection:
                yield connection
        except ResourceError as error:
            if not isinstance(error.__cause__, _ABOUT_ROWS):
                self._refused = time.monotonic()
            raise
        finally:
            self._writing.pop(mine, None)
        self._written = time.monotonic()

    def check_writes(self) -> None:
        """Raise ResourceError where nothing can be written, or could be a moment ago.

        A write that failed in the last five seconds is believed until one goes through, and so is
        one that has been under way for two. Without news of a write, a small one is tried; it
        changes nothing, but has to reach the disk.
        """
        now = time.monotonic()
        slowest = min(tuple(self._writing.values()), default=now)
        if now > slowest + SLOW_SECONDS:
            raise ResourceError(
                f"a write has been under way for {now - slowest:.0f} s",
                where=self.url,
                hint="look at the disk of the database, and at what else writes to it",
            )
        if self._written < self._refused and now < self._refused + REFUSED_SECONDS:
            raise ResourceError(
                "the last write was refused",
                where=self.url,
                hint="the log says why; a service tries again by itself",
            )
        if now < self._written + WRITTEN_SECONDS:
            return
        with self._errors(), self._turn(), self._transaction(False, _WRITES) as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("PRAGMA user_version = 0")
            elif connection.exec_driver_sql(_POSTGRESQL_WRITE).scalar_one() == "on":
                raise ResourceError(
                    "the database only reads",
                    where=self.url,
                    hint="see why default_transaction_read_only is on: a provider may do so, "
                    "for one, when its disk is full",
                )

    def bytes(self) -> int:
        """How large the database is on its disk, the log of writes included."""
        if self.is_sqlite:
            path = str(self.engine.url.database)
            files = [Path(f"{path}{ending}") for ending in ("", "-wal")]
            return sum(file.stat().st_size for file in files if file.exists())
        with self.read() as connection:
            size = "SELECT pg_database_size(current_database())"
            found: int = connection.exec_driver_sql(size).scalar_one()
            return found

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The turn to write, where there is one writer at a time."""
        if self._writer is None:
            yield
            return
        if not self._writer.acquire(timeout=self._seconds):
            raise ResourceError(
                f"another write has taken longer than {self._seconds:g} s",
                where=self.url,
                hint="look at the disk of the database, and at what else writes to it",
            )
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def _transaction(self, long: bool, options: dict[str, Any]) -> Iterator[Connection]:
        if self._file is not None:
            self._file.check()
        with self.engine.connect() as plain:
            connection = plain.execution_options(**options)
            seconds = _LONG_SECONDS if long else self._seconds
            waiting = nullcontext() if self.is_sqlite else patient(connection, seconds)
            with waiting, connection.begin():
                if long and not self.is_sqlite:
                    limit = f"SET LOCAL statement_timeout = {round(seconds * 1e3)}"
                    connection.exec_driver_sql(limit)
                yield connection

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
                hint=_FULL if is_full(cause) else _REFUSES,
            ) from error


class _SqliteFile:
    """The file of an SQLite database, which must stay the one that the connections have open:
    what is written into a file without a name is gone when they close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._path = str(engine.url.database)
        self._known: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise ResourceError where it is gone; let go of connections to one that was replaced."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            if self._known is None:
                return  # the first connection makes it
            raise ResourceError(
                f"the database's file cannot be reached: {error.strerror}",
                where=self._path,
                hint="put it back; nothing is acknowledged until it is there",
            ) from error
        if self._known not in (None, (found.st_dev, found.st_ino)):
            self._engine.dispose()
        self._known = found.st_dev, found.st_ino


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


def _is_there(url: URL) -> bool:
    """Whether the file of an SQLite database is there; a server is asked later."""
    return url.get_backend_name() != "sqlite" or Path(str(url.database)).is_file()


def _set_up_sqlite(connection: Any, seconds: float) -> None:
    # Transactions are begun by `_begin_sqlite`, not by the driver when it sees fit.
    connection.isolation_level = None
    cursor = connection.cursor()
    _switch_to_wal(cursor, seconds)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _switch_to_wal(cursor: Any, seconds: float) -> None:
    """Readers go on while one writes. The file remembers it, so only the first has to switch; where
    several come first, SQLite refuses the later ones at once, and they wait here."""
    until = time.monotonic() + seconds
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


# --------------------------------------------------------------------------------------------------
# Bring a database to the newest revision of the store's tables, whoever comes first.

MIGRATIONS = Path(__file__).parents[1] / "migrations"

# Any number that no other program is likely to lock.
_POSTGRESQL_LOCK = 0x6164777269676874
# Alembic hands its context to the revisions through a module, so one thread at a time.
_ONE_AT_A_TIME = threading.Lock()


def migrate(database: Database, *, create: bool = True) -> bool:
    """Run the revisions that the database lacks, all or none, in one transaction; whether there
    was no store in it before.

    Several processes may do so at once: one migrates, the others wait and find it done.
    create: make a store where there is none.
    Raises ConfigError where the database is of a newer adwright, or holds no store and none is
    to be made, ResourceError where it cannot be used.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with database.read() as connection:
        before = _revision(connection)
    if before == newest:
        return False
    if before is None and not create:
        raise ConfigError(
            "there is no store in this database",
            where=database.url,
            hint="check the URL; `adwright key` and `adwright serve` make a new store",
        )
    with _ONE_AT_A_TIME, database.write(long=True) as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _POSTGRESQL_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigError(
                f"the store's tables are of revision {_revision(connection)}, "
                "which this version does not know",
                where=database.url,
                hint="install the adwright that wrote it, or a newer one",
            ) from error
    return before is None


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
