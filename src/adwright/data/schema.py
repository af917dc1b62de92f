"""The two nouns of the data floor, EventLog and Catalogue: their columns and their checks.

An EventLog is a table of everything that happened, one row per event, in the columns of
EVENT_SCHEMA. A Catalogue holds what can be shown: items, the creatives made for them and the
campaigns that pay for them. Readers for particular files and data sets live beside this file;
all of them end here, so that what passes can be relied on everywhere above.

Times are instants in UTC. A time without a zone is read as UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args, overload

import polars as pl
import pyarrow as pa

from adwright.core.errors import SchemaError
from adwright.data.checks import Check, Locate, check_unique, in_file, run_checks
from adwright.data.columns import (
    TIME,
    TableInMemory,
    as_polars,
    check_columns,
    check_types,
    conform,
    empty_table,
    in_years,
    is_category,
    present,
    text_checks,
)

EventKind = Literal[
    "impression",  # the item was shown
    "view",  # its page was opened
    "click",
    "cart",
    "purchase",
    "return",  # a purchase came back: the latest earlier one of the user and item is none any more
    "conversion",  # any other goal that the advertiser pays for
    "redemption",  # a coupon was used; item_id names the coupon, which no catalogue lists
    "rating",  # an opinion, its strength in value
    "stop",  # the item, or a creative of it, was taken down; value 0 takes that back: data.stops
]
KINDS: tuple[str, ...] = get_args(EventKind)
#: What a user's history is made of where nothing else is said.
RESPONSE_KINDS: tuple[EventKind, ...] = ("click", "purchase")
#: What users did with items of the catalogue, so all that is neither shown to them, nor done to
#: the creative, nor with a coupon.
ACTION_KINDS: tuple[EventKind, ...] = (
    *("view", "click", "cart", "purchase", "conversion", "rating"),
)
#: By which an item is had; the others say that it may be wanted.
TAKING_KINDS: tuple[EventKind, ...] = ("purchase", "conversion", "rating")

EVENT_SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),  # unique in the log
        pa.field("time", TIME, nullable=False),
        pa.field("request_id", pa.string(), nullable=False),  # one visit, page or slate
        pa.field("user_id", pa.string(), nullable=False),  # of a stop: the person or rule behind it
        pa.field("kind", pa.string(), nullable=False),  # one of KINDS
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("creative_id", pa.string()),
        pa.field("campaign_id", pa.string()),
        pa.field("position", pa.int32()),  # place in the slate, from 0 or 1 as the source counts
        pa.field("propensity", pa.float64()),  # probability of this choice when it was made
        pa.field("policy_id", pa.string()),  # the policy that made it
        # Money for a purchase, stars for a rating; of a stop null or 1, and 0 to take it back.
        pa.field("value", pa.float64()),
        pa.field("context", pa.string()),  # a JSON object as text; of a stop: why, and days left
    ]
)
CREATIVE_SCHEMA = pa.schema(
    [
        pa.field("creative_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("campaign_id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("image_hash", pa.string()),
    ]
)
CAMPAIGN_SCHEMA = pa.schema(
    [
        pa.field("campaign_id", pa.string(), nullable=False),
        pa.field("start", TIME, nullable=False),
        pa.field("end", TIME),  # the first instant after it; null while it runs
        pa.field("type", pa.string()),
    ]
)


@dataclass(frozen=True)
class Catalogue:
    """What can be shown.

    items: item_id (text, unique) and any number of feature columns: text, numbers, booleans,
        lists of text or of floats.
    creatives: the columns of CREATIVE_SCHEMA, each of an item of `items`.
    campaigns: the columns of CAMPAIGN_SCHEMA.
    """

    items: pl.DataFrame
    creatives: pl.DataFrame
    campaigns: pl.DataFrame

    @classmethod
    def checked(
        cls,
        items: TableInMemory,
        creatives: TableInMemory | None = None,
        campaigns: TableInMemory | None = None,
    ) -> Catalogue:
        """Validate the tables, and that each creative's item exists; None means an empty table.

        Raises SchemaError and ValueInvalidError as the validate functions do.
        """
        catalogue = cls(
            validate_items(items),
            empty_table(CREATIVE_SCHEMA) if creatives is None else validate_creatives(creatives),
            empty_table(CAMPAIGN_SCHEMA) if campaigns is None else validate_campaigns(campaigns),
        )
        check_items_known(catalogue.creatives, catalogue.items)
        return catalogue


def empty_events() -> pl.DataFrame:
    """An EventLog of no rows."""
    return empty_table(EVENT_SCHEMA)


@overload
def validate_events(
    table: pl.LazyFrame, *, file: str = ..., strict_time_order: bool = ..., unique: bool = ...
) -> pl.LazyFrame:
    """What is lazy stays so."""


@overload
def validate_events(
    table: TableInMemory, *, file: str = ..., strict_time_order: bool = ..., unique: bool = ...
) -> pl.DataFrame:
    """What is in memory stays there."""


def validate_events(
    table: pl.LazyFrame | TableInMemory,
    *,
    file: str = "",
    strict_time_order: bool = False,
    unique: bool = True,
) -> pl.LazyFrame | pl.DataFrame:
    """The table in the columns, order and types of EVENT_SCHEMA, after checking every row.

    file: name shown in errors.
    strict_time_order: also refuse a row that is earlier than the row before it.
    unique: refuse a repeated event_id; without it, repetitions are left to the caller.

    Absent optional columns are added as nulls. Integers are taken as ids in their decimal
    form, a time without a zone as UTC. A lazy table is streamed through once to check it and
    stays lazy. A table of pandas, Arrow or another library comes back as one of polars.

    Raises SchemaError for a missing, unknown or wrongly typed column, ValueInvalidError for
    an empty or repeated event_id, an empty id, an unknown kind, an absent time or one outside
    of the years 1 to 9999, a negative position, a propensity outside (0, 1], a value that is not
    finite and a context that is no JSON object. Each names the file, the first row (from 0), the
    column and the value.
    """
    frame = as_polars(table)
    lazy = check_events(
        frame.lazy(), in_file(file), strict_time_order=strict_time_order, unique=unique
    )
    return lazy if isinstance(frame, pl.LazyFrame) else lazy.collect()


def check_events(
    frame: pl.LazyFrame, locate: Locate, *, strict_time_order: bool = False, unique: bool = True
) -> pl.LazyFrame:
    """As `validate_events` for a lazy table whose rows may lie in several files."""
    file = locate(0)[0]
    types = dict(frame.collect_schema())
    check_columns(types, EVENT_SCHEMA, file)
    checks = text_checks(types, EVENT_SCHEMA)
    run_checks(frame, checks, locate)  # before the types, so that a NaN id is called that
    check_types(types, EVENT_SCHEMA, file)
    checks = [present("time"), *in_years(types, EVENT_SCHEMA), *_event_checks(types)]
    if strict_time_order:
        time = pl.col("time")
        checks.append(
            Check(
                "time",
                time < time.shift(1),
                "time must not run backwards",
                "sort the log by time, or read it without strict_time_order",
            )
        )
    run_checks(frame, checks, locate)
    conformed = conform(frame, types, EVENT_SCHEMA)
    if unique:
        check_unique(
            conformed,
            "event_id",
            "event_id must be unique",
            "drop the repeated rows (--drop-repeated), or give each event its own id",
            locate,
        )
    return conformed


def as_events(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The table in the columns of EVENT_SCHEMA by casts alone, for readers of trusted sources.

    Checks names and types of the columns, but no row.
    """
    types = dict(frame.collect_schema())
    check_columns(types, EVENT_SCHEMA, "")
    check_types(types, EVENT_SCHEMA, "")
    return conform(frame, types, EVENT_SCHEMA)


