"""Chances of the highest draw against adaptive quadrature, Monte Carlo and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from adwright.core.errors import ValueInvalidError
from adwright.delivery.policy.rules import beta_chances, normal_chances


def literal_chances(beliefs: list[object], low: float, high: float) -> np.ndarray:
    """The integral as it stands, one item at a time, on scipy's distributions."""

    def chance(a: int) -> float:
        def integrand(x: float) -> float:
            others = [each.cdf(x) for b, each in enumerate(beliefs) if b != a]
            return float(beliefs[a].pdf(x) * np.prod(others))

        return float(integrate.quad(integrand, low, high, limit=400, epsabs=1e-11)[0])

    return np.array([chance(a) for a in range(len(beliefs))])


@pytest.mark.parametrize("ratio", [1.0, 4.0, 20.0])
def test_normals_equal_adaptive_quadrature(ratio: float) -> None:
    rng = np.random.default_rng(int(ratio))
    mean, spread = rng.normal(0, 1, 5), ratio ** rng.uniform(-1, 0, 5)
    exact = literal_chances([stats.norm(*pair) for pair in zip(mean, spread, strict=True)], -9, 9)
    assert normal_chances(mean, spread) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize(("clicks", "shown"), [(0.6, 2), (3, 60), (40, 3000)])
def test_betas_equal_adaptive_quadrature(clicks: float, shown: float) -> None:
    rng = np.random.default_rng(int(shown))
    a, b = rng.uniform(0.6, 2, 4) * clicks, rng.uniform(0.6, 2, 4) * (shown - clicks)
    top = float(stats.beta.ppf(1 - 1e-12, a, b).max())
    exact = literal_chances([stats.beta(*pair) for pair in zip(a, b, strict=True)], 0, top)
    assert beta_chances(a, b, np.zeros(4)) == pytest.approx(exact, abs=1e-6)


def test_two_normals_have_a_closed_form() -> None:
    chances = normal_chances(np.array([0.3, 0.1]), np.array([0.2, 0.4]))
    exact = stats.norm.cdf(0.2 / np.hypot(0.2, 0.4))
    assert chances == pytest.approx([exact, 1 - exact], abs=1e-7)


def test_two_uniforms_with_a_shift_have_a_closed_form() -> None:
    # Beta(1, 1) moved by log 2 in odds has F(p) = (p / (2 - p)); P(moved wins) = 2 - 2 log 2
    # ... as integral over p of F_plain's complement: 1 - int p/(2-p) dp = 2 - 2 log 2.
    chances = beta_chances(np.ones(2), np.ones(2), np.array([np.log(2), 0]))
    assert chances[0] == pytest.approx(2 - 2 * np.log(2), abs=1e-6)


def test_monte_carlo_agrees() -> None:
    rng = np.random.default_rng(0)
    a, b, shift = np.array([2.0, 5, 1, 9]), np.array([30.0, 60, 9, 200]), np.array([0, 0.1, -1, 0])
    draws = rng.beta(a, b, (200_000, 4))
    won = np.bincount((np.log(draws / (1 - draws)) + shift).argmax(1), minlength=4) / 200_000
    error = np.sqrt(won * (1 - won) / 200_000)
    assert (np.abs(beta_chances(a, b, shift) - won) < 4 * error).all()
    mean, spread = np.array([1.0, 1.2, 0.4]), np.array([0.5, 0.1, 1.0])
    won = np.bincount(rng.normal(mean, spread, (200_000, 3)).argmax(1), minlength=3) / 200_000
    error = np.sqrt(won * (1 - won) / 200_000)
    assert (np.abs(normal_chances(mean, spread) - won) < 4 * error).all()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(1e-3, 5)), min_size=1, max_size=8, unique=True),
    st.floats(-3, 3),
    st.floats(0.1, 10),
)
def test_chances_sum_to_one_and_only_differences_count(
    beliefs: list[tuple[float, float]], shift: float, scale: float
) -> None:
    mean, spread = np.array(beliefs).T
    chances = normal_chances(mean, spread)
    assert chances.sum() == pytest.approx(1)
    assert (chances >= 0).all()
    moved = normal_chances(scale * mean + shift, scale * spread)
    assert moved == pytest.approx(chances, abs=1e-5)
    order = np.random.default_rng(0).permutation(len(mean))
    assert normal_chances(mean[order], spread[order]) == pytest.approx(chances[order], abs=1e-6)


def test_equal_beliefs_have_equal_chances() -> None:
    for count in (1, 2, 7, 200):
        ones = np.ones(count)
        assert normal_chances(ones, ones) == pytest.approx(ones / count)
        assert beta_chances(0.5 * ones, 50 * ones, 0 * ones) == pytest.approx(ones / count)


def test_beliefs_far_too_narrow_for_the_grid_stay_nearly_right() -> None:
    chances = normal_chances(np.array([0.0, 0.5]), np.array([1.0, 1e-9]))
    assert chances[1] == pytest.approx(stats.norm.cdf(0.5), abs=1e-4)
    known = beta_chances(np.array([1.0, 5e8]), np.array([99.0, 4e10]), np.zeros(2))
    assert known[1] == pytest.approx(stats.beta.cdf(5e8 / 4.05e10, 1, 99), abs=1e-3)


def test_an_item_out_of_reach_has_no_chance() -> None:
    chances = normal_chances(np.array([0.0, 100.0]), np.array([1.0, 1.0]))
    assert chances.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("mean", "spread", "message"),
    [
        ([0, np.nan], [1, 1], "not finite .row 1, column mean"),
        ([0, 1], [1, 0], "must be above 0 .row 1, column spread"),
        ([0, 1], [np.inf, 1], "must be above 0 .row 0, column spread"),
    ],
)
def test_bad_normals_are_named(mean: list[float], spread: list[float], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        normal_chances(np.array(mean, float), np.array(spread, float))


def test_bad_betas_are_named() -> None:
    one = np.ones(2)
    with pytest.raises(ValueInvalidError, match=r"row 1, column successes, value 0\.0"):
        beta_chances(np.array([1.0, 0.0]), one, one)
    with pytest.raises(ValueInvalidError, match="row 0, column failures"):
        beta_chances(one, np.array([-1.0, 1.0]), one)
    with pytest.raises(ValueInvalidError, match="column shift"):
        beta_chances(one, one, np.array([0.0, np.inf]))
