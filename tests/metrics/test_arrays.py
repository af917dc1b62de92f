"""Input checks: what passes, in which type, and which row an error names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import chisquare, norm, ttest_ind
from sklearn.metrics import roc_auc_score

from adwright.core.errors import DataError, SchemaError, ValueInvalidError
from adwright.metrics import arrays
from adwright.metrics import arrays as keys
from adwright.metrics import bootstrap as b
from adwright.metrics import offpolicy as e
from adwright.metrics.classification import auc


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.uint8, np.float32, np.float64])
def test_labels_of_any_numeric_type_become_bytes(dtype: type) -> None:
    labels = arrays.as_labels(np.array([0, 1, 1, 0], dtype))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("wrong", [2, -1, 0.5, float("nan"), float("inf")])
def test_a_label_that_is_neither_0_nor_1_names_its_row(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match=r"neither 0 nor 1.*row 2") as caught:
        arrays.as_labels([0, 1, wrong, 1])
    assert caught.value.row == 2
    assert caught.value.column == "labels"


def test_text_labels_are_refused() -> None:
    with pytest.raises(SchemaError, match="numbers or booleans"):
        arrays.as_labels(["click", "none"])


def test_a_nan_score_names_its_row_and_infinities_pass() -> None:
    with pytest.raises(ValueInvalidError, match=r"NaN.*row 1"):
        arrays.as_scores([0.1, float("nan"), 0.2])
    assert arrays.as_scores([-np.inf, np.inf]).tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)],
)
def test_float_scores_keep_a_type_that_holds_them(given: type, kept: type) -> None:
    assert arrays.as_scores(np.array([0.5, 0.25], given)).dtype == kept


def test_integer_scores_pass_while_float64_can_tell_them_apart() -> None:
    assert arrays.as_scores(np.array([2**53, 0])).dtype == np.float64
    with pytest.raises(ValueInvalidError, match="too large"):
        arrays.as_scores(np.array([2**53 + 1, 0]))


def test_text_scores_are_refused() -> None:
    with pytest.raises(SchemaError, match="must be numbers"):
        arrays.as_scores(["a", "b"])


@pytest.mark.parametrize("wrong", [-0.01, 1.01, np.inf])
def test_a_probability_outside_names_its_row(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match=r"outside 0..1.*row 1"):
        arrays.as_probabilities([0.5, wrong])


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_a_wrong_weight_names_its_row(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match="row 1"):
        arrays.as_weights([1.0, wrong], 2)


def test_weights_may_be_absent_but_not_all_zero() -> None:
    assert arrays.as_weights(None, 3) is None
    with pytest.raises(ValueInvalidError, match="all weights are zero"):
        arrays.as_weights([0, 0], 2)


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2]])
def test_offsets_must_span_the_values(offsets: list[int]) -> None:
    with pytest.raises(DataError, match="from 0 to the number of values, 3"):
        arrays.as_offsets(np.array(offsets, np.int64), 3)


def test_offsets_must_not_fall_and_must_be_integers() -> None:
    with pytest.raises(ValueInvalidError, match=r"offsets fall.*row 2"):
        arrays.as_offsets([0, 2, 1, 3], 3)
    with pytest.raises(SchemaError, match="integers"):
        arrays.as_offsets([0.0, 3.0], 3)


@pytest.mark.parametrize(
    "groups",
    [
        np.array([7, 9, 7, -3]),
        np.array([-128, 127, 0], np.int8),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([2**63 + 5, 2**63], np.uint64),
        np.array([-(2**62), 2**62]),
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], object),
        np.array([True, False]),
        np.array([1.5, 0.5, 1.5]),
    ],
)
def test_codes_keep_groups_apart_in_order_and_give_the_ids_back(groups: np.ndarray) -> None:
    codes = arrays.as_codes(groups, len(groups))
    _, expected = np.unique(groups, return_inverse=True)
    _, found = np.unique(codes.codes, return_inverse=True)
    assert found.tolist() == expected.tolist()
    assert codes.codes.min() >= 0
    assert codes.codes.max() < codes.span <= 2**31
    assert codes.ids_of(codes.codes).tolist() == groups.tolist()


def test_a_nan_group_names_its_row() -> None:
    with pytest.raises(ValueInvalidError, match="row 1"):
        arrays.as_codes([1.0, np.nan], 2)


def test_lengths_and_dimensions_are_checked() -> None:
    with pytest.raises(DataError, match=r"expected 3 rows and found 2.*groups"):
        arrays.as_codes([1, 2], 3)
    with pytest.raises(DataError, match="one dimension"):
        arrays.as_labels([[0, 1]])


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_counts_must_be_positive_integers(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match="k must be a whole number"):
        arrays.check_positive_integer(wrong, "k")  # type: ignore[arg-type]


def test_the_first_wrong_row_is_named_with_its_value() -> None:
    wrong, values = np.array([False, True, True]), np.array([0.5, 1.5, 2.5])
    arrays.refuse(np.zeros(3, bool), "no", "x", values)
    with pytest.raises(ValueInvalidError, match=r"too large.*row 1.*column x") as caught:
        arrays.refuse(wrong, "too large", "x", values, "halve it")
    error = caught.value
    assert (error.row, error.column, error.value, error.hint) == (1, "x", 1.5, "halve it")
    with pytest.raises(ValueInvalidError) as caught:
        arrays.refuse(wrong, "too large", "x")
    assert caught.value.value is None
    assert caught.value.row == 1


def test_a_row_of_several_values_is_told_whole() -> None:
    with pytest.raises(ValueInvalidError) as caught:
        arrays.refuse(np.array([False, True]), "no", "x", np.array([[1, 2], [3, 4]]))
    assert caught.value.value == [3, 4]


@pytest.mark.parametrize(
    ("confidence", "expected"), [(0.5, 0.6744898), (0.6826895, 1.0), (0.95, 1.9599640)]
)
def test_the_normal_quantile_is_that_of_the_tables(confidence: float, expected: float) -> None:
    assert arrays.normal_quantile(confidence) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("wrong", [0, 1, -0.5, 95, float("nan")])
def test_a_confidence_is_a_share(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match="strictly between 0 and 1"):
        arrays.normal_quantile(wrong)


def test_views_are_returned_where_no_change_is_needed() -> None:
    scores = np.array([0.25, 0.5])
    labels = np.array([True, False])
    assert arrays.as_scores(scores) is scores
    assert np.shares_memory(arrays.as_labels(labels), labels)
    codes = arrays.as_codes(np.array([0, 2, 1]), 3)
    assert (codes.span, codes.ids, codes.base) == (3, None, 0)


singles = st.floats(width=32, allow_nan=False)
doubles = st.floats(allow_nan=False)


@given(st.lists(singles, max_size=40))
def test_float_order_agrees_with_comparison(values: list[float]) -> None:
    scores = np.array(values, np.float32)
    order = keys.float_order(scores)
    assert ((order[:, None] < order) == (scores[:, None] < scores)).all()
    assert ((order[:, None] == order) == (scores[:, None] == scores)).all()


@given(st.lists(doubles, max_size=40))
def test_dense_order_is_exact(values: list[float]) -> None:
    scores = np.array(values, np.float64)
    order = keys.dense_order(scores)
    assert order.tolist() == np.unique(scores, return_inverse=True)[1].tolist()


def test_zeros_of_both_signs_are_one_score() -> None:
    order = keys.float_order(np.array([-0.0, 0.0], np.float32))
    assert order[0] == order[1]


def test_lossless_tells_what_float32_holds() -> None:
    assert keys.is_lossless(np.array([0.5, 3.0, np.inf]))
    assert keys.is_lossless(np.array([0.1], np.float32))
    assert not keys.is_lossless(np.array([0.1]))
    assert not keys.is_lossless(np.array([1e300]))


def test_keys_sort_by_group_then_score_then_label() -> None:
    codes = np.array([2**31 - 1, 0, 0, 0])
    order = keys.float_order(np.array([-1.0, 2.0, 1.0, 1.0], np.float32))
    packed = keys.pack(codes, order, np.array([0, 0, 1, 0], np.uint8))
    assert np.argsort(packed).tolist() == [3, 2, 1, 0]


def test_run_starts_of_empty_and_full_arrays() -> None:
    assert keys.run_starts(np.array([])).tolist() == []
    assert keys.run_starts(np.array([4, 4, 5, 7, 7])).tolist() == [0, 2, 3]


def test_hash_order_is_fixed_without_collisions_and_depends_on_the_seed() -> None:
    positions = np.arange(100_000)
    first = keys.hash_order(positions)
    assert len(np.unique(first)) == len(positions)
    assert (first == keys.hash_order(positions)).all()
    assert (first != keys.hash_order(positions, seed=1)).all()
    # Neighbours are in either order about equally often.
    assert abs((np.diff(first.astype(np.float64)) > 0).mean() - 0.5) < 0.01


def people(
    seed: int, count: int = 400, *, effect: float = 0.3, covariates: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes that the past explains in part, arms, and the past [N, P]."""
    rng = np.random.default_rng(seed)
    past = rng.exponential(1, (count, covariates))
    treated = rng.integers(0, 2, count)
    outcome = past @ np.arange(1, covariates + 1) + effect * treated + rng.normal(size=count)
    return outcome, treated, past


