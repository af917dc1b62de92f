"""The tables of the store, as SQLAlchemy describes them; `migrations` creates the same.

Times are whole microseconds since 1970 in UTC: exact, the same in every database, and sorted as
they are stored. Ids are text. The rows of `events` and `decisions` name their tenant without a
foreign key, which would be checked once a row: the store checks it once a batch.

Why event_ids stands apart from events: an event_id counts once for good, also after its event
was compacted into a file and deleted here. So the insertion into event_ids decides whether an
event is new, and no second question has to be asked while a compaction runs beside it. It holds
no id but a digest of tenant and id, 16 bytes, and 8 bytes of digest of the event's content,
which tell a repetition from another event under the same id.

Why stops stands apart too: a stopped ad must stay hidden however old its stop is, so every process
that decides needs all stops, at once and again and again. They are few, and stand here a second
time, also after their events were compacted into files that no decision could wait for.

How ads did must not be forgotten either: what a compaction takes out of events is added to
`creative_counts` in its own transaction.

What changes what is shown, or who may change it, stands in `actions` with the key that did it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeVar

import polars as pl
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from adwright.core.errors import ValueInvalidError

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the type is spelt INTEGER.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")


def _required(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def _optional(*names: str) -> list[Column[str | None]]:
    return [Column(name, Text) for name in names]


def _event() -> list[Column[Any]]:
    """The columns of an event behind its time."""
    return [
        *_required("event_id", "request_id", "user_id", "kind", "item_id"),
        *_optional("creative_id", "campaign_id"),
        Column("position", Integer),
        Column("propensity", Double),
        Column("policy_id", Text),
        Column("value", Double),
        Column("context", Text),
    ]


TENANTS = Table(
    "tenants",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("created", BigInteger, nullable=False),
    # Whether the key that asked the agent for a change cannot be the one that says yes to it.
    Column("two_keys", Boolean),
    # How often its campaigns, creatives and their scores changed; null: never since it was counted.
    Column("version", BigInteger),
    # Signs the addresses that clicks go to; made when first asked for.
    Column("secret", LargeBinary),
)

KEYS = Table(
    "api_keys",
    METADATA,
    Column("key_id", Text, primary_key=True),  # the part of a key that may be shown
    Column("tenant", Text, ForeignKey("tenants.tenant"), nullable=False, index=True),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of key_id and secret
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    Column("scopes", Text),  # with spaces between; null: all, of a key from before there were any
)

CAMPAIGNS = Table(
    "campaigns",
    METADATA,
    Column("tenant", Text, ForeignKey("tenants.tenant"), primary_key=True),
    Column("campaign_id", Text, primary_key=True),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger),
    Column("type", Text),
    Column("budget", Double),
    Column("price", Double),
    Column("per", Text),  # impression | click
    Column("cap", Integer),  # impressions to one person in cap_hours
    Column("cap_hours", Double),
    Column("targeting", Text),  # a JSON object: key of a request's context -> values
)

CREATIVES = Table(
    "creatives",
    METADATA,
    Column("tenant", Text, ForeignKey("tenants.tenant"), primary_key=True),
    Column("creative_id", Text, primary_key=True),
    *_required("item_id"),
    *_optional("campaign_id", "text", "image_hash"),
    Column("content", Text),  # a JSON object: what is no column; null: of put_creatives
    ForeignKeyConstraint(["tenant", "campaign_id"], ["campaigns.tenant", "campaigns.campaign_id"]),
)


def _of_creative() -> list[Any]:
    """A row about a creative; the last one of its kind counts."""
    return [
        Column("seq", _NUMBER, Identity(), primary_key=True),
        Column("tenant", Text, nullable=False),
        Column("time", BigInteger, nullable=False),
        *_required("creative_id"),
        ForeignKeyConstraint(
            ["tenant", "creative_id"], ["creatives.tenant", "creatives.creative_id"]
        ),
    ]


CREATIVE_MOVES = Table(
    "creative_moves",
    METADATA,
    *_of_creative(),
    *_required("state", "author"),
    *_optional("why"),
    Index(None, "tenant", "creative_id", "seq"),
)

CREATIVE_SCORES = Table(
    "creative_scores",  # what judges predict
    METADATA,
    *_of_creative(),
    *_required("judge"),
    *(Column(name, Double, nullable=False) for name in ("value", "low", "high")),
    Index(None, "tenant", "creative_id", "judge", "seq"),
)

SPEND = Table(
    "spend",  # added to in the transaction of the events that cost something
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("campaign_id", Text, primary_key=True),
    # Of the process: no two that write at once wait for each other.
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("events", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),  # millionths of the currency
    ForeignKeyConstraint(["tenant", "campaign_id"], ["campaigns.tenant", "campaigns.campaign_id"]),
)

CREATIVE_COUNTS = Table(
    "creative_counts",  # of compacted events that name a creative
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("creative_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("events", BigInteger, nullable=False),
)

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("time", BigInteger, nullable=False),
    *_required("user_id", "policy_id", "stage"),
    *_required("slate"),  # JSON list of objects, the best place first
    *_optional("context"),  # a JSON object
    Index(None, "tenant", "time"),
)

EVENT_IDS = Table(
    "event_ids",
    METADATA,
    Column("id", LargeBinary, primary_key=True),  # 16 bytes, of tenant and event_id
    Column("content", BigInteger, nullable=False),  # 8 bytes, of all the other columns
    sqlite_with_rowid=False,
)

EVENTS = Table(
    "events",
    METADATA,
    Column("seq", _NUMBER, Identity(), primary_key=True),  # in order of arrival
    Column("tenant", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    *_event(),
    Index(None, "tenant", "time", "seq"),
    # A number is never given twice, not even after the highest one was deleted.
    sqlite_autoincrement=True,
)

STOPS = Table(
    "stops",  # the events of kind "stop", which stay here when they are compacted
    METADATA,
    Column("seq", _NUMBER, Identity(), primary_key=True),  # in order of commits, and of time
    Column("tenant", Text, nullable=False, index=True),
    Column("time", BigInteger, nullable=False),
    *_event(),
)

ACTIONS = Table(
    "actions",
    METADATA,
    Column("seq", _NUMBER, Identity(), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("key_id", Text),  # null: whoever has the store or the folder of the models itself
    *_required("what", "subject"),  # of which key, event, campaign, model or run
    *_optional("detail"),
    Index(None, "tenant", "seq"),
)

REPLICAS = Table(
    "replicas",  # processes that decide, while they live
    METADATA,
    Column("replica", Text, primary_key=True),
    Column("seen", BigInteger, nullable=False),  # the last stop that it obeys, by seq
    Column("beats", BigInteger, nullable=False),  # a count, since clocks differ
    Column("lease", BigInteger, nullable=False),  # microseconds without a beat: it decides no more
)

COMPACTIONS = Table(
    "compactions",
    METADATA,
    Column("number", _NUMBER, Identity(), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("day", Date, nullable=False),  # in UTC
    Column("folder", Text, nullable=False),  # absolute, at the time
    Column("file", Text, nullable=False),  # below the folder
    Column("state", Text, nullable=False),  # writing | done | abandoned
    Column("rows", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("finished", BigInteger),
    Index(None, "tenant", "state"),
    sqlite_autoincrement=True,
)


# --------------------------------------------------------------------------------------------------
# Instants as the store keeps them: whole microseconds since 1970, in UTC.

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(time: datetime) -> int:
    """Microseconds from 1970 to `time`; a time without a zone is read as UTC.

    Raises ValueInvalidError for what is no datetime.
    """
    if not isinstance(time, datetime):
        raise ValueInvalidError(
            "a time must be a datetime", column="time", value=time, hint="pass datetime.now(UTC)"
        )
    aware = time.replace(tzinfo=UTC) if time.utcoffset() is None else time
    return (aware - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The instant `micros` microseconds after 1970, in UTC."""
    return EPOCH + timedelta(microseconds=micros)


