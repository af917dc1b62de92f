"""The simple rules that a network has to beat, as probabilities on a task's test rows.

Popularity and personal frequency are counts, not probabilities; each becomes one by a
logistic regression on log(1 + count), fitted on validation rows. That leaves their ranking as
it is and gives them the best log loss that a curve of two numbers can. The logistic model of
both counts is fitted on training rows and calibrated on validation rows like a network.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.data.tasks.task import Split, Task
from adwright.models.baselines import fit_logistic
from adwright.models.calibration import Method, fit_calibrator

__all__ = ["has_rules", "rule_probabilities"]

_COLUMNS = ("label", "popularity", "frequency")
NEGATIVES = 2_000_000

Floats = NDArray[np.float64]


def has_rules(task: Task) -> bool:
    """Whether the task's rows carry the counts `popularity` and `frequency`."""
    return set(_COLUMNS) <= set(task.rows("test").collect_schema().names())


def rule_probabilities(
    task: Task, *, seed: int, calibration: Method = "platt"
) -> dict[str, Floats]:
    """popularity, frequency and logistic: probabilities [N] of the task's test rows.

    seed: of the negatives that stand for all of them where the task has millions; they are
    weighted, so the fit is that of the full data up to chance.
    Raises ValueInvalidError where the training or validation rows have one label only.
    """
    valid, test = _counts(task, "valid"), _counts(task, "test")
    found = {}
    for name in ("popularity", "frequency"):
        calibrator = fit_calibrator("platt", valid["label"], _share(valid[name]))
        found[name] = calibrator(_share(test[name]))
    train = _counts(task, "train")
    labels = train["label"]
    rate = min(1.0, NEGATIVES / max(1, int((labels == 0).sum())))
    kept = (labels == 1) | (np.random.default_rng(seed).random(len(labels)) < rate)
    rule = fit_logistic(
        train["popularity"][kept],
        train["frequency"][kept],
        labels[kept].astype(np.int8),
        np.where(labels[kept] == 1, 1.0, 1 / rate),
    )
    raw = rule(valid["popularity"], valid["frequency"])
    calibrator = fit_calibrator(calibration, valid["label"], raw)
    found["logistic"] = calibrator(rule(test["popularity"], test["frequency"]))
    return found


def _counts(task: Task, split: Split) -> dict[str, Floats]:
    columns = [pl.col(name).cast(pl.Float32).fill_null(0) for name in _COLUMNS]
    table = task.rows(split).select(columns).collect()
    return {name: table[name].to_numpy().astype(np.float64) for name in _COLUMNS}


def _share(counts: Floats) -> Floats:
    """(1 + n) / (2 + n), whose logit is log(1 + n): what Platt's curve is a logistic model of."""
    return (1 + counts) / (2 + counts)
