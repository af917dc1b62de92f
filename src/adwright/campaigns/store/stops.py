"""A tenant's events of kind "stop", compacted or not, and what they stop.

They stand in a table of their own, see `tables`; `events.insert_batches` fills it in the
transaction of the events. What a stop means is said in `adwright.data.stops`.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl
from sqlalchemy import Connection, func, select

from adwright.campaigns.store.events import to_frame
from adwright.campaigns.store.queries import of_tenant
from adwright.campaigns.store.tables import CREATIVES, STOPS
from adwright.data.schema import EVENT_SCHEMA
from adwright.data.stops import Stops, stopped

__all__ = ["StopVersion", "read_stops", "stop_versions", "stops_at"]

#: How many stop events and, where some of them name creatives, how many creatives a tenant has.
#: Neither is ever changed or deleted, so what they say is the same while the two numbers are.
StopVersion = tuple[int, int]

_COLUMNS = [STOPS.c[name] for name in EVENT_SCHEMA.names]


def read_stops(connection: Connection, tenant: str) -> pl.DataFrame:
    """The tenant's stop events in EVENT_SCHEMA, oldest first, those of an instant by id."""
    query = select(*_COLUMNS).where(*of_tenant(STOPS, tenant))
    return to_frame(connection.execute(query).all()).sort("time", "event_id")


def stops_at(connection: Connection, tenant: str, at: datetime) -> Stops:
    """What is stopped of the tenant's at the moment `at`, in UTC."""
    named = select(STOPS.c.item_id).where(STOPS.c.creative_id.is_not(None))
    query = select(CREATIVES.c.creative_id, CREATIVES.c.item_id).where(
        *of_tenant(CREATIVES, tenant),
        CREATIVES.c.item_id.in_(named.where(*of_tenant(STOPS, tenant))),
    )
    rows = [tuple(row) for row in connection.execute(query)]
    schema = {"creative_id": pl.String(), "item_id": pl.String()}
    creatives = pl.DataFrame(rows, schema=schema, orient="row")
    return stopped(read_stops(connection, tenant), creatives, at)


def stop_versions(connection: Connection) -> dict[str, StopVersion]:
    """For each tenant that ever stopped anything, what changes when its stops may have."""
    tenant = STOPS.c.tenant
    naming = select(tenant).where(STOPS.c.creative_id.is_not(None))
    query = select(CREATIVES.c.tenant, func.count()).where(CREATIVES.c.tenant.in_(naming))
    creatives = {one: n for one, n in connection.execute(query.group_by(CREATIVES.c.tenant))}
    stops = connection.execute(select(tenant, func.count()).group_by(tenant))
    return {one: (n, creatives.get(one, 0)) for one, n in stops}
