from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.events import (
    count_events,
    fingerprints,
    insert_batches,
    select_events,
    to_frame,
)
from adwright.campaigns.store.incoming import event_rows, frame_of
from adwright.campaigns.store.store import Store
from adwright.core.errors import ValueInvalidError
from adwright.data.schema import EVENT_SCHEMA, empty_events
from tests.support.store.events import START, event, events


def test_fingerprints_never_change() -> None:
    ((key, content),) = fingerprints("acme", event_rows([event(0, user_id="ä", value=0.1)]))
    assert key.hex() == "579217fdb5e8b52e5bc07a3e45b97a0c"
    assert content == 5804133185177677326


def test_fingerprints_tell_ids_tenants_and_contents_apart() -> None:
    rows = event_rows([event(0), event(1)])
    (a, x), (b, _) = fingerprints("acme", rows)
    ((c, y),) = fingerprints("acm", event_rows([event(0, event_id="ee0")]))
    assert len({a, b, c}) == 3
    assert fingerprints("other", rows)[0][0] != a
    assert fingerprints("other", rows)[0][1] == x != y
    changes = {"value": 1.0, "context": "{}", "position": None, "creative_id": "1"}
    for column, value in changes.items():
        ((same, other),) = fingerprints("acme", event_rows([event(0, **{column: value})]))
        assert same == a
        assert other != x, column


def test_both_ways_in_give_one_fingerprint() -> None:
    rows = [event(0, value=1), event(1, value=0.1 + 0.2)]
    table = frame_of(rows, EVENT_SCHEMA)
    assert fingerprints("acme", event_rows(rows)) == fingerprints("acme", event_rows(table))


def test_several_senders_at_once(store: Store, tenant: str) -> None:
    store.record_events(tenant, events(3))
    batches = [
        event_rows([event(2), event(3)]),
        [],
        event_rows([event(3, value=1.0), event(4), event(4)]),
    ]
    with store._database.write() as connection:
        found = insert_batches(connection, tenant, batches)
        assert insert_batches(connection, tenant, [[], []]) == [Recorded(0, 0)] * 2
        assert insert_batches(connection, tenant, []) == []
    assert found == [Recorded(1, 1, 0), Recorded(0, 0, 0), Recorded(1, 2, 1)]
    assert store.events(tenant)["event_id"].to_list() == [f"e{n}" for n in range(5)]


def test_no_rows_are_a_table_of_none() -> None:
    assert to_frame([]).equals(empty_events())
    assert to_frame(event_rows(events(3))).schema == empty_events().schema


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueInvalidError, match=r"no such kind of event.*'klick'"):
        select_events("acme", kinds=["click", "klick"])


def test_events_are_counted_by_day_and_kind(store: Store, tenant: str) -> None:
    first = datetime(1, 1, 1, tzinfo=UTC)
    before = datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    rows = [*events(241), event(300, time=first), event(301, time=before, kind="click")]
    store.record_events(tenant, rows)
    found = store.event_counts(tenant)
    assert found.rows() == [
        (first.date(), "impression", 1),
        (before.date(), "click", 1),
        (START.date(), "impression", 240),
        (START.date() + timedelta(days=1), "impression", 1),
    ]
    with store._database.read() as connection:
        assert count_events(connection, tenant).equals(found)
    assert store.event_counts("nobody").height == 0
