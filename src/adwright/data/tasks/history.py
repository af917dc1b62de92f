"""What a row may know of its user's history: how many events came before, and of its item.

Both are counts of events strictly before the row's time, so nothing of the row's own request
is among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.data.popularity import PairCounts
from adwright.data.ranges import ranges, run_starts


def add_history(rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """The rows with `visible`, the number of the user's events before the row's time, and
    `frequency`, how many of those are of the row's own item (both Int32).

    rows: user_id, item_id and time, sorted by user and time. events: the same columns and
    order; of one user and time the order given is that of the history.

    >>> from datetime import datetime
    >>> day = [datetime(2024, 1, d) for d in (1, 2, 3)]
    >>> events = pl.DataFrame({"user_id": [7, 7, 7], "item_id": [1, 1, 2], "time": day})
    >>> row = pl.DataFrame({"user_id": [7], "item_id": [1], "time": [day[2]]})
    >>> add_history(row, events).select("visible", "frequency").row(0)
    (2, 2)
    """
    row_user, event_user = user_codes(rows["user_id"], events["user_id"])
    event_starts = run_starts(event_user)
    # Events before each user's own: codes of users without events point nowhere, and find 0.
    first = np.searchsorted(event_user, np.arange(row_user.max(initial=0) + 1))
    visible = _visible(rows, events, row_user, event_user) - first[row_user]
    place = np.arange(len(event_user)) - np.repeat(event_starts[:-1], np.diff(event_starts))
    row_item, event_item, items = _item_codes(rows["item_id"], events["item_id"])
    counts = PairCounts(event_user, event_item, place, things=items)
    frequency, _ = counts.before(row_user, row_item, visible)
    return rows.with_columns(
        pl.Series("visible", visible, pl.Int32), pl.Series("frequency", frequency, pl.Int32)
    )


def user_codes(rows: pl.Series, events: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of the users of two sorted columns that rise along both of them.

    Every user of `events` must be one of `rows`, as those of a task are.
    """
    users = rows.rle().struct.field("value")
    code = pl.int_range(pl.len(), dtype=pl.Int64).alias("code")
    index = users.rename("user").to_frame().with_columns(code)
    runs = events.rle().struct.unnest()
    of_events = runs.join(index, left_on="value", right_on="user", maintain_order="left")
    return (
        np.repeat(index["code"].to_numpy(), np.diff(_rle_bounds(rows))),
        np.repeat(of_events["code"].to_numpy(), of_events["len"].to_numpy()),
    )


