"""Popularity and personal frequency: how often an item was taken, by anyone or by one user.

Popularity is a count per item code, as in `NextBasket.count`; `most_popular` orders by it.
Personal frequency is a count per pair of user and item before a moment: `PairCounts`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.data.features import Feature
from adwright.data.ranges import run_starts
from adwright.data.time import MICROSECONDS_PER_DAY

Ints = NDArray[np.int64]


def most_popular(count: NDArray[np.integer]) -> Ints:
    """Item codes [N] in the order of their counts [N + 1], the most taken first, ties by code;
    code 0, the unknown item, is left out.

    >>> most_popular(np.array([9, 1, 3, 1])).tolist()
    [2, 1, 3]
    """
    codes: Ints = 1 + np.argsort(-count[1:], kind="stable")
    return codes


class PairCounts:
    """How often, and when last, each user did each thing before any moment.

    user, thing, time: int64 [E], in any order; a moment may be any integer that rises with time,
    such as a place in the history. things: codes of things lie below it. One sort of the events.

    >>> jam, user = np.array([1, 1, 0]), np.zeros(3, np.int64)
    >>> counts = PairCounts(user, jam, np.array([10, 20, 30]), things=2)
    >>> [found.tolist() for found in counts.before(user[:2], jam[:2], np.array([20, 99]))]
    [[1, 2], [10, 20]]
    """

    def __init__(self, user: Ints, thing: Ints, time: Ints, *, things: int) -> None:
        self._things = things
        key = user * things + thing
        order = np.lexsort((time, key))
        key, self._time = key[order], time[order]
        self._start = run_starts(key)
        self._keys = key[self._start[:-1]]
        self._from = int(time.min(initial=0)) if len(time) else 0
        self._span = int(time.max(initial=0)) - self._from + 2 if len(time) else 1
        pair = np.repeat(np.arange(len(self._keys)), np.diff(self._start))
        # One number that sorts like (pair, time).
        self._moment = pair * self._span + (self._time - self._from)

    def before(self, user: Ints, thing: Ints, time: Ints) -> tuple[Ints, Ints]:
        """(count, last time) of R pairs, counted strictly before `time` [R]; (0, 0) for none."""
        if not len(self._keys):
            return np.zeros(len(user), np.int64), np.zeros(len(user), np.int64)
        key = user * self._things + thing
        pair = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        then = np.clip(time - self._from, 0, self._span - 1)
        place = np.searchsorted(self._moment, pair * self._span + then)
        count = np.where(self._keys[pair] == key, place - self._start[pair], 0)
        last = np.where(count > 0, self._time[np.maximum(place - 1, 0)], 0)
        return count, last

    def things_of(self, user: Ints) -> tuple[Ints, Ints]:
        """(first, end) [R]: the places in `things` of all that each user ever did."""
        first = np.searchsorted(self._keys, user * self._things)
        return first, np.searchsorted(self._keys, (user + 1) * self._things)

    @property
    def things(self) -> Ints:
        """The thing of each pair that occurs, by user and thing."""
        return self._keys % self._things


# --------------------------------------------------------------------------------------------------
# What a user's own history says of an item: how often they took it, and how long ago.
#
# Three numbers of a pair of user and item, counted from the events before a place of the
# history. A training table and a request call the same function, so the features are the same
# offline and online.
#
#     frequency   events of this item
#     recent      those of them in the last `RECENT_DAYS` days
#     recency     days since the last of them; NaN where there is none

RECENT_DAYS = 56

#: The row features made of them.
PERSONAL_FEATURES = (
    Feature("frequency", "numeric", "user", log=True),
    Feature("recent", "numeric", "user", log=True),
    Feature("recency", "bucketised", "user"),
)


class Personal(NamedTuple):
    """Of T pairs: frequency int64 [T], recent int64 [T], recency float64 [T] in days."""

    frequency: Ints
    recent: Ints
    recency: NDArray[np.float64]


def personal(
    item: NDArray[np.integer],
    time: Ints,
    offsets: Ints,
    *,
    owner: Ints,
    asked: NDArray[np.integer],
    end: Ints,
    at: Ints,
) -> Personal:
    """The numbers of T pairs; one sort of the E events.

    item: item codes [E]; time: microseconds [E]; user u owns the events offsets[u] to
    offsets[u + 1], oldest first. owner: int64 [T], the user of each pair. asked: its item
    [T]. end: int64 [T], it sees the events of its user before this place. at: int64 [T],
    microseconds, the moment that ages are counted to.

    >>> day = MICROSECONDS_PER_DAY
    >>> history = np.array([7, 8, 7]), np.array([0, 1, 2]) * day, np.array([0, 3])
    >>> one = np.zeros(2, np.int64)
    >>> personal(
    ...     *history, owner=one, asked=np.array([7, 9]), end=one + 3, at=one + 5 * day
    ... ).recency.tolist()
    [3.0, nan]
    """
    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    width = int(max(item.max(initial=0), asked.max(initial=0))) + 1
    counts = PairCounts(user, item.astype(np.int64), np.arange(len(item)), things=width)
    wanted: Ints = asked.astype(np.int64)
    frequency, latest = counts.before(owner, wanted, end)
    earlier, _ = counts.before(owner, wanted, _begin_recent(time, offsets, owner, at))
    had = frequency > 0
    recency = np.full(len(asked), np.nan)
    recency[had] = np.maximum(at[had] - time[latest[had]], 0) / MICROSECONDS_PER_DAY
    return Personal(frequency, frequency - np.minimum(earlier, frequency), recency)


def _begin_recent(time: Ints, offsets: Ints, owner: Ints, at: Ints) -> Ints:
    """For each pair the place of its user's first recent event: [T]."""
    # Pairs of one request lie together and share user and moment.
    change = np.ones(len(owner), dtype=bool)
    change[1:] = (owner[1:] != owner[:-1]) | (at[1:] != at[:-1])
    heads = np.flatnonzero(change)
    since = at[heads] - RECENT_DAYS * MICROSECONDS_PER_DAY
    found = [
        a + int(np.searchsorted(time[a:b], t))
        for a, b, t in zip(
            offsets[owner[heads]].tolist(),
            offsets[owner[heads] + 1].tolist(),
            since.tolist(),
            strict=True,
        )
    ]
    runs = np.diff(np.append(heads, len(owner)))
    return np.repeat(np.asarray(found, dtype=np.int64), runs)


