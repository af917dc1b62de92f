from __future__ import annotations

import os
import signal
import socket

import pytest
from sqlalchemy import text

from adwright.campaigns.store.database import Database
from adwright.core.errors import ResourceError
from tests.support.store.postgres import Postgres


def setting(opened: Database, query: str) -> object:
    with opened.read() as connection:
        return connection.execute(text(query)).scalar_one()


@pytest.mark.parametrize(("asked", "got"), [("off", "on"), ("local", "on"), ("remote_apply",) * 2])
def test_postgresql_waits_for_the_disk(postgres: Postgres, asked: str, got: str) -> None:
    url = postgres.new_database()
    opened = Database.open(f"{url}&options=-c%20synchronous_commit%3D{asked}")
    assert setting(opened, "SHOW synchronous_commit") == got
    opened.close()


def test_postgresql_ends_a_statement_that_takes_too_long(postgres: Postgres) -> None:
    opened = Database.open(postgres.new_database(), seconds=1)
    with pytest.raises(ResourceError, match="statement timeout"), opened.read() as connection:
        connection.execute(text("SELECT pg_sleep(60)"))
    with opened.read(long=True) as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "10min"
    assert setting(opened, "SHOW statement_timeout") == "1s"
    opened.close()


def test_a_frozen_postgresql_is_given_up(postgres: Postgres) -> None:
    opened = Database.open(postgres.new_database(), seconds=1)
    with opened.read() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    os.kill(backend, signal.SIGSTOP)
    try:
        # The connection that lay idle is given up, and another one made.
        assert setting(opened, "SELECT 1") == 1
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
    assert setting(opened, "SELECT 1") == 1
    opened.close()


def test_a_server_that_takes_connections_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        opened = Database.open(f"postgresql://ann@127.0.0.1:{port}/db", seconds=1)
        with pytest.raises(ResourceError, match="timeout"), opened.read():
            pass
        opened.close()
