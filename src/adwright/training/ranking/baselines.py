"""The simple rules that a network has to beat, as probabilities on a task's test rows.

Popularity, personal frequency and the item-item score are no probabilities; each becomes one by
a logistic regression on log(1 + n), fitted on validation rows. That leaves their ranking as it
is and gives them the best log loss that a curve of two numbers can. The logistic model of all
three is fitted on validation rows too: the item-item table is counted from training events, so it
knows the answers of training rows. For the logistic, the item-item score counts in units of its
mean.

The item-item score of each row of a task: how often the shown item is taken near what its user
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
from adwright.data.tasks.split import Split
from adwright.data.tasks.task import Task
from adwright.models.baselines import fit_logistic
from adwright.models.calibration import fit_calibrator
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.neighbours import count_neighbours

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
    config, part = config or ItemItemConfig(), _part(task, "train")
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


_COLUMNS = ("label", "popularity", "frequency")
_RULES = ("popularity", "frequency", "item-item")
NEGATIVES = 2_000_000

Floats = NDArray[np.float64]


def has_rules(task: Task) -> bool:
    """Whether the task's rows carry the counts `popularity` and `frequency`."""
    return set(_COLUMNS) <= set(task.rows("test").collect_schema().names())


def rule_probabilities(task: Task, *, seed: int) -> dict[str, Floats]:
    """popularity, frequency, item-item and logistic: probabilities [N] of the task's test rows.

    seed: of the negatives that stand for all of them where validation has millions; they are
    weighted, so the fit is that of the full data up to chance.
    Raises ValueInvalidError where the validation rows have one label only.
    """
    valid, test = _counts(task, "valid"), _counts(task, "test")
    model = fit_rows_item_item(task)
    valid["item-item"], test["item-item"] = (
        rows_item_item(model, task, split) for split in ("valid", "test")
    )
    unit = valid["item-item"].mean() or 1.0
    for counts in (valid, test):
        counts["item-item"] = counts["item-item"] / unit
    found = {}
    for name in _RULES:
        calibrator = fit_calibrator("platt", valid["label"], _share(valid[name]))
        found[name] = calibrator(_share(test[name]))
    labels = valid["label"]
    rate = min(1.0, NEGATIVES / max(1, int((labels == 0).sum())))
    kept = (labels == 1) | (np.random.default_rng(seed).random(len(labels)) < rate)
    rule = fit_logistic(
        valid["popularity"][kept],
        valid["frequency"][kept],
        labels[kept].astype(np.int8),
        np.where(labels[kept] == 1, 1.0, 1 / rate),
        item_item=valid["item-item"][kept],
    )
    found["logistic"] = rule(test["popularity"], test["frequency"], test["item-item"])
    return found


def _counts(task: Task, split: Split) -> dict[str, Floats]:
    columns = [pl.col(name).cast(pl.Float32).fill_null(0) for name in _COLUMNS]
    table = task.rows(split).select(columns).collect()
    return {name: table[name].to_numpy().astype(np.float64) for name in _COLUMNS}


def _share(counts: Floats) -> Floats:
    """(1 + n) / (2 + n), whose logit is log(1 + n): what Platt's curve is a logistic model of."""
    return (1 + counts) / (2 + counts)
