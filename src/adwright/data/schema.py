"""The two nouns of the data floor, EventLog and Catalogue: their columns and their checks.

An EventLog is a table of everything that happened, one row per event, in the columns of
EVENT_SCHEMA. A Catalogue holds what can be shown: items, the creatives made for them and the
campaigns that pay for them. Readers for particular files and data sets live beside this file;
all of them end here, so that what passes can be relied on everywhere above.

Times are instants in UTC. A time without a zone is read as UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args, overload, runtime_checkable

import polars as pl
import pyarrow as pa

from adwright.core.config import closest_name
from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.campaigns import PricedKind, targeting_of
from adwright.data.time import FIRST, LAST

# --------------------------------------------------------------------------------------------------
# Run many checks over a table in one streamed pass and name the first row that fails.

# Maps a row of the whole table to the file that holds it and its row there: a table may be a
# folder of parts.
Locate = Callable[[int], tuple[str, int]]

_ROW = "__row"
_HASH = "__hash"


@dataclass(frozen=True)
class Check:
    """One rule about one column.

    bad: a boolean expression, true where the rule is broken; null counts as kept.
    what: the rule, one sentence without a full stop: "event_id must not be empty".
    hint: what to do where it is broken.
    shown: the value that an error shows; None for the column itself.
    """

    column: str
    bad: pl.Expr
    what: str
    hint: str
    shown: pl.Expr | None = None


def in_file(file: str) -> Locate:
    """Locate for a table that is one file, or none (an empty name)."""
    return lambda row: (file, row)


def run_checks(frame: pl.LazyFrame, checks: Sequence[Check], locate: Locate) -> None:
    """Raise ValueInvalidError for the broken check whose first bad row comes earliest.

    All checks run in one streamed pass over `frame`; where several break in the same row, the
    first in the list is reported. The message gives the number of rows that break it.
    """
    if not checks:
        return
    numbered = frame.with_row_index(_ROW)
    found = numbered.select(
        expression
        for i, check in enumerate(checks)
        for expression in (
            check.bad.fill_null(value=False).sum().cast(pl.Int64).alias(f"count{i}"),
            pl.col(_ROW).filter(check.bad.fill_null(value=False)).min().alias(f"row{i}"),
        )
    ).collect(engine="streaming")
    broken = [
        (int(found.item(0, f"row{i}")), i)
        for i in range(len(checks))
        if found.item(0, f"count{i}") > 0
    ]
    if broken:
        row, i = min(broken)
        raise_at(frame, checks[i], row, int(found.item(0, f"count{i}")), locate)


def check_unique(frame: pl.LazyFrame, column: str, what: str, hint: str, locate: Locate) -> None:
    """Raise ValueInvalidError where two rows share a value of `column`; names the second one.

    Keeps eight bytes per row: only rows whose hashes collide are compared in full.
    """
    hashes = frame.select(pl.col(column).hash().alias(_HASH)).collect(engine="streaming")
    suspects = hashes.with_row_index(_ROW).filter(pl.col(_HASH).is_duplicated())
    if suspects.height == 0:
        return
    rows = (
        frame.select(column)
        .with_row_index(_ROW)
        .join(suspects.lazy().select(_ROW), on=_ROW, how="semi")
        .collect()
        .sort(_ROW)
        .filter(~pl.col(column).is_first_distinct())
    )
    if rows.height:
        check = Check(column, pl.lit(value=True), what, hint)
        raise_at(frame, check, int(rows.item(0, _ROW)), rows.height, locate)


def raise_at(frame: pl.LazyFrame, check: Check, row: int, count: int, locate: Locate) -> None:
    """Raise ValueInvalidError for `check`, first broken at `row` of `frame` and `count` times."""
    shown = pl.col(check.column) if check.shown is None else check.shown
    value = frame.slice(row, 1).select(shown).collect().item()
    file, row_there = locate(row)
    rows = "1 row breaks this" if count == 1 else f"{count:,} rows break this, the first is named"
    raise ValueInvalidError(
        f"{check.what}; {rows} (rows count from 0, without a header)",
        file=file,
        row=row_there,
        column=check.column,
        value=value,
        hint=check.hint,
    )


# --------------------------------------------------------------------------------------------------
# Fit a table to an Arrow schema: which columns it must have, which types fit, the casts.

TIME = pa.timestamp("us", tz="UTC")

#: Units of a timestamp: its name, and microseconds in it. Nanoseconds end in the year 2262 anyway.
_UNITS = {"us": ("microseconds", 1), "ms": ("milliseconds", 1000)}
#: Names that an error lists at most.
_LISTED = 20

#: How programs that stringify their missing values spell them.
NOT_IDS = ("nan", "NaN", "None", "<NA>")
#: Columns that pandas makes of the labels of its rows.
_LABELS = "__index_level_"


@runtime_checkable
class ArrowStream(Protocol):
    """A table of pandas, DuckDB, Arrow or another library that hands out Arrow's C stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The PyCapsule of the stream."""


