"""What a log holds and what is odd about it, for a person to read before anything is trained on it.

`LogSummary` is printed by `adwright data import` and `data describe`, and kept as summary.json
beside the tables of an imported log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl

from adwright.data.column_kinds import RULE, FoundColumn
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.mapped import ImportNotes

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
