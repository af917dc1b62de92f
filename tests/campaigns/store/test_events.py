"""?"""

from __future__ import annotations

import json
import math
import string
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Table, create_engine, func, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from adwright.campaigns.store import events as incoming
from adwright.campaigns.store.database import Database, migrate
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
from adwright.campaigns.store.tables import (
    ACTIONS,
    CAMPAIGNS,
    COMPACTIONS,
    CREATIVE_MOVES,
    CREATIVE_SCORES,
    CREATIVES,
    DECISIONS,
    EVENT_IDS,
    EVENTS,
    KEYS,
    METADATA,
    REPLICAS,
    SPEND,
    STOPS,
    TENANTS,
    Recorded,
    Totals,
    append,
    claim,
    frame_of_rows,
    of_tenant,
    portions,
    to_micros,
)
from adwright.core.clock import FixedClock
from adwright.core.errors import DataError, ResourceError, SchemaError, ValueInvalidError
from adwright.data.schema import CAMPAIGN_SCHEMA, CREATIVE_SCHEMA, EVENT_SCHEMA, KINDS
from tests.support.store.events import START as events_START
from tests.support.store.events import decision, event, events

DAY = timedelta(days=1)
LATER = events_START + 30 * DAY


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
        found = insert_batches(connection, tenant, batches, events_START)
        assert insert_batches(connection, tenant, [[], []], events_START) == [Recorded(0, 0)] * 2
        assert insert_batches(connection, tenant, [], events_START) == []
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
        (events_START.date(), "impression", 240),
        (events_START.date() + timedelta(days=1), "impression", 1),
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
    store.record_events(tenant, [*events(480), stop(500, "i1", time=events_START), stop(501, "i2")])
    before = store.stops(tenant)
    store.compact(tenant, tmp_path, before=events_START + 2 * DAY)
    assert store.events(tenant, kinds=["stop"])["event_id"].to_list() == ["e501"]
    assert store.stops(tenant).equals(before)
    # An event counts once for good: sent again, it is stored nowhere a second time.
    store.record_events(tenant, [stop(500, "i1", time=events_START)])
    assert stop_ids(store, tenant) == ["e500", "e501"]
    assert store.stops_at(tenant, LATER).items == {"i1", "i2"}


def test_an_item_falls_with_its_creatives_in_the_catalogue(store: Store, tenant: str) -> None:
    creatives(store, tenant, ("i1", "a"), ("i1", "b"), ("i2", "c"))
    store.record_events(tenant, [stop(1, "i1", "a"), stop(2, "i3", "x")])
    assert store.stops_at(tenant, LATER).items == frozenset()
    store.record_events(tenant, [stop(3, "i1", "b", time=events_START + DAY)])
    assert store.stops_at(tenant, events_START).items == frozenset()
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
            events_START,
            events_START.replace(tzinfo=None),
            events_START.astimezone(EAST),
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
    rows = [*events(20), event(20, value=3, time=events_START.astimezone(EAST), creative_id="c")]
    expected = event_rows(frame_of(rows, EVENT_SCHEMA))
    monkeypatch.setattr(incoming, "validate_events", None)
    assert event_rows(rows) == expected
    assert event_rows([]) == []
    assert expected[-1][-2] == 3.0
    assert expected[0][1] == int(events_START.timestamp() * 1e6)


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


EVENT = {
    **{"tenant": "acme", "time": 1_716_163_200_000_000, "event_id": "e1", "request_id": "r1"},
    **{"user_id": "u1", "kind": "click", "item_id": "i1"},
}
#: A row of each other table that stands on its own or on the tenant alone.
OF_CREATIVE: dict[str, object] = {"tenant": "acme", "time": 1, "creative_id": "x1"}
ROWS: dict[Table, dict[str, object]] = {
    TENANTS: {"tenant": "acme", "created": 1},
    KEYS: {"key_id": "k1", "tenant": "acme", "hash": b"\0" * 32, "created": 1},
    CAMPAIGNS: {"tenant": "acme", "campaign_id": "c1", "start": 1},
    CREATIVES: {"tenant": "acme", "creative_id": "x1", "item_id": "i1"},
    DECISIONS: {
        **{"tenant": "acme", "request_id": "r1", "time": 1, "user_id": "u1", "policy_id": "p"},
        **{"stage": "fine", "slate": "[]"},
    },
    EVENT_IDS: {"id": b"\1" * 16, "content": -1},
    EVENTS: EVENT,
    STOPS: {**EVENT, "kind": "stop"},
    ACTIONS: {"tenant": "acme", "time": 1, "what": "stop", "subject": "e1"},
    REPLICAS: {"replica": "r1", "seen": 0, "beats": 1, "lease": 15},
    CREATIVE_MOVES: {**OF_CREATIVE, "state": "draft", "author": "ann"},
    CREATIVE_SCORES: {**OF_CREATIVE, "judge": "ctr", "value": 0.2, "low": 0.1, "high": 0.3},
    SPEND: {"tenant": "acme", "campaign_id": "c1", "slot": 1, "events": 1, "micros": 2},
}


