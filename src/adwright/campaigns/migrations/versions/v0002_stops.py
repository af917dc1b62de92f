"""The table of stops: events of kind "stop", which stay in it when they are compacted.

It begins with those that the store still holds, and with those in the files of finished
compactions, where these files still are. What cannot be read is said and left out, for an update
must not fail on an old file: store such a stop again where it still matters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAMES = (
    *("time", "event_id", "request_id", "user_id", "kind", "item_id", "creative_id"),
    *("campaign_id", "position", "propensity", "policy_id", "value", "context"),
)
_log = logging.getLogger("adwright")


def upgrade() -> None:
    """Create the table, and fill it with the stops that there are."""
    required = ("event_id", "request_id", "user_id", "kind", "item_id")
    stops = op.create_table(
        "stops",
        sa.Column("seq", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in required),
        sa.Column("creative_id", sa.Text),
        sa.Column("campaign_id", sa.Text),
        sa.Column("position", sa.Integer),
        sa.Column("propensity", sa.Double),
        sa.Column("policy_id", sa.Text),
        sa.Column("value", sa.Double),
        sa.Column("context", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_stops"),
    )
    op.create_index("ix_stops_tenant", "stops", ["tenant"])
    names = ["tenant", *_NAMES]
    events = sa.table("events", *map(sa.column, names))
    kept = sa.select(*(events.c[name] for name in names)).where(events.c.kind == "stop")
    connection = op.get_bind()
    connection.execute(sa.insert(stops).from_select(names, kept))
    for rows in _compacted(connection):
        connection.execute(sa.insert(stops), rows)


def _compacted(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    """The stops of each file of compacted events that has some."""
    parts = sa.table("compactions", *map(sa.column, ("tenant", "folder", "file", "state")))
    query = sa.select(parts.c.tenant, parts.c.folder, parts.c.file).where(parts.c.state == "done")
    for tenant, folder, file in connection.execute(query).all():
        path = Path(folder) / file
        try:
            found = (
                pl.scan_parquet(path)
                .filter(pl.col("kind") == "stop")
                .select(pl.lit(tenant).alias("tenant"), pl.col("time").dt.epoch("us"), *_NAMES[1:])
                .collect()
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            _log.warning("%s cannot be searched for stops, which are left out: %s", path, first)
            continue
        if found.height:
            yield found.to_dicts()
