"""Events in and out of the store: each (tenant, event_id) once for good.

Those of kind "stop" stand in a table of their own as well, see `tables`, filled in the same
transaction: they are read here whether they were compacted or not. What they mean is said in
`adwright.data.stops`.

The order of stops is that in which the store took them in, not that of callers' clocks. One
transaction at a time may add some, so that `seq` is the order of commits; and the time that is kept
of one is the earliest of its own, that of its receipt and what the database's clock says, but later
than that of the stop before: no process whose clock is ahead moves all that come after there. So
whoever sorts a log by time, compacted or not, has them in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import isfinite
from typing import Any

import polars as pl
import pyarrow as pa
from sqlalchemy import Connection, Select, func, select, text

from adwright.campaigns.store.keys import ActionKind, note
from adwright.campaigns.store.spend import add_spend
from adwright.campaigns.store.tables import (
    CREATIVES,
    EPOCH,
    EVENT_IDS,
    EVENTS,
    STOPS,
    TENANTS,
    Recorded,
    append,
    claim,
    frame_of_rows,
    from_micros,
    of_tenant,
    state_of_row,
    to_micros,
)
from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.creatives import CreativeState
from adwright.data.schema import (
    EVENT_SCHEMA,
    KINDS,
    NOT_IDS,
    TIME,
    Check,
    empty_events,
    in_file,
    run_checks,
    validate_events,
)
from adwright.data.stops import Stops, stopped
from adwright.data.time import FIRST, LAST, MICROSECONDS_PER_DAY, MICROSECONDS_PER_SECOND

# --------------------------------------------------------------------------------------------------
# Rows on their way into the store: checked by data.schema, and turned into plain tuples.
#
# Checking a table costs a few milliseconds however short it is, which a service that takes a few
# events a request cannot pay. So a batch of rows is first looked at row by row for what is plainly
# valid, in a few microseconds a row. Whatever is not plain, valid or not, is left to data.schema:
# it alone refuses, so there is one set of rules, and the first look only has to be no laxer.

#: The columns of EVENT_SCHEMA in their order, time in microseconds since 1970.
EventRow = tuple[Any, ...]

_NAMES = frozenset(EVENT_SCHEMA.names)
_KINDS = frozenset(KINDS)
_EXACT = 2**53  # up to here a float holds every integer
_MAX_POSITION = 2**31 - 1
_LONG, _DEEP = 10_000, 100
_YEARS = "the time must lie in the years 1 to 9999 of UTC"


def event_rows(events: Sequence[Mapping[str, object]] | pl.DataFrame) -> list[EventRow]:
    """The events as tuples in the columns of EVENT_SCHEMA, after checking them.

    events: mappings in these columns, in which the optional ones may be left out, or a table.
        Repeated event_ids pass.
    Raises SchemaError and ValueInvalidError as `adwright.data.schema.validate_events`, and for
    a text that holds the character NUL or half of a surrogate pair.
    """
    if isinstance(events, pl.DataFrame):
        return _judged(events)
    rows: list[EventRow] = []
    contexts: set[str] = set()
    for event in events:
        row = _plain(event, contexts)
        if row is None:
            return _judged(frame_of(events, EVENT_SCHEMA))
        rows.append(row)
    return rows


def frame_of(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> pl.DataFrame:
    """The rows as a table for the validate functions of data.schema, not yet checked by them.

    schema: which columns hold times and floats. A value that is absent becomes null.
    Raises SchemaError where a column holds values of several types or of one that no table
    has, ValueInvalidError for half of a surrogate pair or a time out of range.
    """
    names: dict[str, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SchemaError(
                f"a row must be a mapping, not {type(row).__name__}",
                row=number,
                hint="pass one mapping of column to value a row",
            )
        names.update(dict.fromkeys(row))
    types = {field.name: field.type for field in schema}
    columns = []
    for name in names:
        kind = types.get(name)
        values = [_prepared(row.get(name), kind, number) for number, row in enumerate(rows)]
        try:
            columns.append(pl.Series(str(name), values, strict=True))
        except UnicodeEncodeError as error:
            raise _refused_text(str(name), values) from error
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            found = sorted({type(value).__name__ for value in values if value is not None})
            raise SchemaError(
                f"{name} holds values that do not fit together: {', '.join(found)}",
                column=str(name),
                hint=f"make them all {types.get(name, 'of one type')}",
            ) from error
    return pl.DataFrame(columns) if columns else pl.DataFrame(schema=dict.fromkeys(names))


def check_storable(frame: pl.DataFrame, *, longest: Mapping[str, int] | None = None) -> None:
    """Raise ValueInvalidError for a text that a database cannot keep.

    That is one with the character NUL, which PostgreSQL refuses, or one longer than
    `longest` says for its column, in characters.
    """
    checks = [
        Check(
            name,
            pl.col(name).str.contains("\0", literal=True),
            f"{name} must not hold the character NUL",
            "remove it",
        )
        for name, dtype in frame.schema.items()
        if dtype == pl.String
    ]
    for name, limit in (longest or {}).items():
        too_long = pl.col(name).str.len_chars() > limit
        what = f"{name} must have at most {limit} characters"
        checks.append(Check(name, too_long, what, "use a shorter one"))
    run_checks(frame.lazy(), checks, in_file(""))


def _judged(frame: pl.DataFrame) -> list[EventRow]:
    valid = validate_events(frame, unique=False)
    check_storable(valid)
    stored = valid.with_columns(pl.col("time").dt.epoch("us"))
    years = Check("time", ~pl.col("time").is_between(FIRST, LAST), _YEARS, "correct the time")
    run_checks(stored.lazy(), [years], in_file(""))
    return stored.rows()


def _plain(event: Mapping[str, object], contexts: set[str]) -> EventRow | None:
    """The event as a tuple if it is plainly valid, else None.

    contexts: those seen in this batch; most events of a slate share one.
    """
    if not isinstance(event, Mapping) or not event.keys() <= _NAMES:
        return None
    get = event.get
    time, kind, position, context = get("time"), get("kind"), get("position"), get("context")
    propensity, value = _number(get("propensity")), _number(get("value"))
    ids = (get("event_id"), get("request_id"), get("user_id"), get("item_id"))
    references = (get("creative_id"), get("campaign_id"), get("policy_id"))
    if (
        type(time) is not datetime
        or time.utcoffset() is None
        or type(kind) is not str
        or kind not in _KINDS
        or not (position is None or (type(position) is int and 0 <= position <= _MAX_POSITION))
        or not (propensity is None or 0 < propensity <= 1)
        or not (value is None or isfinite(value))
        or not all(map(_is_plain_id, ids))
        or not all(one is None or _is_plain_id(one) for one in references)
    ):
        return None
    if context is not None:
        if type(context) is not str:
            return None
        if context not in contexts:
            if not _is_plain_object(context):
                return None
            contexts.add(context)
    since = time - EPOCH
    micros = (
        since.days * MICROSECONDS_PER_DAY
        + since.seconds * MICROSECONDS_PER_SECOND
        + since.microseconds
    )
    if not FIRST <= micros <= LAST:
        return None
    event_id, request_id, user_id, item_id = ids
    creative_id, campaign_id, policy_id = references
    row = (event_id, micros, request_id, user_id, kind, item_id, creative_id, campaign_id)
    return (*row, position, propensity, policy_id, value, context)


def _number(value: object) -> float | None:
    """The value as a float, null for None, and NaN for what needs a second look."""
    if type(value) is float:
        return value
    if value is None:
        return None
    return float(value) if type(value) is int and -_EXACT <= value <= _EXACT else float("nan")


def _is_plain_id(value: object) -> bool:
    # Printable rules out NUL, line breaks and halves of surrogate pairs.
    return (
        type(value) is str and value.isprintable() and value not in NOT_IDS and value.strip() != ""
    )


def _is_plain_object(text: str) -> bool:
    if (
        not text.startswith("{")
        or not text.isprintable()
        or "\\u" in text
        or len(text) > _LONG
        or text.count("{") + text.count("[") > _DEEP
    ):
        return False
    try:
        json.loads(text, parse_float=_finite, parse_int=_finite, parse_constant=_refuse)
    except ValueError:
        return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"not a finite number: {text}")


def _prepared(value: object, kind: pa.DataType | None, row: int) -> Any:
    """The value as polars takes it: times in one zone, numbers of a float column as floats."""
    if kind == TIME and isinstance(value, datetime):
        try:
            zoned = value.replace(tzinfo=UTC) if value.utcoffset() is None else value
            return zoned.astimezone(UTC)
        except OverflowError as error:
            raise ValueInvalidError(
                _YEARS, row=row, column="time", value=value, hint="correct the time"
            ) from error
    if kind == pa.float64() and type(value) is int and -_EXACT <= value <= _EXACT:
        return float(value)
    return value


def _refused_text(column: str, values: Sequence[object]) -> ValueInvalidError:
    for row, value in enumerate(values):
        try:
            if isinstance(value, str):
                value.encode()
        except UnicodeEncodeError:
            what = f"{column} holds half of a surrogate pair, which is no character"
            hint = "decode the text properly before sending it"
            return ValueInvalidError(what, row=row, column=column, value=value, hint=hint)
    return ValueInvalidError(f"{column} holds a text that is not Unicode", column=column)


_COLUMNS = tuple(EVENT_SCHEMA.names)
_KIND = 1 + _COLUMNS.index("kind")  # behind the tenant
_CAMPAIGN = _COLUMNS.index("campaign_id")
_ITEM, _USER = 1 + _COLUMNS.index("item_id"), 1 + _COLUMNS.index("user_id")
_TIME, _VALUE = 1 + _COLUMNS.index("time"), 1 + _COLUMNS.index("value")
_ID_BYTES, _CONTENT_BYTES = 16, 8
#: The `seq` of a tenant's last stop and, where some name creatives, how often these changed: what
#: they say is the same while the two numbers are.
StopVersion = tuple[int, int]
#: States of the creatives with which an item falls: those that are shown, or may be again without
#: anybody's yes.
_SHOWN: tuple[CreativeState, ...] = ("", "live", "paused")
# Any number that no other program is likely to lock.
_POSTGRESQL_LOCK = 0x6164777374
#: What the database's clock says, in microseconds; that of SQLite is the machine's.
_DATABASE_CLOCK = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
}
_NEVER = -(2**63)


def insert_batches(
    connection: Connection,
    tenant: str,
    batches: Sequence[Sequence[EventRow]],
    now: datetime,
    *,
    key_id: str | None = None,
    slot: int = 0,
) -> list[Recorded]:
    """Insert those of the rows whose event_id the tenant never sent before; what became of each
    sender's batch, in order.

    batches: of rows as `event_rows` makes them. now: when they were received. key_id: of the key
    they came with, for the log of actions, where stops stand. slot: of the process, for what the
    events cost, see `spend`. connection: in a transaction that may write; nothing is durable before
    it is committed. One transaction that calls this once waits for no other that waits for it; one
    that calls it twice may, and PostgreSQL would end one of the two.
    """
    marks = [fingerprints(tenant, batch) for batch in batches]
    first: dict[bytes, int] = {}
    for batch in marks:
        for key, content in batch:
            first.setdefault(key, content)
    if not first:
        return [Recorded(0, 0) for _ in batches]
    kept = dict(claim(connection, EVENT_IDS, first))
    new: list[EventRow] = []
    results = []
    for rows, batch in zip(batches, marks, strict=True):
        before, conflicting, repeated = len(new), 0, []
        for place, (row, (key, content)) in enumerate(zip(rows, batch, strict=True)):
            if key in kept:
                conflicting += kept[key] != content
                repeated.append(place)
            else:
                kept[key] = content
                new.append(row)
        accepted = len(new) - before
        results.append(Recorded(accepted, len(repeated), conflicting, frozenset(repeated)))
    names, added = ("tenant", *_COLUMNS), [(tenant, *row) for row in new]
    stopping = [any(row[_KIND - 1] == "stop" for row in batch) for batch in batches]
    # Before the lock below, as everybody who takes both.
    spent = add_spend(connection, tenant, ((row[_KIND - 1], row[_CAMPAIGN]) for row in new), slot)
    if spent:
        results = [replace(one, spent=spent) for one in results]
    if not any(stopping):
        append(connection, EVENTS, names, added)
        return results
    if connection.dialect.name != "sqlite":  # which has one writer at a time
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _POSTGRESQL_LOCK})
    there = connection.execute(text(_DATABASE_CLOCK[connection.dialect.name])).scalar_one()
    added = _in_order(connection, tenant, added, min(to_micros(now), there))
    stops = [row for row in added if row[_KIND] == "stop"]
    append(connection, EVENTS, names, added)
    append(connection, STOPS, names, stops)
    said: list[tuple[ActionKind, str, str | None]] = [
        ("undo" if row[_VALUE] == 0 else "stop", row[1], f"{row[_ITEM]} by {row[_USER]}")
        for row in stops
    ]
    note(connection, tenant, said, now, key_id=key_id)
    # Its own alone: a process reads no other's, and others' may have come after a repetition.
    query = select(func.max(STOPS.c.seq)).where(*of_tenant(STOPS, tenant))
    last = connection.execute(query).scalar_one() or 0
    return [
        replace(one, stops=last) if has else one for one, has in zip(results, stopping, strict=True)
    ]


def _in_order(
    connection: Connection, tenant: str, rows: list[EventRow], received: int
) -> list[EventRow]:
    """The rows, the times of stops as they are kept."""
    query = select(STOPS.c.time).where(*of_tenant(STOPS, tenant))
    last = connection.execute(query.order_by(STOPS.c.seq.desc()).limit(1)).scalar()
    last = _NEVER if last is None else last
    kept = []
    for row in rows:
        if row[_KIND] == "stop":
            last = max(min(row[_TIME], received), last + 1)
            kept.append((*row[:_TIME], last, *row[_TIME + 1 :]))
        else:
            kept.append(row)
    return kept


def fingerprints(tenant: str, rows: Sequence[EventRow]) -> list[tuple[bytes, int]]:
    """For each row, 16 bytes for (tenant, event_id) and 8, as an integer, for all its columns.

    BLAKE2b, a digest without known collisions: among 10^12 events, two ids get the same 16
    bytes with a probability of 10^-15. They are kept in databases, so that they never change.
    """
    # NUL is in no tenant's name, so no two pairs give the same bytes.
    prefix = tenant.encode() + b"\0"
    return [
        (
            blake2b(prefix + str(row[0]).encode(), digest_size=_ID_BYTES).digest(),
            int.from_bytes(
                blake2b(json.dumps(row).encode(), digest_size=_CONTENT_BYTES).digest(),
                "big",
                signed=True,
            ),
        )
        for row in rows
    ]


def select_events(
    tenant: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    kinds: Collection[str] | None = None,
) -> Select[Any]:
    """The query for a tenant's events in the columns of EVENT_SCHEMA, oldest first.

    since: the first instant. until: the first instant after the last. kinds: only these.
    Raises ValueInvalidError for a kind that is none.
    """
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        raise ValueInvalidError(
            "there is no such kind of event",
            column="kinds",
            value=unknown[0],
            hint=f"use some of {', '.join(KINDS)}",
        )
    columns = (EVENTS.c[name] for name in _COLUMNS)
    query = select(*columns).where(*of_tenant(EVENTS, tenant, since, until))
    if kinds is not None:
        query = query.where(EVENTS.c.kind.in_(sorted(kinds)))
    return query.order_by(EVENTS.c.time, EVENTS.c.seq)


def last_event(connection: Connection) -> int:
    """The number of the event that was taken in last; 0 where there is none."""
    return int(connection.execute(select(func.max(EVENTS.c.seq))).scalar() or 0)


def events_after(
    connection: Connection, number: int, kinds: Collection[str], most: int
) -> list[tuple[int, str, dict[str, Any]]]:
    """The first events of these kinds after a number, of all tenants and not compacted: number,
    tenant, and the event in the columns of EVENT_SCHEMA. Numbers are in order of arrival; a
    transaction that is committed late has earlier ones."""
    columns = (EVENTS.c[name] for name in _COLUMNS)
    query = select(EVENTS.c.seq, EVENTS.c.tenant, *columns)
    query = query.where(EVENTS.c.seq > number, EVENTS.c.kind.in_(sorted(kinds)))
    rows = connection.execute(query.order_by(EVENTS.c.seq).limit(most)).all()
    events = to_frame([row[2:] for row in rows]).to_dicts()
    return [(row[0], row[1], event) for row, event in zip(rows, events, strict=True)]


def count_events(connection: Connection, tenant: str) -> pl.DataFrame:
    """A tenant's events by day (a date, in UTC) and kind: day, kind, events, by day and kind."""
    # From the first instant that there is, so that the division of every database rounds down.
    day = (EVENTS.c.time - FIRST) // MICROSECONDS_PER_DAY
    query = (
        select(day, EVENTS.c.kind, func.count())
        .where(EVENTS.c.tenant == tenant)
        .group_by(day, EVENTS.c.kind)
    )
    first, found = from_micros(FIRST).date(), connection.execute(query)
    rows = [(first + timedelta(days=int(days)), kind, count) for days, kind, count in found]
    schema = {"day": pl.Date, "kind": pl.String, "events": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("day", "kind")


def to_frame(rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Rows of `select_events` as a table in EVENT_SCHEMA."""
    return frame_of_rows(rows, empty_events().schema)


def read_stops(connection: Connection, tenant: str) -> pl.DataFrame:
    """The tenant's stop events in EVENT_SCHEMA, in the order in which they were taken in."""
    query = select(*(STOPS.c[name] for name in _COLUMNS)).where(*of_tenant(STOPS, tenant))
    return to_frame(connection.execute(query.order_by(STOPS.c.seq)).all())


def stops_of(
    connection: Connection, tenant: str, at: datetime | None = None
) -> tuple[Stops, StopVersion]:
    """What is stopped of the tenant's, now or at the moment `at`, in UTC, and its version."""
    named = [STOPS.c.creative_id.is_not(None), *of_tenant(STOPS, tenant)]
    query = select(CREATIVES.c.creative_id, CREATIVES.c.item_id).where(
        *of_tenant(CREATIVES, tenant),
        CREATIVES.c.item_id.in_(select(STOPS.c.item_id).where(*named)),
        # A draft beside a stopped ad lets nobody show the item again.
        CREATIVES.c.creative_id.in_(select(STOPS.c.creative_id).where(*named))
        | state_of_row().in_(_SHOWN),
    )
    rows = [tuple(row) for row in connection.execute(query)]
    schema = {"creative_id": pl.String(), "item_id": pl.String()}
    creatives = pl.DataFrame(rows, schema=schema, orient="row")
    found = stopped(read_stops(connection, tenant), creatives, at)
    return found, stop_versions(connection, tenant).get(tenant, (0, 0))


def stop_versions(connection: Connection, only: str | None = None) -> dict[str, StopVersion]:
    """For each tenant that ever stopped anything, what changes when its stops may have."""
    tenant = STOPS.c.tenant
    naming = select(tenant).where(STOPS.c.creative_id.is_not(None))
    query = select(TENANTS.c.tenant, TENANTS.c.version).where(TENANTS.c.tenant.in_(naming))
    changed = {one: version or 0 for one, version in connection.execute(query)}
    last = select(tenant, func.max(STOPS.c.seq)).group_by(tenant)
    stops = connection.execute(last if only is None else last.where(tenant == only))
    return {one: (seq, changed.get(one, 0)) for one, seq in stops}