def emptied() -> Connection:
    """A connection to a new database in memory that checks foreign keys."""
    connection = create_engine("sqlite://", poolclass=NullPool).connect()
    connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    METADATA.create_all(connection)
    return connection


def filled() -> Connection:
    """The same with one row in each table of ROWS."""
    connection = emptied()
    for table, row in ROWS.items():
        connection.execute(table.insert(), row)
    return connection


def test_the_tables_hold_the_columns_of_the_schemas() -> None:
    pairs = (
        *((EVENTS, EVENT_SCHEMA), (STOPS, EVENT_SCHEMA)),
        *((CAMPAIGNS, CAMPAIGN_SCHEMA), (CREATIVES, CREATIVE_SCHEMA)),
    )
    for table, schema in pairs:
        assert set(table.c.keys()) - {"tenant", "seq", "content"} == set(schema.names)
        for field in schema:
            assert table.c[field.name].nullable == field.nullable


def test_every_table_but_the_digests_and_numbers_starts_with_its_tenant() -> None:
    for table in METADATA.tables.values():
        first = next(iter(table.primary_key)).name
        if table.name in ("event_ids", "replicas"):
            assert "tenant" not in table.c  # it is in the digest; all tenants share processes
        else:
            assert "tenant" in table.c
            assert first in ("tenant", "key_id", "seq", "number")


def test_every_key_and_index_has_a_name_that_tells_its_columns() -> None:
    for table in METADATA.tables.values():
        assert table.primary_key.name == f"pk_{table.name}"
        for index in table.indexes:
            assert index.name == "_".join(
                ["ix", table.name, *(each.name for each in index.columns)]
            )
        for key in table.foreign_key_constraints:
            assert key.name == "_".join(["fk", table.name, *key.column_keys])


def test_events_and_decisions_name_their_tenant_without_a_foreign_key() -> None:
    for table in (EVENTS, STOPS, DECISIONS, EVENT_IDS, COMPACTIONS):
        assert table.foreign_key_constraints == set()
    for table in (KEYS, CAMPAIGNS, CREATIVES):
        targets = {each.target_fullname for each in table.c.tenant.foreign_keys}
        assert "tenants.tenant" in targets


@pytest.mark.parametrize("table", [EVENTS, COMPACTIONS], ids=lambda table: table.name)
def test_each_database_numbers_rows_in_its_own_way(table: Table) -> None:
    in_sqlite = str(CreateTable(table).compile(dialect=sqlite.dialect()))
    assert "INTEGER NOT NULL" in in_sqlite
    assert "AUTOINCREMENT" in in_sqlite
    in_postgres = str(CreateTable(table).compile(dialect=postgresql.dialect()))
    assert "BIGINT GENERATED BY DEFAULT AS IDENTITY" in in_postgres


def test_a_database_has_what_the_tables_say() -> None:
    with emptied() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == set(METADATA.tables)
        for table in METADATA.tables.values():
            columns = {one["name"]: one["nullable"] for one in found.get_columns(table.name)}
            assert columns == {column.name: column.nullable for column in table.columns}
            indexes = {one["name"] for one in found.get_indexes(table.name)}
            assert indexes == {index.name for index in table.indexes}


@pytest.mark.parametrize(
    ("table", "column"),
    [(table, name) for table, row in ROWS.items() for name in row],
    ids=lambda part: getattr(part, "name", part),
)
def test_what_is_required_cannot_be_left_out(table: Table, column: str) -> None:
    with filled() as connection:
        connection.execute(EVENT_IDS.delete())
        other = {**ROWS[table], **{name: "2" for name in table.primary_key.columns.keys()[1:]}}
        with pytest.raises(IntegrityError, match=f"NOT NULL constraint failed.*{column}"):
            connection.execute(table.insert(), {**other, column: None})


def test_a_number_is_never_given_twice() -> None:
    with filled() as connection:
        connection.execute(EVENTS.insert(), {**EVENT, "event_id": "e2"})
        connection.execute(EVENTS.delete())
        connection.execute(EVENTS.insert(), {**EVENT, "event_id": "e3"})
        assert connection.execute(select(EVENTS.c.seq)).scalars().all() == [3]


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        (KEYS, {"key_id": "k2", "tenant": "nobody"}),
        (CAMPAIGNS, {"tenant": "nobody"}),
        (CREATIVES, {"tenant": "nobody"}),
        (CREATIVES, {"creative_id": "x2", "campaign_id": "gone"}),
    ],
)
def test_a_row_cannot_point_at_what_is_not_there(table: Table, wrong: dict[str, str]) -> None:
    with filled() as connection, pytest.raises(IntegrityError, match="FOREIGN KEY"):
        connection.execute(table.insert(), {**ROWS[table], **wrong})


