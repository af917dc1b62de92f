from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text, update

from adwright.campaigns.store.database import Database
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import EVENTS, STOPS
from tests.support.store.events import START, event
from tests.support.store.old_store import back_to_the_second_revision

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


def test_a_store_without_stops_needs_no_order(store_url: str) -> None:
    Store.open(store_url).close()
    back_to_the_second_revision(store_url)
    with Store.open(store_url) as store:
        assert store.stop_versions() == {}
    opened = Database.open(store_url)
    with opened.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM actions")).scalar_one() == 0
    opened.close()