@pytest.mark.parametrize("covariates", [1, 3])
def test_cuped_is_the_coefficient_of_a_regression(covariates: int) -> None:
    outcome, treated, past = people(0, covariates=covariates)
    design = np.column_stack([np.ones(len(outcome)), treated, past])
    coefficients = np.linalg.solve(design.T @ design, design.T @ outcome)
    found = e.compare(outcome, treated, covariates=past)
    assert found.difference.value == pytest.approx(coefficients[1], rel=1e-10)
    assert found.slope == pytest.approx(coefficients[2:], rel=1e-10)
    assert found.treated - found.control == pytest.approx(coefficients[1])


def test_without_covariates_it_is_the_difference_of_means_with_welchs_error() -> None:
    outcome, treated, _ = people(1)
    a, b = outcome[treated == 1], outcome[treated == 0]
    found = e.compare(outcome, treated)
    welch = ttest_ind(a, b, equal_var=False)
    assert found.difference.value == pytest.approx(a.mean() - b.mean())
    assert found.difference.value / found.standard_error == pytest.approx(welch.statistic)
    reach = norm.ppf(0.975) * found.standard_error
    assert found.difference.high - found.difference.value == pytest.approx(reach)
    assert (found.control, found.treated) == pytest.approx((b.mean(), a.mean()))
    assert found.people == (len(b), len(a))
    assert found.variance_reduction == 0
    assert found.slope.shape == (0,)
    assert e.compare(outcome, treated, confidence=0.5).difference.width < found.difference.width


