"""AUC, group AUC and log loss against scikit-learn and literal double loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics import classification as c


def literal_auc(y: np.ndarray, s: np.ndarray) -> float:
    """Every pair of a response and another row, one by one."""
    won = total = 0.0
    for i in np.flatnonzero(y == 1):
        for j in np.flatnonzero(y == 0):
            won += (s[i] > s[j]) + 0.5 * (s[i] == s[j])
            total += 1
    return won / total if total else float("nan")


def literal_group_auc(y: np.ndarray, s: np.ndarray, g: np.ndarray) -> float:
    weighted = total = 0.0
    for one in set(g.tolist()):
        rows = g == one
        area = literal_auc(y[rows], s[rows])
        if not np.isnan(area):
            weighted += rows.sum() * area
            total += rows.sum()
    return weighted / total


def sample(
    seed: int, rows: int = 300, groups: int = 12, levels: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < 0.3).astype(np.int64)
    y[:2] = [0, 1]
    s = rng.normal(size=rows) + y
    if levels:
        s = np.round(s * levels) / levels
    return y, s, rng.integers(0, groups, rows)


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_auc_equals_scikit_learn(seed: int, dtype: type, levels: int | None) -> None:
    y, s, _ = sample(seed, rows=2000, levels=levels)
    s = s.astype(dtype)
    assert c.auc(y, s) == pytest.approx(sk.roc_auc_score(y, s), abs=1e-12)
    # Mostly responses: the other class is then looked up.
    assert c.auc(1 - y, s) == pytest.approx(sk.roc_auc_score(1 - y, s), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_group_auc_equals_the_double_loop(seed: int, dtype: type, levels: int | None) -> None:
    y, s, g = sample(seed, levels=levels)
    s = s.astype(dtype)
    assert c.group_auc(y, s, g) == pytest.approx(literal_group_auc(y, s, g), abs=1e-12)


def test_parts_name_the_groups_and_count_what_was_skipped() -> None:
    y = [1, 0, 0, 1, 1, 0]
    s = [0.9, 0.1, 0.5, 0.5, 0.2, 0.3]
    groups = ["ann", "ann", "bob", "bob", "cid", "dan"]
    parts = c.group_auc_parts(y, s, groups)
    assert parts.groups.tolist() == ["ann", "bob"]
    assert parts.auc.tolist() == [1.0, 0.5]
    assert parts.impressions.tolist() == [2.0, 2.0]
    assert (parts.skipped_groups, parts.skipped_impressions) == (2, 2.0)
    assert parts.mean == 0.75


def test_two_models_on_the_same_rows_return_the_same_groups() -> None:
    y, s, g = sample(1, groups=80)
    first, second = c.group_auc_parts(y, s, g), c.group_auc_parts(y, -(s**2), g)
    assert first.skipped_groups > 0
    assert first.groups.tolist() == second.groups.tolist()
    assert first.impressions.tolist() == second.impressions.tolist()


def test_scores_that_only_float64_tells_apart_are_not_ties() -> None:
    y = np.array([0, 1, 0, 1])
    s = np.array([1.0, 1.0 + 1e-12, 0.25, 0.25 - 1e-15])
    assert len(np.unique(s.astype(np.float32))) == 2
    assert c.group_auc_parts(y, s, [0, 0, 1, 1]).auc.tolist() == [1.0, 0.0]
    assert c.auc(y, s) == literal_auc(y, s)


def test_extreme_scores_are_compared_without_overflow() -> None:
    y = [0, 1, 0, 1, 0, 1]
    s = [-np.inf, -1e300, 1e-320, 2e-320, 1e299, np.inf]
    assert c.group_auc(y, s, [0] * 6) == c.auc(y, s) == pytest.approx(6 / 9)


rows = st.lists(
    st.tuples(st.booleans(), st.integers(-30, 30), st.integers(0, 3)), min_size=2, max_size=60
).filter(lambda rs: any({r[0] for r in rs if r[2] == g} == {True, False} for g in range(4)))


@given(rows)
def test_rising_transforms_keep_the_area_and_falling_ones_mirror_it(
    data: list[tuple[bool, int, int]],
) -> None:
    y, s, g = (np.array(column) for column in zip(*data, strict=True))
    area = c.group_auc(y, s, g)
    assert c.group_auc(y, np.exp(s / 7), g) == area
    assert c.group_auc(y, np.tanh(s / 60).astype(np.float32), g) == area
    assert c.group_auc(y, -s, g) == pytest.approx(1 - area, abs=1e-12)
    if {*y.tolist()} == {True, False}:
        assert c.auc(y, s / 4 - 3) == c.auc(y, s)


def test_one_class_and_no_rows_are_errors_that_say_so() -> None:
    with pytest.raises(DataError, match=r"both classes.*0 ones in 2 rows"):
        c.auc([0, 0], [0.1, 0.2])
    with pytest.raises(DataError, match="at least one group"):
        c.group_auc([0, 1], [0.1, 0.2], [1, 2])
    for measure in (c.auc, c.log_loss):
        with pytest.raises(DataError, match="no rows"):
            measure([], [])


def test_wrong_inputs_name_the_row_or_the_array() -> None:
    with pytest.raises(ValueInvalidError, match=r"row 1.*scores"):
        c.group_auc([0, 1], [0.1, np.nan], [0, 0])
    with pytest.raises(ValueInvalidError, match=r"row 0.*labels"):
        c.auc([3, 1], [0.1, 0.2])
    with pytest.raises(DataError, match=r"expected 2 rows.*scores"):
        c.auc([0, 1], [0.1])
    with pytest.raises(DataError, match=r"expected 2 rows.*groups"):
        c.group_auc([0, 1], [0.1, 0.2], [1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_equals_scikit_learn_with_certain_predictions(dtype: type) -> None:
    y, s, _ = sample(4, rows=500)
    p = (1 / (1 + np.exp(-s))).astype(dtype)
    p[:4] = [0, 1, 1, 0]
    assert c.log_loss(y, p) == pytest.approx(sk.log_loss(y, p), rel=1e-6)
    middle = p[4:].astype(np.float64)
    assert c.log_loss(y[4:], middle) == pytest.approx(sk.log_loss(y[4:], middle), abs=1e-12)
