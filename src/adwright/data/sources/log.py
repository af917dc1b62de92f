"""A log and its catalogue together: opened by name, read from a user's files, saved, described.

A saved log is a folder in one of three formats, checked before it is written:

    parquet   events.parquet, items.parquet, creatives.parquet, campaigns.parquet, users.parquet
    csv       the same as .csv; lists in the catalogue need Parquet
    atomic    NAME.inter, NAME.item, NAME.user, RecBole's atomic files

Tables without rows are left out, but for the events. Beside Parquet and CSV lie mapping.json, how
the log was read, and summary.json, what is in it and what is odd about it, where these are known.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_args

import polars as pl

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import closest_name, from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.data.column_kinds import RULE, ColumnKind, FoundColumn, find_kinds, with_kinds
from adwright.data.history_kinds import events_file
from adwright.data.schema import (
    ACTION_KINDS,
    EVENT_SCHEMA,
    Catalogue,
    check_items_known,
    validate_items,
)
from adwright.data.sources.atomic_files import read_atomic, write_atomic
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, reading
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.frames import SourceTable, Tabular, as_frame
from adwright.data.sources.mapped import ImportNotes, LogMapping, MappedEvents, map_events
from adwright.data.sources.movielens import MovieLens
from adwright.data.sources.open_bandit import OpenBandit
from adwright.data.sources.tables import (
    item_ids,
    read_campaigns,
    read_creatives,
    read_events,
    read_items,
    with_missing_items,
    write_events,
    write_table,
)

# --------------------------------------------------------------------------------------------------
# What a log holds and what is odd about it, for a person to read before anything is trained on it.
#
# `LogSummary` is printed by `adwright data import` and `data describe`, and kept as summary.json
# beside the tables of an imported log.

_log = logging.getLogger("adwright")

#: How the reasons begin that the rule of whole numbers gives.
_BY_RULE = ("its name says", "whole numbers", "values ")
_DAY = timedelta(days=1)
_YEAR = timedelta(days=365)
#: What is before it counts from 1970, or is not known.
_EPOCH_ENDS = datetime(1971, 1, 1, tzinfo=UTC)
#: Outliers of time are rarer than that, or they are none.
_RARE = 0.01
#: Of the events, with one of at least so many people or items.
_LARGE_USER, _LARGE_ITEM, _MANY = 0.1, 0.2, 100
_REQUEST = ["user_id", "request_id"]


@dataclass(frozen=True)
class Description:
    """What a log holds.

    kinds: kind of event -> number. first, last: times of events, None without any.
    history: name of a quantile -> events of a user. catalogue: table -> rows.
    features: columns of the items.
    """

    events: int
    users: int
    items: int
    first: datetime | None
    last: datetime | None
    kinds: Mapping[str, int]
    history: Mapping[str, float]
    catalogue: Mapping[str, int]
    features: tuple[str, ...]


@dataclass(frozen=True)
class LogSummary:
    """holds: the counts. columns: column of the catalogue or key of the context -> what it is.
    notes: what the import took, made and left out. odd: what may be wrong in the log itself."""

    holds: Description
    columns: Mapping[str, FoundColumn] = field(default_factory=dict)
    notes: ImportNotes = field(default_factory=ImportNotes)
    odd: tuple[str, ...] = ()

    def facts(self) -> dict[str, str]:
        """The counts in words: name -> value."""
        holds = self.holds
        first, last = holds.first, holds.last
        span = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}" if first and last else "none"
        facts = {
            "events": f"{holds.events:,}",
            "kinds": ", ".join(f"{kind} {n:,}" for kind, n in holds.kinds.items()),
            "time": span,
            "people": f"{holds.users:,}",
            "events of a person": ", ".join(f"{n} {v:,.0f}" for n, v in holds.history.items()),
            "items in events": f"{holds.items:,}",
            "catalogue": ", ".join(f"{what} {n:,}" for what, n in holds.catalogue.items()),
            "item features": ", ".join(holds.features) or "none",
        }
        if self.notes.left_out:
            left = (f"{number:,} rows {why}" for why, number in self.notes.left_out.items())
            facts["left out"] = ", ".join(left)
        if self.notes.columns_left:
            names = ", ".join(name[:60] for name in self.notes.columns_left[:20])
            facts["columns left out"] = f"{names} (--context keeps one)"
        return facts

    def sentences(self) -> list[str]:
        """What was decided, what each column is, and the warnings, a line each."""
        columns = [f"{name}: {found.in_words()}" for name, found in self.columns.items()]
        if any(found.why.startswith(_BY_RULE) for found in self.columns.values()):
            columns.append(f"(By rule {RULE}. --column-kinds says otherwise)")
        return [*self.notes.said, *columns, *(f"Warning: {one}" for one in self.warnings())]

    def warnings(self) -> list[str]:
        """What may be wrong: in the table that was imported, in its columns, in the log."""
        of_columns = (found.odd for found in self.columns.values() if found.odd)
        return [*self.notes.odd, *of_columns, *self.odd]


def say_notes(notes: ImportNotes, columns: Mapping[str, FoundColumn]) -> None:
    """Tell the logger "adwright" what became of a table: what may be wrong as warnings."""
    for sentence in notes.said:
        _log.info("%s", sentence)
    if notes.columns_left:
        _log.info("left out: the columns %s", ", ".join(notes.columns_left[:20]))
    for why, number in notes.left_out.items():
        _log.warning("left out: %s rows %s", f"{number:,}", why)
    for sentence in (*notes.odd, *(found.odd for found in columns.values() if found.odd)):
        _log.warning("%s", sentence)


def find_oddities(events: pl.LazyFrame, now: datetime) -> tuple[str, ...]:
    """What may be wrong in a log: times after now, far from the others or all near 1970, negative
    values, responses dated before their impression, a person or an item with a large share.

    events: an EventLog; streamed through a few times. Each oddity is a sentence with its count.
    """
    found = events.select(
        events=pl.len(),
        low=pl.col("time").quantile(0.25),
        middle=pl.col("time").median(),
        high=pl.col("time").quantile(0.75),
        negative=(pl.col("value") < 0).sum(),
    ).collect(engine="streaming")
    totals = _Totals(*found.row(0))
    if not totals.events:
        return ()
    odd = _after_now(events, totals.events, now)
    odd += _odd_times(events.filter(pl.col("time") <= now), totals)
    if totals.negative:
        odd.append(f"value: {totals.negative:,} events have a negative one")
    early, responses = early_responses(events, ACTION_KINDS)
    if early:
        odd.append(
            f"{early:,} of {responses:,} responses are dated before the first impression of their "
            "request: look at the clocks that the log was written by"
        )
    for column, large in (("user_id", _LARGE_USER), ("item_id", _LARGE_ITEM)):
        odd += _large_share(events, column, large, totals.events)
    return tuple(odd)


def early_responses(events: pl.LazyFrame, kinds: tuple[str, ...]) -> tuple[int, int]:
    """How many events of these kinds are dated before the first impression of their request, and
    how many there are of requests with impressions."""
    first = (
        events.filter(pl.col("kind") == "impression")
        .group_by(_REQUEST)
        .agg(first=pl.col("time").min())
    )
    early = (
        events.filter(pl.col("kind").is_in(list(kinds)))
        .join(first, on=_REQUEST)
        .select(early=(pl.col("time") < pl.col("first")).sum(), all=pl.len())
        .collect(engine="streaming")
    )
    return int(early.item(0, "early") or 0), int(early.item(0, "all") or 0)


class _Totals(NamedTuple):
    """Events, and quartiles of their times."""

    events: int
    low: datetime
    middle: datetime
    high: datetime
    negative: int


def _after_now(events: pl.LazyFrame, total: int, now: datetime) -> list[str]:
    """What cannot have happened yet, at any share."""
    after = events.filter(pl.col("time") > now).select(pl.len(), pl.col("time").max())
    number, last = after.collect(engine="streaming").row(0)
    if not number:
        return []
    return [
        f"time: {number:,} of {total:,} events ({number / total:.2%}) are dated after now, "
        f"{now:%Y-%m-%d %H:%M} UTC, the latest {last:%Y-%m-%d %H:%M} (--drop-future leaves them "
        "out)"
    ]


def _odd_times(events: pl.LazyFrame, totals: _Totals) -> list[str]:
    if totals.middle.year < 1980:
        return [
            f"time: the events lie around {totals.middle:%Y-%m-%d}; if these are places in a "
            "sequence and no times, what depends on dates means nothing"
        ]
    reach = max(3 * (totals.high - totals.low), _YEAR, _DAY)
    time = pl.col("time")
    far = events.filter((time < totals.low - reach) | (time > totals.high + reach))
    early = (time < _EPOCH_ENDS).sum()
    number, first, last, early = (
        far.select(n=pl.len(), first=time.min(), last=time.max(), early=early)
        .collect(engine="streaming")
        .row(0)
    )
    if number > _RARE * totals.events:
        said = f"time: {early:,} events lie before 1971: is their time missing, or negative?"
        return [said] if early else []
    if not number:
        return []
    return [
        f"time: {number:,} events lie far from the others, from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    ]


def _large_share(events: pl.LazyFrame, column: str, large: float, total: int) -> list[str]:
    counts = events.group_by(column).len().collect(engine="streaming")
    if counts.height == 1 and total > 1:
        return [f"{column}: all events are of one, {counts.item(0, 0)!r:.60}"]
    if counts.height < _MANY:
        return []
    top, number = counts.sort("len", descending=True).row(0)
    if number <= large * total:
        return []
    return [f"{column}: {top!r:.60} has {number:,} of {total:,} events ({number / total:.0%})"]


PublicLog = Literal["complete-journey", "open-bandit", "movielens"]
LogFormat = Literal["parquet", "csv", "atomic"]

_Kept = TypeVar("_Kept", LogMapping, LogSummary)


@dataclass(frozen=True)
class Log:
    """events: an EventLog, lazy. catalogue: its items, creatives and campaigns. users: user_id
    and what is known of them, or None. columns: column of the items or users, or key of the
    context, -> what it is, as far as that was looked at. mapping: how a table was read, None for
    other logs. notes: what became of it then."""

    events: pl.LazyFrame
    catalogue: Catalogue
    users: pl.DataFrame | None = None
    columns: Mapping[str, FoundColumn] = field(default_factory=dict)
    mapping: LogMapping | None = None
    notes: ImportNotes = field(default_factory=ImportNotes)

    @property
    def column_kinds(self) -> dict[str, ColumnKind]:
        """Column of the items or users, or key of the context -> what it is."""
        return {name: found.kind for name, found in self.columns.items()}

    def __repr__(self) -> str:
        """What is known without reading the events."""
        items = self.catalogue.items
        known = ", ".join(name for name in items.columns if name != "item_id") or "their ids"
        return f"<Log of {items.height:,} items, of which is known: {known}>"

    def _repr_html_(self) -> str:
        """In a notebook: the same, and the first events."""
        return f"<p>{escape(repr(self)[1:-1])}</p>{self.events.head(5).collect()._repr_html_()}"

    @property
    def context(self) -> tuple[str, ...]:
        """The keys that an import put into the context."""
        return () if self.mapping is None else self.mapping.context


def open_log(
    source: Tabular,
    *,
    mapping: LogMapping | None = None,
    offline: bool = False,
    tell: bool = True,
    bounds: ReadBounds = USUAL_BOUNDS,
    clock: Clock | None = None,
) -> Log:
    """A log by the name of a public data set, from the folder or file in which it is, or from a
    table in memory.

    source: "complete-journey", "open-bandit" (all six logs), "movielens", a folder that
    `save_log` wrote as Parquet or CSV, or whatever `read_log` takes, whose items are then the ids
    alone. mapping: of a log that is not ours; what it leaves open follows from obvious names.
    offline: never download. tell, clock: see `read_log`. bounds: of each table that is a file.
    Raises AssetError where a public data set cannot be had, FileUnreadableError, SchemaError
    and ValueInvalidError for files.
    """
    if not isinstance(source, str | Path):
        return read_log(source, mapping=mapping, tell=tell, bounds=bounds, clock=clock)
    public: Log | None = None
    match str(source):
        case "complete-journey":
            journey = CompleteJourney.open(offline=offline)
            public = Log(journey.events(), journey.catalogue())
        case "movielens":
            films = MovieLens.open(offline=offline)
            public = Log(films.events(), films.catalogue(), films.users())
        case "open-bandit":
            public = Log(*OpenBandit.open(offline=offline).whole())
    if public is not None:
        return public if mapping is None else with_column_kinds(public, _kinds_alone(mapping))
    path = Path(source)
    if not path.exists():
        raise FileUnreadableError(
            "there is no such log",
            file=str(source),
            hint=f"name a file, a folder, or one of {', '.join(get_args(PublicLog))}",
        )
    for ending in (".parquet", ".csv"):
        if (path / f"events{ending}").is_file():
            return _open_folder(path, ending, mapping, bounds, tell=tell, clock=clock)
    return read_log(path, mapping=mapping, tell=tell, bounds=bounds, clock=clock)


def read_log(
    events: Tabular,
    *,
    items: Tabular | None = None,
    creatives: Path | None = None,
    campaigns: Path | None = None,
    users: Tabular | None = None,
    mapping: LogMapping | None = None,
    tell: bool = True,
    bounds: ReadBounds = USUAL_BOUNDS,
    clock: Clock | None = None,
) -> Log:
    """A log of one's own, every row checked: from a file that `as_frame` reads, or a table of
    pandas, Arrow or polars, or rows as dicts.

    mapping: which column is which, and what else is to be known; what it leaves open follows from
    obvious names. items, users: what is known of them, with their ids as the log has them.
    tell: what was taken for what, and what is odd, to the logger "adwright"; it is in `Log.notes`,
    too. clock: says what is dated after now, by default the machine's.
    Without `items` the catalogue holds the ids of the log alone; with it, items that it lacks are
    added with their ids alone, unless it lacks most. Raises as `map_events` and `read_items`.
    """
    mapping, now = mapping or LogMapping(), (clock or SystemClock()).now()
    if isinstance(events, str | Path):
        events = events_file(events)
    table = as_frame(events, bounds=bounds)
    mapped = reading(Path(table.name), lambda: map_events(table, mapping, now=now))
    notes = mapped.notes
    if items is None:
        ids = item_ids(mapped.events)
        catalogue = validate_items(ids.collect(engine="streaming"))
    else:
        column = mapping.columns.get("item_id", "")
        catalogue = read_items(items, column=column, bounds=bounds)
        catalogue, odd = with_missing_items(mapped.events, catalogue, table.name)
        notes = replace(notes, odd=(*notes.odd, *odd))
    log = Log(
        mapped.events,
        _catalogue(catalogue, creatives, campaigns, bounds),
        None if users is None else _read_users(users, mapping, bounds),
        mapping=mapped.mapping,
        notes=notes,
    )
    log = with_column_kinds(log, mapping.column_kinds, context=_context_columns(table, mapped))
    if tell:
        say_notes(log.notes, log.columns)
    return log


def with_column_kinds(
    log: Log,
    given: Mapping[str, ColumnKind] | None = None,
    *,
    context: pl.DataFrame | None = None,
) -> Log:
    """The log with its columns told apart into categories, numbers, lists and text, and its
    catalogue in the types that go with these.

    given: what a person says of a column; it wins over the rules of
    `adwright.data.column_kinds`. context: the values of keys of the context, a column each.
    Raises ConfigError where `given` names a column that is not there, SchemaError and
    ValueInvalidError for a column that cannot be what is said of it.
    """
    given = dict(given or {})
    items, users = log.catalogue.items, log.users
    tables = [table for table in (items, users, context) if table is not None]
    names = [name for table in tables for name in table.columns]
    for name in given:
        if name not in names:
            close = closest_name(name, names)
            raise ConfigError(
                "the log has no column of this name to call by a kind",
                where=f"column_kinds {name}",
                hint=f"is it {close}?" if close else f"it has {', '.join(names[:20])}",
            )
    found = find_kinds(items, given)
    log = replace(log, catalogue=replace(log.catalogue, items=with_kinds(items, found)))
    if users is not None:
        of_users = find_kinds(users, given)
        log, found = replace(log, users=with_kinds(users, of_users)), {**found, **of_users}
    if context is not None:
        found = {**found, **find_kinds(context, given, skip=())}
    return replace(log, columns={**log.columns, **found})


def read_atomic_log(
    folder: Path,
    name: str,
    *,
    mapping: LogMapping | None = None,
    bounds: ReadBounds = USUAL_BOUNDS,
) -> Log:
    """The data set `name` of RecBole's atomic files in `folder`; raises as `read_atomic`.

    mapping: its column kinds count, and ConfigError where it says anything else."""
    tables = read_atomic(folder, name, bounds=bounds)
    log = Log(tables.events, Catalogue.checked(tables.items), tables.users)
    return log if mapping is None else with_column_kinds(log, _kinds_alone(mapping))


def summarise(log: Log, *, clock: Clock | None = None) -> LogSummary:
    """What the log holds, what was decided when it was read, and what is odd about it; a few
    streamed passes over its events. clock: as of `read_log`."""
    columns = log.columns or find_kinds(log.catalogue.items)
    return LogSummary(
        describe(log), columns, log.notes, find_oddities(log.events, (clock or SystemClock()).now())
    )


def save_log(
    folder: str | Path,
    log: Log,
    *,
    format: LogFormat = "parquet",
    name: str = "log",
    overwrite: bool = False,
    summary: LogSummary | None = None,
    also: Callable[[Path], object] | None = None,
) -> None:
    """Write the log to a folder, whole or not at all.

    name: of the data set, for atomic files; these have no place for creatives, campaigns and what
    is written of the import. summary: kept beside the tables. also: called with the folder before
    it stands under its name; what it raises leaves nothing behind.
    Raises SchemaError and ValueInvalidError for what the format cannot hold, ResourceError
    where the folder exists (without `overwrite`) or the disk is full.
    """
    if format not in get_args(LogFormat):
        raise ConfigError(
            "a log cannot be written in this format",
            where=f"{format}",
            hint=f"choose among {', '.join(get_args(LogFormat))}",
        )
    with atomic_folder(folder, overwrite=overwrite) as new:
        if format == "atomic":
            write_atomic(new, name, log.events, log.catalogue.items, log.users)
            return
        write_events(new / f"events.{format}", log.events)
        for what, table in _tables(log).items():
            if table.height:
                write_table(new / f"{what}.{format}", table)
        for file, known in (("mapping.json", log.mapping), ("summary.json", summary)):
            if known is not None:
                text = json.dumps(to_jsonable(known), indent=1, ensure_ascii=False)
                atomic_write_text(new / file, text)
        if also is not None:
            also(new)


def describe(log: Log) -> Description:
    """Count what a log holds, in one streamed pass over its events each for the totals, the
    kinds and the users."""
    events = log.events
    totals = events.select(
        events=pl.len(),
        users=pl.col("user_id").n_unique(),
        items=pl.col("item_id").n_unique(),
        first=pl.col("time").min(),
        last=pl.col("time").max(),
    ).collect(engine="streaming")
    kinds = events.group_by("kind").len().sort("len", descending=True).collect(engine="streaming")
    people = events.group_by("user_id").len().collect(engine="streaming")["len"]
    quantiles = {"shortest": 0.0, "median": 0.5, "nine in ten up to": 0.9, "longest": 1.0}
    row = totals.row(0, named=True)
    return Description(
        **row,
        kinds=dict(kinds.iter_rows()),
        history={
            name: float(people.quantile(share, "nearest") or 0.0)
            for name, share in quantiles.items()
        },
        catalogue={what: table.height for what, table in _tables(log).items()},
        features=tuple(c for c in log.catalogue.items.columns if c != "item_id"),
    )


def _tables(log: Log) -> dict[str, pl.DataFrame]:
    catalogue = log.catalogue
    tables = {
        "items": catalogue.items,
        "creatives": catalogue.creatives,
        "campaigns": catalogue.campaigns,
    }
    return tables if log.users is None else {**tables, "users": log.users}


def _open_folder(
    folder: Path,
    ending: str,
    mapping: LogMapping | None,
    bounds: ReadBounds,
    *,
    tell: bool,
    clock: Clock | None,
) -> Log:
    def path(what: str) -> Path | None:
        found = folder / f"{what}{ending}"
        return found if found.is_file() else None

    file = folder / f"events{ending}"
    names = as_frame(file, bounds=bounds).frame.collect_schema().names()
    items, creatives, campaigns = path("items"), path("creatives"), path("campaigns")
    people = path("users")
    needed = {field.name for field in EVENT_SCHEMA if not field.nullable}
    ours = needed <= set(names) <= set(EVENT_SCHEMA.names)
    if mapping is not None or not (ours or (folder / "summary.json").exists()):
        return read_log(
            file,
            items=items,
            creatives=creatives,
            campaigns=campaigns,
            users=people,
            mapping=mapping,
            tell=tell,
            bounds=bounds,
            clock=clock,
        )
    events = read_events(file, bounds=bounds)
    if items is None:
        table = validate_items(item_ids(events).collect(engine="streaming"))
    else:
        table = read_items(items, bounds=bounds)
        check_items_known(events, table, file=str(file))
    catalogue = _catalogue(table, creatives, campaigns, bounds)
    users = None if people is None else read_items(people, key="user_id", bounds=bounds)
    known = _kept(folder / "summary.json", LogSummary)
    log = Log(events, catalogue, users, mapping=_kept(folder / "mapping.json", LogMapping))
    if known is None:
        return log
    # In CSV the types are read anew from the values.
    here = {n: c for n, c in known.columns.items() if n in table.columns}
    catalogue = replace(catalogue, items=with_kinds(table, here))
    if users is not None:
        here = {n: c for n, c in known.columns.items() if n in users.columns}
        users = with_kinds(users, here)
    return replace(log, catalogue=catalogue, users=users, columns=known.columns, notes=known.notes)


def _catalogue(
    items: pl.DataFrame, creatives: Path | None, campaigns: Path | None, bounds: ReadBounds
) -> Catalogue:
    return Catalogue.checked(
        items,
        None if creatives is None else read_creatives(creatives, bounds=bounds),
        None if campaigns is None else read_campaigns(campaigns, bounds=bounds),
    )


def _kept(path: Path, cls: type[_Kept]) -> _Kept | None:
    """What was written of an import, where there is something."""
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return from_jsonable(cls, values, source=str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise FileUnreadableError(
            "what is written of the import cannot be read",
            file=str(path),
            hint="import the log again, or remove the file",
        ) from error


def _kinds_alone(mapping: LogMapping) -> dict[str, ColumnKind]:
    """The column kinds of a mapping for a log whose columns are known.

    Raises ConfigError for what else it says, which nothing would hear."""
    if replace(mapping, column_kinds={}) != LogMapping():
        raise ConfigError(
            "the columns of this log are known, and only their kinds can be said",
            where="mapping",
            hint="leave out all but --column-kinds",
        )
    return mapping.column_kinds


def _read_users(users: Tabular, mapping: LogMapping, bounds: ReadBounds) -> pl.DataFrame:
    column = mapping.columns.get("user_id", "")
    return read_items(users, key="user_id", column=column, bounds=bounds)


def _context_columns(table: SourceTable, mapped: MappedEvents) -> pl.DataFrame | None:
    """The values that an import puts into the context."""
    names = mapped.mapping.context
    return table.frame.select(names).collect() if names else None