def test_one_covariate_by_hand() -> None:
    # Within arms: x = -1, 1 and y = -2, 2 in both, so theta = 2 and nothing is left but the
    # difference of 3 at equal x; arm means of x are 1 and 2.
    outcome, treated, past = [0, 4, 5, 9], [0, 0, 1, 1], [0, 2, 1, 3]
    found = e.compare([*outcome, 2, 7], [*treated, 0, 1], covariates=[*past, 1, 2])
    assert found.slope == pytest.approx([2])
    assert found.difference.value == pytest.approx(5 - 2)
    assert found.standard_error == pytest.approx(0, abs=1e-9)
    assert found.variance_reduction == pytest.approx(1)


def test_the_variance_falls_by_what_the_past_explains() -> None:
    outcome, treated, past = people(2, 20_000)
    plain, cuped = e.compare(outcome, treated), e.compare(outcome, treated, covariates=past)
    # outcome = past + noise, both of variance 1 within arms: half of it is explained.
    assert cuped.variance_reduction == pytest.approx(0.5, abs=0.02)
    ratio = (cuped.standard_error / plain.standard_error) ** 2
    assert cuped.variance_reduction == pytest.approx(1 - ratio)
    useless = np.random.default_rng(0).normal(size=len(outcome))
    assert abs(e.compare(outcome, treated, covariates=useless).variance_reduction) < 0.002


