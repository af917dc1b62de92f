"""AUC, Brier score, D-calibration and reliability against their definitions, loop by loop."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from scipy import stats

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.survival import Concordance, as_lives, harrell_c
from benchmarks.lifetime._calibration import (
    brier_per_unit,
    brier_scores,
    censoring_curve,
    cumulative_auc,
    d_calibration,
    kaplan_meier,
    known_weights,
    refuse_truncated,
    reliability_at,
    uno_c,
)

HORIZONS = [1.0, 2.0, 4.0]


def lives(units: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weekly ages, ends, and the true chance of ending in each week."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.1, 0.6, units)
    true, until = rng.geometric(chance), rng.integers(1, 9, units)
    return np.minimum(true, until).astype(float), true <= until, chance


def survival(chance: np.ndarray, ages: list[float]) -> np.ndarray:
    return (1 - chance[:, None]) ** np.asarray(ages)


def literal_weight(time: float, ended: bool, horizon: float, curve: object) -> float:
    if ended and time <= horizon:
        return 1 / float(curve.at(time, before=True))  # type: ignore[attr-defined]
    return 1 / float(curve.at(horizon, before=True)) if time >= horizon else 0.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", [False, True])
def test_auc_is_that_of_all_pairs_of_ended_and_left(given: bool) -> None:
    time, ended, chance = lives()
    curve = censoring_curve(*(lives(400, 3) if given else (time, ended))[:2])
    found = cumulative_auc(time, ended, chance, HORIZONS, censoring=curve if given else None)
    for place, horizon in enumerate(HORIZONS):
        won = pairs = 0.0
        for i in range(len(time)):
            for j in range(len(time)):
                over = ended[i] and time[i] <= horizon
                left = time[j] > horizon or (time[j] == horizon and not ended[j])
                if over and left:
                    weight = literal_weight(time[i], True, horizon, curve)
                    pairs += weight
                    won += weight * ((chance[i] > chance[j]) + 0.5 * (chance[i] == chance[j]))
        assert found.auc[place] == pytest.approx(won / pairs)
    left = kaplan_meier(time, ended).at(HORIZONS)
    falls = np.array([1 - left[0], left[0] - left[1], left[1] - left[2]])
    assert found.mean == pytest.approx(found.auc @ falls / (1 - left[2]))


def test_risks_may_differ_by_horizon_and_units_may_weigh() -> None:
    time, ended, chance = lives()
    risks = np.stack([chance, -chance, chance], axis=1)
    found = cumulative_auc(time, ended, risks, HORIZONS).auc
    plain = cumulative_auc(time, ended, chance, HORIZONS).auc
    np.testing.assert_allclose(found, [plain[0], 1 - plain[1], plain[2]])
    many = np.random.default_rng(1).integers(1, 4, 120)
    copied = [np.repeat(each, many) for each in (time, ended, chance)]
    weighed = cumulative_auc(time, ended, chance, HORIZONS, weights=many)
    np.testing.assert_allclose(weighed.auc, cumulative_auc(*copied, HORIZONS).auc)
    assert weighed.mean == pytest.approx(cumulative_auc(*copied, HORIZONS).mean)
    with pytest.raises(DataError, match="2 horizons for 3"):
        cumulative_auc(time, ended, risks[:, :2], HORIZONS)


@pytest.mark.parametrize("weighted", [False, True])
def test_brier_is_the_mean_of_weighted_squares(weighted: bool) -> None:
    time, ended, chance = lives()
    predicted = survival(chance, HORIZONS)
    mass = np.random.default_rng(1).integers(0, 4, 120) if weighted else None
    weights = np.ones(120) if mass is None else mass
    curve = censoring_curve(time, ended, weights=mass)
    found = brier_scores(time, ended, predicted, HORIZONS, weights=mass)
    for place, horizon in enumerate(HORIZONS):
        total = 0.0
        for i in range(len(time)):
            left = float(not (ended[i] and time[i] <= horizon))
            weight = weights[i] * literal_weight(time[i], ended[i], horizon, curve)
            total += weight * (left - predicted[i, place]) ** 2
        assert found.scores[place] == pytest.approx(total / weights.sum())
    one, two, four = found.scores
    assert found.integrated == pytest.approx(((one + two) / 2 + (two + four)) / 3)
    errors = brier_per_unit(time, ended, predicted, HORIZONS, weights=mass)
    np.testing.assert_allclose(errors.sum(0) / weights.sum(), found.scores)
    single = brier_scores(time, ended, predicted[:, :1], HORIZONS[:1], weights=mass)
    assert single.integrated == pytest.approx(one)


def test_reliability_is_that_of_the_known_weighted_for_the_others() -> None:
    time, ended, chance = lives(20_000)
    table = reliability_at(time, ended, 1 - chance, 1, bins=5)
    assert len(table.gap) == 5
    assert np.abs(table.gap).max() < 0.03
    assert table.weight.sum() == pytest.approx(20_000, rel=0.01)
    later = reliability_at(time, ended, (1 - chance) ** 4, 4, bins=5)
    assert later.count.sum() < 20_000
    assert np.abs(later.gap).max() < 0.05
    assert reliability_at(time, ended, (1 - chance) ** 2, 4).gap.min() < -0.1
    wide = reliability_at(time, ended, (1 - chance) ** 4, 4, bins=5, binning="width")
    assert wide.mean_prediction.tolist() != later.mean_prediction.tolist()


def test_ages_of_one_landmark_may_be_counted_from_it_or_from_the_start() -> None:
    time, ended, chance = lives()
    with pytest.raises(DataError, match="from one landmark on"):
        cumulative_auc(time, ended, chance, HORIZONS, entry=np.where(time > 3, 2.0, 0.0))
    shifted = brier_scores(
        time + 5, ended, survival(chance, HORIZONS), [6, 7, 9], entry=np.full(120, 5.0)
    )
    plain = brier_scores(time, ended, survival(chance, HORIZONS), HORIZONS)
    np.testing.assert_allclose(shifted.scores, plain.scores)


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


def lives_curve(units: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ages, ends, entries; ages and entries are whole weeks, and many are equal."""
    rng = np.random.default_rng(seed)
    time = np.minimum(rng.geometric(0.4, units), 8).astype(np.float64)
    entry = np.where(rng.random(units) < 0.5, np.floor(rng.random(units) * time), 0)
    return time, rng.random(units) < 0.7, entry


