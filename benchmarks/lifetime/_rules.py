"""Rules without a network, that order spells by what any tool could do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.creative.lifetime.spell_table import SpellTable
from adwright.metrics.survival_curve import kaplan_meier

__all__ = ["category_risk"]

_FEW = 20


def category_risk(
    train: SpellTable, test: SpellTable, column: str, horizon: float
) -> NDArray[np.float64]:
    """Kaplan-Meier by category: minus the area under the curve of its training spells up to
    `horizon`; the curve of all for a category with fewer than 20. [N]"""
    at = train.category_names.index(column)
    of_all = _area(train, np.ones(len(train), np.bool_), horizon)
    values = train.categories[:, at]
    areas = np.full(len(train.category_values[at]) + 1, of_all)
    for value in np.flatnonzero(np.bincount(values[values >= 0]) >= _FEW):
        areas[value] = _area(train, values == value, horizon)
    place = {text: code for code, text in enumerate(train.category_values[at])}
    known = np.array([place.get(text, -1) for text in test.category_values[at]] + [-1])
    risk: NDArray[np.float64] = -areas[known[test.categories[:, at]]]
    return risk


def _area(train: SpellTable, rows: NDArray[np.bool_], horizon: float) -> float:
    curve = kaplan_meier(train.time[rows], train.ended[rows], entry=train.entry[rows])
    ages = np.arange(0.0, horizon)
    return float(curve.at(ages).sum())
