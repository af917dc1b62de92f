"""CUPED against a literal regression, and the sequential test under a hundred looks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import chisquare, norm, ttest_ind

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics import offpolicy as e


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
