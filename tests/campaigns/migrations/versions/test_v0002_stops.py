from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from adwright.campaigns.store.database import MIGRATIONS, Database
from adwright.campaigns.store.store import Store
from tests.support.store.events import START, event, events
from tests.support.store.old_store import back_to_the_second_revision

DAY = timedelta(days=1)


def _back_to_the_first_revision(url: str) -> None:
    """As an adwright before this revision would have left the database."""
    back_to_the_second_revision(url)
    opened = Database.open(url)
    with opened.write() as connection:
        connection.execute(text("DROP TABLE stops"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    opened.close()


def test_it_finds_the_stops_of_before_in_the_store_and_in_files(
    store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    with Store.open(store_url) as store:
        for tenant, folder in (("acme", kept), ("umbrella", gone)):
            store.create_tenant(tenant)
            old = event(600, kind="stop", time=START, value=0.5, creative_id="c")
            store.record_events(tenant, [*events(480), old, event(601, kind="stop")])
            store.compact(tenant, folder, before=START + 2 * DAY)
        before = store.stops("acme")
    (lost,) = gone.glob("date=2024-05-01/*.parquet")
    lost.unlink()
    _back_to_the_first_revision(store_url)
    with caplog.at_level(logging.WARNING, logger="adwright"), Store.open(store_url) as store:
        assert store.stops("acme").equals(before)
        assert before["event_id"].to_list() == ["e600", "e601"]
        assert store.stops("umbrella")["event_id"].to_list() == ["e601"]
        store.record_events("acme", [event(602, kind="stop")])
        assert store.stops("acme").height == 3
    (said,) = caplog.messages
    assert said.startswith(f"{lost} cannot be searched for stops, which are left out: ")


def test_it_follows_the_first_revision_on_an_empty_store(store_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    opened = Database.open(store_url)
    for revision in ("0001", "0002"):
        with opened.write(long=True) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    with opened.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM stops")).scalar_one() == 0
    opened.close()
