"""What a row may know of its user's history: how many events came before, and of its item.

Both are counts of events strictly before the row's time, so nothing of the row's own request
is among them.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.data.popularity import PairCounts
from adwright.data.ranges import run_starts


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
