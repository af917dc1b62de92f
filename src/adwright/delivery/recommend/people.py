"""Who is asked for, with all that they did, as flat arrays: no loop over users anywhere.

Letters: U users, E events of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.data.features import ItemTable
from adwright.data.ranges import ranges, run_starts
from adwright.delivery.stages.histories import Histories
from adwright.delivery.training_log import HistoryLog

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class People:
    """U users with their histories.

    users: text [U]. item: int64 [E] item codes, 0 for an unknown item; time: int64 [E]
    microseconds since 1970; user u has the events offsets[u] to offsets[u + 1] (int64 [U + 1]),
    oldest first, all of them before at[u] (int64 [U]), the moment that is asked about. profiles:
    one row a user in the same order, text columns, or None. had: bool [E], the events that take
    their item off the user's list, where what was had is left out; None for all.
    """

    users: pl.Series
    item: Ints
    time: Ints
    offsets: Ints
    at: Ints
    profiles: pl.DataFrame | None = None
    had: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> Ints:
        """int64 [U], events of each user."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> Ints:
        """int64 [E], the user of each event."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def repeats(self) -> float:
        """The share of the events that are of an item which their user had before."""
        pairs = self.owner * (int(self.item.max(initial=0)) + 1) + self.item
        return 1 - len(np.unique(pairs)) / len(pairs) if len(pairs) else 0.0

    def some(self, start: int, end: int) -> People:
        """The users from `start` to before `end`."""
        first, last = self.offsets[start], self.offsets[end]
        return People(
            self.users[start:end],
            self.item[first:last],
            self.time[first:last],
            self.offsets[start : end + 1] - first,
            self.at[start:end],
            None if self.profiles is None else self.profiles[start:end],
            None if self.had is None else self.had[first:last],
        )

    def before(self, user: Ints, ends: Ints, at: Ints) -> People:
        """Users [Q] by their numbers, with their events to before place `ends` [Q] of all, as at
        other moments [Q]."""
        place, bounds = ranges(self.offsets[user], ends - self.offsets[user])
        return People(
            self.users.gather(user),
            self.item[place],
            self.time[place],
            bounds,
            at,
            None if self.profiles is None else self.profiles[user],
            None if self.had is None else self.had[place],
        )

    def latest(self, most: int) -> tuple[Ints, Ints]:
        """Places of the latest `most` events of each user, int64 [E'], and their offsets int64
        [U + 1]."""
        kept = np.minimum(self.lengths, most)
        return ranges(self.offsets[1:] - kept, kept)


class Moments(NamedTuple):
    """Q moments in which somebody did something: the user as it was before (a row of `people`,
    whose number is user[q]), and the distinct items of the moment: targets int64 [T], those of
    moment q from offsets[q] to offsets[q + 1]."""

    people: People
    user: Ints
    targets: Ints
    offsets: Ints


def people_of_log(
    log: HistoryLog,
    items: ItemTable,
    *,
    users: Sequence[str] | None = None,
    at: int | None = None,
    final: Sequence[str] | None = None,
) -> People:
    """The users of a log, by id; or `users`, in their order, where one without events has none.

    items: the catalogue whose codes are used. at: microseconds since 1970, by default just after
    the latest event; what happened from then on is left out. final: the kinds of events that take
    their item off the user's list; None for all.
    """
    ids = pl.col("user_id", "item_id").cast(pl.String)
    time = log.events.schema["time"]
    micro = pl.col("time") if time.is_integer() else pl.col("time").dt.epoch("us")
    told = final is not None and "kind" in log.events.columns
    had = pl.col("kind").is_in(list(final or ())) if told else pl.lit(final != ())
    table = log.events.select(ids, micro.cast(pl.Int64), had=had).drop_nulls()
    if at is not None:
        table = table.filter(pl.col("time") < at)
    # The ids of a million users are compared once, as the integers that they are sorted by.
    table = table.sort("user_id", "time", maintain_order=True)
    bounds = run_starts(table["user_id"].rle_id().to_numpy())
    known = table["user_id"].gather(bounds[:-1])
    codes = items.rows(table["item_id"].to_arrow())
    times = table["time"].to_numpy()
    off = table["had"].to_numpy() if final else None
    found = _arranged(known, codes, times, bounds, users, off)
    moment = int(times.max(initial=0)) + 1 if at is None else at
    return _asked(found, moment, log.profiles)


def people_of_histories(
    histories: Histories, *, users: Sequence[str] | None = None, at: int | None = None
) -> People:
    """As `people_of_log`, of the histories that a model was published with; their events are all
    taken, whenever they are."""
    known, item, time, kind, lengths = histories.arrays_and_kinds()
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    names = pl.Series("user_id", known, pl.String)
    had = None if histories.final == () else histories.had(kind)
    found = _arranged(names, item.astype(np.int64), time, bounds, users, had)
    moment = int(time.max(initial=0)) + 1 if at is None else at
    return _asked(found, moment, histories.profiles)


def moments_after(
    people: People, after: int, pick: Callable[[Ints], Ints], until: int | None = None
) -> Moments:
    """What users did after an instant, until another, moment by moment, with everything before it.

    pick: chooses among all of them: from the user of each, int64 [M], to places, ascending.
    """
    owner, time = people.owner, people.time
    new = np.ones(len(time), np.bool_)
    new[1:] = (owner[1:] != owner[:-1]) | (time[1:] != time[:-1])
    start = np.flatnonzero(new)
    end = np.append(start[1:], len(time))
    late = time[start] > after
    if until is not None:
        late &= time[start] <= until
    start, end = start[late], end[late]
    chosen = pick(owner[start])
    start, end = start[chosen], end[chosen]
    user = owner[start]
    width = int(people.item.max(initial=0)) + 1
    place, _ = ranges(start, end - start)
    keys = np.unique(np.repeat(np.arange(len(start)), end - start) * width + people.item[place])
    offsets = np.searchsorted(keys, np.arange(len(start) + 1) * width)
    before = people.before(user, start, time[start])
    return Moments(before, user, keys % width, offsets)


def _arranged(
    known: pl.Series,
    item: Ints,
    time: Ints,
    bounds: Ints,
    users: Sequence[str] | None,
    had: NDArray[np.bool_] | None,
) -> People:
    """The users that are asked for, out of all of them."""
    none = np.zeros(0, np.int64)
    if users is None:
        return People(known.alias("user_id"), item, time, bounds, none, None, had)
    asked = pl.Series("user_id", list(users), pl.String)
    twice = asked.is_duplicated()
    if twice.any():
        first = int(twice.arg_max() or 0)
        raise ValueInvalidError(
            "a user is asked for twice",
            row=first,
            column="user_id",
            value=asked[first],
            hint="name each once",
        )
    index = pl.DataFrame({"user_id": known}).with_row_index("row")
    row = asked.to_frame().join(index, on="user_id", how="left", maintain_order="left")["row"]
    at = row.fill_null(0).to_numpy().astype(np.int64)
    sizes = np.append(np.diff(bounds), 0)[at] * row.is_not_null().to_numpy()
    place, offsets = ranges(bounds[at], sizes)
    off = None if had is None else had[place]
    return People(asked, item[place], time[place], offsets, none, None, off)


def _asked(people: People, at: int, profiles: pl.DataFrame | None) -> People:
    """The users at one moment, with their profiles."""
    if profiles is not None:
        table = profiles.with_columns(pl.col("user_id").cast(pl.String))
        asked = people.users.to_frame()
        profiles = asked.join(table, on="user_id", how="left", maintain_order="left")
    return replace(people, at=np.full(len(people), at, np.int64), profiles=profiles)
