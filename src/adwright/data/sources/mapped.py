"""Make an EventLog of a table that others wrote, as a `LogMapping` and the obvious names say.

    mapped = map_events(as_frame("ratings.csv"))
    mapped.notes.said       # ("userId is taken as user_id", ...)

What is decided, left out or odd is kept in the notes. Nothing is guessed at that could be read two
ways. Ids are made where there are none: an event's from a hash of its row, a request's from the
user and the second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import polars as pl

from adwright.core.clock import SystemClock
from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.column_kinds import ColumnKind, check_column_kinds
from adwright.data.hashing import hash_expr
from adwright.data.history_kinds import take_back
from adwright.data.schema import (
    EVENT_SCHEMA,
    KINDS,
    NOT_IDS,
    Check,
    EventKind,
    check_events,
    check_types,
    is_category,
    run_checks,
)
from adwright.data.sources.bounds import memory_left
from adwright.data.sources.csvfile import is_format, time_column
from adwright.data.sources.frames import SourceTable, id_text
from adwright.data.table_door import bare_name, find_column, synonyms, table_specs, usual_columns

# --------------------------------------------------------------------------------------------------
# How a log that others wrote becomes an EventLog: which column is which, what its kinds mean.
#
#     LogMapping(columns={"user_id": "customer_id"}, kinds={"order": "purchase"},
# context=("store",))
#
# A mapping is what `adwright data import` is told by its options, or a TOML file of the same names.
# What it leaves open follows from the names of the columns where they are obvious: a table with
# visitorid, itemid, event and timestamp needs no mapping at all.

#: What events of a kind become: another kind, or nothing.
MappedKind: TypeAlias = Literal[EventKind, "none"]
_QUANTITY = "quantity"


@settings
class LogMapping:
    """What a log's columns and values mean; what is left open follows from obvious names.

    columns: column of the EventLog -> column of the table. Of a catalogue, item_id counts. quantity
        is one, too: where it is negative, or the value of a purchase is, the row is a return.
    kinds: kind in the table -> kind of the EventLog, or "none" to leave such events out.
    kind: of all events, where no column says it; None for rating where there are ratings, else
        purchase.
    clicked: column of 0 and 1: every row is an impression, and a click too where it is 1. Without
        it, one that is called clicked or click and holds nothing else.
    time_format: of times that are text, as strftime has it ("%d/%m/%Y %H:%M"), or "s" or "ms" for
        numbers since 1970; empty for ISO 8601 and seconds. Dates such as 03/04/2024 are never
        guessed at.
    time_zone: of times that name none, such as "Europe/Paris"; empty for UTC.
    context: columns that are put into the context; further columns are left out.
    min_rating: ratings below it are left out; None keeps all.
    drop_repeated: of events with one event_id, or without ids of rows that are equal, keep the
        first. drop_incomplete: leave out rows without a user, an item or a time. drop_future: leave
        out rows that are dated after now; False keeps them, None refuses a log with rows of more
        than a day after now.
    column_kinds: column of the catalogue or key of the context -> what it is; None of it decided
        by its values.
    """

    columns: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, MappedKind] = field(default_factory=dict)
    kind: EventKind | None = None
    clicked: str = ""
    time_format: str = ""
    time_zone: str = ""
    context: tuple[str, ...] = ()
    min_rating: float | None = None
    drop_repeated: bool = False
    drop_incomplete: bool = False
    drop_future: bool | None = None
    column_kinds: dict[str, ColumnKind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table_specs("log")["log"].check_fields(self.columns, also=[_QUANTITY])
        for theirs, ours in self.kinds.items():
            _check_kind(theirs, ours)
        check_column_kinds(self.column_kinds, "column_kinds")
        _check_time(self.time_format, self.time_zone)


class NamedColumns(NamedTuple):
    """columns: ours -> theirs. context: those that go into the context. clicked: the one that says
    what was clicked, or nothing. rated: whether value is a rating. said: what was taken by its
    name. left: columns that the log does not keep."""

    columns: dict[str, str]
    context: tuple[str, ...]
    clicked: str
    rated: bool
    said: tuple[str, ...]
    left: tuple[str, ...]


def name_columns(
    names: Sequence[str],
    mapping: LogMapping,
    repeats: Callable[[str], bool],
    flags: Callable[[str], bool] = lambda _: False,
    *,
    file: str = "",
    first_line: str = "",
) -> NamedColumns:
    """Which column of a table is which of the EventLog's: as the mapping says, else by its name.

    repeats: whether a column holds a value twice. A column called id is the item's, where nothing
    else is and its values repeat. flags: whether it holds nothing but 0 and 1. first_line: of a
    file that may lack its header.
    Raises SchemaError for a column that the mapping names and the table lacks, and for a needed
    one that is not found.
    """
    specs, usual = table_specs("log"), synonyms("log")["flags"]
    context = tuple(
        find_column(one, names, "part of the context", file=file) for one in mapping.context
    )
    clicked = mapping.clicked and find_column(mapping.clicked, names, "clicked", file=file)
    columns, found = specs["log"].name(names, mapping.columns, taken=(*context, clicked), file=file)
    said, taken = list(found), {*columns.values(), *context, clicked}
    if "item_id" not in columns:
        free = [name for name in names if name not in taken]
        for name in usual_columns(usual["id"], free):
            if repeats(name):
                columns["item_id"] = name
                taken.add(name)
                said.append(f"{name} is taken as item_id")
                break
    if _QUANTITY not in columns:
        free = [name for name in names if name not in columns.values()]  # it may be context, too
        for name in specs[_QUANTITY].guesses(_QUANTITY, free)[:1]:
            columns[_QUANTITY] = name
            taken.add(name)
            said.append(f"{name} is taken as the quantity: where it is negative, a return")
    specs["log"].require(columns, names, file=file, first_line=first_line)
    if not clicked and "kind" not in columns and mapping.kind is None:
        free = [name for name in names if name not in taken]
        clicked = next((name for name in usual_columns(usual["clicked"], free) if flags(name)), "")
        taken.add(clicked)
    if clicked:
        said.append(f"every row is an impression, and a click too where {clicked} is 1")
    rated = bare_name(columns.get("value", "")) in usual["rated"]
    left = tuple(name for name in names if name not in taken)
    return NamedColumns(columns, context, clicked, rated, tuple(said), left)


def id_column(names: Sequence[str], key: str, column: str = "", *, file: str = "") -> str:
    """The name of the id in a table about items or users: `column` where the table has it, else
    `key` or an obvious name of it. Raises SchemaError where there is none."""
    if column in names:
        return column
    spec = table_specs("log")["log"]
    found = usual_columns((column,) if column else (), names)
    found += [*spec.guesses(key, names), *usual_columns((key,), names)]
    found += usual_columns(synonyms("log")["flags"]["id"], names)
    if not found:
        spec.require({}, names, needed=[key], file=file)
    return found[0]


@cache
def kinds_by_name() -> dict[str, EventKind]:
    """What the kinds of other programs mean, in lower case without signs."""
    return {name: kind for kind, names in synonyms("log")["kinds"].items() for name in names}


def _check_kind(theirs: str, ours: str) -> None:
    choices = (*KINDS, "none")
    if ours not in choices:
        close = closest_name(str(ours), choices)
        raise ConfigError(
            f"{theirs} cannot be {str(ours)[:60]!r}",
            where="kinds",
            hint=f"use one of {', '.join(choices)}"
            + (f"; the closest is {close}" if close else ""),
        )


def _check_time(time_format: str, time_zone: str) -> None:
    if time_format not in ("", "s", "ms") and not is_format(time_format):
        raise ConfigError(
            f"{time_format!r} is no format of a time",
            where="time_format",
            hint='write it like "%d/%m/%Y %H:%M", or s or ms for numbers since 1970',
        )
    if time_zone:
        try:
            pl.Series([], dtype=pl.Datetime("us", time_zone))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise ConfigError(
                f"the time zone {time_zone[:60]!r} is unknown",
                where="time_zone",
                hint='name one like "Europe/Paris" or "UTC"',
            ) from error


_IDS = ("event_id", "request_id", "user_id", "item_id", "creative_id", "campaign_id", "policy_id")
_NUMBERS = {"position": pl.Int64(), "propensity": pl.Float64(), "value": pl.Float64()}
_TRUE, _FALSE = ("1", "1.0", "true"), ("0", "0.0", "false")
_ROW, _PIECES = "__row", "quantity"
#: Clocks and zones differ by less.
_DAY = timedelta(days=1)
#: Bytes that a cell takes, about, and how much of the memory that is left a log may take.
_CELL, _SHARE = 32, 0.2
_LISTED = 10


@dataclass(frozen=True)
class ImportNotes:
    """What became of a table.

    said: what was taken for what, and made. left_out: why -> rows. columns_left: columns that the
    log does not keep. odd: what was accepted and may be wrong.
    """

    said: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    columns_left: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


@dataclass(frozen=True)
class MappedEvents:
    """events: an EventLog, lazy and checked. notes: what was decided. mapping: what was asked for,
    with the columns that were found."""

    events: pl.LazyFrame
    notes: ImportNotes
    mapping: LogMapping


def map_events(
    table: SourceTable, mapping: LogMapping | None = None, *, now: datetime | None = None
) -> MappedEvents:
    """The EventLog of a table, every row checked.

    now: what is dated later has not happened; by default the machine's clock says it. Purchases
    that came back, and their returns, are left out.
    Raises SchemaError for columns that are missing or of other types, ConfigError for a mapping
    that does not fit the table, ValueInvalidError for the first row that cannot be read, breaks a
    rule of the EventLog's or repeats an event, and where no event is left.
    """
    mapping = mapping or LogMapping()
    table = replace(table, frame=_held(table.frame))
    source = table.frame
    named = name_columns(
        source.collect_schema().names(),
        mapping,
        lambda name: bool(source.select(pl.col(name).is_duplicated().any()).collect().item()),
        lambda name: _is_flag(source, name),
        file=table.name,
        first_line=table.first_line,
    )
    _check_settings(named, mapping)
    work = _Mapper(table, mapping, named)
    if mapping.drop_incomplete:
        work.leave_out(
            pl.any_horizontal(work.blank(name) for name in ("user_id", "item_id", "time")),
            "without a user, an item or a time",
        )
    return work.finished(work.columns(), now or SystemClock().now())


class _Mapper:
    """A table on its way: its rows so far, what names them, and what is to be said."""

    def __init__(self, table: SourceTable, mapping: LogMapping, named: NamedColumns) -> None:
        self.frame, self.locate, self.file = table.frame, table.locate, table.name
        self.types = table.frame.collect_schema()
        self.decimal_comma = table.decimal_comma
        self.mapping, self.named = mapping, named
        self.said = list(named.said)
        self.odd: list[str] = []
        self.left_out: dict[str, int] = {}

    def leave_out(self, which: pl.Expr, why: str) -> None:
        """Go on without these rows; errors still name the rows of the file."""
        kept = (
            self.frame.select(which.fill_null(value=False).not_().alias("kept"))
            .with_row_index(_ROW)
            .collect(engine="streaming")
        )
        rows = kept.filter("kept")[_ROW]
        if len(rows) == kept.height:
            return
        self.left_out[why] = kept.height - len(rows)
        locate = self.locate
        self.frame = self.frame.filter(~which.fill_null(value=False))
        self.locate = lambda row: locate(int(rows[row]) if row < len(rows) else row)

    def blank(self, ours: str) -> pl.Expr:
        """Whether the table has nothing in the column of `ours`."""
        name = self.named.columns[ours]
        cell, dtype = pl.col(name), self.types[name]
        if dtype == pl.String:
            bare = cell.str.strip_chars()
            return cell.is_null() | (bare == "") | bare.is_in(list(NOT_IDS))
        return cell.is_null() | cell.is_nan() if dtype.is_float() else cell.is_null()

    def columns(self) -> dict[str, pl.Expr]:
        """Each column of the EventLog that there is, as an expression over the table."""
        columns, mapping = self.named.columns, self.mapping
        made: dict[str, pl.Expr] = {}
        for ours, theirs in columns.items():
            if ours in _IDS:
                made[ours] = id_text(self.frame, theirs)
            elif ours in _NUMBERS:
                made[ours] = self._number(ours, theirs)
        self._check_ids(made)
        if _PIECES in columns:
            made[_PIECES] = self._pieces(columns[_PIECES])
        self._say_blanks()
        time = time_column(
            self.frame,
            columns["time"],
            self.locate,
            time_format=mapping.time_format,
            time_zone=mapping.time_zone,
        )
        self.said += time.said
        self.odd += time.odd
        made["time"] = time.value
        made["kind"] = self._kind()
        if mapping.context:
            made["context"] = _json(self.named.context, self.types)
        elif "context" in columns:
            theirs = columns["context"]
            nested = isinstance(self.types[theirs], pl.Struct)
            cell = pl.col(theirs)
            made["context"] = (
                pl.when(cell.is_not_null()).then(cell.struct.json_encode()) if nested else cell
            )
        self._make_ids(made)
        return made

    def _check_ids(self, made: Mapping[str, pl.Expr]) -> None:
        """Raise SchemaError for an id or a kind that is neither text nor a whole number."""
        ids = self.frame.select(*(made[ours].alias(ours) for ours in _IDS if ours in made))
        types = dict(ids.collect_schema())
        if "kind" in self.named.columns:
            types["kind"] = self.types[self.named.columns["kind"]]
        check_types(types, EVENT_SCHEMA, self.file)

    def finished(self, made: Mapping[str, pl.Expr], now: datetime) -> MappedEvents:
        """Check every row; then see to events that come twice, and to what is left out."""
        self.frame = _held(self.frame.select(*(e.alias(n) for n, e in made.items())))
        if "none" in self.mapping.kinds.values():
            self.leave_out(pl.col("kind") == "none", "of kinds that are not wanted")
        if self.mapping.min_rating is not None:
            low = (pl.col("kind") == "rating") & (pl.col("value") < self.mapping.min_rating)
            self.leave_out(low, f"with a rating below {self.mapping.min_rating:g}")
        self._see_to_future(now)
        self._see_to_returns()
        own = "event_id" in self.named.columns
        drop = self.mapping.drop_repeated
        events = check_events(self.frame, self.locate, unique=own and not drop)
        if not own or drop:
            events = self._told_apart(events, own=own)
        if self.named.clicked:
            events = _with_clicks(events)
        rows = events.select(pl.len()).collect(engine="streaming").item()
        if not rows:
            raise ValueInvalidError(
                "the log holds no event",
                file=self.file,
                hint="see whether the file is complete, and whether the options leave all out",
            )
        notes = ImportNotes(tuple(self.said), self.left_out, self.named.left, tuple(self.odd))
        found = replace(
            self.mapping,
            columns=self.named.columns,
            context=self.named.context,
            clicked=self.named.clicked,
        )
        return MappedEvents(events, notes, found)

    def _see_to_future(self, now: datetime) -> None:
        """Leave out, or refuse, what is dated after now."""
        time, drop = pl.col("time"), self.mapping.drop_future
        if drop:
            self.leave_out(time > now, f"dated after now, {now:%Y-%m-%d %H:%M} UTC")
        elif drop is None:
            late = time > now + _DAY
            rows, number, last = (
                self.frame.select(pl.len(), late.sum().alias("late"), time.max())
                .collect(engine="streaming")
                .row(0)
            )
            if number:
                what = (
                    f"{number:,} of {rows:,} events ({number / rows:.2%}) are dated after now, "
                    f"{now:%Y-%m-%d %H:%M} UTC, the latest {last:%Y-%m-%d %H:%M}"
                )
                hint = "correct them, leave them out (--drop-future), or keep them (--keep-future)"
                check = Check("time", late, what, hint, shown=time.dt.to_string("%Y-%m-%d %H:%M"))
                run_checks(self.frame, [check], self.locate)

    def _see_to_returns(self) -> None:
        """Leave out returns and the purchases that they took back. A return is of that kind, or a
        purchase with a negative quantity or value."""
        names = self.frame.collect_schema()
        bought = pl.col("kind").is_in(["purchase", "conversion"])
        numbers = [pl.col(one) for one in (_PIECES, "value") if one in names]
        back = pl.any_horizontal(*(number < 0 for number in numbers), pl.lit(value=False))
        kind = pl.when(bought & back).then(pl.lit("return")).otherwise("kind")
        self.frame = self.frame.with_columns(kind=kind.alias("kind"))
        returns = self.frame.filter(pl.col("kind") == "return").select(pl.len())
        if _PIECES in names:
            none = self.frame.filter(bought & (pl.col(_PIECES) == 0)).select(pl.len()).collect()
            if none.item():
                theirs = self.named.columns[_PIECES]
                self.odd.append(f"{theirs}: {none.item():,} purchases of 0 pieces are kept as such")
        if returns.collect(engine="streaming").item():
            asked = ["user_id", "item_id", "request_id", "time", "kind"]
            asked += [_PIECES] if _PIECES in names else []
            found = take_back(self.frame.select(asked).collect(engine="streaming"))
            self.said.append(found.text())
            rows = pl.int_range(pl.len()).is_in(pl.Series(found.rows, dtype=pl.Int64).implode())
            self.leave_out(rows, "that are returns, or purchases that came back")
        self.frame = self.frame.drop(_PIECES, strict=False)

    def _pieces(self, theirs: str) -> pl.Expr:
        """The quantity as a number; what is none is told, and counts as one piece."""
        cell = pl.col(theirs)
        if self.types[theirs] == pl.String:
            cell = cell.str.strip_chars()
            cell = cell.str.replace(",", ".", literal=True) if self.decimal_comma else cell
        read = cell.cast(pl.Float64, strict=False)
        filled, unread = (
            self.frame.select(
                cell.is_not_null().sum().alias("filled"),
                (cell.is_not_null() & read.is_null()).sum().alias("unread"),
            )
            .collect(engine="streaming")
            .row(0)
        )
        if unread:
            self.odd.append(
                f"{theirs}: {unread:,} of {filled:,} quantities are no numbers, so that none of "
                "these rows is taken as a return"
            )
        return read.fill_nan(None)

    def _number(self, ours: str, theirs: str) -> pl.Expr:
        cell, dtype, target = pl.col(theirs), self.types[theirs], _NUMBERS[ours]
        if dtype == pl.String:
            text = cell.str.strip_chars()
            text = text.str.replace(",", ".", literal=True) if self.decimal_comma else text
            read = text.cast(target, strict=False)
            what, hint = "a number", "write numbers such as 3 or 0.25, or leave the field empty"
            bad = cell.is_not_null() & read.is_null()
        elif dtype.is_float() and target.is_integer():
            known = cell.fill_nan(None)
            read = known.cast(target, strict=False)
            what, hint = "a whole number", "write whole numbers, or leave the cell empty"
            bad = known.is_not_null() & (read != known).fill_null(value=True)
        else:
            # Of a column of pandas, NaN is what is missing.
            return cell.fill_nan(None) if dtype.is_float() and ours == "value" else cell
        check = Check(theirs, bad, f"{theirs} cannot be read as {what}", hint)
        run_checks(self.frame, [check], self.locate)
        return read

    def _kind(self) -> pl.Expr:
        theirs = self.named.columns.get("kind")
        if self.named.clicked:
            clicked = _flag(self.named.clicked).is_in(_TRUE)
            return pl.when(clicked).then(pl.lit("click")).otherwise(pl.lit("impression"))
        if theirs is None:
            kind = self.mapping.kind or ("rating" if self.named.rated else "purchase")
            if self.mapping.kind is None:
                self.said.append(f"no column says the kind: every event is a {kind} (--kind)")
            return pl.lit(kind)
        cell = pl.col(theirs).cast(pl.String)
        bare = cell.str.strip_chars().str.to_lowercase()
        wanted = {name.strip().lower(): kind for name, kind in self.mapping.kinds.items()}
        found = self.frame.select(bare.unique().drop_nulls()).collect()[theirs].sort().to_list()
        meant = {}
        for kind in found:
            plain = re.sub(r"[\W_]", "", kind)
            meant[kind] = wanted.get(kind) or kinds_by_name().get(plain, kind)
            if kind not in wanted and plain != meant[kind]:
                self.said.append(f"{theirs} {kind!r} is taken as {meant[kind]}")
        unknown = [kind for kind in found if meant[kind] not in (*KINDS, "none") and kind]
        if unknown:
            shown = ", ".join(repr(kind[:30]) for kind in unknown[:_LISTED])
            check = Check(
                theirs,
                bare.is_in(unknown),
                f"{theirs} is not one that adwright knows",
                f"use one of {', '.join(KINDS)}, or say what it is: --kinds "
                f"{unknown[0][:30]}=purchase (=none leaves it out); unknown are {shown}",
            )
            run_checks(self.frame, [check], self.locate)
        return bare.replace(list(meant), list(meant.values())) if meant else bare

    def _make_ids(self, made: dict[str, pl.Expr]) -> None:
        user = made["user_id"].cast(pl.String).fill_null("?")
        visit = pl.format("{}-{}", user, made["time"].dt.epoch("s").fill_null(0))
        if "request_id" in made:
            given = made["request_id"].cast(pl.String)
            made["request_id"] = pl.when(self.blank("request_id")).then(visit).otherwise(given)
        else:
            made["request_id"] = visit
            self.said.append("request_id is made of the user and the second")
        if "event_id" not in made:
            plain = [n for n, dtype in self.types.items() if _can_be_hashed(dtype)]
            made["event_id"] = pl.format("e{}", hash_expr(plain, 0))
            self.said.append("event_id is made of a hash of the row")

    def _say_blanks(self) -> None:
        """Count ids that have blanks around them, which are taken off, and requests without one."""
        columns, counts = self.named.columns, []
        for ours in ("user_id", "item_id"):
            if self.types[columns[ours]] == pl.String:
                cell = pl.col(columns[ours])
                counts.append((cell.str.strip_chars() != cell).sum().alias(ours))
        if "request_id" in columns:
            counts.append(self.blank("request_id").sum().alias("request_id"))
        if not counts:
            return
        found = self.frame.select(counts).collect(engine="streaming").row(0, named=True)
        for ours, number in found.items():
            if number and ours == "request_id":
                self.said.append(
                    f"{columns[ours]} is empty in {number:,} rows; their request_id is made of "
                    "the user and the second"
                )
            elif number:
                self.odd.append(
                    f"{columns[ours]}: {number:,} ids have blanks around them, which are taken off"
                )

    def _told_apart(self, events: pl.LazyFrame, *, own: bool) -> pl.LazyFrame:
        """Events that come twice: kept once, or where ids are made told apart by a number."""
        totals = events.select(rows=pl.len(), different=pl.col("event_id").n_unique())
        rows, different = totals.collect(engine="streaming").row(0)
        again = rows - different
        if not again:
            return events
        if self.mapping.drop_repeated:
            self.left_out["whose event came before" if own else "equal to an earlier row"] = again
            return events.unique("event_id", keep="first", maintain_order=True)
        self.odd.append(
            f"{again:,} rows equal an earlier one in all columns and are kept as events of their "
            "own; where they are one event told twice, say --drop-repeated"
        )
        number = pl.int_range(pl.len()).over("event_id")
        numbered = pl.format("{}-{}", "event_id", number)
        return events.with_columns(
            event_id=pl.when(number > 0).then(numbered).otherwise("event_id")
        )


def _held(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The table in memory where there is plenty, since it is gone through a dozen times; else as
    it is, to be streamed each time."""
    names = frame.collect_schema().names()
    rows = frame.select(pl.len()).collect(engine="streaming").item()
    if rows * len(names) * _CELL > memory_left() * _SHARE:
        return frame
    return frame.collect(engine="streaming").lazy()


