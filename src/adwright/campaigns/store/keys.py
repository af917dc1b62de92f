"""API keys: what a tenant shows to be let in, kept so that the database gives none away.

A key reads ``adw_<id>_<secret>``. The id finds its row; the secret is 32 random bytes, of which
only SHA-256 of id and secret is kept. A slow hash with a salt, as passwords need, would protect
nothing here: 2^256 secrets cannot be tried, and no two keys are alike, since the id stands in
the hash. A leaked database therefore opens no door, and a request is checked in microseconds.

A key opens what its scopes name:

    events          send what happened          stops           stop ads, and take that back
    decide          ask what to show            creatives       enter ads, and move them to be shown
    read            look at what there is       agent:ask       begin a run of the agent
    admin           campaigns, ads, the log     agent:confirm   say yes to what it would change
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import Connection, delete, insert, select, update

from adwright.campaigns.store.tables import (
    ACTIONS,
    KEYS,
    REPLICAS,
    TENANTS,
    append,
    from_micros,
    portions,
    to_micros,
)
from adwright.core.config import closest_name
from adwright.core.errors import ConfigError

KeyScope = Literal[
    "events", "decide", "read", "stops", "creatives", "agent:ask", "agent:confirm", "admin"
]
SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
#: Of a key that nothing else is said of: all that the pages of a shop need.
WEB_SHOP: tuple[KeyScope, ...] = ("events", "decide")

_START = "adw"
_ID_BYTES = 8
_SECRET_BYTES = 32
# Stands in for the hash of a key that does not exist, so that it takes as long to refuse.
_NO_HASH = bytes(32)


@dataclass(frozen=True)
class Key:
    """What may be shown of a key. revoked: since when it opens nothing, or None. scopes: what it
    opens; None, which is all, for one that was made before there were any."""

    key_id: str
    created: datetime
    revoked: datetime | None
    scopes: tuple[str, ...] | None = WEB_SHOP


@dataclass(frozen=True)
class Caller:
    """Whose key this is, and what it opens. two_keys: whether the tenant wants another key's yes to
    what this one asked the agent for."""

    tenant: str
    key_id: str
    scopes: frozenset[str]
    two_keys: bool = False


def require_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes, each once and in one order. Raises ConfigError for one that is none, or none."""
    for one in scopes:
        if one not in SCOPES:
            close = closest_name(one, SCOPES)
            hint = f"did you mean {close!r}?" if close else f"use some of {', '.join(SCOPES)}"
            raise ConfigError("there is no such scope", where=one, hint=hint)
    if not scopes:
        hint = f"use some of {', '.join(SCOPES)}"
        raise ConfigError("a key without a scope opens nothing", where="scopes", hint=hint)
    return tuple(one for one in SCOPES if one in scopes)


def insert_key(connection: Connection, tenant: str, now: datetime, scopes: Sequence[str]) -> str:
    """Make a key of the tenant; it is returned here and can never be read again."""
    key_id = secrets.token_hex(_ID_BYTES)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    row = {
        "key_id": key_id,
        "tenant": tenant,
        "hash": _hash(key_id, secret),
        "created": to_micros(now),
        "scopes": " ".join(scopes),
    }
    connection.execute(insert(KEYS), row)
    return f"{_START}_{key_id}_{secret}"


def callers_of(connection: Connection, keys: Sequence[str]) -> list[Caller | None]:
    """Who calls with each key; None for a key that is unknown, altered or revoked."""
    parts = [_parts(key) for key in keys]
    query = select(KEYS, TENANTS.c.two_keys).join(TENANTS, TENANTS.c.tenant == KEYS.c.tenant)
    rows: dict[str, Any] = {}
    for some in portions(sorted({key_id for key_id, _ in parts})):
        found = connection.execute(query.where(KEYS.c.key_id.in_(some)))
        rows.update((row.key_id, row) for row in found)
    return [_caller(rows.get(key_id), _hash(key_id, secret)) for key_id, secret in parts]


def _caller(row: Any, digest: bytes) -> Caller | None:
    right = hmac.compare_digest(digest, _NO_HASH if row is None else row.hash)
    if row is None or not right or row.revoked is not None:
        return None
    scopes = _scopes(row.scopes)
    opens = frozenset(SCOPES if scopes is None else scopes)
    return Caller(row.tenant, row.key_id, opens, bool(row.two_keys))


def _scopes(kept: str | None) -> tuple[str, ...] | None:
    return None if kept is None else tuple(kept.split())


def revoke(connection: Connection, tenant: str, key_id: str, now: datetime) -> bool:
    """Let the tenant's key open nothing from now on; whether it did until now."""
    done = connection.execute(
        update(KEYS)
        .where(KEYS.c.tenant == tenant, KEYS.c.key_id == key_id, KEYS.c.revoked.is_(None))
        .values(revoked=to_micros(now))
    )
    return done.rowcount == 1


def list_keys(connection: Connection, tenant: str) -> list[Key]:
    """The tenant's keys, oldest first."""
    query = select(KEYS).where(KEYS.c.tenant == tenant)
    return [
        Key(
            row.key_id,
            from_micros(row.created),
            None if row.revoked is None else from_micros(row.revoked),
            _scopes(row.scopes),
        )
        for row in connection.execute(query.order_by(KEYS.c.created, KEYS.c.key_id))
    ]


def key_id_of(key: str) -> str:
    """The id in a key; an id stays as it is."""
    return _parts(key)[0] or key


def _parts(key: str) -> tuple[str, str]:
    """The id and the secret of a key; two empty texts for what is none."""
    start, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    # ASCII alone: other text could be refused by the database, which would be an error.
    right = start == _START and key.isascii() and key_id.isalnum() and secret != ""
    return (key_id, secret) if right else ("", "")


def _hash(key_id: str, secret: str) -> bytes:
    return hashlib.sha256(f"{key_id}_{secret}".encode()).digest()


# --------------------------------------------------------------------------------------------------
# The log of actions: who changed what is shown, or who may change it, and when.
#
#     make key, revoke key                     SUBJECT is its id
#     two keys                                 SUBJECT is "on" or "off"
#     stop, undo                               SUBJECT is the event
#     campaign                                 SUBJECT was stored
#     creative                                 SUBJECT came into the state that the detail says
#     scores                                   SUBJECT is the judge whose scores were stored
#     publish                                  SUBJECT is the model that began to decide
#     agent ask, agent confirm, agent refuse   SUBJECT is the run
#
# It is written in the transaction that does it, or before what cannot be in one. Beside it, the
# processes that decide tell here that they live and which stops they obey.

ActionKind = Literal[
    "make key",
    "revoke key",
    "two keys",
    "stop",
    "undo",
    "campaign",
    "creative",
    "scores",
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
