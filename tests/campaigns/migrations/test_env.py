"""What is promised of these, and what is refused."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text, update

from adwright.campaigns.store.database import MIGRATIONS, Database, migrate
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import EVENTS, METADATA, STOPS
from tests.support.store.events import START, event, events
from tests.support.store.old_store import (
    back_to_the_second_revision,
    back_to_the_third_revision,
)
from tests.support.store.postgres import Postgres


def shape(connection: Connection) -> dict[str, object]:
    """All that the database knows of our tables, as text where SQLite keeps it."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'"
        return {name: sql for name, sql in connection.execute(text(query))}
    look = inspect(connection)
    return {
        name: (
            [{**one, "type": str(one["type"])} for one in look.get_columns(name)],
            look.get_pk_constraint(name),
            sorted(look.get_foreign_keys(name), key=str),
            sorted(look.get_indexes(name), key=str),
        )
        for name in look.get_table_names()
        if name != "alembic_version"
    }


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_revisions_create_exactly_the_tables(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        folder = tmp_path_factory.mktemp("migrations")
        urls = [f"sqlite:///{folder / name}" for name in ("a.db", "b.db")]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        urls = [server.new_database(), server.new_database()]
    migrated, created = (Database.open(url) for url in urls)
    migrate(migrated)
    with created.write() as connection:
        METADATA.create_all(connection)
        expected = shape(connection)
    with migrated.read() as connection:
        if kind == "postgresql":  # SQLite's own numbering looks like a default to some versions
            options = {"compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, METADATA) == []
        found = shape(connection)
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        # Constraints stand in any order in a statement.
        assert sorted(str(found[name]).split()) == sorted(str(one).split()), name
    migrated.close()
    created.close()


def test_it_is_the_first_in_a_line_without_branches() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    line = list(scripts.walk_revisions())
    assert line[-1].revision == "0001"
    assert scripts.get_bases() == ["0001"]
    assert len(scripts.get_heads()) == 1
    for script in line:
        assert script.path.endswith(f"v{script.revision}_{script.path.split('_', 1)[-1]}")
        assert script.doc


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


FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


def test_what_was_stopped_stays_so_and_what_lies_ahead_begins(
    store_url: str, tmp_path: Path
) -> None:
    """By the order of before: times of callers, then ids; value 0 took back whatever stood."""
    second = timedelta(seconds=1)
    sent = [
        ("a2", "i1", START + second, 0.0, "ben"),  # later than a3 by its id
        ("a1", "i1", START + second, None, "anna"),
        ("b1", "i2", START + 9 * second, None, "anna"),
        ("b2", "i2", START + 3 * second, 0.0, "anna"),
        ("c1", "i3", FUTURE, None, "anna"),
    ]
    with Store.open(store_url) as store:
        key = store.create_key("acme")
        for number, (event_id, item, _, value, who) in enumerate(sent):
            changes = {"event_id": event_id, "item_id": item, "value": value, "user_id": who}
            row = event(number, kind="stop", context='{"reason": "r"}', **changes)
            store.record_events("acme", [row])
    opened = Database.open(store_url)
    with opened.write() as connection:
        for event_id, _, then, _, _ in sent:
            for table in (STOPS, EVENTS):
                micros = round(then.timestamp() * 1e6)
                change = update(table).where(table.c.event_id == event_id).values(time=micros)
                connection.execute(change)
    opened.close()
    back_to_the_second_revision(store_url)
    with Store.open(store_url) as store:
        stops = store.stops("acme")
        assert stops["event_id"].to_list() == ["a1", "a2", "b2", "b1", "c1"]
        assert stops["time"].is_sorted()
        assert (stops["time"] < FUTURE).all()
        assert json.loads(stops["context"][1]) == {"reason": "r", "undoes": ["a1"]}
        assert store.stops_at("acme").items == {"i2", "i3"}
        assert store.events("acme", kinds=["stop"]).equals(stops)
        caller = store.caller_of_key(key)
        assert caller is not None
        assert "admin" in caller.scopes
        store.record_events("acme", [event(9, kind="stop", item_id="i4", user_id="anna")])
        assert store.stops("acme")["event_id"].to_list()[-1] == "e9"
        assert store.actions("acme", limit=1)[0].subject == "e9"


def test_a_store_of_before_gets_lives_of_ads_and_loses_nothing(store_url: str) -> None:
    with Store.open(store_url) as store:
        store.create_key("acme")
        store.put_campaign("acme", {"campaign_id": "spring", "start": START, "type": "coupon"})
        ad = {"creative_id": "c1", "item_id": "tea", "campaign_id": "spring", "text": "Tea!"}
        store.put_creatives("acme", [ad, {**ad, "creative_id": "c2", "image_hash": "other"}])
        store.record_events("acme", [event(1, campaign_id="spring"), event(2, kind="stop")])
        tables = store.creatives, store.campaigns, store.events, store.stops, store.keys
        before = [read("acme") for read in tables]
        actions = store.actions("acme")
    back_to_the_third_revision(store_url)
    with Store.open(store_url) as store:
        for old, read in zip(before, (getattr(store, one.__name__) for one in tables), strict=True):
            found = read("acme")
            assert found.equals(old) if isinstance(old, pl.DataFrame) else found == old
        assert store.actions("acme") == actions
        assert store.creative_versions() == {}
        first, second = store.creatives_full("acme")
        assert (first.body, first.state, first.campaign_id) == ("Tea!", "", "spring")
        assert second.image_hash == ""  # it was none of a file
        for state in ("in review", "approved", "live"):
            store.move_creatives("acme", ["c1"], state, author="ann")
        assert [one.creative_id for one in store.live_creatives("acme").creatives] == ["c1"]


def test_a_store_without_stops_needs_no_order(store_url: str) -> None:
    Store.open(store_url).close()
    back_to_the_second_revision(store_url)
    with Store.open(store_url) as store:
        assert store.stop_versions() == {}
    opened = Database.open(store_url)
    with opened.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM actions")).scalar_one() == 0
    opened.close()
