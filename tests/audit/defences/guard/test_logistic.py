from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.defences.guard.guard import fit_logistic
from adwright.core.errors import ConfigError, DataError


def rows(seed: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3))
    chance = 1 / (1 + np.exp(-(x @ [2.0, -1.0, 0.0] + 0.5)))
    return x, (rng.random(count) < chance).astype(np.float64)


def test_it_is_what_scikit_learn_finds() -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = rows()
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y))
    ridge = 0.01
    ours = fit_logistic(x, y, weights, ridge=ridge)
    peer = LogisticRegression(C=1 / (ridge * weights.sum()), tol=1e-10, max_iter=1000)
    peer.fit(x, y, sample_weight=weights)
    assert ours[0] == pytest.approx(peer.intercept_[0], abs=1e-4)
    assert ours[1:] == pytest.approx(peer.coef_[0], abs=1e-4)


def test_weights_and_ridge_count() -> None:
    x, y = rows()
    even = fit_logistic(x, y, np.ones(len(y)))
    assert np.abs(fit_logistic(x, y, np.ones(len(y)), ridge=10.0)[1:]).max() < 0.2
    assert fit_logistic(x, y, np.where(y == 1, 5.0, 1.0))[0] > even[0] + 0.5


def test_separable_rows_stay_finite() -> None:
    x = np.array([[-1.0], [1.0], [300.0]])
    found = fit_logistic(x, np.array([0.0, 1.0, 1.0]), np.ones(3), ridge=1e-4)
    assert np.isfinite(found).all()
    assert found[1] > 1


def test_bad_input_is_refused() -> None:
    x, y = rows()
    with pytest.raises(DataError, match="one label only"):
        fit_logistic(x, 0 * y, np.ones(len(y)))
    with pytest.raises(ConfigError, match="ridge is above 0"):
        fit_logistic(x, y, np.ones(len(y)), ridge=0)