def literal_curve(
    time: np.ndarray, event: np.ndarray, entry: np.ndarray, mass: np.ndarray, *, before: np.ndarray
) -> dict[float, float]:
    """The product, age by age; who is in `before` at an age leaves before its events."""
    share, curve = 1.0, {}
    for age in sorted(set(time.tolist())):
        there = (entry < age) & (time >= age) & ~(before & (time == age))
        happened = (time == age) & event
        if mass[there].sum() > 0:
            share *= 1 - mass[happened].sum() / mass[there].sum()
        curve[age] = share
    return curve


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_both_curves_are_their_products(late: bool, weighted: bool) -> None:
    time, ended, entry = lives_curve()
    entry = entry if late else time * 0
    mass = np.random.default_rng(1).integers(0, 4, 300).astype(float) if weighted else time**0
    given = {"entry": entry if late else None, "weights": mass if weighted else None}
    curve = kaplan_meier(time, ended, **given)
    expected = literal_curve(time, ended, entry, mass, before=np.zeros(300, bool))
    np.testing.assert_allclose(curve.survival, list(expected.values()), atol=1e-12)
    assert curve.times.tolist() == list(expected)
    censoring = censoring_curve(time, ended, **given)
    expected = literal_curve(time, ~ended, entry, mass, before=ended)
    np.testing.assert_allclose(censoring.survival, list(expected.values()), atol=1e-12)


def test_they_are_those_of_lifelines() -> None:
    time, ended, entry = lives_curve()
    ages = np.unique(time)
    # lifelines counts who enters at an age as at risk there, so entries lie between ages.
    theirs = KaplanMeierFitter().fit(time, ended, entry=entry + 0.5)
    ours = kaplan_meier(time, ended, entry=entry + 0.5)
    np.testing.assert_allclose(ours.survival, theirs.survival_function_at_times(ages), atol=1e-12)
    np.testing.assert_allclose(ours.at_risk, theirs.event_table.loc[ages, "at_risk"])
    # Censorings after the ends of an age: moved a little behind it.
    theirs = KaplanMeierFitter().fit(time + np.where(ended, 0, 1e-6), ~ended)
    ours = censoring_curve(time, ended)
    after = theirs.survival_function_at_times(ages + 1e-5)
    np.testing.assert_allclose(ours.survival, after, atol=1e-12)