def test_cuped_intervals_cover_and_vary_less() -> None:
    errors, covered = {"plain": [], "cuped": []}, {"plain": 0, "cuped": 0}
    for seed in range(300):
        outcome, treated, past = people(seed, 200)
        for name, x in (("plain", None), ("cuped", past)):
            found = e.compare(outcome, treated, covariates=x)
            errors[name].append(found.difference.value - 0.3)
            covered[name] += not found.difference.excludes(0.3)
    assert np.std(errors["cuped"]) < 0.8 * np.std(errors["plain"])
    assert abs(np.mean(errors["cuped"])) < 3 * np.std(errors["cuped"]) / np.sqrt(300)
    assert min(covered.values()) >= 0.91 * 300


def test_peeking_a_hundred_times_seldom_finds_what_is_not_there() -> None:
    looks = np.arange(100, 2001, 19)
    fooled = {"always valid": 0, "one look, a hundred times": 0}
    trials = 150
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        outcome = rng.exponential(1, 2000)
        sums = np.cumsum(np.where(np.arange(2000) % 2, outcome, -outcome))[looks - 1]
        difference = sums / (looks / 2)
        error = np.sqrt(4 / looks)  # variance 1 in both arms
        found = e.always_valid(difference, error, mixture=0.1)
        fooled["always valid"] += found.stopped is not None
        fooled["one look, a hundred times"] += bool((np.abs(difference) > 1.96 * error).any())
    assert fooled["always valid"] <= 0.05 * trials
    assert fooled["one look, a hundred times"] > 0.2 * trials


def test_estimated_variances_and_cuped_keep_the_promise_too() -> None:
    fooled, trials = 0, 60
    for seed in range(trials):
        outcome, treated, past = people(seed, 1200, effect=0.0)
        looks = np.arange(100, 1201, 50)
        found = e.sequential(outcome, treated, looks, mixture=0.1, covariates=past)
        fooled += found.stopped is not None
    assert fooled <= 0.05 * trials


def test_a_difference_is_found_and_sooner_with_cuped() -> None:
    looks = np.arange(100, 3001, 100)
    stops = {"plain": [], "cuped": []}
    for seed in range(8):
        outcome, treated, past = people(seed, 3000)
        for name, x in (("plain", None), ("cuped", past)):
            found = e.sequential(outcome, treated, looks, mixture=0.2, covariates=x)
            assert found.stopped is not None
            assert found.low[-1] <= 0.3 <= found.high[-1]
            stops[name].append(looks[found.stopped])
    assert np.mean(stops["cuped"]) < np.mean(stops["plain"])


def test_one_look_by_hand() -> None:
    d, v, t, alpha = 0.5, 0.04, 0.3, 0.1
    ratio = np.sqrt(v / (v + t**2)) * np.exp(t**2 * d**2 / (2 * v * (v + t**2)))
    # The same ratio as the mixture that it is: the mean of the normal likelihoods over N(0, t^2).
    drift = np.linspace(-3, 3, 200_001)
    likelihood = norm.pdf(d, drift, np.sqrt(v)) / norm.pdf(d, 0, np.sqrt(v))
    assert np.trapezoid(likelihood * norm.pdf(drift, 0, t), drift) == pytest.approx(ratio)
    found = e.always_valid([d], [np.sqrt(v)], mixture=t, confidence=1 - alpha)
    assert found.p_value[0] == pytest.approx(1 / ratio)
    # At the end of the interval the ratio is 1 / alpha.
    reach = d - found.low[0]
    at_end = np.sqrt(v / (v + t**2)) * np.exp(t**2 * reach**2 / (2 * v * (v + t**2)))
    assert at_end == pytest.approx(1 / alpha)
    assert found.high[0] - d == pytest.approx(reach)


