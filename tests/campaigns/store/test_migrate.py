from __future__ import annotations

import threading
import warnings

import pytest
from sqlalchemy import inspect, text

from adwright.campaigns.store.database import Database, migrate
from adwright.core.errors import ConfigError


def test_twice_is_once(store_url: str) -> None:
    opened = Database.open(store_url)
    migrate(opened)
    with opened.write() as connection:
        connection.execute(text("INSERT INTO tenants (tenant, created) VALUES ('a', 0)"))
    migrate(opened)
    with opened.read() as connection:
        assert connection.execute(text("SELECT tenant FROM tenants")).scalar_one() == "a"
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
