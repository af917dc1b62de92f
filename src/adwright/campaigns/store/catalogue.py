"""A tenant's campaigns and creatives, in the columns of data.schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
from sqlalchemy import Connection, Row, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from adwright.campaigns.store.incoming import check_storable, frame_of
from adwright.campaigns.store.queries import frame_of_rows, of_tenant, portions
from adwright.campaigns.store.tables import CAMPAIGNS, CREATIVES
from adwright.core.errors import ValueInvalidError
from adwright.data.columns import TIME, empty_table
from adwright.data.ids import LONGEST_ID
from adwright.data.schema import (
    CAMPAIGN_SCHEMA,
    CREATIVE_SCHEMA,
    validate_campaigns,
    validate_creatives,
)

__all__ = [
    "campaign_rows",
    "creative_rows",
    "insert_ignoring",
    "select_page",
    "select_table",
    "upsert_campaigns",
    "upsert_creatives",
]

_IDS = {"campaign_id": LONGEST_ID}

Insert = sqlite.Insert | postgresql.Insert


def campaign_rows(campaigns: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Campaigns in CAMPAIGN_SCHEMA, checked; raises as `data.schema.validate_campaigns`."""
    frame = validate_campaigns(frame_of(campaigns, CAMPAIGN_SCHEMA))
    check_storable(frame, longest=_IDS)
    return frame


def creative_rows(creatives: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Creatives in CREATIVE_SCHEMA, checked; raises as `data.schema.validate_creatives`."""
    frame = validate_creatives(frame_of(creatives, CREATIVE_SCHEMA))
    check_storable(frame, longest={"creative_id": LONGEST_ID, **_IDS})
    return frame


def upsert_campaigns(connection: Connection, tenant: str, campaigns: pl.DataFrame) -> None:
    """Insert the campaigns; one that is there takes the new values."""
    micros = pl.col("start", "end").dt.epoch("us")
    rows = campaigns.sort("campaign_id").with_columns(micros).to_dicts()
    if not rows:
        return
    statement = _insert(connection, CAMPAIGNS)
    changed = {name: statement.excluded[name] for name in ("start", "end", "type")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["tenant", "campaign_id"], set_=changed),
        [{"tenant": tenant, **row} for row in rows],
    )


def upsert_creatives(connection: Connection, tenant: str, creatives: pl.DataFrame) -> None:
    """Insert the creatives; one that is there already must be the same, for creatives never
    change: an edit is another creative.

    Raises ValueInvalidError where it is not, and for a campaign that the tenant does not have.
    """
    _check_campaigns_known(connection, tenant, creatives)
    rows = [{"tenant": tenant, **row} for row in creatives.sort("creative_id").to_dicts()]
    insert_ignoring(connection, CREATIVES, rows)
    ids = creatives["creative_id"].to_list()
    kept = select_table(connection, CREATIVES, CREATIVE_SCHEMA, tenant, ids=ids).rows_by_key(
        "creative_id", named=True, unique=True, include_key=True
    )
    for number, row in enumerate(creatives.iter_rows(named=True)):
        if kept[row["creative_id"]] != row:
            raise ValueInvalidError(
                "there is another creative of this id",
                row=number,
                column="creative_id",
                value=row["creative_id"],
                hint="a creative never changes: give the edited one an id of its own",
            )


def select_table(
    connection: Connection,
    table: Table,
    schema: pa.Schema,
    tenant: str,
    *,
    ids: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The tenant's rows of a small table in the columns of `schema`, by id.

    ids: only these; None is all.
    """
    columns = [table.c[name] for name in schema.names]
    query = select(*columns).where(*of_tenant(table, tenant))
    chosen = [query]
    if ids is not None:
        chosen = [query.where(columns[0].in_(some)) for some in portions(ids)]
    rows = [row for one in chosen for row in connection.execute(one)]
    return _frame(rows, schema).sort(schema.names[0])


def select_page(
    connection: Connection,
    table: Table,
    schema: pa.Schema,
    tenant: str,
    *,
    after: str | None = None,
    limit: int | None = None,
) -> pl.DataFrame:
    """At most `limit` of the tenant's rows after the id `after`, by id in the database's order,
    which is that of its index: a page costs what is in it, however long the table."""
    columns = [table.c[name] for name in schema.names]
    query = select(*columns).where(*of_tenant(table, tenant)).order_by(columns[0]).limit(limit)
    if after is not None:
        query = query.where(columns[0] > after)
    return _frame(connection.execute(query).all(), schema)


def _frame(rows: Sequence[Row[Any]], schema: pa.Schema) -> pl.DataFrame:
    times = [field.name for field in schema if field.type == TIME]
    return frame_of_rows(rows, empty_table(schema).schema, times=times)


def insert_ignoring(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]
) -> int:
    """Insert the rows whose primary key is new; how many these are.

    rows: sorted by that key, so that two transactions never wait for each other.
    """
    if not rows:
        return 0
    statement = _insert(connection, table).on_conflict_do_nothing()
    keys = connection.execute(statement.returning(*table.primary_key), list(rows))
    return len(keys.all())


def _insert(connection: Connection, table: Table) -> Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def _check_campaigns_known(connection: Connection, tenant: str, creatives: pl.DataFrame) -> None:
    wanted = creatives["campaign_id"].drop_nulls().unique().to_list()
    known = set(
        select_table(connection, CAMPAIGNS, CAMPAIGN_SCHEMA, tenant, ids=wanted)["campaign_id"]
    )
    for number, campaign_id in enumerate(creatives["campaign_id"]):
        if campaign_id is not None and campaign_id not in known:
            raise ValueInvalidError(
                "there is no such campaign",
                row=number,
                column="campaign_id",
                value=campaign_id,
                hint="put the campaign first, or leave campaign_id empty",
            )
