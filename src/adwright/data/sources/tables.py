"""A user's own tables, in columns named as ours: any file that `as_frame` reads.

    events = read_events(Path("log.parquet"))     # checked, lazy
    items = read_items(Path("items.csv"))
    write_events(Path("copy.csv"), events)

A file that cannot be read is refused with its name, the line where there is one, and what to
do. In CSV a time is either ISO 8601, with or without a zone (then UTC), or seconds since 1970.
An empty field is an absent value. `bounds` says how large a table may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa

from adwright.core.atomic import atomic_file
from adwright.core.errors import SchemaError
from adwright.data.creatives import SLOTS, Creative, catalogue_rows, creatives_table, from_table
from adwright.data.ids import warn_of_bad_ids
from adwright.data.schema import (
    CAMPAIGN_SCHEMA,
    CREATIVE_SCHEMA,
    EVENT_SCHEMA,
    TIME,
    check_events,
    check_items,
    check_items_known,
    validate_campaigns,
    validate_creatives,
    validate_events,
)
from adwright.data.sources.bounds import PARQUET_ENDINGS, USUAL_BOUNDS, ReadBounds, reading
from adwright.data.sources.csvfile import parse_columns
from adwright.data.sources.frames import SourceTable, Tabular, as_frame, id_text
from adwright.data.sources.mapped import id_column

_NUMBERS = {pa.int32(): pl.Int64(), pa.float64(): pl.Float64()}


def read_events(
    path: Path, *, strict_time_order: bool = False, bounds: ReadBounds = USUAL_BOUNDS
) -> pl.LazyFrame:
    """An EventLog from a file or a folder of Parquet parts (in name order), columns named as ours.

    The file is streamed through once to check it; the result is lazy and streams again.

    strict_time_order: also refuse a row that is earlier than the row before it.
    Raises FileUnreadableError where the file is absent, empty, truncated, of another format or
    not UTF-8; SchemaError and ValueInvalidError as `adwright.data.schema.validate_events`; all
    three where it is beyond `bounds`.
    """
    table = _opened(path, EVENT_SCHEMA, bounds)
    return reading(
        path,
        lambda: check_events(table.frame, table.locate, strict_time_order=strict_time_order),
    )


def read_items(
    source: Tabular,
    *,
    key: str = "item_id",
    column: str = "",
    bounds: ReadBounds = USUAL_BOUNDS,
) -> pl.DataFrame:
    """The items of a catalogue; read and refused as `read_events`, checked as `validate_items`.

    key: the id column, for tables of the same form about something else, such as users. column:
    what it is called in the table; by default an obvious name of it, such as sku.
    In CSV the id is text, and the type of each feature column follows from its values. Lists
    of text need Parquet or JSON.
    """
    file = str(source) if isinstance(source, str | Path) else ""
    table = as_frame(
        source,
        text=lambda names: [id_column(names, key, column, file=file)],
        whole=True,
        bounds=bounds,
    )
    names = table.frame.collect_schema().names()
    name = id_column(names, key, column, file=table.name)
    frame = table.frame.with_columns(id_text(table.frame, name))
    if name != key:
        # Of two the one that was asked for is the id.
        frame = frame.drop(key, strict=False).rename({name: key})
    place = Path(table.name)
    items = reading(place, lambda: check_items(frame, table.locate, key=key).collect())
    warn_of_bad_ids(items[key], table.name)
    return items


def read_creatives(path: Path, *, bounds: ReadBounds = USUAL_BOUNDS) -> pl.DataFrame:
    """The creatives of a catalogue; read as `read_events`, checked as `validate_creatives`.

    A table of `write_creatives` is one, too: of each ad the slots are its text, and ads of no item
    are left out."""
    made = _creatives_of(path, bounds)
    if isinstance(made, pl.DataFrame):
        return made
    return validate_creatives(catalogue_rows(made), file=str(path))


def read_whole_creatives(path: Path, *, bounds: ReadBounds = USUAL_BOUNDS) -> tuple[Creative, ...]:
    """The creatives of a table of `write_creatives` with all their parts, or of a catalogue, whose
    text is their body; read as `read_creatives`."""
    made = _creatives_of(path, bounds)
    if not isinstance(made, pl.DataFrame):
        return made
    renamed = made.rename({"text": "body"}).fill_null("")
    return tuple(Creative(**row) for row in renamed.iter_rows(named=True))


def _creatives_of(path: Path, bounds: ReadBounds) -> pl.DataFrame | tuple[Creative, ...]:
    """Those of `write_creatives`, or the rows of a catalogue."""
    frame = _opened(path, CREATIVE_SCHEMA, bounds, whole=True).frame
    names = set(frame.collect_schema().names())
    if "text" not in names and names & {*SLOTS, "state"}:
        checks = pl.col("checks_passed")
        if frame.collect_schema().get("checks_passed") == pl.String:  # of CSV
            some = checks.str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
            frame = frame.with_columns(some)
        return reading(path, lambda: from_table(frame.collect(), file=str(path)))
    return reading(path, lambda: validate_creatives(frame.collect(), file=str(path)))


def read_campaigns(path: Path, *, bounds: ReadBounds = USUAL_BOUNDS) -> pl.DataFrame:
    """The campaigns of a catalogue; read as `read_events`, checked as `validate_campaigns`."""
    frame = _opened(path, CAMPAIGN_SCHEMA, bounds, whole=True).frame
    return reading(path, lambda: validate_campaigns(frame.collect(), file=str(path)))


def item_ids(events: pl.LazyFrame) -> pl.LazyFrame:
    """The ids of the items in a log, sorted; a coupon is no item."""
    items = events.filter(pl.col("kind") != "redemption")
    return items.select(pl.col("item_id").unique().sort())


def with_missing_items(
    events: pl.LazyFrame, items: pl.DataFrame, file: str
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The items, and those that the log shows and the catalogue lacks, by their ids alone.

    Raises ValueInvalidError where it lacks more than it knows: it is another catalogue, then, or
    its ids are written in another way.
    """
    shown = item_ids(events).collect(engine="streaming")
    missing = shown.join(items, on="item_id", how="anti", maintain_order="left")
    if not missing.height:
        return items, ()
    if missing.height * 2 > shown.height:
        check_items_known(events, items, file=file)
    number = (
        events.filter(pl.col("kind") != "redemption")
        .join(missing.lazy(), on="item_id", how="semi")
        .select(pl.len())
        .collect(engine="streaming")
        .item()
    )
    said = (
        f"{number:,} events are of {missing.height:,} items that the catalogue lacks; these are "
        f"added with their ids alone, the first is {missing.item(0, 0)!r:.60}"
    )
    return pl.concat([items, missing], how="diagonal"), (said,)


