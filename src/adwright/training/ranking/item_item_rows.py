"""The item-item score of each row of a task: how often the shown item is taken near what its user
took before.

The table is counted from what the training rows may know: of each user of the training split
the events before that user's last training row. So no row of validation or test is in it, and
a training row is: scores of training rows would know their own answers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.data.ranges import ranges, run_starts
from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.data.tasks.history import user_codes
from adwright.data.tasks.task import Split, Task
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.neighbours import count_neighbours

__all__ = ["fit_rows_item_item", "rows_item_item"]

Ints = NDArray[np.int64]


class _Part(NamedTuple):
    """Rows and events of a split. user, visible, asked: int64 [N], of the rows: a user's number,
    the events before it, and the item's code. item, moment: int64 [E]; user u has the events
    offsets[u] to offsets[u + 1]."""

    user: Ints
    visible: Ints
    asked: Ints
    item: Ints
    moment: Ints
    offsets: Ints


def fit_rows_item_item(task: Task, config: ItemItemConfig | None = None) -> ItemItem:
    """The rule of a task's training rows; codes are those of `task.item_table`."""
    config = config or ItemItemConfig()
    part = _part(task, "train")
    seen = np.zeros(len(part.offsets) - 1, np.int64)
    np.maximum.at(seen, part.user, part.visible)
    place, offsets = ranges(part.offsets[:-1], seen)
    item, items = part.item[place], len(task.item_table) - 1
    table = count_neighbours(item, part.moment[place], offsets, items, config.neighbours)
    return ItemItem(config, table, np.bincount(item, minlength=items + 1))


def rows_item_item(model: ItemItem, task: Task, split: Split) -> NDArray[np.float64]:
    """The scores [N] of a split's rows, in their order."""
    part = _part(task, split)
    # Rows of one request share the history.
    starts = run_starts(part.user, part.visible)
    heads = starts[:-1]
    first = part.offsets[part.user[heads]]
    pasts = Pasts.between(part.item, part.moment, first, first + part.visible[heads])
    owner = np.repeat(np.arange(len(heads)), np.diff(starts))
    return model.pair_scores(pasts, owner, part.asked)


def _part(task: Task, split: Split) -> _Part:
    rows = task.rows(split).select("user_id", "item_id", "visible").collect()
    events = pl.read_parquet(task.events_path(split), columns=["user_id", "item_id", "time"])
    user, of_event = user_codes(rows["user_id"], events["user_id"])
    users = int(user[-1]) + 1 if len(user) else 0
    offsets = np.searchsorted(of_event, np.arange(users + 1))
    codes = task.item_table.rows
    return _Part(
        user,
        rows["visible"].to_numpy().astype(np.int64),
        codes(rows["item_id"].cast(pl.String).to_arrow()),
        codes(events["item_id"].cast(pl.String).to_arrow()),
        moment_numbers(offsets, events["time"].to_physical().to_numpy()),
        offsets,
    )
