"""Rows on their way into the store: checked by data.schema, and turned into plain tuples.

Checking a table costs a few milliseconds however short it is, which a service that takes a few
events a request cannot pay. So a batch of rows is first looked at row by row for what is plainly
valid, in a few microseconds a row. Whatever is not plain, valid or not, is left to data.schema:
it alone refuses, so there is one set of rules, and the first look only has to be no laxer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import polars as pl
import pyarrow as pa

from adwright.campaigns.store.times import EPOCH
from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.checks import Check, in_file, run_checks
from adwright.data.columns import NOT_IDS, TIME
from adwright.data.schema import EVENT_SCHEMA, KINDS, validate_events
from adwright.data.time import FIRST, LAST, MICROSECONDS_PER_DAY, MICROSECONDS_PER_SECOND

__all__ = ["EventRow", "check_storable", "event_rows", "frame_of"]

#: The columns of EVENT_SCHEMA in their order, time in microseconds since 1970.
EventRow = tuple[Any, ...]

_NAMES = frozenset(EVENT_SCHEMA.names)
_KINDS = frozenset(KINDS)
_EXACT = 2**53  # up to here a float holds every integer
_MAX_POSITION = 2**31 - 1
_LONG, _DEEP = 10_000, 100
_YEARS = "the time must lie in the years 1 to 9999 of UTC"


def event_rows(events: Sequence[Mapping[str, object]] | pl.DataFrame) -> list[EventRow]:
    """The events as tuples in the columns of EVENT_SCHEMA, after checking them.

    events: mappings in these columns, in which the optional ones may be left out, or a table.
        Repeated event_ids pass.
    Raises SchemaError and ValueInvalidError as `adwright.data.schema.validate_events`, and for
    a text that holds the character NUL or half of a surrogate pair.
    """
    if isinstance(events, pl.DataFrame):
        return _judged(events)
    rows: list[EventRow] = []
    contexts: set[str] = set()
    for event in events:
        row = _plain(event, contexts)
        if row is None:
            return _judged(frame_of(events, EVENT_SCHEMA))
        rows.append(row)
    return rows


def frame_of(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> pl.DataFrame:
    """The rows as a table for the validate functions of data.schema, not yet checked by them.

    schema: which columns hold times and floats. A value that is absent becomes null.
    Raises SchemaError where a column holds values of several types or of one that no table
    has, ValueInvalidError for half of a surrogate pair or a time out of range.
    """
    names: dict[str, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SchemaError(
                f"a row must be a mapping, not {type(row).__name__}",
                row=number,
                hint="pass one mapping of column to value a row",
            )
        names.update(dict.fromkeys(row))
    types = {field.name: field.type for field in schema}
    columns = []
    for name in names:
        kind = types.get(name)
        values = [_prepared(row.get(name), kind, number) for number, row in enumerate(rows)]
        try:
            columns.append(pl.Series(str(name), values, strict=True))
        except UnicodeEncodeError as error:
            raise _refused_text(str(name), values) from error
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            found = sorted({type(value).__name__ for value in values if value is not None})
            raise SchemaError(
                f"{name} holds values that do not fit together: {', '.join(found)}",
                column=str(name),
                hint=f"make them all {types.get(name, 'of one type')}",
            ) from error
    return pl.DataFrame(columns) if columns else pl.DataFrame(schema=dict.fromkeys(names))


def check_storable(frame: pl.DataFrame, *, longest: Mapping[str, int] | None = None) -> None:
    """Raise ValueInvalidError for a text that a database cannot keep.

    That is one with the character NUL, which PostgreSQL refuses, or one longer than
    `longest` says for its column, in characters.
    """
    checks = [
        Check(
            name,
            pl.col(name).str.contains("\0", literal=True),
            f"{name} must not hold the character NUL",
            "remove it",
        )
        for name, dtype in frame.schema.items()
        if dtype == pl.String
    ]
    for name, limit in (longest or {}).items():
        too_long = pl.col(name).str.len_chars() > limit
        what = f"{name} must have at most {limit} characters"
        checks.append(Check(name, too_long, what, "use a shorter one"))
    run_checks(frame.lazy(), checks, in_file(""))


def _judged(frame: pl.DataFrame) -> list[EventRow]:
    valid = validate_events(frame, unique=False)
    check_storable(valid)
    stored = valid.with_columns(pl.col("time").dt.epoch("us"))
    years = Check("time", ~pl.col("time").is_between(FIRST, LAST), _YEARS, "correct the time")
    run_checks(stored.lazy(), [years], in_file(""))
    return stored.rows()


def _plain(event: Mapping[str, object], contexts: set[str]) -> EventRow | None:
    """The event as a tuple if it is plainly valid, else None.

    contexts: those seen in this batch; most events of a slate share one.
    """
    if not isinstance(event, Mapping) or not event.keys() <= _NAMES:
        return None
    get = event.get
    time, kind, position, context = get("time"), get("kind"), get("position"), get("context")
    propensity, value = _number(get("propensity")), _number(get("value"))
    ids = (get("event_id"), get("request_id"), get("user_id"), get("item_id"))
    references = (get("creative_id"), get("campaign_id"), get("policy_id"))
    if (
        type(time) is not datetime
        or time.utcoffset() is None
        or type(kind) is not str
        or kind not in _KINDS
        or not (position is None or (type(position) is int and 0 <= position <= _MAX_POSITION))
        or not (propensity is None or 0 < propensity <= 1)
        or not (value is None or isfinite(value))
        or not all(map(_is_plain_id, ids))
        or not all(one is None or _is_plain_id(one) for one in references)
    ):
        return None
    if context is not None:
        if type(context) is not str:
            return None
        if context not in contexts:
            if not _is_plain_object(context):
                return None
            contexts.add(context)
    since = time - EPOCH
    micros = (
        since.days * MICROSECONDS_PER_DAY
        + since.seconds * MICROSECONDS_PER_SECOND
        + since.microseconds
    )
    if not FIRST <= micros <= LAST:
        return None
    event_id, request_id, user_id, item_id = ids
    creative_id, campaign_id, policy_id = references
    row = (event_id, micros, request_id, user_id, kind, item_id, creative_id, campaign_id)
    return (*row, position, propensity, policy_id, value, context)


def _number(value: object) -> float | None:
    """The value as a float, null for None, and NaN for what needs a second look."""
    if type(value) is float:
        return value
    if value is None:
        return None
    return float(value) if type(value) is int and -_EXACT <= value <= _EXACT else float("nan")


def _is_plain_id(value: object) -> bool:
    # Printable rules out NUL, line breaks and halves of surrogate pairs.
    return (
        type(value) is str and value.isprintable() and value not in NOT_IDS and value.strip() != ""
    )


def _is_plain_object(text: str) -> bool:
    if (
        not text.startswith("{")
        or not text.isprintable()
        or "\\u" in text
        or len(text) > _LONG
        or text.count("{") + text.count("[") > _DEEP
    ):
        return False
    try:
        json.loads(text, parse_float=_finite, parse_int=_finite, parse_constant=_refuse)
    except ValueError:
        return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"not a finite number: {text}")


def _prepared(value: object, kind: pa.DataType | None, row: int) -> Any:
    """The value as polars takes it: times in one zone, numbers of a float column as floats."""
    if kind == TIME and isinstance(value, datetime):
        try:
            zoned = value.replace(tzinfo=UTC) if value.utcoffset() is None else value
            return zoned.astimezone(UTC)
        except OverflowError as error:
            raise ValueInvalidError(
                _YEARS, row=row, column="time", value=value, hint="correct the time"
            ) from error
    if kind == pa.float64() and type(value) is int and -_EXACT <= value <= _EXACT:
        return float(value)
    return value


def _refused_text(column: str, values: Sequence[object]) -> ValueInvalidError:
    for row, value in enumerate(values):
        try:
            if isinstance(value, str):
                value.encode()
        except UnicodeEncodeError:
            what = f"{column} holds half of a surrogate pair, which is no character"
            hint = "decode the text properly before sending it"
            return ValueInvalidError(what, row=row, column=column, value=value, hint=hint)
    return ValueInvalidError(f"{column} holds a text that is not Unicode", column=column)