def _check_settings(named: NamedColumns, mapping: LogMapping) -> None:
    """Raise ConfigError for settings that have nothing to work on."""
    if mapping.context and "context" in named.columns:
        raise ConfigError(
            "the table has a context already, so no columns can be put into one",
            where=f"context {', '.join(mapping.context)}",
            hint="leave --context out, or rename the column",
        )
    if named.clicked and ("kind" in named.columns or mapping.kind is not None):
        raise ConfigError(
            "a row cannot be of a kind and be an impression that may be clicked",
            where=f"clicked {named.clicked}",
            hint="leave out --clicked, or the kind",
        )
    if mapping.min_rating is not None and "value" not in named.columns:
        raise ConfigError(
            "the table has no ratings, so none can be too low",
            where="min_rating",
            hint="say which column holds them: --columns value=THEIRS",
        )
    if mapping.kinds and "kind" not in named.columns:
        raise ConfigError(
            "the table has no column of kinds, so none can be mapped",
            where="kinds",
            hint="say which column holds them, --columns kind=THEIRS, or --kind for all events",
        )
    for name in mapping.column_kinds:
        if name in EVENT_SCHEMA.names:
            raise ConfigError(
                f"{name} is a column of the log, which needs no kind",
                where="column_kinds",
                hint="name columns of the catalogue, or keys of the context",
            )


