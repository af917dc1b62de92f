"""In-store displays of Complete Journey as an advertiser's delivery record, week by week.

A creative is the display of a product in the chain, in the campaign of its category and the account
of its department. In a week it has as impressions the households that came to the stores with the
display, as clicks those that bought the product there, as conversion value what they paid in
dollars, and it costs a unit of money a store. So what reads a user's record can be tried on one
that nobody made up.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from adwright.creative.lifetime.spell_table import draw_ids
from adwright.creative.lifetime.spells import DisplayRecord
from adwright.creative.records.delivery import DeliveryRecord
from adwright.data.sources.complete_journey import CompleteJourney

_FIRST = date(2017, 1, 2)
_WEEKS = 64


def display_delivery(
    source: CompleteJourney, *, share: float | None = None, seed: int = 0
) -> DeliveryRecord:
    """share: of the products, drawn by a hash; None takes all."""
    record = DisplayRecord(source, "store")
    displays, runs = record.displays, record.runs
    spell = np.arange(len(runs))
    if share is not None:
        drawn = np.searchsorted(displays.products, draw_ids(displays.products, share, seed))
        spell = np.flatnonzero(np.isin(displays.product[runs.row], drawn))
    weeks = record.weeks(spell)
    product = np.repeat(displays.product[runs.row[spell]].astype(np.int64), np.diff(weeks.offsets))
    key = product * _WEEKS + weeks.week
    stores = np.bincount(key)
    at = np.flatnonzero(stores)
    sums = {
        name: np.bincount(key, each)[at].astype(np.int64)
        for name, each in (("came", weeks.came), ("bought", weeks.bought), ("cents", weeks.cents))
    }
    of, week = np.divmod(at, _WEEKS)
    described = record.products.with_columns(pl.col("product_id").cast(pl.String))
    days = described[of].select(
        creative_id="product_id",
        ad_id="product_id",
        campaign_id=pl.col("category").fill_null("none"),
        account_id=pl.col("department").fill_null("none"),
        ad_name="type",
        day=pl.lit(_FIRST) + pl.duration(days=pl.lit(pl.Series(7 * (week - 1)))),
        period_days=7,
        impressions=pl.Series(sums["came"]),
        clicks=pl.Series(sums["bought"]),
        spend=pl.Series(stores[at].astype(np.float64)),
        conversion_value=pl.Series(sums["cents"] / 100),
        currency=pl.lit("USD"),
    )
    creatives = described[np.unique(of)].select(
        creative_id="product_id",
        item_id="product_id",
        headline="type",
        description="size",
        brand="brand",
    )
    return DeliveryRecord.checked(days, creatives=creatives)
