"""The simple rules that a network has to beat, as probabilities on a task's test rows.

Popularity, personal frequency and the item-item score are no probabilities; each becomes one by
a logistic regression on log(1 + n), fitted on validation rows. That leaves their ranking as it
is and gives them the best log loss that a curve of two numbers can. The logistic model of all
three is fitted on validation rows too: the item-item table is counted from training events, so it
knows the answers of training rows. For the logistic, the item-item score counts in units of its
mean.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.data.tasks.task import Split, Task
from adwright.models.baselines import fit_logistic
from adwright.models.calibration import fit_calibrator
from adwright.training.ranking.item_item_rows import fit_rows_item_item, rows_item_item

__all__ = ["has_rules", "rule_probabilities"]

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