#: A table of polars, pandas, Arrow or the like, or rows as dicts.
TableInMemory: TypeAlias = pl.DataFrame | ArrowStream | Sequence[Mapping[str, Any]]


@overload
def as_polars(table: pl.LazyFrame) -> pl.LazyFrame:
    """What is lazy stays so."""


@overload
def as_polars(table: TableInMemory) -> pl.DataFrame:
    """What is in memory stays there."""


def as_polars(table: pl.LazyFrame | TableInMemory) -> pl.LazyFrame | pl.DataFrame:
    """The table of another library as one of polars; its row labels are no columns.

    Raises SchemaError for what is no table, or has a column of several types.
    """
    if isinstance(table, pl.DataFrame | pl.LazyFrame):
        return table
    kind = type(table).__name__
    try:
        if isinstance(table, ArrowStream):
            frame = from_arrow(pa.RecordBatchReader.from_stream(table).read_all())
            return frame.drop(name for name in frame.columns if name.startswith(_LABELS))
        if isinstance(table, Sequence) and all(isinstance(row, Mapping) for row in table):
            return pl.DataFrame(table, infer_schema_length=None)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        said = str(error).strip().splitlines()
        raise SchemaError(
            f"the {kind} makes no table: {said[0][:200] if said else type(error).__name__}",
            hint="give each column one type",
        ) from error
    raise SchemaError(
        f"{kind} is no table",
        hint="pass a table of polars, pandas or Arrow, or a list of dicts",
    )


def need_columns(
    columns: Sequence[str], names: Sequence[str], what: str, *, file: str = ""
) -> None:
    """Raise SchemaError, which says `what`, for the first of `names` that is not in `columns`."""
    for name in names:
        if name not in columns:
            hint = f"the table has {_listed(columns)}"
            raise SchemaError(what, file=file, column=name, hint=hint)


def check_columns(types: Mapping[str, pl.DataType], schema: pa.Schema, file: str) -> None:
    """Raise SchemaError where a needed column of `schema` is absent or one is not in it.

    types: the columns of the table; file: name shown in the error.
    """
    known = set(schema.names)
    missing = [f.name for f in schema if not f.nullable and f.name not in types]
    unknown = [name for name in types if name not in known]
    if missing:
        plain = {name.strip().lower(): name for name in unknown[:1000]}
        alike = closest_name(missing[0], plain)
        rename = f" (rename {plain[alike]!r}?)" if alike else ""
        raise SchemaError(
            f"needed columns are missing: {', '.join(missing)}",
            file=file,
            column=missing[0],
            hint=f"add them{rename}; the columns are {', '.join(schema.names)}",
        )
    if unknown:
        alike = closest_name(unknown[0], schema.names)
        rename = f"rename it to {alike}" if alike else "drop it"
        more = ", or put it into the context as JSON" if "context" in schema.names else ""
        raise SchemaError(
            f"unknown columns: {_listed(unknown)}",
            file=file,
            column=unknown[0],
            hint=f"{rename}{more}; the columns are {', '.join(schema.names)}",
        )


def check_types(types: Mapping[str, pl.DataType], schema: pa.Schema, file: str) -> None:
    """Raise SchemaError where a column cannot be cast to its type in `schema` without loss.

    Integers and categories fit text, any timestamp fits time, any number fits a float. A
    column without a type holds only nulls, if anything; other checks refuse these.
    """
    for field in schema:
        dtype = types.get(field.name)
        if dtype is None or dtype == pl.Null:
            continue
        if field.type == pa.string():
            fits = dtype == pl.String or dtype.is_integer() or is_category(dtype)
            wanted = "text"
        elif field.type == TIME:
            fits, wanted = isinstance(dtype, pl.Datetime), "a timestamp"
        elif field.type == pa.int32():
            fits, wanted = dtype.is_integer(), "an integer"
        else:
            fits, wanted = dtype.is_numeric(), "a number"
        if not fits:
            raise SchemaError(
                f"{field.name} must be {wanted}, not {dtype}",
                file=file,
                column=field.name,
                hint=f"cast the column to {field.type}",
            )


