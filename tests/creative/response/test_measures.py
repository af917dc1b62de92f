"""What is measured of answers, and when a simple rule is as good."""

from __future__ import annotations

import numpy as np

from adwright.creative.response.measures import is_behind, order_measures
from tests.support.data.small_creatives import small_creatives


def test_the_rates_themselves_order_everything() -> None:
    outcomes = small_creatives(20)
    found = order_measures(outcomes.rate, outcomes)
    assert found == {"rho": 1.0, "best_of_test": 1.0, "pairs": 1.0, "rho_within": 1.0}
    turned = order_measures(-outcomes.rate, outcomes)
    assert turned["pairs"] == turned["best_of_test"] == 0


def test_what_cannot_be_measured_is_left_out() -> None:
    outcomes = small_creatives(4)
    alone = outcomes.take(np.array([0, 3, 6]))
    assert set(order_measures(alone.rate, alone)) == {"rho"}
    assert "rho" not in order_measures(np.zeros(12), outcomes)


def test_pairs_decide_before_rho() -> None:
    assert is_behind({"pairs": 0.5, "rho": 0.9}, {"pairs": 0.6, "rho": 0.1})
    assert not is_behind({"pairs": 0.6, "rho": 0.1}, {"pairs": 0.5, "rho": 0.9})
    assert is_behind({"rho": 0.1}, {"rho": 0.1})
    assert not is_behind({}, {"rho": 0.1})