def test_a_creative_cannot_take_the_campaign_of_another_tenant() -> None:
    with filled() as connection:
        connection.execute(TENANTS.insert(), {"tenant": "umbrella", "created": 2})
        own = {**ROWS[CREATIVES], "creative_id": "x2", "campaign_id": "c1"}
        connection.execute(CREATIVES.insert(), own)
        with pytest.raises(IntegrityError, match="FOREIGN KEY"):
            connection.execute(CREATIVES.insert(), {**own, "tenant": "umbrella"})


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="must be a datetime"):
        to_micros("2024-05-01")  # type: ignore[arg-type]


START = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (2, [2]), (3, [3]), (7, [3, 3, 1])])
def test_portions_hold_all_ids_in_order(number: int, sizes: list[int]) -> None:
    found = list(portions(range(number), size=3))
    assert [len(some) for some in found] == sizes
    assert [one for some in found for one in some] == list(range(number))


@pytest.mark.parametrize("since", [None, START])
@pytest.mark.parametrize("until", [None, START + timedelta(days=1)])
def test_a_period_includes_its_start_and_not_its_end(
    since: datetime | None, until: datetime | None
) -> None:
    conditions = of_tenant(EVENTS, "acme", since, until)
    sql = str(select(EVENTS.c.seq).where(*conditions))
    assert "tenant = " in sql
    assert ("time >= " in sql) == (since is not None)
    assert ("time < " in sql) == (until is not None)
    values = [condition.right.value for condition in conditions]  # type: ignore[attr-defined]
    bounds = [to_micros(time) for time in (since, until) if time is not None]
    assert values == ["acme", *bounds]


def test_rows_become_a_table_with_times_in_utc() -> None:
    types = {"id": pl.String(), "time": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")}
    rows = [("a", to_micros(START), None), ("b", to_micros(START) + 1, to_micros(START))]
    frame = frame_of_rows(rows, types, times=("time", "end"))
    assert frame.schema == types
    assert frame["time"].to_list() == [START, START + timedelta(microseconds=1)]
    assert frame["end"].to_list() == [None, START]


def test_rows_of_one_tenant_are_counted(store: Store, tenant: str) -> None:
    store.record_group(tenant, [decision(n) for n in range(4)])
    store.put_campaign(tenant, {"campaign_id": "c", "start": START})
    store.put_creative(tenant, {"creative_id": "x", "item_id": "i1"})
    store.create_tenant(f"{tenant[:90]} 2")
    assert store.totals(tenant) == Totals(4, 1, 1, 0, 0, ())
    assert store.totals(f"{tenant[:90]} 2") == Totals(0, 0, 0, 0, 0, ())


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = Database.open(store_url)
    migrate(opened)
    yield opened
    opened.close()


def keys(numbers: range) -> dict[bytes, int]:
    return {number.to_bytes(16, "big"): -number for number in numbers}


def test_an_id_is_claimed_once(database: Database) -> None:
    with database.write() as connection:
        assert claim(connection, EVENT_IDS, {}) == {}
        assert claim(connection, EVENT_IDS, keys(range(12_000))) == {}
    with database.write() as connection:
        other = dict.fromkeys(keys(range(11_999, 12_001)), 7)
        assert claim(connection, EVENT_IDS, other) == keys(range(11_999, 12_000))
        count = select(func.count()).select_from(EVENT_IDS)
        assert connection.execute(count).scalar_one() == 12_001


def test_a_claim_that_is_undone_is_free_again(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            claim(connection, EVENT_IDS, keys(range(3)))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.write() as connection:
        assert claim(connection, EVENT_IDS, keys(range(3))) == {}


def test_claims_in_any_order_at_once_never_stand_still(database: Database) -> None:
    won: list[int] = []

    def run(turn: int) -> None:
        for start in range(0, 3_000, 300):
            some = list(keys(range(start, start + 300)).items())
            some = some[turn * 70 :] + some[: turn * 70]
            with database.write() as connection:
                known = claim(connection, EVENT_IDS, dict(some))
            won.append(300 - len(known))

    threads = [threading.Thread(target=run, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 3_000
    assert len(won) == 40


def test_rows_are_appended_as_they_are(database: Database) -> None:
    rows = [("tab\there", 1), ("line\nbreak", -(2**62)), ("\\N back\\slash", 3), ("ä🛒", 4)]
    with database.write() as connection:
        append(connection, TENANTS, ("tenant", "created"), [])
        append(connection, TENANTS, ("tenant", "created"), rows)
    with database.read() as connection:
        found = connection.execute(select(TENANTS).order_by(TENANTS.c.created)).all()
    assert [tuple(row[:2]) for row in found] == sorted(rows, key=lambda row: row[1])


def test_what_the_driver_says_becomes_our_error(database: Database) -> None:
    with pytest.raises(ResourceError, match="the database refuses"), database.write() as connection:
        append(connection, TENANTS, ("tenant", "created"), [("a", 1), ("a", 2)])
    with database.read() as connection:
        assert connection.execute(select(TENANTS)).all() == []
