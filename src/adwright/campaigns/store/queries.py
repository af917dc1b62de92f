"""What the queries of several tables share: ids in portions, periods, and tables of their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import polars as pl
from sqlalchemy import ColumnElement, Connection, Table, func, select

from adwright.campaigns.store.tables import CAMPAIGNS, COMPACTIONS, CREATIVES, DECISIONS
from adwright.campaigns.store.times import to_micros

__all__ = ["Totals", "count_rows", "frame_of_rows", "of_tenant", "portions"]

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
