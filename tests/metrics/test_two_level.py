"""Intervals over seeds and users: against loops, and how often they claim what is not so."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from scipy.stats import binomtest, chi2
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from adwright.core.errors import DataError, SchemaError, ValueInvalidError
from adwright.metrics import classification as c
from adwright.metrics.bootstrap import (
    Interval,
    MethodInterval,
    best_of_test,
    bootstrap_difference,
    bootstrap_ratio,
    centred_by_test,
    pair_accuracy,
    rho_within,
    student_quantile,
    two_level_difference,
    two_level_ratio,
    with_seeds,
)
from adwright.metrics.offpolicy import likelihood_interval


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


def calibration_sample(seed: int, rows: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    y, p, w = calibration_sample(seed)
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
    y, p, _ = calibration_sample(seed)
    table = c.reliability_table(y, p, bins=10, binning="width")
    rate, prediction = calibration_curve(y, p, n_bins=10, strategy="uniform")
    assert table.observed_rate == pytest.approx(rate, abs=1e-12)
    assert table.mean_prediction == pytest.approx(prediction, abs=1e-12)


def test_the_last_equal_width_bin_holds_one() -> None:
    assert c.width_bins(np.array([0, 0.0999, 0.1, 0.95, 1.0]), 10).tolist() == [0, 0, 1, 9, 9]


def test_table_adds_up_and_brackets_its_means() -> None:
    y, p, w = calibration_sample(1)
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
    y, p, _ = calibration_sample(3)
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
    y, p, w = calibration_sample(4)
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


Z = stats.norm.ppf(0.975)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def runs(seeds: int, users: int = 50, *, at: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Impressions times AUC by seed and user, and impressions by user."""
    rng = generator(at)
    impressions = rng.integers(1, 20, users).astype(float)
    return rng.beta(8, 2, (seeds, users)) * impressions, impressions


def slow(people: Interval, by_seed: list[list[float]]) -> tuple[float, float]:
    """The formula of the module's head, term by term, with scipy's quantile."""
    v, below = 0.0, 0.0
    for values in by_seed:
        count, mean = len(values), sum(values) / len(values)
        part = sum((x - mean) ** 2 for x in values) / (count - 1) / count
        v += part
        below += part**2 / (count - 1)
    t = stats.t.ppf(0.975, v**2 / below)
    ends = []
    for side in (people.value - people.low, people.high - people.value):
        e2 = (side / Z) ** 2
        ends.append((Z * e2 + t * v) / (e2 + v) * math.sqrt(e2 + v))
    return people.value - ends[0], people.value + ends[1]


@pytest.mark.parametrize("freedom", [1.0, 1.7, 2.0, 3.9, 11.5, 100.0, 4321.0, 1e6, 1e9])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_students_quantile_is_scipys(freedom: float, confidence: float) -> None:
    found = student_quantile(freedom, confidence=confidence)
    assert found == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom), rel=4e-6)
    if freedom < 1e6:
        assert found == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-8)


@pytest.mark.parametrize("freedom", [0.5, float("nan"), -1.0])
def test_a_quantile_without_freedom_is_refused(freedom: float) -> None:
    with pytest.raises(ValueInvalidError, match="degree of freedom"):
        student_quantile(freedom)


def test_the_widened_interval_is_the_formula() -> None:
    people = Interval(0.012, 0.0105, 0.0141)
    for by_seed in ([[0.94, 0.93, 0.95]], [[0.94, 0.93, 0.95], [0.93, 0.92, 0.919, 0.925, 0.93]]):
        found = with_seeds(people, *by_seed)
        assert (found.low, found.high) == pytest.approx(slow(people, by_seed))
        assert found.value == people.value
        assert found.seeds == 3
        assert found.seeds > 1


def test_without_an_interval_over_users_it_is_students() -> None:
    values = [0.1, 0.3, 0.2, 0.25]
    mean = float(np.mean(values))
    found = with_seeds(Interval(mean, mean, mean), values)
    expected = stats.t.interval(0.95, 3, mean, stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)


def test_equal_seeds_leave_the_interval_over_users() -> None:
    people = Interval(0.5, 0.4, 0.7)
    assert with_seeds(people, [0.5, 0.5, 0.5]) == MethodInterval(0.5, 0.4, 0.7, 3)