def test_a_curve_is_read_after_an_age_or_before_it() -> None:
    curve = kaplan_meier([1, 2, 2, 4], [1, 1, 0, 1])
    assert curve.survival.tolist() == [0.75, 0.5, 0.0]
    assert curve.at([0, 1, 1.5, 2, 9]).tolist() == [1, 0.75, 0.75, 0.5, 0]
    assert curve.at([[1, 2], [3, 4]], before=True).tolist() == [[1, 0.75], [0.5, 0.5]]
    assert curve.ended.tolist() == [1, 1, 1]


def test_a_curve_that_falls_to_nothing_too_early_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adwright"):
        curve = kaplan_meier([1, 5, 6], [1, 1, 1], entry=[0, 3, 3])
    assert curve.survival[0] == 0
    assert "falls to 0 at age 1" in caplog.text


def test_known_states_stand_for_all_in_expectation() -> None:
    rng = np.random.default_rng(4)
    true = rng.geometric(0.3, 200_000).astype(float)
    until = rng.integers(1, 8, 200_000).astype(float)
    # An end comes before a censoring of its age.
    ended, time = true <= until, np.minimum(true, until)
    units = as_lives(time, ended)
    weights = known_weights(units, 4, censoring_curve(time, ended))
    assert weights[(time < 4) & ~ended].max() == 0
    assert weights.sum() / 200_000 == pytest.approx(1, abs=0.01)
    over = weights @ (ended & (time <= 4)) / weights.sum()
    assert over == pytest.approx((true <= 4).mean(), abs=0.01)
    doubled = known_weights(
        as_lives(time, ended, weights=2 * true**0), 4, censoring_curve(time, ended)
    )
    np.testing.assert_allclose(doubled, 2 * weights)


def test_a_horizon_beyond_all_that_is_known_is_refused() -> None:
    units = as_lives([1, 2, 9], [0, 0, 1])
    with pytest.raises(DataError, match="choose an earlier horizon"):
        known_weights(units, 5, censoring_curve([1, 2], [0, 0]))


def test_truncated_lives_are_told_from_those_of_one_landmark() -> None:
    assert not as_lives([3, 4], [1, 0], entry=[2, 2]).truncated
    late = as_lives([3, 4], [1, 0], entry=[0, 3])
    assert late.truncated
    with pytest.raises(DataError, match="from one landmark on"):
        refuse_truncated(late)
    with pytest.raises(DataError, match="from one landmark on"):
        known_weights(late, 3, censoring_curve([3, 4], [1, 0]))
    assert not as_lives([3, 4], [0, 0], entry=[0, 3]).truncated


def test_lives_are_checked() -> None:
    with pytest.raises(DataError, match="no lives"):
        as_lives([], [])
    with pytest.raises(ValueInvalidError, match="not above its entry"):
        as_lives([3], [1], entry=[3])
    with pytest.raises(ValueInvalidError, match="entry is negative"):
        as_lives([3], [1], entry=[-1])
    with pytest.raises(DataError, match="2 rows and found 1"):
        as_lives([3, 4], [1])


def literal_mass(ended: bool, low: float, high: float, bins: int) -> np.ndarray:
    """Of one unit, by its formulas: a point, a fall, or all that is left."""
    mass = np.zeros(bins)
    if ended and low == high:
        mass[min(int(low * bins), bins - 1)] = 1
        return mass
    begin, end = (low, high) if ended else (0.0, low)
    for place in range(bins):
        overlap = min(end, (place + 1) / bins) - max(begin, place / bins)
        mass[place] = max(overlap, 0) / (end - begin)
    return mass


@pytest.mark.parametrize("periods", [False, True])
def test_d_calibration_spreads_the_censored_and_the_periods(periods: bool) -> None:
    time, ended, chance = lives()
    at, before = (1 - chance) ** time, (1 - chance) ** (time - 1)
    mass = np.random.default_rng(2).integers(0, 3, 120)
    found = d_calibration(ended, at, before=before if periods else None, weights=mass, bins=8)
    expected = sum(
        count * literal_mass(over, low, high if periods else low, 8)
        for count, over, low, high in zip(mass, ended, at, before, strict=True)
    )
    np.testing.assert_allclose(found.mass, expected)
    chi = stats.chisquare(found.mass)
    assert found.statistic == pytest.approx(chi.statistic)
    assert found.p_value == pytest.approx(chi.pvalue)
    assert found.worst == pytest.approx(np.abs(found.mass / mass.sum() - 1 / 8).max())


def test_a_curve_that_reaches_nothing_or_is_still_whole_has_its_bins() -> None:
    assert d_calibration([1, 1, 0, 0], [0.0, 1.0, 0.0, 1.0], bins=2).mass.tolist() == [2.5, 1.5]
