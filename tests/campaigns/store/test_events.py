from __future__ import annotations

import json
import math
import string
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.campaigns.store import events as incoming
from adwright.campaigns.store.events import (
    check_storable,
    count_events,
    event_rows,
    fingerprints,
    frame_of,
    insert_batches,
    select_events,
)
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import Recorded
from adwright.core.clock import FixedClock
from adwright.core.errors import DataError, SchemaError, ValueInvalidError
from adwright.data.schema import EVENT_SCHEMA, KINDS
from tests.support.store.events import START, decision, event, events

DAY = timedelta(days=1)
LATER = START + 30 * DAY


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


def test_several_senders_at_once(store: Store, tenant: str) -> None:
    store.record_events(tenant, events(3))
    batches = [
        event_rows([event(2), event(3)]),
        [],
        event_rows([event(3, value=1.0), event(4), event(4)]),
    ]
    with store._database.write() as connection:
        found = insert_batches(connection, tenant, batches, START)
        assert insert_batches(connection, tenant, [[], []], START) == [Recorded(0, 0)] * 2
        assert insert_batches(connection, tenant, [], START) == []
    assert found == [Recorded(1, 1, 0), Recorded(0, 0, 0), Recorded(1, 2, 1)]
    assert store.events(tenant)["event_id"].to_list() == [f"e{n}" for n in range(5)]


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


def stop(number: int, item: str, creative: str | None = None, **changes: Any) -> dict[str, Any]:
    empty = {"position": None, "propensity": None, "policy_id": None}
    what = {"kind": "stop", "item_id": item, "creative_id": creative, "user_id": "anna"}
    return event(number, **{**empty, **what, **changes})


def creatives(store: Store, tenant: str, *pairs: tuple[str, str]) -> None:
    store.put_creatives(
        tenant, [{"creative_id": creative, "item_id": item} for item, creative in pairs]
    )


def stop_ids(store: Store, tenant: str) -> Sequence[str]:
    found: list[str] = store.stops(tenant)["event_id"].to_list()
    return found


def test_stop_events_come_back_whole_and_each_once(store: Store, tenant: str) -> None:
    sent = [*events(20), stop(21, "i2", "c2", value=0.0, context='{"reason": "wear-out"}')]
    sent.append(stop(20, "i1", campaign_id="k", position=3, propensity=0.5, policy_id="p"))
    store.record_events(tenant, sent)
    store.record_group(tenant, [decision(1), sent])
    found = store.stops(tenant)
    assert found.columns == EVENT_SCHEMA.names
    assert found.equals(store.events(tenant, kinds=["stop"]))
    assert found["event_id"].to_list() == ["e21", "e20"]  # as they came


def test_they_are_there_still_when_their_days_are_compacted(
    store: Store, tenant: str, tmp_path: Path
) -> None:
    store.record_events(tenant, [*events(480), stop(500, "i1", time=START), stop(501, "i2")])
    before = store.stops(tenant)
    store.compact(tenant, tmp_path, before=START + 2 * DAY)
    assert store.events(tenant, kinds=["stop"])["event_id"].to_list() == ["e501"]
    assert store.stops(tenant).equals(before)
    # An event counts once for good: sent again, it is stored nowhere a second time.
    store.record_events(tenant, [stop(500, "i1", time=START)])
    assert stop_ids(store, tenant) == ["e500", "e501"]
    assert store.stops_at(tenant, LATER).items == {"i1", "i2"}


def test_an_item_falls_with_its_creatives_in_the_catalogue(store: Store, tenant: str) -> None:
    creatives(store, tenant, ("i1", "a"), ("i1", "b"), ("i2", "c"))
    store.record_events(tenant, [stop(1, "i1", "a"), stop(2, "i3", "x")])
    assert store.stops_at(tenant, LATER).items == frozenset()
    store.record_events(tenant, [stop(3, "i1", "b", time=START + DAY)])
    assert store.stops_at(tenant, START).items == frozenset()
    assert store.stops_at(tenant, LATER).items == {"i1"}
    assert store.stops_at(tenant, LATER).creatives == {"a", "b", "x"}
    creatives(store, tenant, ("i1", "new"))
    assert store.stops_at(tenant, LATER).items == frozenset()


