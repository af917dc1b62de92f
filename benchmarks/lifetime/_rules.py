"""Kaplan-Meier by category: curves without a network, as any tool could have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import LifeCurves
from adwright.creative.lifetime.survival_network import LifeTerms
from benchmarks.lifetime._calibration import kaplan_meier

_FEW = 20
_LEAST = 1e-6


def typical_of(train: SpellTable, edges: tuple[float, ...]) -> tuple[float, ...]:
    """The share of the training spells that ended by each edge, by Kaplan and Meier's curve."""
    curve = kaplan_meier(train.time, train.ended, entry=train.entry)
    return tuple((1 - curve.at(edges)).tolist())


def curves_of_survival(
    survival: NDArray[np.floating], train: SpellTable, test: SpellTable, terms: LifeTerms
) -> LifeCurves:
    """Curves of the test spells from S [N, T] at all edges but the first, where it is 1: what is
    not ours is measured as ours is."""
    whole = np.concatenate([np.ones((len(survival), 1)), survival], 1)
    steps = np.diff(np.log(np.maximum(np.minimum.accumulate(whole, 1), _LEAST)), axis=1)
    one = terms.one_head
    typical = typical_of(train, one.joined)
    return LifeCurves(one, test.causes, test.entry, (steps.astype(np.float32),), None, typical)


def category_curves(
    train: SpellTable, test: SpellTable, column: str, terms: LifeTerms
) -> LifeCurves:
    """The curve of a test spell's category, of all for one with fewer than 20 training spells."""
    at = train.category_names.index(column)
    edges = np.array(terms.joined[1:])

    def curve(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        own = kaplan_meier(train.time[rows], train.ended[rows], entry=train.entry[rows])
        found: NDArray[np.float64] = own.at(edges)
        return found

    values = train.categories[:, at]
    curves = np.tile(curve(np.ones(len(train), np.bool_)), (len(train.category_values[at]) + 1, 1))
    for value in np.flatnonzero(np.bincount(values[values >= 0]) >= _FEW):
        curves[value] = curve(values == value)
    place = {text: code for code, text in enumerate(train.category_values[at])}
    known = np.array([place.get(text, -1) for text in test.category_values[at]] + [-1])
    return curves_of_survival(curves[known[test.categories[:, at]]], train, test, terms)
