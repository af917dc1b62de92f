"""How a log that others wrote becomes an EventLog: which column is which, what its kinds mean.

    LogMapping(columns={"user_id": "customer_id"}, kinds={"order": "purchase"}, context=("store",))

A mapping is what `adwright data import` is told by its options, or a TOML file of the same names.
What it leaves open follows from the names of the columns where they are obvious: a table with
visitorid, itemid, event and timestamp needs no mapping at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import polars as pl

from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError
from adwright.data.column_kinds import ColumnKind, check_column_kinds
from adwright.data.schema import KINDS, EventKind
from adwright.data.sources.times import is_format
from adwright.data.table_door import (
    bare_name,
    find_column,
    synonyms,
    table_specs,
    usual_columns,
)

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
