"""AUC, Brier score, D-calibration and reliability against their definitions, loop by loop."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import DataError, ValueInvalidError
from benchmarks.lifetime._calibration import (
    brier_per_unit,
    brier_scores,
    censoring_curve,
    cumulative_auc,
    kaplan_meier,
    reliability_at,
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


def test_true_curves_have_a_better_brier_score_than_wrong_ones() -> None:
    time, ended, chance = lives(4000)
    true = brier_scores(time, ended, survival(chance, HORIZONS), HORIZONS)
    wrong = brier_scores(time, ended, survival(1 - chance, HORIZONS), HORIZONS)
    assert (true.scores < wrong.scores).all()
    # Censoring changes nothing in expectation.
    whole = np.random.default_rng(0).geometric(chance).astype(float)
    all_seen = brier_scores(whole, whole > 0, survival(chance, HORIZONS), HORIZONS)
    np.testing.assert_allclose(true.scores, all_seen.scores, atol=0.02)


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


def test_what_is_not_defined_is_refused() -> None:
    time, ended, chance = lives()
    late = np.where(time > 3, 2.0, 0.0)
    with pytest.raises(DataError, match="from one landmark on"):
        cumulative_auc(time, ended, chance, HORIZONS, entry=late)
    with pytest.raises(DataError, match="from one landmark on"):
        reliability_at(time, ended, chance, 1, entry=late)
    with pytest.raises(DataError, match=r"expected survival \[120, 3\]"):
        brier_scores(time, ended, chance, HORIZONS)
    with pytest.raises(ValueInvalidError, match="outside"):
        brier_scores(time, ended, 2 + survival(chance, HORIZONS), HORIZONS)
    with pytest.raises(ValueInvalidError, match="rise"):
        cumulative_auc(time, ended, chance, [2, 1])
    # Of one landmark the ages may be counted from it or from the start.
    shifted = brier_scores(
        time + 5, ended, survival(chance, HORIZONS), [6, 7, 9], entry=np.full(120, 5.0)
    )
    plain = brier_scores(time, ended, survival(chance, HORIZONS), HORIZONS)
    np.testing.assert_allclose(shifted.scores, plain.scores)
