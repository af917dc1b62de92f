"""API keys: what a tenant shows to be let in, kept so that the database gives none away.

A key reads ``adw_<id>_<secret>``. The id finds its row; the secret is 32 random bytes, of which
only SHA-256 of id and secret is kept. A slow hash with a salt, as passwords need, would protect
nothing here: 2^256 secrets cannot be tried, and no two keys are alike, since the id stands in
the hash. A leaked database therefore opens no door, and a request is checked in microseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from adwright.campaigns.store.queries import portions
from adwright.campaigns.store.tables import KEYS
from adwright.campaigns.store.times import from_micros, to_micros

__all__ = ["Key", "insert_key", "key_id_of", "list_keys", "revoke", "tenant_of", "tenants_of"]

_START = "adw"
_ID_BYTES = 8
_SECRET_BYTES = 32
# Stands in for the hash of a key that does not exist, so that it takes as long to refuse.
_NO_HASH = bytes(32)


@dataclass(frozen=True)
class Key:
    """What may be shown of a key. revoked: since when it opens nothing, or None."""

    key_id: str
    created: datetime
    revoked: datetime | None


def insert_key(connection: Connection, tenant: str, now: datetime) -> str:
    """Make a key of the tenant; it is returned here and can never be read again."""
    key_id = secrets.token_hex(_ID_BYTES)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    row = {
        "key_id": key_id,
        "tenant": tenant,
        "hash": _hash(key_id, secret),
        "created": to_micros(now),
    }
    connection.execute(insert(KEYS), row)
    return f"{_START}_{key_id}_{secret}"


def tenant_of(connection: Connection, key: str) -> str | None:
    """The tenant whose key this is; None for a key that is unknown, altered or revoked."""
    return tenants_of(connection, [key])[0]


def tenants_of(connection: Connection, keys: Sequence[str]) -> list[str | None]:
    """The tenant of each key; None for a key that is unknown, altered or revoked."""
    parts = [_parts(key) for key in keys]
    query = select(KEYS.c.key_id, KEYS.c.tenant, KEYS.c.hash, KEYS.c.revoked)
    rows: dict[str, Any] = {}
    for some in portions(sorted({key_id for key_id, _ in parts})):
        found = connection.execute(query.where(KEYS.c.key_id.in_(some)))
        rows.update((row.key_id, row) for row in found)
    return [_tenant(rows.get(key_id), _hash(key_id, secret)) for key_id, secret in parts]


def _tenant(row: Any, digest: bytes) -> str | None:
    right = hmac.compare_digest(digest, _NO_HASH if row is None else row.hash)
    if row is None or not right or row.revoked is not None:
        return None
    tenant: str = row.tenant
    return tenant


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
    query = select(KEYS.c.key_id, KEYS.c.created, KEYS.c.revoked).where(KEYS.c.tenant == tenant)
    return [
        Key(
            row.key_id,
            from_micros(row.created),
            None if row.revoked is None else from_micros(row.revoked),
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
