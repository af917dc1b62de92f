"""The log of actions: who changed what is shown, or who may change it, and when.

    make key, revoke key                     SUBJECT is its id
    two keys                                 SUBJECT is "on" or "off"
    stop, undo                               SUBJECT is the event
    campaign                                 SUBJECT was stored
    publish                                  SUBJECT is the model that began to decide
    agent ask, agent confirm, agent refuse   SUBJECT is the run

It is written in the transaction that does it, or before what cannot be in one. Beside it, the
processes that decide tell here that they live and which stops they obey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, update

from adwright.campaigns.store.bulk import append
from adwright.campaigns.store.tables import ACTIONS, REPLICAS
from adwright.campaigns.store.times import from_micros, to_micros

__all__ = [
    "Action",
    "ActionKind",
    "Replica",
    "beat",
    "drop_replicas",
    "note",
    "read_actions",
    "read_replicas",
]

ActionKind = Literal[
    "make key",
    "revoke key",
    "two keys",
    "stop",
    "undo",
    "campaign",
    "publish",
    "agent ask",
    "agent confirm",
    "agent refuse",
]


@dataclass(frozen=True)
class Action:
    """One line of the log. key_id: of the key it was done with; None for whoever had the store, or
    the folder of the models, itself."""

    number: int
    time: datetime
    key_id: str | None
    what: str
    subject: str
    detail: str | None


@dataclass(frozen=True)
class Replica:
    """What a process said of itself. seen: the number of the last stop that it obeys. beats: a
    count that rises while it lives. lease: after so many seconds without a rise it decides no
    more."""

    seen: int
    beats: int
    lease: float


def note(
    connection: Connection,
    tenant: str,
    actions: Sequence[tuple[ActionKind, str, str | None]],
    now: datetime,
    *,
    key_id: str | None = None,
) -> None:
    """Write down what was done: for each action what, to which subject, and more in words."""
    names = ("tenant", "time", "key_id", "what", "subject", "detail")
    rows = [(tenant, to_micros(now), key_id, *action) for action in actions]
    append(connection, ACTIONS, names, rows)


def read_actions(
    connection: Connection,
    tenant: str,
    *,
    before: int | None = None,
    limit: int = 100,
    what: str | None = None,
    subject: str | None = None,
) -> list[Action]:
    """The tenant's last actions, the newest first. before: those of a smaller number."""
    query = select(ACTIONS).where(ACTIONS.c.tenant == tenant)
    for column, value in ((ACTIONS.c.what, what), (ACTIONS.c.subject, subject)):
        query = query if value is None else query.where(column == value)
    if before is not None:
        query = query.where(ACTIONS.c.seq < before)
    rows = connection.execute(query.order_by(ACTIONS.c.seq.desc()).limit(limit))
    return [
        Action(row.seq, from_micros(row.time), row.key_id, row.what, row.subject, row.detail)
        for row in rows
    ]


def beat(connection: Connection, name: str, replica: Replica) -> None:
    """Say that a process lives, and what it has seen."""
    row = {
        "seen": replica.seen,
        "beats": replica.beats,
        "lease": round(replica.lease * 1e6),
    }
    done = connection.execute(update(REPLICAS).where(REPLICAS.c.replica == name).values(row))
    if not done.rowcount:
        connection.execute(insert(REPLICAS).values(replica=name, **row))


def read_replicas(connection: Connection) -> dict[str, Replica]:
    """What each process said last, by its name."""
    rows = connection.execute(select(REPLICAS))
    return {row.replica: Replica(row.seen, row.beats, row.lease / 1e6) for row in rows}


def drop_replicas(connection: Connection, names: Sequence[str]) -> None:
    """Forget processes that ended."""
    connection.execute(delete(REPLICAS).where(REPLICAS.c.replica.in_(names)))