def test_looks_only_add_to_what_is_known() -> None:
    outcome, treated, _ = people(4, 1000, effect=0.8)
    found = e.sequential(outcome, treated, np.arange(50, 1001, 25), mixture=0.3)
    assert (np.diff(found.low) >= 0).all()
    assert (np.diff(found.high) <= 0).all()
    assert (np.diff(found.p_value) <= 0).all()
    assert found.stopped is not None
    assert found.p_value[found.stopped] < 0.05 <= found.p_value[found.stopped - 1]


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_the_best_mixture_is_the_narrowest(confidence: float) -> None:
    def width(mixture: float) -> float:
        found = e.always_valid([0], [0.2], mixture=mixture, confidence=confidence)
        return float(found.high[0] - found.low[0])

    best = minimize_scalar(width, bounds=(0.01, 5), method="bounded", options={"xatol": 1e-6})
    assert e.best_mixture(0.2, confidence=confidence) == pytest.approx(best.x, rel=1e-3)


def test_every_argument_moves_the_sequential_test() -> None:
    base = e.always_valid([0.5, 0.4], [0.2, 0.1], mixture=0.3)
    for other in (
        e.always_valid([0.6, 0.4], [0.2, 0.1], mixture=0.3),
        e.always_valid([0.5, 0.4], [0.3, 0.1], mixture=0.3),
        e.always_valid([0.5, 0.4], [0.2, 0.1], mixture=0.6),
        e.always_valid([0.5, 0.4], [0.2, 0.1], mixture=0.3, confidence=0.8),
    ):
        assert other.low[0] != base.low[0]


