"""The logistic baseline against scikit-learn, and its errors."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from adwright.core.errors import ValueInvalidError
from adwright.models.calibration import LogisticBaseline, baseline_features, fit_logistic


def _rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    popularity, frequency = rng.poisson(50, 4000) * 1.0, rng.poisson(0.5, 4000) * 1.0
    chance = 1 / (1 + np.exp(-(np.log1p(popularity) / 4 + np.log1p(frequency) - 2)))
    return popularity, frequency, (rng.random(4000) < chance).astype(np.int8)


def test_it_equals_scikit_learn() -> None:
    popularity, frequency, labels = _rows()
    ours = fit_logistic(popularity, frequency, labels)(popularity, frequency)
    x = baseline_features(popularity, frequency)
    peer = LogisticRegression(C=1 / (1e-6 * len(x)), fit_intercept=False, tol=1e-10, max_iter=5000)
    theirs = peer.fit(x, labels).predict_proba(x)[:, 1]
    assert np.abs(ours - theirs).max() < 1e-4


def test_weights_equal_repeated_rows() -> None:
    popularity, frequency, labels = _rows()
    weights = np.where(labels == 1, 1.0, 3.0)
    again = np.repeat(np.arange(len(labels)), weights.astype(int))
    weighted = fit_logistic(popularity, frequency, labels, weights)
    repeated = fit_logistic(popularity[again], frequency[again], labels[again])
    np.testing.assert_allclose(weighted.coefficients, repeated.coefficients, rtol=1e-6)


def test_features_are_those_documented() -> None:
    counts = np.array([np.e - 1]), np.array([np.e**2 - 1])
    row = baseline_features(*counts)[0]
    np.testing.assert_allclose(row, [1, 0.1, 2, 0.01, 4, 0.2])
    row = baseline_features(*counts, np.array([np.e**3 - 1]))[0]
    np.testing.assert_allclose(row, [1, 0.1, 2, 0.01, 4, 0.2, 3, 9, 0.3, 6])


def test_the_item_item_score_is_one_more_thing_to_go_by() -> None:
    popularity, frequency, labels = _rows()
    noise = np.random.default_rng(3).random(len(labels))
    model = fit_logistic(popularity, frequency, labels, item_item=labels + noise)
    assert len(model.coefficients) == 10
    found = model(popularity, frequency, labels + noise)
    plain = fit_logistic(popularity, frequency, labels)(popularity, frequency)
    assert np.abs(found - labels).mean() < np.abs(plain - labels).mean() / 2


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="single class"):
        fit_logistic(np.ones(3), np.ones(3), np.zeros(3, np.int8))
    assert LogisticBaseline((0.0,) * 6)(np.ones(1), np.ones(1))[0] == 0.5


def test_the_gradient_vanishes_at_the_fit() -> None:
    """Maximum likelihood with the ridge that the docstring names."""
    rng = np.random.default_rng(7)
    popularity, frequency = rng.integers(0, 500, (2, 400)).astype(np.float64)
    frequency = frequency % 6
    labels = (rng.uniform(size=400) < 0.2 + 0.1 * (frequency > 2)).astype(np.int8)
    weights = rng.uniform(0.5, 2, 400)
    found = fit_logistic(popularity, frequency, labels, weights)
    x, beta = baseline_features(popularity, frequency), np.array(found.coefficients)
    slack = weights * (labels - found(popularity, frequency))
    ridge = 1e-6 * weights.sum() * beta
    np.testing.assert_allclose(x.T @ slack - ridge, 0, atol=1e-6)
