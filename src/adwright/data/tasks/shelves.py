"""Promoted products by shelf, with what the chain knew of each at the start of the week.

A shelf is a product type in a store in a week. Popularity, price and discount of a product
come from **earlier weeks** alone, chain-wide: a purchase of the same week tells them only
where the product was bought, which would give the response away.
"""

from __future__ import annotations

import polars as pl

from adwright.core.progress import progress
from adwright.data.sources.complete_journey import WEEKS, CompleteJourney

SHELF = ("week", "store_id", "product_type")


def promoted_on(source: CompleteJourney, shelves: pl.DataFrame) -> pl.DataFrame:
    """The products promoted on `shelves` (columns SHELF, in which no row repeats).

    Sorted by week, store, type and product: SHELF, product_id, display and mailer (the
    placement), and popularity, price and discount, see `price_tags`. Reads one week at a time.
    """
    types = source.products().select("product_id", "product_type").drop_nulls().collect()
    sales = weekly_sales(source)
    parts = []
    with progress(len(WEEKS), "read promotions", "weeks") as bar:
        for week in WEEKS:
            asked = shelves.filter(pl.col("week") == week)
            placed = (
                source.promotions(weeks=[week], stores=asked["store_id"])
                .join(types.lazy(), on="product_id")
                .join(asked.lazy(), on=SHELF, how="semi")
                .collect()
            )
            tags = price_tags(sales.join(placed, on="product_id", how="semi"), week)
            parts.append(
                placed.join(tags, on="product_id", how="left")
                .sort("store_id", "product_type", "product_id")
                .select(
                    *SHELF,
                    "product_id",
                    display=pl.col("display_location").cast(pl.Categorical),
                    mailer=pl.col("mailer_location").cast(pl.Categorical),
                    popularity=pl.col("popularity").fill_null(0),
                    price="price",
                    discount="discount",
                )
            )
            bar.advance()
    return pl.concat(parts)


def weekly_sales(source: CompleteJourney) -> pl.DataFrame:
    """One row per product and week in which it was sold, sorted by week and product.

    product_id, week, and as of the end of that week: popularity, the baskets that held the
    product so far; price, its mean shelf price a piece in dollars in that week; discount, the
    share of the shelf price that the store and the coupons it matched took off in that week.
    """

    # Whole cents: sums of floats would depend on the order in which threads add them.
    def cents(column: str) -> pl.Expr:
        return (pl.col(column) * 100).round().cast(pl.Int64)

    off = cents("retail_disc") + cents("coupon_match_disc")
    shelf, pieces = (cents("sales_value") + off).sum(), pl.col("quantity").sum()
    return (
        source.transactions()
        .filter(pl.col("quantity") > 0)
        .group_by("product_id", "week")
        .agg(
            baskets=pl.len(),
            price=(shelf / pieces / 100).cast(pl.Float32),
            discount=(off.sum() / shelf.clip(lower_bound=1)).cast(pl.Float32),
        )
        .sort("week", "product_id")
        .select(
            "product_id",
            "week",
            popularity=pl.col("baskets").cum_sum().over("product_id").cast(pl.Float32),
            price="price",
            discount="discount",
        )
        .collect()
    )


def price_tags(sales: pl.DataFrame, week: int) -> pl.DataFrame:
    """What was known of each product when `week` began: its last row of `sales` before it.

    product_id, popularity, price, discount; products not sold before have no row.
    """
    return (
        sales.filter(pl.col("week") < week)
        .unique("product_id", keep="last", maintain_order=True)
        .drop("week")
    )
