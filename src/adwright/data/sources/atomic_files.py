r"""RecBole's atomic files, in and out: the format in which many public data sets are shared.

A data set NAME is a folder of tab-separated files with a header of ``name:type`` fields:

    NAME.inter   user_id:token  item_id:token  timestamp:float  rating:float ...
    NAME.item    item_id:token  title:token_seq  price:float ...       (may be absent)
    NAME.user    user_id:token  age:token ...                          (may be absent)

token is one text, float one number, token_seq and float_seq are lists separated by blanks. The
format has no quotes: a text cannot hold a tab or a line break, and the texts of a token_seq no
blank. An empty field is an absent value, or an empty list.

As an EventLog: rating becomes value, timestamp (seconds since 1970) becomes time, and columns
that are named as the EventLog's become these. Others go into the context as a JSON object.
Where they are absent, event_id is "e<row>", kind is "rating" or (without ratings) "click", and
request_id is "<user>-<timestamp>".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import polars as pl

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.data.schema import (
    EVENT_SCHEMA,
    Check,
    Locate,
    check_events,
    in_file,
    present,
    run_checks,
    validate_events,
    validate_items,
)
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, check_memory, reading
from adwright.data.sources.csvfile import parse_time, scan_csv

AtomicType = Literal["token", "float", "token_seq", "float_seq"]

_IN = {"rating": "value", "timestamp": "time"}
_OUT = {column: field for field, column in _IN.items()}
_NEEDED = tuple(field.name for field in EVENT_SCHEMA if not field.nullable)
_FLOATS = ("value", "position", "propensity")


class AtomicTables(NamedTuple):
    """events: an EventLog; items and users: their id as text, then feature columns."""

    events: pl.LazyFrame
    items: pl.DataFrame
    users: pl.DataFrame


def read_atomic(folder: Path, name: str, *, bounds: ReadBounds = USUAL_BOUNDS) -> AtomicTables:
    """The data set `name` in `folder`, checked; without NAME.item or NAME.user, the ids alone.

    Raises FileUnreadableError where NAME.inter is absent or a file is malformed, SchemaError for
    a header field without a known type or a needed column that is missing, ValueInvalidError
    for a cell that cannot be used, and as `scan_csv` for `bounds`. Each names the file.
    """
    inter = folder / f"{name}.inter"
    if not inter.is_file():
        raise FileUnreadableError(
            "there is no such file", file=str(inter), hint="name the folder and its data set"
        )
    events = reading(inter, lambda: _events(inter, bounds))
    item, user = folder / f"{name}.item", folder / f"{name}.user"
    return AtomicTables(
        events,
        reading(item, lambda: _entities(item, "item_id", events, bounds)),
        reading(user, lambda: _entities(user, "user_id", events, bounds)),
    )


def write_atomic(
    folder: Path,
    name: str,
    events: pl.DataFrame | pl.LazyFrame,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
) -> None:
    """Write the data set `name` to `folder`, each file whole or not at all.

    Reading it back gives an equal EventLog. In items and users, integers and booleans come
    back as floats, null lists as empty ones and empty texts as nulls.

    Raises SchemaError and ValueInvalidError for tables that are not valid, and where a text
    cannot be written: a tab, a line break, or a blank in a list of texts. ResourceError where
    the disk is full.
    """
    log = validate_events(events.lazy()).collect()
    log = log.select(c.name for c in log if c.name in _NEEDED or c.null_count() < log.height)
    log = log.rename({column: field for column, field in _OUT.items() if column in log.columns})
    files = {".inter": log}
    if items is not None:
        files[".item"] = validate_items(items)
    if users is not None:
        files[".user"] = validate_items(users, key="user_id")
    # Everything is checked before anything is written.
    texts = {ending: _to_text(table, name + ending) for ending, table in files.items()}
    for ending, text in texts.items():
        atomic_write_text(folder / (name + ending), text)


def _events(path: Path, bounds: ReadBounds) -> pl.LazyFrame:
    frame, types = _scan(path, ["user_id", "item_id"], bounds)
    locate = in_file(str(path))
    for column in ("user_id", "item_id", "timestamp"):
        if column not in types:
            raise SchemaError(
                f"the needed column {column} is missing",
                file=str(path),
                column=column,
                hint="an EventLog needs user_id:token, item_id:token and timestamp:float",
            )
    for field, column in _IN.items():
        if field in types and column in types:
            raise SchemaError(
                f"{field} and {column} name the same column of an EventLog",
                file=str(path),
                column=column,
                hint="drop one of the two",
            )
    seconds = pl.col("timestamp")
    run_checks(frame, [present(c) for c in ("user_id", "item_id", "timestamp")], locate)
    _check_cells(frame, {"timestamp": parse_time(seconds)}, locate)
    parsed = {
        field: pl.col(field).cast(pl.Float64, strict=False)
        for field in ("rating", *_FLOATS)
        if field in types
    }
    if "position" in parsed:
        parsed["position"] = parsed["position"].cast(pl.Int64, strict=False)
    _check_cells(frame, parsed, locate)
    extra = [c for c in types if c not in EVENT_SCHEMA.names and c not in _IN]
    if extra and "context" in types:
        raise SchemaError(
            f"columns beside a context that are not the EventLog's: {', '.join(extra)}",
            file=str(path),
            column=extra[0],
            hint="put them into the context, or drop them",
        )
    features = _parse(frame, {c: types[c] for c in extra}, locate)
    derived = {
        "event_id": pl.format("e{}", pl.int_range(pl.len())),
        "request_id": pl.format("{}-{}", "user_id", seconds),
        "kind": pl.lit("rating" if "rating" in types else "click"),
    }
    if extra:
        derived["context"] = pl.struct(e.alias(c) for c, e in features.items()).struct.json_encode()
    columns = {c: e for c, e in derived.items() if c not in types}
    log = frame.with_columns(**{**parsed, **columns, "timestamp": parse_time(seconds)})
    log = log.drop(extra).rename({f: c for f, c in _IN.items() if f in types})
    return check_events(log, locate)


def _entities(path: Path, key: str, events: pl.LazyFrame, bounds: ReadBounds) -> pl.DataFrame:
    """The items or users of a file, or where it is absent their ids in the log, sorted."""
    if not path.is_file():
        ids = events.select(pl.col(key).unique().sort()).collect(engine="streaming")
        return validate_items(ids, key=key)
    check_memory(path, None, bounds)
    frame, types = _scan(path, [key], bounds)
    if key not in types:
        raise SchemaError(
            f"the needed column {key} is missing",
            file=str(path),
            column=key,
            hint=f"name one column {key}:token",
        )
    features = {column: kind for column, kind in types.items() if column != key}
    parsed = _parse(frame, features, in_file(str(path)))
    return validate_items(frame.select(key, **parsed).collect(), file=str(path), key=key)


def _scan(
    path: Path, needed: list[str], bounds: ReadBounds
) -> tuple[pl.LazyFrame, dict[str, AtomicType]]:
    """The file as text columns without the types in their names, and those types."""
    tokens = [f"{column}:token" for column in needed]
    frame = scan_csv(path, needed=tokens, text=None, separator="\t", bounds=bounds)
    types: dict[str, AtomicType] = {}
    names = {}
    for field in frame.collect_schema().names():
        column, _, kind = field.rpartition(":")
        for known in get_args(AtomicType):
            if kind == known and column:
                types[column] = known
                names[field] = column
    unknown = [field for field in frame.collect_schema().names() if field not in names]
    if unknown or len(types) < len(names):
        raise SchemaError(
            "a header field has no known type" if unknown else "two header fields share a name",
            file=str(path),
            column=unknown[0] if unknown else next(iter(types)),
            hint=f"write name:type with a type of {', '.join(get_args(AtomicType))}",
        )
    return frame.rename(names), types


def _parse(
    frame: pl.LazyFrame, types: Mapping[str, AtomicType], locate: Locate
) -> dict[str, pl.Expr]:
    """Expressions that turn text columns into their types, after checking that they can."""
    parsed = {}
    checked = {}
    for column, kind in types.items():
        words = pl.col(column).fill_null("").str.split(" ")
        words = words.list.eval(pl.element().filter(pl.element() != ""))
        match kind:
            case "token":
                parsed[column] = pl.col(column)
            case "float":
                parsed[column] = pl.col(column).cast(pl.Float64, strict=False)
                checked[column] = parsed[column]
            case "token_seq":
                parsed[column] = words
            case "float_seq":
                numbers = words.list.eval(pl.element().cast(pl.Float64, strict=False))
                parsed[column] = numbers
                broken = numbers.list.eval(pl.element().is_null()).list.any()
                checked[column] = pl.when(~broken).then(0.0)
    _check_cells(frame, checked, locate)
    return parsed


def _check_cells(frame: pl.LazyFrame, parsed: Mapping[str, pl.Expr], locate: Locate) -> None:
    checks = [
        Check(
            column,
            pl.col(column).is_not_null() & value.is_null(),
            f"{column} cannot be read as a number",
            "write numbers such as 3 or 0.25, or leave the field empty",
        )
        for column, value in parsed.items()
    ]
    run_checks(frame, checks, locate)


def _to_text(table: pl.DataFrame, file: str) -> str:
    """The table as the text of an atomic file."""
    fields = {}
    checks = []
    for column, dtype in table.schema.items():
        kind, text = _field(column, dtype)
        fields[f"{column}:{kind}"] = text
        if kind in ("token", "token_seq"):
            checks.append(
                Check(
                    column,
                    text.str.contains(r"[\t\n\r]"),
                    f"{column} holds a tab or a line break, which atomic files cannot",
                    "replace it by a blank",
                )
            )
        if kind == "token_seq":
            element = pl.element()
            broken = element.str.contains(r"[ \t\n\r]") | (element == "")
            checks.append(
                Check(
                    column,
                    pl.col(column).list.eval(broken).list.any(),
                    f"{column} holds a blank or nothing inside a list, which atomic files cannot",
                    "join the words by a sign of another kind, such as _",
                )
            )
    run_checks(table.lazy(), checks, in_file(file))
    written: str = table.select(**fields).write_csv(
        separator="\t", quote_style="never", null_value=""
    )
    return written


def _field(column: str, dtype: pl.DataType) -> tuple[AtomicType, pl.Expr]:
    """The type of a column in an atomic file, and its values as text."""
    value = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        micros = value.dt.epoch("us")
        # Whole numbers and six digits, exact where a float of today's seconds is not.
        sign = pl.when(micros < 0).then(pl.lit("-")).otherwise(pl.lit(""))
        digits = micros.abs().cast(pl.String).str.zfill(7)
        whole, part = digits.str.head(-6), digits.str.tail(6)
        return "float", pl.concat_str(sign, whole, pl.lit("."), part)
    if isinstance(dtype, pl.List):
        words = value.list.eval(pl.element().cast(pl.String)).list.join(" ")
        return ("float_seq" if dtype.inner == pl.Float64 else "token_seq"), words
    if dtype == pl.String:
        return "token", value
    return "float", value.cast(pl.Float64).cast(pl.String)
