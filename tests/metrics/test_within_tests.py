"""Measures within tests, against slow literal loops; ties count by what a coin would do."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import DataError, SchemaError, ValueInvalidError
from adwright.metrics.bootstrap import best_of_test, centred_by_test, pair_accuracy, rho_within

ROW = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-1, 4))
ROWS = st.lists(ROW, min_size=1, max_size=40)


def _arrays(rows: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, rates, tests = (np.array(column) for column in zip(*rows, strict=True))
    return scores.astype(float), rates / 100, tests


def _by_test(rows: list) -> dict[int, list[tuple[float, float]]]:
    found: dict[int, list[tuple[float, float]]] = {}
    for score, rate, test in rows:
        if test >= 0:
            found.setdefault(test, []).append((score, rate / 100))
    return {test: found[test] for test in sorted(found) if len(found[test]) > 1}


@given(ROWS)
def test_best_of_test_is_what_a_drawn_pick_gets(rows: list) -> None:
    names, top, chance = [], [], []
    for test, members in _by_test(rows).items():
        best = max(rate for _, rate in members)
        if all(rate == best for _, rate in members):
            continue
        first = [rate for score, rate in members if score == max(s for s, _ in members)]
        names.append(test)
        top.append(np.mean([rate == best for rate in first]))
        chance.append(np.mean([rate == best for _, rate in members]))
    found = best_of_test(*_arrays(rows))
    assert found.tests.tolist() == names
    np.testing.assert_allclose(found.top, top)
    np.testing.assert_allclose(found.chance, chance)
    np.testing.assert_array_equal(found.bottom, np.ones(len(names)))


@given(ROWS, st.sampled_from([0.01, 0.02, 0.03]))
def test_pair_accuracy_counts_each_pair(rows: list, apart: float) -> None:
    right, pairs = {}, {}
    for test, members in _by_test(rows).items():
        for (s, r), (t, q) in combinations(members, 2):
            if round(abs(r - q), 6) < apart:
                continue
            right[test] = right.get(test, 0) + (0.5 if s == t else float((s > t) == (r > q)))
            pairs[test] = pairs.get(test, 0) + 1
    found = pair_accuracy(*_arrays(rows), apart=apart)
    assert found.tests.tolist() == sorted(pairs)
    np.testing.assert_allclose(found.top, [right[test] for test in sorted(pairs)])
    np.testing.assert_allclose(found.bottom, [pairs[test] for test in sorted(pairs)])


@given(ROWS)
def test_rho_within_is_spearmans_of_what_is_left_without_the_means(rows: list) -> None:
    scores, rates, owners = [], [], []
    for test, members in _by_test(rows).items():
        score, rate = zip(*members, strict=True)
        level = len(set(score)) == 1
        scores += [0.0 if level else one - np.mean(score) for one in score]
        rates += [0.0 if len(set(rate)) == 1 else one - np.mean(rate) for one in rate]
        owners += [test] * len(members)
    score, rate, owner = centred_by_test(*_arrays(rows))
    assert owner.tolist() == owners
    np.testing.assert_allclose(score, scores, atol=1e-12)
    np.testing.assert_allclose(rate, rates, atol=1e-12)
    if len(scores) and np.ptp(score.round(9)) and np.ptp(rate.round(9)):
        assert -1 <= rho_within(*_arrays(rows)) <= 1
    else:
        assert np.isnan(rho_within(*_arrays(rows)))


def test_rho_within_knows_no_difference_between_tests() -> None:
    scores, rates = [9, 8, 2, 1], [0.1, 0.3, 0.5, 0.9]
    assert rho_within(scores, rates, [0, 0, 1, 1]) == pytest.approx(-0.8944271909999159)
    assert rho_within(scores, rates, [0, 0, 0, 0]) == -1


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_says_nothing(rows: list, random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = best_of_test(*_arrays(rows)), best_of_test(*_arrays(shuffled))
    np.testing.assert_allclose(one.top, other.top, atol=1e-12)


def test_sums_are_those_of_the_owners_of_tests() -> None:
    found = best_of_test([2, 1, 2, 1], [0.2, 0.1, 0.1, 0.2], [0, 0, 1, 1])
    top, bottom = found.by([1, 1], 3)
    assert (top.tolist(), bottom.tolist()) == ([0, 1, 0], [0, 2, 0])
    assert found.by([0, -1], 1)[1].tolist() == [1]
    assert found.value == 0.5
    with pytest.raises(ValueInvalidError, match="a test has no owner"):
        found.by([0], 1)


def test_nothing_to_measure_is_not_a_number() -> None:
    alone = best_of_test([1.0, 2.0], [0.1, 0.2], [0, 1])
    assert len(alone.tests) == 0
    assert np.isnan(alone.value)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueInvalidError, match="row 1, column scores"):
        best_of_test([1.0, float("nan")], [0.1, 0.2], [0, 0])
    with pytest.raises(ValueInvalidError, match="not finite"):
        best_of_test([1.0, float("inf")], [0.1, 0.2], [0, 0])
    with pytest.raises(DataError, match="expected 2 rows"):
        best_of_test([1.0, 2.0], [0.1], [0, 0])
    with pytest.raises(SchemaError, match="whole numbers"):
        best_of_test([1.0, 2.0], [0.1, 0.2], ["a", "a"])
    with pytest.raises(ValueInvalidError, match="more than 0"):
        pair_accuracy([1.0, 2.0], [0.1, 0.2], [0, 0], apart=0)