def validate_items(table: TableInMemory, *, file: str = "", key: str = "item_id") -> pl.DataFrame:
    """The items table with item_id as text in front, after checking it.

    key: the id column, for tables of the same form about something else, such as users.

    Feature columns may be text, numbers, booleans, lists of text or of floats; NaN becomes
    null, decimals become floats, categories become text.
    Raises SchemaError and ValueInvalidError: item_id missing, empty or repeated, a feature
    of another type, a null inside a list.
    """
    return check_items(as_polars(table).lazy(), in_file(file), key=key).collect()


def check_items(frame: pl.LazyFrame, locate: Locate, *, key: str = "item_id") -> pl.LazyFrame:
    """As `validate_items` for a lazy table whose rows may lie in several files."""
    file = locate(0)[0]
    types = dict(frame.collect_schema())
    ids = pa.schema([pa.field(key, pa.string(), nullable=False)])
    check_columns({name: types[name] for name in types if name == key}, ids, file)
    checks = text_checks(types, ids)
    for name, dtype in types.items():
        if name != key and isinstance(dtype, pl.List):
            checks.append(
                Check(
                    name,
                    pl.col(name).list.eval(pl.element().is_null()).list.any(),
                    f"{name} must not hold null inside a list",
                    "drop the nulls from the lists; a list may be empty",
                )
            )
    run_checks(frame, checks, locate)
    check_types({key: types[key]}, ids, file)
    features = [_feature(name, dtype, file) for name, dtype in types.items() if name != key]
    items = frame.select(pl.col(key).cast(pl.String), *features)
    what, hint = f"{key} must be unique", "keep one row an id"
    check_unique(items, key, what, hint, locate)
    return items