def _rle_bounds(column: pl.Series) -> NDArray[np.int64]:
    lengths = column.rle().struct.field("len").to_numpy()
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def _visible(
    rows: pl.DataFrame,
    events: pl.DataFrame,
    row_user: NDArray[np.int64],
    event_user: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For each row, the events of all users up to its own that come before its time."""
    event_time = events["time"].to_physical().to_numpy()
    row_time = rows["time"].cast(events["time"].dtype).to_physical().to_numpy()
    # Rows of one request share user and time, so they are asked for once.
    starts = run_starts(row_user, row_time)
    heads = starts[:-1]
    # One number that sorts like the pair of user and time.
    instants = np.unique(event_time)
    width = len(instants) + 1
    known = event_user * width + np.searchsorted(instants, event_time)
    asked = row_user[heads] * width + np.searchsorted(instants, row_time[heads])
    return np.repeat(np.searchsorted(known, asked), np.diff(starts))


def _item_codes(
    rows: pl.Series, events: pl.Series
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Codes of the items of rows and of events, and one more than the largest: that of the items
    which no event is of."""
    code = pl.int_range(pl.len(), dtype=pl.Int64).alias("code")
    index = events.unique().to_frame("item").with_columns(code)
    found = [
        column.to_frame("item").join(index, on="item", how="left", maintain_order="left")["code"]
        for column in (rows, events)
    ]
    row_codes, event_codes = (one.fill_null(index.height).to_numpy() for one in found)
    return row_codes, event_codes, index.height + 1


# --------------------------------------------------------------------------------------------------
# In how many rows each value occurs, where a row has its own item and the history behind it.
#
# A value (a code of an item feature) occurs in a row once, whether it is the target's, that of one
# event of the history or of many. One pass: of a user's events with a value at places p_1 < p_2 ..,
# the rows that see exactly the first k of them are those with p_k < visible <= p_(k+1), and where a
# row sees the latest m events alone, p_k < visible <= min(p_k + m, p_(k+1)). These spans do not
# overlap, so the rows that see the value at all are the sum over its events, each a difference of
# two
# cumulative counts of rows by `visible`. A target adds its row where the history does not show it.

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ItemValues:
    """The values of item i: values[offsets[i] : offsets[i + 1]], each once, below `width`.

    values: int64 [K]. offsets: int64 [N + 1].
    """

    values: Ints
    offsets: Ints
    width: int

    def of(self, items: Ints) -> tuple[Ints, Ints]:
        """The values of items [E], end to end: (values int64 [K], place in `items` int64 [K])."""
        number = np.diff(self.offsets)[items]
        place, _ = ranges(self.offsets[items], number)
        return self.values[place], np.repeat(np.arange(len(items)), number)


@dataclass(frozen=True)
class SeenRows:
    """Rows and events of U users.

    user: int64 [R], from 0; visible: int64 [R], how many of the user's events stand before the row;
    item: int64 [R]; weight: float [R], what the row counts. event_user: int64 [E], ascending;
    event_item: int64 [E], in the order in which they happened. max_history: the latest events that
    a row sees, 0 for all.
    """

    user: Ints
    visible: Ints
    item: Ints
    weight: Floats
    event_user: Ints
    event_item: Ints
    max_history: int = 0

    def count(self, of: ItemValues) -> Floats:
        """Float [of.width]: the weight of the rows in which each value occurs.

        Cost: a sort of the K values of the events, and a search in them for each of a target's.
        """
        users = 1 + max(self.user.max(initial=-1), self.event_user.max(initial=-1))
        number = np.bincount(self.event_user, minlength=users)
        # One key a (user, value, place): ascending, the places of a value stand together.
        longest = int(max(number.max(initial=0), self.visible.max(initial=0))) + 1
        start = np.cumsum(number) - number
        place = np.arange(len(self.event_user)) - start[self.event_user]
        value, event = of.of(self.event_item)
        keys = np.sort((self.event_user[event] * of.width + value) * longest + place[event])
        pair, place = keys // longest, keys % longest
        counts = np.zeros(of.width)
        shown = self._shown(pair, place, number, of.width)
        counts += np.bincount(pair % of.width, shown, minlength=of.width)
        value, row = of.of(self.item)
        asked = (self.user[row] * of.width + value) * longest + self.visible[row]
        before = np.searchsorted(keys, asked) - 1  # its latest event before the row
        found = np.zeros(len(asked), bool)
        if len(keys):
            found = (before >= 0) & (pair[before] == asked // longest)
            if self.max_history:
                found &= self.visible[row] - place[before] <= self.max_history
        counts += np.bincount(value[~found], self.weight[row[~found]], minlength=of.width)
        return counts

    def _shown(self, pair: Ints, place: Ints, number: Ints, width: int) -> Floats:
        """The weight of the rows that see each event, and no later one of its value [K]."""
        user = pair // width
        last = np.append(pair[1:] != pair[:-1], True)[: len(pair)]
        end = np.where(last, number[user], np.append(place[1:], 0)[: len(pair)])
        if self.max_history:
            end = np.minimum(end, place + self.max_history)
        # Row weights by (user, visible), cumulative: slot 0 of a user are rows without history.
        slots = number + 1
        first = np.cumsum(slots) - slots
        at = first[self.user] + np.minimum(self.visible, number[self.user])
        sums = np.cumsum(np.bincount(at, self.weight, minlength=int(slots.sum())))
        shown: Floats = (
            sums[first[user] + np.minimum(end, number[user])] - sums[first[user] + place]
        )
        return shown