def conform(
    frame: pl.LazyFrame, types: Mapping[str, pl.DataType], schema: pa.Schema
) -> pl.LazyFrame:
    """Cast and order the columns; types were checked, so no cast can fail."""
    columns = []
    for field, (name, target) in zip(schema, _polars_types(schema).items(), strict=True):
        if name not in types:
            columns.append(pl.lit(None, dtype=target).alias(name))
            continue
        column, dtype = pl.col(name), types[name]
        if field.type == TIME and isinstance(dtype, pl.Datetime):
            zone = column.dt.replace_time_zone("UTC") if dtype.time_zone is None else column
            column = zone.dt.convert_time_zone("UTC")
        columns.append(column.cast(target))
    return frame.select(columns)


def text_checks(types: Mapping[str, pl.DataType], schema: pa.Schema) -> list[Check]:
    """Ids that are needed must be there; an id that is given must not be blank."""
    checks = []
    for field in schema:
        if field.type != pa.string() or field.name not in types:
            continue
        name, dtype = field.name, types[field.name]
        needed = pl.col(name).is_null() if not field.nullable else pl.lit(value=False)
        if dtype.is_float():
            bad = needed | pl.col(name).is_nan()
        elif dtype == pl.String and (not field.nullable or name.endswith("_id")):
            blank = pl.col(name).str.strip_chars() == ""
            bad = needed | blank | pl.col(name).is_in(list(NOT_IDS))
        else:
            bad = needed
        checks.append(
            Check(
                name,
                bad,
                f"{name} must not be empty or NaN",
                "fill in the id, or drop the row (--drop-incomplete)",
            )
        )
    return checks


def present(column: str) -> Check:
    """The check that `column` holds no null."""
    return Check(
        column,
        pl.col(column).is_null(),
        f"{column} must not be empty",
        "fill it in, or drop the row (--drop-incomplete)",
    )


def in_years(types: Mapping[str, pl.DataType], schema: pa.Schema) -> list[Check]:
    """Checks that the timestamps of `schema` lie in the years 1 to 9999 of UTC.

    Outside of them no store keeps a time and no datetime is one, though a timestamp of 64 bits
    reaches further. The error shows the number, since there is no date to show.
    """
    checks = []
    for field in schema:
        dtype = types.get(field.name)
        if field.type != TIME or not isinstance(dtype, pl.Datetime) or dtype.time_unit == "ns":
            continue
        (name, unit), number = _UNITS[dtype.time_unit], pl.col(field.name).to_physical()
        checks.append(
            Check(
                field.name,
                ~number.is_between(-(-FIRST // unit), LAST // unit),
                f"{field.name} must lie in the years 1 to 9999 of UTC",
                f"correct the time; the value counts {name} since 1970",
                shown=number,
            )
        )
    return checks


def is_category(dtype: pl.DataType) -> bool:
    """Whether a column of this type holds text by reference."""
    return dtype == pl.Categorical or isinstance(dtype, pl.Enum)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(name[:60] for name in names[:_LISTED]) + more


def _polars_types(schema: pa.Schema) -> dict[str, pl.DataType]:
    return dict(from_arrow(schema.empty_table()).schema)


def empty_table(schema: pa.Schema) -> pl.DataFrame:
    """A table of `schema` without rows."""
    return from_arrow(schema.empty_table())


def from_arrow(table: pa.Table) -> pl.DataFrame:
    """The Arrow table as a polars table; raises SchemaError where it has no columns."""
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise SchemaError("the Arrow table has no columns", hint="pass a table of events")
    return frame


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
        # What `data.campaigns.Campaign` says of these; null: without limit, price or target.
        pa.field("budget", pa.float64()),
        pa.field("price", pa.float64()),
        pa.field("per", pa.string()),
        pa.field("cap", pa.int32()),
        pa.field("cap_hours", pa.float64()),
        pa.field("targeting", pa.string()),  # a JSON object as text
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
    the start, an amount below a millionth, an unknown kind of price, targeting that is none.
    """
    ends_early = Check(
        "end",
        pl.col("end") < pl.col("start"),
        "end must not be before start",
        "correct one of the two; leave end empty while the campaign runs",
    )
    unknown = Check(
        "per",
        ~pl.col("per").cast(pl.String).is_in(list(get_args(PricedKind))),
        "nothing is paid by that",
        f"use one of {', '.join(get_args(PricedKind))}",
    )
    lowest = {"budget": 1e-6, "price": 1e-6, "cap": 1, "cap_hours": 1e-6}
    bounds = [
        Check(
            name,
            ~(pl.col(name).cast(pl.Float64).is_finite() & (pl.col(name) >= least)),
            f"{name} must be a finite number of at least {least:g}",
            "leave it empty for none",
        )
        for name, least in lowest.items()
    ]
    checks = [present("start"), ends_early, unknown, *bounds]
    found = _validate_small(table, CAMPAIGN_SCHEMA, checks, file)
    for row, text in enumerate(found["targeting"]):
        targeting_of(text, row=row)
    return found


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
