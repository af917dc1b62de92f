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

What changes what is shown, or who may change it, stands in `actions` with the key that did it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
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
)

__all__ = [
    "ACTIONS",
    "CAMPAIGNS",
    "COMPACTIONS",
    "CREATIVES",
    "DECISIONS",
    "EVENTS",
    "EVENT_IDS",
    "KEYS",
    "METADATA",
    "REPLICAS",
    "STOPS",
    "TENANTS",
]

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
)

CREATIVES = Table(
    "creatives",
    METADATA,
    Column("tenant", Text, ForeignKey("tenants.tenant"), primary_key=True),
    Column("creative_id", Text, primary_key=True),
    *_required("item_id"),
    *_optional("campaign_id", "text", "image_hash"),
    ForeignKeyConstraint(["tenant", "campaign_id"], ["campaigns.tenant", "campaigns.campaign_id"]),
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
