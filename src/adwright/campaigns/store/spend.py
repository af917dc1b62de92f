"""What campaigns spend: counted in the transaction of the events that cost something.

Each new impression, or click, of a campaign that has a price adds it to what the campaign has
spent, or is not kept either. A process adds to a row of its own, so that no two that write wait for
each other; the sum of the rows is what all have spent. Amounts are whole millionths, so that sums
are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import polars as pl
from sqlalchemy import Connection, func, select

from adwright.campaigns.store.tables import CAMPAIGNS, SPEND, insert_of, of_tenant, portions
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
    priced = _prices(connection, tenant, sorted({campaign for campaign, _ in counts}))
    rows = [
        {
            "tenant": tenant,
            "campaign_id": campaign,
            "slot": slot,
            "events": count,
            "micros": count * price,
        }
        for campaign, (kind, price) in priced.items()
        if (count := counts[campaign, kind])
    ]
    if not rows:
        return {}
    statement = insert_of(connection, SPEND)
    added = {name: SPEND.c[name] + statement.excluded[name] for name in ("events", "micros")}
    key = ["tenant", "campaign_id", "slot"]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=added), rows)
    ids = [str(row["campaign_id"]) for row in rows]
    return {campaign: amount(spent) for campaign, _, spent in _sums(connection, tenant, ids)}


def read_spend(connection: Connection, tenant: str) -> pl.DataFrame:
    """campaign_id, events and spent of the tenant's campaigns that have spent something, by id."""
    rows = [(campaign, n, amount(spent)) for campaign, n, spent in _sums(connection, tenant)]
    types = {"campaign_id": pl.String, "events": pl.Int64, "spent": pl.Float64}
    return pl.DataFrame(rows, types, orient="row").sort("campaign_id")


def _prices(connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """campaign_id -> (kind of event, its price in millionths), by id."""
    columns = CAMPAIGNS.c
    query = select(columns.campaign_id, columns.per, columns.price).where(
        *of_tenant(CAMPAIGNS, tenant), columns.price.is_not(None)
    )
    found = {
        campaign: (per or "impression", micros(price))
        for some in portions(ids)
        for campaign, per, price in connection.execute(query.where(columns.campaign_id.in_(some)))
    }
    return dict(sorted(found.items()))


def _sums(
    connection: Connection, tenant: str, ids: Sequence[str] | None = None
) -> list[tuple[str, int, int]]:
    """(campaign_id, events, millionths) of the rows of all processes."""
    columns = SPEND.c
    sums = func.sum(columns.events), func.sum(columns.micros)
    query = select(columns.campaign_id, *sums).where(*of_tenant(SPEND, tenant))
    query = query.group_by(columns.campaign_id)
    chosen = [query]
    if ids is not None:
        chosen = [query.where(columns.campaign_id.in_(some)) for some in portions(ids)]
    return [
        (campaign, int(events), int(spent))
        for one in chosen
        for campaign, events, spent in connection.execute(one)
    ]