def validate_creatives(table: TableInMemory, *, file: str = "") -> pl.DataFrame:
    """The creatives in the columns of CREATIVE_SCHEMA, after checking them.

    Raises SchemaError and ValueInvalidError: a column missing, unknown or of a wrong type, an
    empty id, a repeated creative_id. Whether the items exist is for `check_items_known`.
    """
    return _validate_small(table, CREATIVE_SCHEMA, [], file)


def validate_campaigns(table: TableInMemory, *, file: str = "") -> pl.DataFrame:
    """The campaigns in the columns of CAMPAIGN_SCHEMA, after checking them.

    Raises SchemaError and ValueInvalidError: a column missing, unknown or of a wrong type, an
    empty or repeated campaign_id, no start, a time outside of the years 1 to 9999, an end before
    the start.
    """
    ends_early = Check(
        "end",
        pl.col("end") < pl.col("start"),
        "end must not be before start",
        "correct one of the two; leave end empty while the campaign runs",
    )
    return _validate_small(table, CAMPAIGN_SCHEMA, [present("start"), ends_early], file)


def check_items_known(
    table: pl.DataFrame | pl.LazyFrame, items: pl.DataFrame, *, file: str = ""
) -> None:
    """Raise ValueInvalidError where an item_id of events or creatives is not in `items`.

    Redemptions are skipped, since their item_id names a coupon.
    """
    frame = table.lazy()
    known = pl.col("item_id").is_in(items["item_id"].implode())
    bad = ~known
    if "kind" in frame.collect_schema():
        bad = bad & (pl.col("kind") != "redemption")
    check = Check(
        "item_id",
        bad,
        "item_id is not in the items table",
        "add the item to the items table, or drop these rows",
    )
    run_checks(frame, [check], in_file(file))


def _validate_small(
    table: TableInMemory, schema: pa.Schema, checks: list[Check], file: str
) -> pl.DataFrame:
    given = as_polars(table)
    frame, locate, types = given.lazy(), in_file(file), dict(given.schema)
    check_columns(types, schema, file)
    run_checks(frame, text_checks(types, schema), locate)
    check_types(types, schema, file)
    checks = [*in_years(types, schema), *(check for check in checks if check.column in types)]
    run_checks(frame, checks, locate)
    conformed = conform(frame, types, schema)
    key = schema.names[0]
    check_unique(conformed, key, f"{key} must be unique", "keep one row an id", locate)
    return conformed.collect()


def _event_checks(types: Mapping[str, pl.DataType]) -> list[Check]:
    position, propensity = pl.col("position"), pl.col("propensity")
    checks = [
        Check(
            "kind",
            ~pl.col("kind").cast(pl.String).is_in(list(KINDS)),
            "kind is not one that adwright knows",
            f"use one of {', '.join(KINDS)}",
        ),
        Check(
            "position",
            (position < 0) | (position > 2**31 - 1),
            "position must be between 0 and 2147483647",
            "count places in the slate from 0 or 1; leave it empty where unknown",
        ),
        Check(
            "propensity",
            (propensity <= 0) | (propensity > 1) | propensity.cast(pl.Float64).is_nan(),
            "propensity must be above 0 and at most 1",
            "log the probability with which the item was chosen; leave it empty where unknown",
        ),
        Check(
            "value",
            ~pl.col("value").cast(pl.Float64).is_finite(),
            "value must be a finite number",
            "leave it empty where there is none",
        ),
        Check(
            "context",
            ~_is_json_object(pl.col("context")),
            "context must be a JSON object",
            'write an object such as {"store": 3}; leave it empty where there is none',
        ),
    ]
    return [check for check in checks if types.get(check.column, pl.Null) != pl.Null]


def _is_json_object(text: pl.Expr) -> pl.Expr:
    # The path $ matches every document, so a null result means that the text does not parse.
    text = text.cast(pl.String)
    parses = text.str.json_path_match("$").is_not_null()
    return text.is_null() | (text.str.strip_chars_start().str.starts_with("{") & parses)


def _feature(name: str, dtype: pl.DataType, file: str) -> pl.Expr:
    column = pl.col(name)
    if is_category(dtype):
        return column.cast(pl.String)
    if dtype.is_float():
        return column.fill_nan(None)
    if dtype.is_decimal():
        return column.cast(pl.Float64)
    if isinstance(dtype, pl.List) and dtype.inner in (pl.Float32, pl.Float64):
        return column.cast(pl.List(pl.Float64))
    if isinstance(dtype, pl.List) and dtype.inner is not None and dtype.inner.is_integer():
        return column.cast(pl.List(pl.String))
    if dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.String)
    if dtype in (pl.String, pl.Boolean, pl.List(pl.String)) or dtype.is_integer():
        return column
    raise SchemaError(
        f"an item feature cannot be of type {dtype}",
        file=file,
        column=name,
        hint="use text, a number, a boolean, or a list of text or of floats",
    )
