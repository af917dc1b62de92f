from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.linear_model import Ridge

from adwright.core.errors import DataError, ValueInvalidError
from adwright.creative.memory.block_ridge import fit_blocks, group_folds, non_negative

Blocks = dict[str, np.ndarray]


def made(rows: int = 60, seed: int = 0) -> tuple[Blocks, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    blocks = {
        "signal": rng.normal(size=(rows, 3)).astype(np.float32),
        "noise": rng.normal(size=(rows, 80)).astype(np.float32),
    }
    targets = blocks["signal"] @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=rows) + 3
    return blocks, targets, np.arange(rows) // 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_weights_are_those_of_least_squares_above_zero(seed: int, members: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, targets = rng.normal(size=(40, members)), rng.normal(size=40)
    np.testing.assert_allclose(non_negative(matrix, targets), nnls(matrix, targets)[0], atol=1e-5)


@pytest.mark.parametrize("rows", [30, 200])
def test_one_block_is_a_ridge_on_scaled_columns(rows: int) -> None:
    blocks, targets, groups = made(rows)
    fitted = fit_blocks({"noise": blocks["noise"]}, targets, groups)
    block = fitted.blocks["noise"]
    scaled = block.scaled(blocks["noise"])
    assert np.abs((scaled**2).sum(1).mean() - 1) < 1e-9
    errors = []
    for alpha in 10.0 ** np.arange(-2, 4.1, 0.5):
        theirs = Ridge(alpha=alpha).fit(scaled, targets)
        errors.append(float(np.abs(theirs.coef_ - block.coefficients).max()))
    assert min(errors) < 1e-8


def test_weighted_rows_count_as_if_repeated() -> None:
    blocks, targets, groups = made(40)
    weights = np.where(np.arange(40) < 10, 2.0, 1.0)
    one = {"signal": blocks["signal"]}
    twice = np.concatenate([np.arange(40), np.arange(10)])
    folds_same = fit_blocks(one, targets, groups, weights=weights)
    repeated = fit_blocks({"signal": one["signal"][twice]}, targets[twice], groups[twice])
    assert folds_same.intercept == pytest.approx(repeated.intercept)
    plain = fit_blocks(one, targets, groups)
    assert abs(plain.intercept - folds_same.intercept) > 1e-6


def test_members_are_weighed_where_there_are_many_rows() -> None:
    blocks, targets, groups = made(120)
    few = fit_blocks(blocks, targets, groups)
    assert few.weights == {"all": 1.0}
    many = fit_blocks(blocks, targets, groups, few=100)
    assert set(many.weights) == {"signal", "noise", "all"}
    assert min(many.weights.values()) >= 0
    assert many.weights["signal"] > 0.9
    new, found, _ = made(200, seed=1)
    errors = [float(((one.predict(new) - found) ** 2).mean()) for one in (few, many)]
    assert errors[1] < errors[0] < found.var()


def test_predictions_that_were_not_seen_are_of_folds_without_the_group() -> None:
    blocks, targets, groups = made(100)
    fitted = fit_blocks(blocks, targets, groups, few=50)
    seen = ((fitted.predict(blocks) - targets) ** 2).mean()
    assert seen < ((fitted.unseen - targets) ** 2).mean() < targets.var()
    other = fit_blocks(blocks, targets, groups, few=50, seed=1)
    assert not np.allclose(other.unseen, fitted.unseen)


def test_what_is_missing_counts_as_the_mean() -> None:
    blocks, targets, groups = made()
    blocks["signal"][:10] = np.nan
    fitted = fit_blocks(blocks, targets, groups)
    assert np.isfinite(fitted.unseen).all()
    mean = fitted.blocks["signal"].mean
    np.testing.assert_allclose(mean, blocks["signal"][10:].mean(0), atol=1e-6)
    none = np.full((1, 3), np.nan, np.float32)
    usual = fitted.predict({"signal": mean[None].astype(np.float32)})
    np.testing.assert_allclose(fitted.predict({"signal": none}), usual, atol=1e-6)
    assert not fit_blocks({"none": np.full((60, 2), np.nan)}, targets, groups).blocks


def test_what_does_not_vary_says_nothing() -> None:
    _, targets, groups = made()
    still = fit_blocks({"still": np.ones((60, 4), np.float32)}, targets, groups)
    assert not still.blocks
    assert still.predict({"still": np.zeros((2, 4), np.float32)}).tolist() == [still.intercept] * 2


def test_folds_keep_groups_whole_and_bad_input_is_refused() -> None:
    blocks, targets, groups = made()
    folds = group_folds(groups, 5, seed=3)
    assert all(len(set(folds[groups == one])) == 1 for one in groups)
    assert not (group_folds(groups, 5, seed=4) == folds).all()
    with pytest.raises(DataError, match="2 brands cannot stand in 5 folds"):
        fit_blocks(blocks, targets, groups % 2)
    with pytest.raises(ValueInvalidError, match="another width"):
        fit_blocks(blocks, targets, groups).predict({"noise": blocks["signal"]})