def test_one_training_gives_an_interval_of_itself() -> None:
    people = Interval(0.5, 0.4, 0.7)
    alone = with_seeds(people, [0.3], [0.1, 0.2, 0.3])
    assert alone == MethodInterval(0.5, 0.4, 0.7, 1)
    assert alone.seeds == 1
    rules = with_seeds(people)
    assert rules == MethodInterval(0.5, 0.4, 0.7, 0)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [[0.1, 0.2]]])
def test_values_by_seed_are_checked(values: list[float]) -> None:
    with pytest.raises(ValueInvalidError, match="one finite value of each seed"):
        with_seeds(Interval(0, 0, 0), values)


def test_a_ratio_is_the_mean_of_the_seeds_ratios() -> None:
    top, bottom = runs(4)
    found = two_level_ratio(top, bottom, generator(3), 300)
    values = [sum(row) / sum(bottom) for row in top]
    # With the same weights for every seed, the mean of ratios is the ratio of the means.
    people = bootstrap_ratio(top.mean(0), bottom, generator(3), 300)
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx(slow(people, [values]))


def test_denominators_may_differ_by_seed() -> None:
    top, bottom = runs(2)
    other = np.stack([bottom, 2 * bottom])
    found = two_level_ratio(top, other, generator(), 50)
    halved = two_level_ratio(top * [[1], [0.5]], bottom, generator(), 50)
    assert (found.value, found.low) == pytest.approx((halved.value, halved.low))


def test_a_difference_adds_the_variances_of_both_methods() -> None:
    (a, bottom), (b, _) = runs(3), runs(5, at=1)
    found = two_level_difference(a, b, bottom, generator(3), 300)
    values = [[sum(row) / sum(bottom) for row in one] for one in (a, b)]
    people = bootstrap_difference(a.mean(0), b.mean(0), bottom, generator(3), 300)
    assert found.value == pytest.approx(people.value)
    assert (found.low, found.high) == pytest.approx(slow(people, values))
    assert found.seeds == 3


def test_beside_a_rule_the_seeds_of_the_model_count_alone() -> None:
    (a, bottom), rule = runs(3), runs(1, at=1)[0][0]
    found = two_level_difference(a, rule, bottom, generator(3), 300)
    values = [sum(row) / sum(bottom) for row in a]
    people = bootstrap_difference(a.mean(0), rule, bottom, generator(3), 300)
    assert (found.low, found.high) == pytest.approx(slow(people, [values]))
    assert two_level_difference(rule, rule, bottom, generator(), 50).seeds == 0
    assert two_level_difference(a, rule[None], bottom, generator(), 50).seeds == 1


def test_pairs_speak_through_their_differences() -> None:
    part, bottom = runs(3)
    whole = part + 0.01 * bottom  # ahead by the same in each training
    apart = two_level_difference(whole, part, bottom, generator(), 200)
    paired = two_level_difference(whole, part, bottom, generator(), 200, paired=True)
    assert paired.width < 1e-9 < apart.width
    assert paired.value == pytest.approx(0.01)
    with pytest.raises(DataError, match="numerators_b"):
        two_level_difference(whole, part[:2], bottom, generator(), paired=True)


def test_denominators_of_b_are_used() -> None:
    (a, bottom), (b, _) = runs(3), runs(3, at=1)
    found = two_level_difference(a, b, bottom, generator(), 50, denominators_b=bottom * 2)
    mean_a, mean_b = (one.sum() / bottom.sum() / 3 for one in (a, b))
    assert found.value == pytest.approx(mean_a - mean_b / 2)


def test_shapes_and_values_are_checked() -> None:
    top, bottom = runs(3)
    for wrong in (bottom[:-1], np.stack([bottom, bottom])):
        with pytest.raises(DataError):
            two_level_ratio(top, wrong, generator())
    with pytest.raises(DataError, match="numerators_b"):
        two_level_difference(top, top[:, :-1], bottom, generator(), denominators_b=bottom[:-1])
    top[1, 7] = np.nan
    with pytest.raises(ValueInvalidError, match=r"not finite.*row 7") as told:
        two_level_ratio(top, bottom, generator())
    assert "row 7" in str(told.value)


