"""Intervals over seeds and users: against loops, and how often they claim what is not so."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.bootstrap import (
    Interval,
    MethodInterval,
    bootstrap_difference,
    bootstrap_ratio,
    student_quantile,
    two_level_difference,
    two_level_ratio,
    with_seeds,
)

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
