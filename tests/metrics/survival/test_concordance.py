"""Harrell's and Uno's C against literal loops and lifelines, and what a bootstrap makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.bootstrap import bootstrap_ratio, draw_counts
from adwright.metrics.survival import Concordance, harrell_c
from adwright.metrics.two_level import two_level_ratio
from benchmarks.lifetime._calibration import censoring_curve, uno_c

Lives = tuple[np.ndarray, np.ndarray, np.ndarray]


def weekly(units: int, seed: int = 0, risks: int = 12) -> Lives:
    """Ages, ends and risks; more than half live one week, and risks tie."""
    rng = np.random.default_rng(seed)
    risk = rng.integers(0, risks, units)
    time = np.minimum(rng.geometric(0.45 + 0.2 * risk / risks), 9)
    return time.astype(np.float64), (rng.random(units) < 0.8) & (time < 9), risk


def literal(
    time: np.ndarray,
    ended: np.ndarray,
    risk: np.ndarray,
    entry: np.ndarray,
    mass: np.ndarray,
    first: np.ndarray,
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """(C, pairs, won by unit, compared by unit), pair by pair; first: the weight of an end."""
    won, compared = np.zeros((2, len(time)))
    for i in range(len(time)):
        for j in range(len(time)):
            outlived = time[j] > time[i] or (time[j] == time[i] and not ended[j])
            if not ended[i] or i == j or not outlived or entry[j] >= time[i]:
                continue
            weight = first[i] * mass[i] * mass[j]
            for unit in (i, j):
                compared[unit] += weight
                won[unit] += weight * (float(risk[i] > risk[j]) + 0.5 * float(risk[i] == risk[j]))
    return won.sum() / compared.sum(), compared.sum() / 2, won, compared


def check_equal(found: Concordance, expected: tuple[float, float, np.ndarray, np.ndarray]) -> None:
    assert found.value == pytest.approx(expected[0], abs=1e-12)
    assert found.pairs == pytest.approx(expected[1], rel=1e-12)
    assert (found.concordant + found.tied / 2) / found.pairs == pytest.approx(found.value)
    np.testing.assert_allclose(found.won, expected[2], rtol=1e-10)
    np.testing.assert_allclose(found.compared, expected[3], rtol=1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_harrell_counts_pairs_as_a_loop_does(seed: int, late: bool, weighted: bool) -> None:
    time, ended, risk = weekly(90, seed)
    rng = np.random.default_rng(seed)
    entry = np.floor(rng.random(90) * time) if late else np.zeros(90)
    mass = rng.integers(0, 4, 90).astype(np.float64) if weighted else np.ones(90)
    found = harrell_c(time, ended, risk, entry=entry, weights=mass if weighted else None)
    check_equal(found, literal(time, ended, risk, entry, mass, np.ones(90)))


@pytest.mark.parametrize("seed", range(3))
def test_uno_weighs_an_end_by_the_chance_that_it_is_seen(seed: int) -> None:
    time, ended, risk = weekly(90, seed)
    curve = censoring_curve(time, ended)
    first = 1 / curve.at(time, before=True) ** 2
    check_equal(uno_c(time, ended, risk), literal(time, ended, risk, time * 0, time**0, first))
    other = censoring_curve(*weekly(9000, 9)[:2])
    first = 1 / other.at(time, before=True) ** 2
    found = uno_c(time, ended, risk, censoring=other)
    check_equal(found, literal(time, ended, risk, time * 0, time**0, first))


def test_uno_without_censoring_is_harrell() -> None:
    time, _, risk = weekly(200)
    ended = np.ones(200, bool)
    assert uno_c(time, ended, risk).value == pytest.approx(harrell_c(time, ended, risk).value)


@pytest.mark.parametrize("risks", [5, 10_000])
def test_it_is_that_of_lifelines(risks: int) -> None:
    time, ended, risk = weekly(400, 3, risks)
    theirs = concordance_index(time, -risk, ended)
    assert harrell_c(time, ended, risk).value == pytest.approx(theirs, abs=1e-12)
    exact = np.random.default_rng(0).exponential(size=400)
    theirs = concordance_index(exact, -risk, ended)
    assert harrell_c(exact, ended, risk).value == pytest.approx(theirs, abs=1e-12)


def test_two_that_ended_at_one_age_are_no_pair_and_one_censored_then_outlived() -> None:
    assert harrell_c([1, 1, 2], [1, 1, 1], [3, 2, 1]).pairs == 2
    assert harrell_c([1, 1], [1, 0], [3, 2]).value == 1
    with pytest.raises(DataError, match="no pair"):
        harrell_c([1, 1], [1, 1], [3, 2])
    with pytest.raises(DataError, match="0 ends among 2 units"):
        harrell_c([1, 2], [0, 0], [3, 2])


def test_one_order_is_told_from_its_reverse_and_from_none() -> None:
    time, ended, _ = weekly(300)
    lived = time + np.where(ended, 0, 0.5)  # who was censored at an age outlived it
    assert harrell_c(time, ended, -lived).value == 1
    assert harrell_c(time, ended, lived).value == 0
    assert harrell_c(time, ended, np.zeros(300)).value == 0.5


def test_pairs_may_be_bounded_by_the_age_of_the_first_end() -> None:
    time, ended, risk = weekly(90)
    early = harrell_c(time, ended, risk, until=2)
    seen = ended & (time <= 2)
    assert early.value == pytest.approx(
        literal(np.minimum(time, 2.5), seen, risk, time * 0, time**0, time**0)[0]
    )
    assert early.pairs < harrell_c(time, ended, risk).pairs
    assert uno_c(time, ended, risk, until=2).pairs < uno_c(time, ended, risk).pairs
    with pytest.raises(ValueInvalidError, match="until"):
        harrell_c(time, ended, risk, until=float("nan"))


def test_the_population_is_said() -> None:
    time, ended, risk = weekly(90)
    text = harrell_c(time, ended, risk, until=3, of="spells").population
    assert text.startswith(f"90 spells, of which {ended.sum()} ended; ")
    assert text.endswith("pairs of which one ended first, by age 3")
    assert "weighted for censoring" in uno_c(time, ended, risk).population
    late = harrell_c(time, ended, risk, entry=np.where(time > 3, 2.0, 0.0)).population
    assert late.endswith("both watched by then")


def test_uno_is_refused_where_delayed_entry_left_somebody_unwatched() -> None:
    time, ended, risk = weekly(90)
    with pytest.raises(DataError, match="not defined"):
        uno_c(time, ended, risk, entry=np.where(time > 3, 2.0, 0.0))
    shifted = uno_c(time + 5, ended, risk, entry=np.full(90, 5.0))
    assert shifted.value == pytest.approx(uno_c(time, ended, risk).value)


def test_a_curve_of_censoring_that_ends_too_early_is_refused() -> None:
    curve = censoring_curve([1, 2], [0, 0])
    with pytest.raises(DataError, match="nobody is left"):
        uno_c([3, 4], [1, 1], [2, 1], censoring=curve)


def test_infinite_risks_are_the_highest_and_the_lowest() -> None:
    assert harrell_c([1, 2, 3], [1, 1, 1], [np.inf, 0, -np.inf]).value == 1


@pytest.mark.parametrize(
    ("time", "ended", "said"),
    [
        ([1, -1], [1, 0], "age is negative"),
        ([1, np.nan], [1, 0], "NaN"),
        ([1, 2], [1, 2], "neither 0 nor 1"),
    ],
)
def test_a_wrong_life_is_named(time: list[float], ended: list[int], said: str) -> None:
    with pytest.raises(ValueInvalidError, match=said):
        harrell_c(time, ended, [1, 2])


def test_weights_are_multiplicities() -> None:
    time, ended, risk = weekly(80)
    many = np.random.default_rng(1).integers(0, 4, 80)
    copied = [np.repeat(each, many) for each in (time, ended, risk)]
    # Copies of an end are no pair, as they ended at one age; those of a censoring neither.
    whole = harrell_c(*copied)
    assert harrell_c(time, ended, risk, weights=many).value == pytest.approx(whole.value)


def test_sums_by_owner_give_the_index_and_its_interval() -> None:
    time, ended, risk = weekly(3000, risks=300)
    owner = np.random.default_rng(2).integers(0, 150, 3000) * 3
    found = harrell_c(time, ended, risk)
    top, bottom = found.owner_sums(owner)
    assert len(top) == len(np.unique(owner))
    assert top.sum() / bottom.sum() == pytest.approx(found.value)
    fast = bootstrap_ratio(top, bottom, np.random.default_rng(3), 300)
    # Exactly: the index of each resample, with its owners as often as they were drawn.
    place = np.unique(owner, return_inverse=True)[1]
    drawn = [
        harrell_c(time, ended, risk, weights=counts[place]).value
        for block in draw_counts(len(top), 300, np.random.default_rng(3))
        for counts in block
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert fast.width == pytest.approx(high - low, rel=0.1)
    assert fast.low == pytest.approx(low, abs=0.1 * fast.width)
    both = two_level_ratio([top, top], [bottom, bottom], np.random.default_rng(3))
    assert both.value == pytest.approx(found.value)


def test_four_million_weekly_lives_would_take_seconds() -> None:
    """Linear but for a logarithm: 16 times the units take little more than 16 times the time."""
    from time import process_time

    took = []
    for units in (25_000, 400_000):
        lives = weekly(units, 5, 1000)
        begin = process_time()
        harrell_c(*lives)
        took.append(process_time() - begin)
    assert took[1] < 10 * (400_000 / 4_000_000)
    assert took[1] < 60 * took[0]