@pytest.mark.parametrize(
    ("seeds", "deviation", "spread"),
    [(s, d, 1.0) for s in (3, 5) for d in (0.001, 0.002, 0.004)] + [(3, 0.002, 4.0)],
)
def test_two_equal_methods_seldom_differ(seeds: int, deviation: float, spread: float) -> None:
    """At most 7% false claims at the nominal 5; over users alone it is a multiple of that.

    800 households of unequal weight; noise of household and method, of household, seed and
    method, and of the seed, whose deviation in the second method is `spread` times smaller.
    """
    rng, repeats, users = generator(seeds), 500, 800
    weight = rng.lognormal(0, 1, users).astype(np.float32)
    weight /= weight.sum()
    deviations = np.array([deviation, deviation / spread])[:, None]
    false = {"users": 0, "both": 0}
    for _ in range(repeats):
        noise = rng.standard_normal((2, seeds + 1, users), np.float32)
        each = 0.01 * noise[:, 1:] + 0.008 * noise[:, :1]  # of a method, a seed and a household
        of_seed = rng.normal(0, deviations, (2, seeds))
        values = (each @ weight).astype(np.float64) + of_seed
        means = each.mean(1, dtype=np.float64) + of_seed.mean(1)[:, None]
        gap = means[0] - means[1]
        lead = float(gap @ weight)
        error = Z * math.sqrt(float(weight**2 @ (gap - lead) ** 2))
        plain = Interval(lead, lead - error, lead + error)
        false["users"] += plain.excludes(0)
        false["both"] += with_seeds(plain, *values).excludes(0)
    assert 0 < false["both"] <= 0.07 * repeats
    assert false["users"] > 2 * false["both"]


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


def literal_ratio(z: np.ndarray) -> float:
    """-2 log R by root finding on the dual, written down without any safeguard."""
    low, high = -1 / z.max(), -1 / z.min()
    gap = (high - low) * 1e-10
    solution = brentq(lambda m: (z / (1 + m * z)).sum(), low + gap, high - gap, xtol=1e-14)
    weights = 1 / (len(z) * (1 + solution * z))
    assert weights.sum() == pytest.approx(1)
    assert weights @ z == pytest.approx(0, abs=1e-9)
    return float(-2 * np.log(len(z) * weights).sum())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_ends_lie_where_the_statistic_is_the_quantile(seed: int, confidence: float) -> None:
    rng = np.random.default_rng(seed)
    top, bottom = rng.exponential(1, 40) * rng.integers(0, 2, 40), rng.uniform(0.5, 2, 40)
    interval = likelihood_interval(top, bottom, confidence=confidence)
    limit = chi2.ppf(confidence, 1)
    for end in (interval.low, interval.high):
        assert literal_ratio(top - end * bottom) == pytest.approx(limit, rel=1e-6)
    assert interval.low < interval.value < interval.high


def test_rare_terms_reach_further_up_than_down_and_stay_above_zero() -> None:
    top = np.zeros(1000)
    top[:3] = (1, 1, 8)
    interval = likelihood_interval(top, np.ones(1000))
    assert interval.low > 0
    assert interval.high - interval.value > 1.5 * (interval.value - interval.low)


@settings(max_examples=30)
@given(st.lists(st.integers(-5, 5), min_size=3, max_size=12), st.floats(-3, 3))
def test_moving_and_scaling_the_terms_moves_and_scales_the_interval(
    values: list[int], shift: float
) -> None:
    top = np.array(values, float)
    if np.ptp(top) == 0:
        return
    plain = likelihood_interval(top, np.ones(len(top)))
    moved = likelihood_interval(2 * top + shift, np.ones(len(top)))
    expected = Interval(*(2 * end + shift for end in (plain.value, plain.low, plain.high)))
    assert moved.low == pytest.approx(expected.low, abs=1e-6)
    assert moved.high == pytest.approx(expected.high, abs=1e-6)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(DataError, match="all rounds agree"):
        likelihood_interval(np.zeros(5), np.ones(5))
    with pytest.raises(DataError, match="all rounds agree"):
        likelihood_interval(np.full(5, 0.3), np.full(5, 0.1))
    with pytest.raises(DataError, match="sum to nothing"):
        likelihood_interval([], [])
    with pytest.raises(DataError, match="expected 2 rows and found 3"):
        likelihood_interval([1, 2], [1, 1, 1])
    with pytest.raises(ValueInvalidError, match="row 1, column numerators"):
        likelihood_interval([1, np.nan], [1, 1])
    with pytest.raises(ValueInvalidError, match="confidence"):
        likelihood_interval([1, 2], [1, 1], confidence=1)
