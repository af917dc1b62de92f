"""How well answers order creatives, in a few numbers: what `fit` shows and decides by.

    order_measures(log_rates, outcomes)    # {"rho": .53, "best_of_test": .33, "pairs": .61, ...}

`protocol` and the benchmarks measure with intervals; here the first fold is looked at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.creative.response.protocol.outcomes import CreativeOutcomes
from adwright.metrics.rank_correlation import spearman
from adwright.metrics.within_tests import best_of_test, pair_accuracy, rho_within

__all__ = ["is_behind", "order_measures"]

#: Rates of a pair are apart by this at least.
APART = 0.001


def order_measures(answers: npt.ArrayLike, outcomes: CreativeOutcomes) -> dict[str, float]:
    """Spearman's rho over all creatives [N], and within the tests that have several titles: how
    often the best is picked, pairs that are ordered rightly, the mean rho. What cannot be measured
    is left out."""
    found = {}
    try:
        found["rho"] = spearman(answers, outcomes.rate)
    except DataError:
        found["rho"] = math.nan
    if outcomes.varied.any():
        rows = outcomes.varied.nonzero()[0]
        some = outcomes.take(rows)
        scores = np.asarray(answers, np.float64)[rows]
        found["best_of_test"] = best_of_test(scores, some.rate, some.tests).value
        found["pairs"] = pair_accuracy(scores, some.rate, some.tests, apart=APART).value
        found["rho_within"] = rho_within(scores, some.rate, some.tests)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def is_behind(model: Mapping[str, float], simple: Mapping[str, float]) -> bool:
    """Whether the simple rule orders as well: by pairs where both have them, else by rho."""
    for name in ("pairs", "rho"):
        if name in model and name in simple:
            return simple[name] >= model[name]
    return False
