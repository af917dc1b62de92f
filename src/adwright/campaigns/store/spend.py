"""What campaigns spend: counted in the transaction of the events that cost something.

Each new impression, or click, of a campaign that has a price adds it to what the campaign has
spent, or is not kept either. A process adds to a row of its own, so that no two that write wait for
each other; the sum of the rows is what all have spent. Amounts are whole millionths, so that sums
are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
from sqlalchemy import Connection, func, select

from adwright.campaigns.store.tables import SPEND, of_tenant, portions
from adwright.data.campaigns import amount, micros

#: So many rows a campaign has at most; two processes of one row wait for each other's commits.
SLOTS = 256


def add_spend(
    connection: Connection, tenant: str, events: Iterable[tuple[str, str | None]], slot: int
) -> dict[str, float]:
    """Count what new events cost; campaign_id -> what it has now spent, by all, of those that they
    cost something.

    events: kind and campaign_id of each. slot: the row of this process, below SLOTS.
    """
    counts = Counter((campaign, kind) for kind, campaign in events if campaign is not None)
    if not counts:
        return {}
    rows, spent = [], {}
    ids = sorted({campaign for campaign, _ in counts})
    terms = (row for some in portions(ids) for row in _run(connection, _TERMS, [tenant, *some]))
    for campaign, per, price, before in sorted(terms):
        if count := counts[campaign, per or "impression"]:
            rows.append((tenant, campaign, slot, count, count * micros(price)))
            spent[campaign] = amount(int(before or 0) + count * micros(price))
    for some in portions(rows, _ROWS):
        _run(connection, _ADD, [cell for row in some for cell in row], len(some))
    return spent


# Each decision that costs something runs these, so they are written out: to build a statement takes
# ten times as long as to run it.

_ROWS = 100
#: Terms, and what others and this process have spent so far.
_TERMS = (
    "SELECT campaign_id, per, price, (SELECT SUM(micros) FROM spend WHERE "
    "spend.tenant = campaigns.tenant AND spend.campaign_id = campaigns.campaign_id) "
    "FROM campaigns WHERE tenant = ? AND price IS NOT NULL AND campaign_id IN ({})"
)
_ADD = (
    "INSERT INTO spend (tenant, campaign_id, slot, events, micros) VALUES {} "
    "ON CONFLICT (tenant, campaign_id, slot) DO UPDATE SET "
    "events = spend.events + excluded.events, micros = spend.micros + excluded.micros"
)


def _run(
    connection: Connection, statement: str, values: Sequence[Any], rows: int = 0
) -> Sequence[Any]:
    """The rows of a statement, by the driver itself. rows: of five values; else ids."""
    places = ", ".join(["(?, ?, ?, ?, ?)"] * rows if rows else "?" * (len(values) - 1))
    text = statement.format(places)
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        text = text.replace("?", "%s")
    found = driver.execute(text, tuple(values))
    return found.fetchall() if not rows else ()


def read_spend(connection: Connection, tenant: str) -> pl.DataFrame:
    """campaign_id, events and spent of the tenant's campaigns that have spent something, by id."""
    rows = [(campaign, n, amount(spent)) for campaign, n, spent in _sums(connection, tenant)]
    types = {"campaign_id": pl.String, "events": pl.Int64, "spent": pl.Float64}
    return pl.DataFrame(rows, types, orient="row").sort("campaign_id")


def _sums(connection: Connection, tenant: str) -> list[tuple[str, int, int]]:
    """(campaign_id, events, millionths) of the rows of all processes."""
    columns = SPEND.c
    sums = func.sum(columns.events), func.sum(columns.micros)
    query = select(columns.campaign_id, *sums).where(*of_tenant(SPEND, tenant))
    rows = connection.execute(query.group_by(columns.campaign_id))
    return [(campaign, int(events), int(spent)) for campaign, events, spent in rows]