# --------------------------------------------------------------------------------------------------
# What the queries of several tables share: ids in portions, periods, and tables of their rows.

T = TypeVar("T")

# SQLite's default bound on the parameters of a statement is 32,766.
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Totals:
    """decisions, campaigns, creatives: of a tenant. compacted: its events that lie in `files`
    files of finished compactions, below `folders`."""

    decisions: int
    campaigns: int
    creatives: int
    compacted: int
    files: int
    folders: tuple[str, ...]


def count_rows(connection: Connection, tenant: str) -> Totals:
    """How much there is of a tenant, beside its events in the store."""
    done = COMPACTIONS.c.tenant == tenant, COMPACTIONS.c.state == "done"
    rows, files = connection.execute(
        select(func.coalesce(func.sum(COMPACTIONS.c.rows), 0), func.count()).where(*done)
    ).one()
    folders = connection.execute(select(COMPACTIONS.c.folder).where(*done).distinct()).scalars()
    decisions, campaigns, creatives = (
        connection.execute(select(func.count()).where(table.c.tenant == tenant)).scalar_one()
        for table in (DECISIONS, CAMPAIGNS, CREATIVES)
    )
    where = tuple(sorted(folders))
    return Totals(decisions, campaigns, creatives, int(rows), files, where)


def portions(ids: Sequence[T], size: int = _AT_ONCE) -> Iterator[Sequence[T]]:
    """Yield the ids in portions that fit into one statement."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


def of_tenant(
    table: Table, tenant: str, since: datetime | None = None, until: datetime | None = None
) -> list[ColumnElement[bool]]:
    """The conditions on a tenant's rows from `since` to before `until`; None is no bound."""
    found = [table.c.tenant == tenant]
    if since is not None:
        found.append(table.c.time >= to_micros(since))
    if until is not None:
        found.append(table.c.time < to_micros(until))
    return found