# --------------------------------------------------------------------------------------------------
# Popularity as a row knows it: how often an item was taken on earlier days (UTC), by anyone.
#
# What happens on a day is known from the next one on, so that nothing of a row's own request, and
# no
# order of the events within a day, is in it.


def popularity_by_day(taken: pl.LazyFrame) -> pl.DataFrame:
    """Per item, the events of all days before `day`; only days on which that changes.

    taken: item_id and time (UTC timestamps), an event a row. Returns item_id, day, popularity
    (Float32), sorted by day and item.

    >>> from datetime import datetime
    >>> taken = pl.DataFrame({"item_id": ["a", "a"], "time": [datetime(2024, 1, 1)] * 2})
    >>> popularity_by_day(taken.lazy())["popularity"].to_list()
    [2.0]
    """
    return popularity_of_days(daily_counts(taken).collect(engine="streaming"))


def daily_counts(taken: pl.LazyFrame) -> pl.LazyFrame:
    """item_id, day and number, the events of the item on that day."""
    day = pl.col("time").dt.date()
    return taken.group_by("item_id", day=day).agg(number=pl.len().cast(pl.Int64))


def popularity_of_days(counts: pl.DataFrame) -> pl.DataFrame:
    """As `popularity_by_day`, of `daily_counts`, which may hold several parts of a log."""
    return (
        counts.group_by("item_id", "day")
        .agg(popularity=pl.col("number").sum())
        .sort("day", "item_id")
        .select(
            "item_id",
            # What happened on a day is known from the next one on.
            pl.col("day").dt.offset_by("1d"),
            pl.col("popularity").cum_sum().over("item_id").cast(pl.Float32),
        )
    )


def with_popularity(rows: pl.DataFrame, popularity: pl.DataFrame) -> pl.DataFrame:
    """The rows, in their order, with the column `popularity`, 0 for an item without events.

    rows: item_id of the type in `popularity`, and time; without a time every event counts.
    """
    place, day = "__place", "__day"
    latest = popularity["day"].max()
    when = pl.col("time").dt.date() if "time" in rows.columns else pl.lit(latest, pl.Date)
    joined = (
        rows.with_row_index(place)
        .with_columns(when.alias(day))
        .sort(day, maintain_order=True)
        .join_asof(popularity.rename({"day": day}), on=day, by="item_id", check_sortedness=False)
        .sort(place)
    )
    return joined.drop(place, day).with_columns(pl.col("popularity").fill_null(0))