def test_sample_ratio_is_the_chi_square_test() -> None:
    treated = np.repeat([1, 0], [560, 440])
    assert e.sample_ratio(treated) == pytest.approx(chisquare([560, 440]).pvalue)
    assert e.sample_ratio(treated, share=0.56) == pytest.approx(1)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: e.compare([1, 2, 3], [0, 0, 1]), "too few people"),
        (lambda: e.compare([1, 2, 3, 4], [0, 0, 1, 1], covariates=[1, 2, 3, 4]), "too few"),
        (lambda: e.compare([1, 2], [0, 0, 1]), "expected 3 rows and found 2"),
        (
            lambda: e.compare(np.ones(6), [0, 1] * 3, covariates=np.ones((6, 1, 1))),
            "or .N, P. and found",
        ),
        (lambda: e.sequential([1, 2, 3, 4], [0, 0, 1, 1], [4, 4], mixture=1), "looks must rise"),
        (lambda: e.sequential([1, 2, 3, 4], [0, 0, 1, 1], [5], mixture=1), "people, 4"),
        (lambda: e.sequential([1, 2, 3, 4], [0, 0, 1, 1], [], mixture=1), "looks must rise"),
    ],
)
def test_data_that_does_not_fit(run: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: e.compare([1, np.nan, 3, 4], [0, 0, 1, 1]), "row 1, column outcome"),
        (
            lambda: e.compare(np.ones(6), [0, 1] * 3, covariates=[0, 0, np.inf, 0, 0, 0]),
            "row 2, column covariates",
        ),
        (lambda: e.compare([1, 2, 3, 4], [0, 0, 1, 2]), "row 3, column labels"),
        (lambda: e.compare([1, 2, 3, 4], [0, 0, 1, 1], confidence=1), "confidence"),
        (lambda: e.always_valid([0], [1], mixture=0), "mixture must be above 0"),
        (lambda: e.always_valid([0], [1], mixture=1, confidence=0), "confidence"),
        (lambda: e.always_valid([0, 0], [1, 0], mixture=1), "row 1, column standard_error"),
        (lambda: e.always_valid([np.nan], [1], mixture=1), "row 0, column difference"),
        (lambda: e.best_mixture(0), "standard_error must be above 0"),
        (lambda: e.sample_ratio([0, 1], share=1), "share lies strictly"),
    ],
)
def test_values_that_cannot_be_used(run: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        run()


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bootstrap_people(
    seed: int, users: int = 60, rows: int = 3000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and users, with people who differ in size, taste and ease."""
    rng = generator(seed)
    size = rng.gamma(1.0, size=users) + 0.05
    user = rng.choice(users, rows, p=size / size.sum())
    taste = rng.normal(0, 1, users)
    logit = rng.normal(-2, 1, rows) + taste[user]
    labels = rng.random(rows) < 1 / (1 + np.exp(-logit))
    return labels, logit + rng.normal(0, 1, rows), user


def test_counts_are_resamples_of_everybody() -> None:
    chunks = list(b.draw_counts(7, 500, generator()))
    counts = np.concatenate(chunks)
    assert counts.shape == (500, 7)
    assert (counts.sum(1) == 7).all()
    assert counts.mean(0) == pytest.approx(np.ones(7), abs=0.15)
    # Multinomial(7, 1/7): variance 7 (1/7) (6/7).
    assert counts.var() == pytest.approx(6 / 7, abs=0.06)


def test_ratio_equals_resampling_rows_of_people_by_hand() -> None:
    rng = generator(1)
    numerators, denominators = rng.random(40), rng.integers(1, 9, 40)
    interval = b.bootstrap_ratio(numerators, denominators, generator(5), 400)
    drawn = []
    for counts in np.concatenate(list(b.draw_counts(40, 400, generator(5)))):
        who = np.repeat(np.arange(40), counts.astype(int))
        drawn.append(numerators[who].sum() / denominators[who].sum())
    assert interval.value == pytest.approx(numerators.sum() / denominators.sum())
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_the_generator_decides_and_arguments_matter() -> None:
    n, d = generator(2).random((2, 50)) + 0.1
    first = b.bootstrap_ratio(n, d, generator(1))
    assert first == b.bootstrap_ratio(n, d, generator(1))
    assert first != b.bootstrap_ratio(n, d, generator(2))
    assert first != b.bootstrap_ratio(n, d, generator(1), 300)
    assert first.width > b.bootstrap_ratio(n, d, generator(1), confidence=0.5).width


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = generator(4)
    covered = 0
    for _ in range(300):
        size = rng.integers(1, 20, 100)
        hits = rng.binomial(size, 0.3)
        interval = b.bootstrap_ratio(hits, size, rng, 300)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.90 <= covered / 300 <= 0.985


def test_people_with_zero_and_zero_are_resampled_but_weigh_nothing() -> None:
    n, d = np.array([1.0, 2, 0, 0]), np.array([2.0, 3, 0, 0])
    interval = b.bootstrap_ratio(n, d, generator())
    assert interval.value == 0.6
    # Draws of the last two alone are undefined; the others lie between 1/2 and 2/3.
    assert (interval.low, interval.high) == pytest.approx((1 / 2, 2 / 3))


def test_a_difference_is_paired() -> None:
    rng = generator(5)
    ease = rng.normal(0, 1, 200)
    a, other = ease + 0.05 + rng.normal(0, 0.05, 200), ease
    ones = np.ones(200)
    paired = b.bootstrap_difference(a, other, ones, generator(1))
    assert paired.value == pytest.approx((a - other).mean())
    assert paired.excludes(0)
    assert not paired.excludes(paired.value)
    assert paired.width < b.bootstrap_ratio(a, ones, generator(1)).width / 5
    same = b.bootstrap_difference(a, a, ones, generator(1))
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_a_difference_may_have_two_denominators() -> None:
    n = np.array([1.0, 2, 3])
    interval = b.bootstrap_difference(n, n, [2, 4, 6], generator(), denominators_b=[4, 8, 12])
    assert (interval.value, interval.low, interval.high) == (0.25, 0.25, 0.25)


def exact_draws(
    labels: np.ndarray, scores: np.ndarray, user: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    weights = (count[user] for count in counts)
    return np.array([roc_auc_score(labels, scores, sample_weight=one) for one in weights])


@pytest.mark.parametrize("rounded", [False, True])
def test_auc_draws_equal_exact_resampling(rounded: bool) -> None:
    labels, scores, user = bootstrap_people(7)
    scores = np.round(scores) if rounded else scores
    fast = b.auc_draws(labels, scores, user, generator(3), 60)
    counts = np.concatenate(list(b.draw_counts(60, 60, generator(3))))
    exact = exact_draws(labels, scores, user, counts)
    assert np.abs(fast - exact).max() < 0.01 * exact.std()


def test_coarse_bins_are_corrected_and_fine_ones_nearly_exact() -> None:
    labels, scores, user = bootstrap_people(8)
    counts = np.concatenate(list(b.draw_counts(60, 40, generator(3))))
    exact = exact_draws(labels, scores, user, counts)

    def error(bins: int) -> float:
        return float(
            np.abs(b.auc_draws(labels, scores, user, generator(3), 40, bins=bins) - exact).max()
        )

    assert error(2048) < error(8) < 0.02


def test_the_draws_of_auc_lie_around_the_exact_value() -> None:
    labels, scores, user = bootstrap_people(9)
    drawn, exact = b.auc_draws(labels, scores, user, generator()), auc(labels, scores)
    assert np.quantile(drawn, 0.025) < exact < np.quantile(drawn, 0.975)
    # Rows of a person depend on each other: pretending otherwise would be too narrow.
    rows = b.auc_draws(labels, scores, np.arange(len(user)), generator(), 500)
    assert rows.std() < drawn.std()


def test_many_people_in_blocks_give_the_same_width() -> None:
    labels, scores, user = bootstrap_people(10, users=3000, rows=12_000)
    each = b.auc_draws(labels, scores, user, generator(), 1500)
    blocks = b.auc_draws(labels, scores, user, generator(), 1500, blocks=400)
    assert blocks.std() == pytest.approx(each.std(), rel=0.15)
    of_row, count = b.user_blocks(user, len(user), generator(), 400)
    assert count == 400
    # A person is never split over blocks.
    assert len(np.unique(of_row * 3000 + user)) == len(np.unique(user))


def test_two_models_in_the_same_state_draw_the_same_people() -> None:
    labels, scores, user = bootstrap_people(11)
    better = scores + labels
    apart = b.auc_draws(labels, better, user, generator(1)) - b.auc_draws(
        labels, scores, user, generator(2)
    )
    paired = b.auc_draws(labels, better, user, generator(1)) - b.auc_draws(
        labels, scores, user, generator(1)
    )
    assert paired.std() < apart.std()


def test_people_may_have_any_ids() -> None:
    labels, scores, user = bootstrap_people(12)
    by_text = np.array([f"p{one:03d}" for one in user])
    first = b.auc_draws(labels, scores, user, generator())
    for ids in (by_text, user * 10**15):
        assert b.auc_draws(labels, scores, ids, generator()).tolist() == first.tolist()


def test_undefined_measures_are_errors() -> None:
    with pytest.raises(DataError, match="undefined on these people"):
        b.bootstrap_ratio([0, 0], [0, 0], generator())
    with pytest.raises(DataError, match="nobody to resample"):
        b.bootstrap_ratio([], [], generator())
    with pytest.raises(ValueInvalidError, match=r"not finite.*row 1.*numerators.*0 and 0"):
        b.bootstrap_ratio([0, np.nan], [1, 1], generator())
    with pytest.raises(DataError, match=r"expected 2 rows and found 1.*denominators"):
        b.bootstrap_ratio([0, 1], [1], generator())
    with pytest.raises(ValueInvalidError, match="draws"):
        b.bootstrap_ratio([0, 1], [1, 1], generator(), 0)
    with pytest.raises(ValueInvalidError, match="confidence"):
        b.bootstrap_ratio([0, 1], [1, 1], generator(), confidence=95)


def test_an_interval_as_text() -> None:
    one = b.Interval(0.12346, -0.5, 1.0)
    assert one.text() == "0.1235 (-0.5000 to 1.0000)"
    assert one.text("+.1f", brackets=True) == "+0.1 [-0.5, +1.0]"
    assert one.text(".0%") == "12% (-50% to 100%)"


@pytest.mark.parametrize("blocks", [3, 10])
def test_blocks_hold_whole_users_of_nearly_equal_numbers(blocks: int) -> None:
    users = generator(8).integers(0, 25, 400) * 7 - 30
    block, count = b.user_blocks(users, 400, generator(), blocks)
    assert count == blocks
    of_user = {user: set(block[users == user].tolist()) for user in set(users.tolist())}
    assert all(len(found) == 1 for found in of_user.values())
    sizes = np.bincount([found.pop() for found in of_user.values()], minlength=blocks)
    assert sizes.max() - sizes.min() <= 1
