"""Reliability tables and calibration errors against literal loops and textbook values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics import classification as c


def sample(seed: int, rows: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(-2, 1.5, rows)))
    return (rng.random(rows) < p**1.2).astype(int), p, rng.random(rows) * 2


def literal_ece(y: np.ndarray, p: np.ndarray, w: np.ndarray, which: np.ndarray) -> float:
    error = 0.0
    for one in set(which.tolist()):
        rows = which == one
        mass = w[rows].sum()
        gap = abs((w * p)[rows].sum() / mass - (w * y)[rows].sum() / mass)
        error += mass / w.sum() * gap
    return error


@pytest.mark.parametrize("seed", range(3))
def test_equal_mass_bins_of_distinct_values_are_quantiles(seed: int) -> None:
    y, p, w = sample(seed)
    which = np.empty(len(p), int)
    which[np.argsort(p)] = np.repeat(np.arange(20), len(p) // 20)
    assert c.mass_bins(p, None, 20).tolist() == which.tolist()
    ones = np.ones(len(p))
    assert c.expected_calibration_error(y, p) == pytest.approx(literal_ece(y, p, ones, which))
    weighted = c.mass_bins(p, w, 10)
    mass = np.bincount(weighted, w)
    assert np.abs(mass / mass.sum() - 0.1).max() < 2 * w.max() / w.sum()
    assert c.expected_calibration_error(y, p, w, bins=10) == pytest.approx(
        literal_ece(y, p, w, weighted)
    )


@pytest.mark.parametrize("seed", range(3))
def test_equal_width_bins_agree_with_scikit_learn(seed: int) -> None:
    y, p, _ = sample(seed)
    table = c.reliability_table(y, p, bins=10, binning="width")
    rate, prediction = calibration_curve(y, p, n_bins=10, strategy="uniform")
    assert table.observed_rate == pytest.approx(rate, abs=1e-12)
    assert table.mean_prediction == pytest.approx(prediction, abs=1e-12)


def test_the_last_equal_width_bin_holds_one() -> None:
    assert c.width_bins(np.array([0, 0.0999, 0.1, 0.95, 1.0]), 10).tolist() == [0, 0, 1, 9, 9]


def test_table_adds_up_and_brackets_its_means() -> None:
    y, p, w = sample(1)
    table = c.reliability_table(y, p, w)
    assert table.count.sum() == len(y)
    assert table.weight.sum() == pytest.approx(w.sum())
    assert (table.weight @ table.observed_rate) == pytest.approx(w @ y)
    assert (table.lower <= table.mean_prediction).all()
    assert (table.mean_prediction <= table.upper).all()
    assert (table.upper[:-1] < table.lower[1:]).all()
    assert ((table.low <= table.observed_rate) & (table.observed_rate <= table.high)).all()


def test_equal_predictions_share_a_bin_and_empty_bins_are_left_out() -> None:
    p = np.array([0.2] * 90 + [0.6] * 10)
    y = np.array([1] * 18 + [0] * 72 + [1] * 5 + [0] * 5)
    table = c.reliability_table(y, p, bins=20)
    assert table.count.tolist() == [90, 10]
    assert table.observed_rate == pytest.approx([0.2, 0.5])
    assert c.expected_calibration_error(y, p) == pytest.approx(0.1 * 0.1)


def test_binning_and_bins_change_the_answer() -> None:
    y, p, _ = sample(3)
    values = {
        c.expected_calibration_error(y, p),
        c.expected_calibration_error(y, p, bins=5),
        c.expected_calibration_error(y, p, binning="width"),
    }
    assert len(values) == 3


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
    st.integers(1, 8),
)
def test_order_does_not_matter_and_weights_are_repetitions(
    rows: list[tuple[bool, int]], random: object, bins: int
) -> None:
    y, p = (np.array(column) for column in zip(*rows, strict=True))
    error = c.expected_calibration_error(y, p / 10, bins=bins)
    assert 0 <= error <= 1
    random.shuffle(rows)  # type: ignore[attr-defined]
    y, p = (np.array(column) for column in zip(*rows, strict=True))
    assert c.expected_calibration_error(y, p / 10, bins=bins) == pytest.approx(error, abs=1e-12)
    threefold = c.expected_calibration_error(np.repeat(y, 3), np.repeat(p, 3) / 10, bins=bins)
    assert threefold == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize(("responses", "rows"), [(0, 10), (3, 17), (17, 17), (500, 2000)])
def test_wilson_equals_scipy(responses: int, rows: int) -> None:
    low, high = c.wilson_interval(np.array([responses / rows]), np.array([rows]), confidence=0.9)
    expected = binomtest(responses, rows).proportion_ci(0.9, method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_uneven_weights_widen_the_interval() -> None:
    y, p, w = sample(4)
    plain = c.reliability_table(y, p, np.ones(len(y)), bins=1)
    uneven = c.reliability_table(y, p, w**4, bins=1)
    assert uneven.high - uneven.low > plain.high - plain.low
    wide = c.reliability_table(y, p, bins=1, confidence=0.99)
    assert wide.high - wide.low > plain.high - plain.low


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueInvalidError, match="bins must be a whole number"):
        c.expected_calibration_error([0, 1], [0.2, 0.4], bins=0)
    with pytest.raises(ValueInvalidError, match="confidence"):
        c.reliability_table([0, 1], [0.2, 0.4], confidence=1)
    with pytest.raises(ValueInvalidError, match=r"outside 0..1.*row 1"):
        c.reliability_table([0, 1], [0.2, 1.4])
    with pytest.raises(DataError, match="no rows"):
        c.reliability_table([], [])
    with pytest.raises(DataError, match="expected 2 rows"):
        c.reliability_table([0, 1], [0.2])