def test_the_version_changes_with_whatever_may_change_the_stops(store: Store, tenant: str) -> None:
    other = f"{tenant[:80]}-other"
    store.create_tenant(other)
    creatives(store, tenant, ("i1", "a"))
    store.record_events(tenant, events(10))
    assert tenant not in store.stop_versions()
    store.record_events(tenant, [stop(11, "i1")])
    versions = [store.stop_versions()[tenant]]
    creatives(store, tenant, ("i1", "b"))  # no creative is stopped: it cannot matter
    assert store.stop_versions()[tenant] == versions[0]
    store.record_events(tenant, [stop(12, "i1", "a")])
    versions.append(store.stop_versions()[tenant])
    creatives(store, tenant, ("i1", "c"))
    versions.append(store.stop_versions()[tenant])
    store.record_events(other, [stop(11, "i1", "a")])
    versions.append(store.stop_versions()[tenant])
    assert len(set(versions)) == 3
    assert versions[2] == versions[3]
    store.record_events(tenant, [stop(12, "i1", "a")])  # a repetition changes nothing
    assert store.stop_versions()[tenant] == versions[3]


def test_a_repetition_has_a_number_that_a_reader_of_its_tenant_can_reach(
    store: Store, tenant: str
) -> None:
    other = f"{tenant[:80]}-other"
    store.create_tenant(other)
    number = store.record_events(tenant, [stop(1, "i1")]).stops
    store.record_events(other, [stop(1, "i1")])
    assert store.record_events(tenant, [stop(1, "i1")]).stops == number
    assert store.stop_versions()[tenant][0] == number


def test_a_clock_that_stands_ahead_moves_no_later_stop_there(store_url: str) -> None:
    ahead = datetime(2100, 1, 1, tzinfo=UTC)
    with Store.open(store_url, clock=FixedClock(ahead)) as wrong:
        wrong.create_tenant("acme")
        wrong.record_events("acme", [stop(1, "i1", time=ahead)])
    with Store.open(store_url) as store:
        store.record_events("acme", [stop(2, "i2", time=ahead)])
        kept = store.stops("acme")["time"]
        assert kept.is_sorted()
        assert kept[1] <= datetime.now(UTC)
        assert store.stops_at("acme", datetime.now(UTC)).items == {"i1", "i2"}


def test_nothing_crosses_from_one_tenant_to_another(store: Store, tenant: str) -> None:
    other = f"{tenant[:80]}-other"
    store.create_tenant(other)
    creatives(store, tenant, ("i1", "a"))
    creatives(store, other, ("i1", "b"))
    store.record_events(tenant, [stop(1, "i1", "a"), stop(2, "i2")])
    assert store.stops_at(tenant, LATER).items == {"i1", "i2"}
    assert store.stops(other).is_empty()
    assert store.stops_at(other, LATER).items == frozenset()


EAST = timezone(timedelta(hours=5, minutes=30))
ODD_TEXTS = [
    "",
    " ",
    "\t",
    "\x1c",
    "\u3000",
    "nan",
    "NaN",
    "None",
    "<NA>",
    "null",
    " x",
    "a\nb",
    "ä–ß",
    "🛒",
    "a\0b",
    "\ud800",
]
ODD_JSON = [
    "",
    "{}",
    " {}",
    "{} ",
    "{}x",
    "[]",
    "null",
    '{"a": NaN}',
    '{"a": -Infinity}',
    '{"a": 1e999}',
    '{"a": ' + "9" * 400 + "}",
    '{"a": 01}',
    '{"a": "\\ud800"}',
    '{"a": "\\u0041"}',
    '{"a": "\\x"}',
    '{"a": "\n"}',
    '{"a": 1, "a": 2}',
    '{"a": ' + "[" * 300 + "]" * 300 + "}",
    '{"a":' + " " * 20_000 + "1}",
    "{'a': 1}",
    '{"a": 1,}',
]
TEXTS = st.one_of(st.text(string.printable, max_size=4), st.sampled_from(ODD_TEXTS))
ODD: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("event_id", "request_id", "user_id", "item_id", "creative_id", "campaign_id", "policy_id"),
        st.one_of(TEXTS, st.none(), st.integers(0, 3), st.floats(0, 1)),
    ),
    "kind": st.sampled_from([*KINDS, "klick", None, 3]),
    "time": st.sampled_from(
        [
            START,
            START.replace(tzinfo=None),
            START.astimezone(EAST),
            datetime.max.replace(tzinfo=UTC),
            datetime.min.replace(tzinfo=EAST),
            date(2024, 5, 1),
            "2024-05-01",
            None,
            7,
        ]
    ),
    "position": st.one_of(
        st.none(), st.sampled_from([True, 1.5, np.int64(3), 2**31]), st.integers(-2, 2**31)
    ),
    "propensity": st.one_of(
        st.none(), st.sampled_from([0, 1, 2, True, np.float64(0.5)]), st.floats()
    ),
    "value": st.one_of(
        st.none(), st.floats(), st.integers(), st.sampled_from([True, "1", Decimal("1.5")])
    ),
    "context": st.one_of(
        st.none(),
        st.sampled_from(ODD_JSON),
        st.dictionaries(st.text(max_size=3), st.floats() | st.text(max_size=3), max_size=2).map(
            json.dumps
        ),
    ),
}