def write_events(path: Path, frame: pl.DataFrame | pl.LazyFrame) -> None:
    """Check an EventLog as `validate_events` does and write it, whole or not at all.

    path: ends in .parquet, .pq or .csv. A lazy frame is streamed, once to check it and once to
    write it.
    Raises SchemaError, ValueInvalidError, and ResourceError where the disk is full.
    """
    write_table(path, validate_events(frame.lazy()))


def write_table(path: Path, frame: pl.DataFrame | pl.LazyFrame) -> None:
    """Write any table to Parquet or CSV, by the ending of `path`, whole or not at all.

    Raises SchemaError for another ending or a list in CSV, ResourceError where the disk is
    full.
    """
    ending = _ending(path)
    lazy = frame.lazy()
    if ending == ".csv":
        lists = [n for n, t in lazy.collect_schema().items() if isinstance(t, pl.List | pl.Struct)]
        if lists:
            raise SchemaError(
                "CSV cannot hold lists",
                file=str(path),
                column=lists[0],
                hint="write Parquet instead",
            )
        with atomic_file(path) as temporary:
            lazy.sink_csv(temporary, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    else:
        with atomic_file(path) as temporary:
            lazy.sink_parquet(temporary, compression="zstd")


def write_creatives(path: Path, creatives: Iterable[Creative]) -> None:
    """Write them as `creatives_table` has them, whole or not at all; in CSV checks are one text.
    Raises as `creatives_table` and `write_table`."""
    frame = pl.DataFrame(creatives_table(creatives))
    if path.suffix.lower() == ".csv":
        frame = frame.with_columns(pl.col("checks_passed").list.join(" "))
    write_table(path, frame)


def _opened(
    path: Path, schema: pa.Schema, bounds: ReadBounds, *, whole: bool = False
) -> SourceTable:
    """The table of a file whose columns are named as those of `schema`; what of its times and
    numbers is text is read. whole: it will lie in memory."""
    table = as_frame(path, whole=whole, bounds=bounds)
    _check_header(table, [field.name for field in schema if not field.nullable])
    text = [n for n, dtype in table.frame.collect_schema().items() if dtype == pl.String]
    times = [field.name for field in schema if field.type == TIME and field.name in text]
    kinds = {field.name: field.type for field in schema if field.name in text}
    numbers = {name: _NUMBERS[kind] for name, kind in kinds.items() if kind in _NUMBERS}
    frame = reading(path, lambda: parse_columns(table.frame, times, numbers, table.locate))
    return replace(table, frame=frame)


def _check_header(table: SourceTable, needed: Sequence[str]) -> None:
    """Raise SchemaError where the first line of a CSV file names nothing that is needed."""
    if table.first_line and not set(table.frame.collect_schema().names()) & set(needed):
        raise SchemaError(
            f"the header is missing, or names other columns: the first line is "
            f"{table.first_line!r}",
            file=table.name,
            hint=f"put a line with the column names first: {','.join(needed)},...",
        )


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in PARQUET_ENDINGS or ending == ".csv":
        return ending
    raise SchemaError(
        f"tables are written as .parquet, .pq or .csv, not as {ending or 'nothing'}",
        file=str(path),
        hint="name it so",
    )
