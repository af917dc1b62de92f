from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.report.audit_report import crossed_interval
from adwright.core.errors import DataError


def literal(values: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """Draws pair by pair."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        products = rng.integers(0, len(values), len(values))
        orders = rng.integers(0, values.shape[1], values.shape[1])
        found.append(np.nanmean(values[np.ix_(products, orders)]))
    return np.array(found)


def test_the_interval_is_that_of_a_literal_pigeonhole_bootstrap() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(8, 12))
    values[2, 3:6] = np.nan
    found = crossed_interval(values, np.random.default_rng(1), draws=4000)
    low, high = np.quantile(literal(values, 2, 4000), [0.025, 0.975])
    assert found.value == pytest.approx(np.nanmean(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.08)


def test_products_and_orders_both_widen_it() -> None:
    rng = np.random.default_rng(0)
    by_product = np.repeat(rng.normal(size=(10, 1)), 40, axis=1)
    by_order = np.repeat(rng.normal(size=(1, 40)), 10, axis=0)
    of_products = crossed_interval(by_product, np.random.default_rng(0)).width
    of_orders = crossed_interval(by_order, np.random.default_rng(0)).width
    both = crossed_interval(by_product + by_order, np.random.default_rng(0)).width
    assert of_products > 0.3
    assert of_orders > 0.3
    assert both > max(of_products, of_orders)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        noise = rng.normal(size=(20, 1)) + rng.normal(size=(1, 20)) + rng.normal(size=(20, 20))
        hits += not crossed_interval(noise, rng, draws=300).excludes(0)
    assert 175 <= hits <= 200


def test_one_product_is_the_interval_over_its_orders() -> None:
    values = np.arange(20.0)[None]
    one = crossed_interval(values, np.random.default_rng(0))
    assert one.low < 9.5 < one.high
    single = crossed_interval([[3.0]], np.random.default_rng(0))
    assert (single.value, single.low, single.high) == (3.0, 3.0, 3.0)
    narrow = crossed_interval(values, np.random.default_rng(0), confidence=0.5)
    assert narrow.width < one.width


@pytest.mark.parametrize("values", [[1.0, 2.0], [[np.nan]], np.empty((0, 3)), np.empty((2, 0))])
def test_tables_that_are_none(values: object) -> None:
    with pytest.raises(DataError, match="expected numbers"):
        crossed_interval(np.asarray(values), np.random.default_rng(0))
