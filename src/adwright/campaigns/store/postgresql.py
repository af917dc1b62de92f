"""What a connection to PostgreSQL is set up with, and how it gives up on a server that is silent.

The server ends a statement that takes too long, and the kernel a connection whose other end is
gone. Neither helps where the server is frozen: it lives, so that the kernel answers for it, and
says nothing. So the client listens for how long it has said nothing.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Connection

__all__ = ["connect", "patient", "set_up"]

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
