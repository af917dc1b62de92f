"""Stops in the order in which the store took them in; scopes of keys; actions; replicas.

Until now the order of stops was that of their times, as callers' clocks had them, and of their ids,
and value 0 took back whatever stood. What is stopped stays so: the rows are numbered anew in that
order, their times rise from one to the next and lie in no future, and each event of value 0 names
the stops that it took back. Only what is in files of compacted events is as it was.
"""

from __future__ import annotations

import json
import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAMES = (
    *("tenant", "time", "event_id", "request_id", "user_id", "kind", "item_id", "creative_id"),
    *("campaign_id", "position", "propensity", "policy_id", "value", "context"),
)


def upgrade() -> None:
    """Add the columns and tables, and put the stops that there are in order."""
    op.add_column("tenants", sa.Column("two_keys", sa.Boolean))
    op.add_column("api_keys", sa.Column("scopes", sa.Text))
    op.create_table(
        "actions",
        sa.Column("seq", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_actions"),
    )
    op.create_index("ix_actions_tenant_seq", "actions", ["tenant", "seq"])
    op.create_table(
        "replicas",
        sa.Column("replica", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("seen", "beats", "lease")),
        sa.PrimaryKeyConstraint("replica", name="pk_replicas"),
    )
    _order(op.get_bind())


def _order(connection: sa.Connection) -> None:
    stops = sa.table("stops", *map(sa.column, _NAMES))
    events = sa.table("events", *map(sa.column, ("seq", "tenant", "event_id", "kind")))
    query = sa.select(stops).order_by(stops.c.tenant, stops.c.time, stops.c.event_id)
    rows = [dict(row._mapping) for row in connection.execute(query)]
    if not rows:
        return
    standing: dict[tuple[str, str, str | None], list[str]] = {}
    last: dict[str, int] = {}
    now = time.time_ns() // 1000
    for row in rows:
        tenant = row["tenant"]
        row["time"] = last[tenant] = max(min(row["time"], now), last.get(tenant, -(2**63)) + 1)
        mine = standing.setdefault((tenant, row["item_id"], row["creative_id"]), [])
        if row["value"] is None or row["value"] != 0:
            mine.append(row["event_id"])
        else:
            said = json.loads(row["context"] or "{}")
            row["context"] = json.dumps({**said, "undoes": list(mine)})
            mine.clear()
    connection.execute(sa.delete(stops))
    connection.execute(sa.insert(stops), rows)
    # Where their events are still in the store, they are compacted from there.
    known = {(row["tenant"], row["event_id"]): row for row in rows}
    kept = sa.select(events.c.seq, events.c.tenant, events.c.event_id)
    changed: list[dict[str, Any]] = [
        {"at": seq, "then": found["time"], "said": found["context"]}
        for seq, tenant, event_id in connection.execute(kept.where(events.c.kind == "stop"))
        if (found := known.get((tenant, event_id))) is not None
    ]
    if changed:
        change = sa.text("UPDATE events SET time = :then, context = :said WHERE seq = :at")
        connection.execute(change, changed)
