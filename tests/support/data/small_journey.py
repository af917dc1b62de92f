"""A tiny invented Complete Journey: the same tables, a few households."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.spells import DisplayRecord, Where
from adwright.data.sources.complete_journey import CompleteJourney

FIRST_DAY = datetime(2017, 1, 2, 5)
N_PRODUCTS = 14
TYPES = ("tea", "rice", "milk")


def transactions(seed: int = 0) -> pl.DataFrame:
    """Purchases of 8 households in 2 stores; two baskets of a household may share a time."""
    rng = np.random.default_rng(seed)
    rows = []
    basket = 100
    for week in range(1, 54):
        for household in range(1, 9):
            for _ in range(int(rng.integers(0, 3))):
                basket += 1
                time = FIRST_DAY + timedelta(weeks=week - 1, days=int(rng.integers(0, 3)))
                for product in rng.choice(N_PRODUCTS + 1, int(rng.integers(1, 6)), replace=False):
                    rows.append(
                        {
                            "household_id": household,
                            "store_id": 300 + household % 2,
                            "basket_id": basket,
                            "product_id": int(product),
                            "quantity": int(rng.integers(0, 4)),
                            "sales_value": round(float(rng.gamma(2.0)), 2),
                            "retail_disc": round(float(rng.random()), 2)
                            if rng.random() < 0.4
                            else 0.0,
                            "coupon_disc": 0.0,
                            "coupon_match_disc": 0.25 if rng.random() < 0.1 else 0.0,
                            "week": week,
                            "transaction_timestamp": time,
                        }
                    )
    return pl.DataFrame(rows).sort("transaction_timestamp", maintain_order=True)


def write_journey(folder: Path, bought: pl.DataFrame, seed: int = 0) -> CompleteJourney:
    """The tables that the response task reads. The last product has no type, and product
    N_PRODUCTS is sold but not described."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    bought.write_parquet(folder / "transactions.parquet")
    products = range(N_PRODUCTS)
    pl.DataFrame(
        {
            "product_id": list(products),
            "manufacturer_id": [n % 3 for n in products],
            "department": ["GROCERY"] * N_PRODUCTS,
            "brand": ["National", "Private"] * (N_PRODUCTS // 2),
            "product_category": [f"C{n % 2}" for n in products],
            "product_type": [*(TYPES[n % 3] for n in products[:-1]), None],
            "package_size": ["1 KG"] * N_PRODUCTS,
        }
    ).write_parquet(folder / "products.parquet")
    placed = [
        {
            "product_id": product,
            "store_id": store,
            "week": week,
            "display_location": str(rng.choice(list("0127A"))),
            "mailer_location": str(rng.choice(list("0AD"))),
        }
        for week in range(1, 54)
        for store in (300, 301, 302)
        for product in rng.choice(N_PRODUCTS, 7, replace=False).tolist()
    ]
    pl.DataFrame(placed).write_parquet(folder / "promotions.parquet")
    pl.DataFrame(
        {
            "campaign_id": [1],
            "campaign_type": ["Type A"],
            "start_date": [datetime(2017, 3, 1)],
            "end_date": [datetime(2017, 4, 1)],
        }
    ).write_parquet(folder / "campaign_descriptions.parquet")
    return CompleteJourney(folder)


def reached(
    journey: CompleteJourney, where: Where = "store", landmark: int = 1, as_of: int | None = None
) -> SpellTable:
    """The spells that reach this week of theirs, or all that run in week `as_of` of the year."""
    record = DisplayRecord(journey, where)
    if as_of is not None:
        return record.table(record.units(as_of))
    return record.table(record.units(record.runs.first + landmark - 1), float(landmark))