def insert_of(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insertion that can say what becomes of a row that is there."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def state_of_row() -> ColumnElement[str]:
    """The state of a row of `creatives`, for a query: that of its last move."""
    moves = CREATIVE_MOVES.c
    last = (
        select(moves.state)
        .where(moves.tenant == CREATIVES.c.tenant, moves.creative_id == CREATIVES.c.creative_id)
        .order_by(moves.seq.desc())
        .limit(1)
        .correlate(CREATIVES)
    )
    return func.coalesce(last.scalar_subquery(), "")


def frame_of_rows(
    rows: Sequence[Sequence[Any]], types: Mapping[str, Any], *, times: Sequence[str] = ("time",)
) -> pl.DataFrame:
    """Rows of the database as a table of these column types.

    times: columns that the database keeps in microseconds since 1970, which become UTC times.
    """
    kept = {**types, **dict.fromkeys(times, pl.Int64())}
    frame = pl.DataFrame([tuple(row) for row in rows], schema=kept, orient="row")
    return frame.with_columns(
        pl.from_epoch(name, "us").dt.replace_time_zone("UTC") for name in times
    )


# --------------------------------------------------------------------------------------------------
# Many rows at once, each database in its own fastest way.
#
# SQLite takes some rows a statement. PostgreSQL takes ids as arrays in one statement, and rows as a
# COPY stream, which costs the sender a tenth of what INSERT does.

#: Of one statement; each has at most 14 values, and old builds of SQLite take 999.
_ROWS = 50


@dataclass(frozen=True)
class Recorded:
    """What became of a batch.

    accepted: rows that are new, and now durable. duplicates: rows whose id was known already,
    or stood earlier in the batch; what was known is kept. conflicting: those of the duplicates
    that differ from what is kept, which a sender should look into. repeated: places of the
    duplicate events in the batch, from 0. stops: of a batch with stops, the number of the last stop
    in the store, which a process must have seen to obey all of them; else 0. spent: campaign_id ->
    what it has spent with this batch, by all that write, of campaigns that the batch costs
    something.
    """

    accepted: int
    duplicates: int
    conflicting: int = 0
    repeated: frozenset[int] = field(default=frozenset(), compare=False, repr=False)
    stops: int = field(default=0, compare=False)
    spent: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)


def claim(connection: Connection, table: Table, ids: Mapping[bytes, int]) -> dict[bytes, int]:
    """Insert the ids that are new, and return the others with the content that is kept.

    table: two columns, id and content. connection: in a transaction that may write.
    Two transactions that claim the same new id at once cannot both get it: the later one waits
    for the earlier one to end.
    """
    # In one order everywhere, so that two batches never wait for each other.
    rows = sorted(ids.items())
    if connection.dialect.name == "sqlite":
        # This transaction holds the only right to write: nobody can come between.
        known = _kept_in_sqlite(connection, table, list(ids))
        new = [row for row in rows if row[0] not in known]
        _insert_in_sqlite(connection, table, "id, content", new)
        return known
    statement = (
        f"INSERT INTO {table.name} (id, content) "
        "SELECT * FROM unnest(%s::bytea[], %s::bigint[]) ON CONFLICT DO NOTHING RETURNING id"
    )
    arrays = ([key for key, _ in rows], [content for _, content in rows])
    mine = {key for (key,) in connection.exec_driver_sql(statement, arrays)}
    if len(mine) == len(rows):
        return {}
    others = [key for key, _ in rows if key not in mine]
    statement = f"SELECT id, content FROM {table.name} WHERE id = ANY(%s)"
    return {key: content for key, content in connection.exec_driver_sql(statement, (others,))}


def append(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Insert rows that are known to be new; each has the values of `columns` in their order."""
    if not rows:
        return
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        _insert_in_sqlite(connection, table, names, rows)
        return
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _insert_in_sqlite(
    connection: Connection, table: Table, names: str, rows: Sequence[tuple[object, ...]]
) -> None:
    # `executemany` would let go of the interpreter at each row, and ask busy threads for it again.
    for at in range(0, len(rows), _ROWS):
        some = rows[at : at + _ROWS]
        places = ", ".join([f"({', '.join('?' * len(some[0]))})"] * len(some))
        statement = f"INSERT INTO {table.name} ({names}) VALUES {places}"
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(some)))


def _kept_in_sqlite(connection: Connection, table: Table, ids: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for some in portions(ids):
        places = ", ".join("?" * len(some))
        statement = f"SELECT id, content FROM {table.name} WHERE id IN ({places})"
        rows = connection.exec_driver_sql(statement, tuple(some))
        found.update((key, content) for key, content in rows)
    return found
