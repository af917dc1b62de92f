"""What a store holds of each tenant, for people to look at: nothing that opens a door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from adwright.campaigns.store.keys import Key
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import Totals


@dataclass(frozen=True)
class TenantOverview:
    """keys: without their secrets, oldest first. days: day, kind and events of what is not
    compacted yet. totals: how much else there is."""

    tenant: str
    keys: tuple[Key, ...]
    days: pl.DataFrame
    totals: Totals

    @property
    def events(self) -> int:
        """Events that are not compacted yet."""
        return int(self.days["events"].sum())

    @property
    def kinds(self) -> Mapping[str, int]:
        """Kind of event -> how many are not compacted yet, most first."""
        counts = self.days.group_by("kind").agg(pl.col("events").sum())
        ordered = counts.sort(["events", "kind"], descending=[True, False])
        return dict(ordered.iter_rows())

    @property
    def span(self) -> tuple[date, date] | None:
        """The first and the last day, in UTC, of these events; None without any."""
        if not self.days.height:
            return None
        return self.days["day"].to_list()[0], self.days["day"].to_list()[-1]

    def by_day(self) -> pl.DataFrame:
        """One row a day, newest first, and a column a kind with its events."""
        table = self.days.pivot("kind", index="day", values="events", sort_columns=True)
        return table.fill_null(0).sort("day", descending=True)


def overview(store: Store, tenant: str) -> TenantOverview:
    """Look at a tenant of a store; empty where the store does not know it."""
    return TenantOverview(
        tenant, tuple(store.keys(tenant)), store.event_counts(tenant), store.totals(tenant)
    )