@st.composite
def odd_events(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One or two events with one or two odd cells."""
    rows = events(draw(st.integers(1, 2)))
    for _ in range(draw(st.integers(1, 2))):
        column = draw(st.sampled_from(sorted(ODD)))
        draw(st.sampled_from(rows))[column] = draw(ODD[column])
    return rows


def outcome(rows: Any) -> object:
    try:
        return event_rows(rows)
    except DataError as error:
        return type(error)


def outcome_of_table(rows: Any) -> object:
    try:
        return outcome(frame_of(rows, EVENT_SCHEMA))
    except DataError as error:
        return type(error)


@given(odd_events())
@settings(max_examples=100)
def test_the_first_look_is_no_laxer_than_the_checks(rows: list[dict[str, Any]]) -> None:
    assert outcome(rows) == outcome_of_table(rows)


@pytest.mark.parametrize("context", ODD_JSON)
def test_contexts_are_judged_by_one_rule(context: str) -> None:
    rows = [event(0, context=context)]
    assert outcome(rows) == outcome_of_table(rows)


def test_plain_events_are_not_made_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*events(20), event(20, value=3, time=START.astimezone(EAST), creative_id="c")]
    expected = event_rows(frame_of(rows, EVENT_SCHEMA))
    monkeypatch.setattr(incoming, "validate_events", None)
    assert event_rows(rows) == expected
    assert event_rows([]) == []
    assert expected[-1][-2] == 3.0
    assert expected[0][1] == int(START.timestamp() * 1e6)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"kind": "klick"}, ValueInvalidError, "row 1, column kind, value 'klick'"),
        ({"user_id": ""}, ValueInvalidError, "row 1, column user_id"),
        ({"item_id": "a\0b"}, ValueInvalidError, r"character NUL.*row 1, column item_id"),
        ({"user_id": "\ud800"}, ValueInvalidError, r"surrogate.*row 1, column user_id"),
        ({"value": math.inf}, ValueInvalidError, "row 1, column value"),
        ({"user_id": 5}, SchemaError, r"user_id holds .*int, str.*column user_id"),
        ({"colour": "red"}, SchemaError, "unknown columns: colour"),
        ({"time": datetime.min.replace(tzinfo=EAST)}, ValueInvalidError, r"years 1 to 9999.*row 1"),
        ({"time": "noon"}, SchemaError, "column time"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        event_rows([event(0), event(1, **changes), event(2)])


def test_tables_are_taken_too() -> None:
    table = frame_of(events(5), EVENT_SCHEMA)
    assert event_rows(table) == event_rows(events(5))
    with pytest.raises(ValueInvalidError, match="NUL"):
        event_rows(table.with_columns(user_id=pl.lit("\0")))
    late = table.with_columns(pl.col("time").dt.offset_by("9000y"))
    with pytest.raises(ValueInvalidError, match="years 1 to 9999"):
        event_rows(late)


def test_long_texts_are_refused_where_asked() -> None:
    table = pl.DataFrame({"a": ["x" * 5], "b": ["x" * 6]})
    check_storable(table, longest={"a": 5})
    with pytest.raises(ValueInvalidError, match="b must have at most 5 characters"):
        check_storable(table, longest={"b": 5})
