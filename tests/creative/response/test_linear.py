"""The linear part against generalised least squares, written out with its covariance matrix."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.response.linear import LinearConfig, LinearPart, fit_linear


def _drawn(rows: int = 240, width: int = 6, between: float = 2.0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, width)).astype(np.float32)
    tests = rng.integers(-1, 50, rows)
    folds = np.where(tests >= 0, tests % 4, rng.integers(0, 4, rows))
    weights = rng.uniform(0.2, 1.0, rows)
    effect = rng.normal(size=51)[tests] * between
    y = x @ np.arange(width) + effect + rng.normal(size=rows) / np.sqrt(weights)
    return x, y, tests, folds, weights


def _literal(x, y, tests, weights, ratio, penalty):
    """(X' V^-1 X + p I)^-1 X' V^-1 y with V = 1 / c on its diagonal, and r within a test."""
    own = np.where(tests < 0, 1000 + np.arange(len(y)), tests)
    v = np.diag(1 / weights) + ratio * (own[:, None] == own)
    inputs = np.c_[x.astype(np.float64), np.ones(len(y))]
    ridge = penalty * np.eye(inputs.shape[1])
    ridge[-1, -1] = 0
    solved = np.linalg.solve(v, inputs)
    return np.linalg.solve(inputs.T @ solved + ridge, solved.T @ y)


@pytest.mark.parametrize("ratio", [0.0, 1.7])
def test_it_is_generalised_least_squares(ratio: float) -> None:
    x, y, tests, folds, weights = _drawn()
    config = LinearConfig(penalties=(2.0,), ratio=ratio)
    found = fit_linear(x, y, tests, folds, weights, config)
    literal = _literal(x, y, tests, weights, ratio, 2.0)
    np.testing.assert_allclose(found.part.weight, literal[:-1], atol=1e-4)
    assert found.part.bias == pytest.approx(literal[-1], abs=1e-4)
    np.testing.assert_allclose(found.part.predict(x), x @ literal[:-1] + literal[-1], atol=1e-3)


def test_fewer_creatives_than_inputs_make_no_difference() -> None:
    x, y, tests, folds, weights = _drawn(rows=60, width=90)
    config = LinearConfig(penalties=(2.0,), ratio=1.5)
    found = fit_linear(x, y, tests, folds, weights, config)
    literal = _literal(x, y, tests, weights, 1.5, 2.0)
    np.testing.assert_allclose(found.part.weight, literal[:-1], rtol=1e-3, atol=1e-3)
    out = folds == 2
    literal = _literal(x[~out], y[~out], tests[~out], weights[~out], 1.5, 2.0)
    np.testing.assert_allclose(
        found.held_out[out], x[out] @ literal[:-1] + literal[-1], rtol=1e-3, atol=1e-2
    )


def test_what_is_held_out_was_not_seen() -> None:
    x, y, tests, folds, weights = _drawn()
    config = LinearConfig(penalties=(2.0,), ratio=1.0)
    found = fit_linear(x, y, tests, folds, weights, config)
    for fold in range(4):
        kept, out = folds != fold, folds == fold
        literal = _literal(x[kept], y[kept], tests[kept], weights[kept], 1.0, 2.0)
        np.testing.assert_allclose(
            found.held_out[out], x[out] @ literal[:-1] + literal[-1], atol=1e-3
        )


def test_the_penalty_is_that_of_the_least_held_out_error() -> None:
    x, y, tests, folds, weights = _drawn()
    found = fit_linear(x, y, tests, folds, weights, LinearConfig(penalties=(1e4, 1.0, 1e3)))
    assert found.part.penalty == 1.0
    assert int(np.argmin(found.errors)) == 1


def test_the_ratio_grows_with_what_tests_differ_by() -> None:
    ratios = []
    for between in (0.0, 1.0, 3.0):
        x, y, tests, folds, weights = _drawn(between=between)
        config = LinearConfig(penalties=(1.0,))
        ratios.append(fit_linear(x, y, tests, folds, weights, config).part.ratio)
    assert ratios[0] < 0.3 < ratios[1] < 2 < ratios[2]


def test_an_intercept_of_each_test_keeps_audiences_out_of_the_weights() -> None:
    rng = np.random.default_rng(1)
    tests = np.repeat(np.arange(80), 4)
    audience = rng.normal(size=80)[tests]
    x = np.c_[rng.normal(size=320), audience + rng.normal(size=320) * 0.3].astype(np.float32)
    y = 0.2 * x[:, 0] - 0.2 * x[:, 1] + 3 * audience + rng.normal(size=320) * 0.1
    own, plain = (
        fit_linear(x, y, tests, tests % 4, None, LinearConfig(penalties=(0.1,), ratio=ratio))
        for ratio in (500.0, 0.0)
    )
    assert own.part.weight[1] == pytest.approx(-0.2, abs=0.15)
    assert plain.part.weight[1] > 1


def test_what_cannot_be_fitted_is_refused() -> None:
    x, y, tests, folds, weights = _drawn()
    with pytest.raises(DataError, match="2 folds"):
        fit_linear(x, y, tests, np.zeros_like(folds), weights)
    with pytest.raises(DataError, match="two folds"):
        fit_linear(x, y, np.zeros_like(tests), folds, weights)
    with pytest.raises(DataError):
        fit_linear(x, y[:-1], tests, folds, weights)
    for bad in ({"penalties": ()}, {"penalties": (0.0,)}, {"ratio": -1.0}):
        with pytest.raises(ConfigError):
            LinearConfig(**bad)


def test_rows_in_another_order_change_nothing() -> None:
    x, y, tests, folds, weights = _drawn()
    order = np.random.default_rng(2).permutation(len(y))
    first = fit_linear(x, y, tests, folds, weights).part
    again = fit_linear(*(one[order] for one in (x, y, tests, folds, weights))).part
    assert isinstance(again, LinearPart)
    np.testing.assert_allclose(first.weight, again.weight, atol=1e-4)