def _flag(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).str.strip_chars().str.to_lowercase()


def _is_flag(frame: pl.LazyFrame, name: str) -> bool:
    """Whether a column holds nothing but 0 and 1, and not only one of them."""
    if frame.collect_schema()[name].is_nested():
        return False
    found = set(frame.select(_flag(name).unique()).collect()[name])
    return found <= {*_TRUE, *_FALSE} and bool(found & {*_TRUE}) and bool(found & {*_FALSE})


def _with_clicks(events: pl.LazyFrame) -> pl.LazyFrame:
    """The rows as impressions, and those that were clicked as clicks after them."""
    clicks = events.filter(pl.col("kind") == "click")
    clicks = clicks.with_columns(event_id=pl.format("{}-click", "event_id"))
    return pl.concat([events.with_columns(kind=pl.lit("impression")), clicks])


def _json(names: Sequence[str], types: Mapping[str, pl.DataType]) -> pl.Expr:
    """A JSON object of these columns; what JSON has no type for is text."""
    no_json = {
        name: types[name].is_temporal() or types[name].is_decimal() or is_category(types[name])
        for name in names
    }
    cells = [pl.col(n).cast(pl.String) if no_json[n] else pl.col(n) for n in names]
    return pl.struct(cells).struct.json_encode()


def _can_be_hashed(dtype: pl.DataType) -> bool:
    plain = dtype in (pl.String, pl.Boolean, pl.Date) or isinstance(dtype, pl.Datetime)
    return plain or dtype.is_integer() or dtype.is_float()
