"""Bootstrap intervals: exact draws, coverage, pairing, and AUC against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics import bootstrap as b
from adwright.metrics.classification import auc


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def people(
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
    labels, scores, user = people(7)
    scores = np.round(scores) if rounded else scores
    fast = b.auc_draws(labels, scores, user, generator(3), 60)
    counts = np.concatenate(list(b.draw_counts(60, 60, generator(3))))
    exact = exact_draws(labels, scores, user, counts)
    assert np.abs(fast - exact).max() < 0.01 * exact.std()


def test_coarse_bins_are_corrected_and_fine_ones_nearly_exact() -> None:
    labels, scores, user = people(8)
    counts = np.concatenate(list(b.draw_counts(60, 40, generator(3))))
    exact = exact_draws(labels, scores, user, counts)

    def error(bins: int) -> float:
        return float(
            np.abs(b.auc_draws(labels, scores, user, generator(3), 40, bins=bins) - exact).max()
        )

    assert error(2048) < error(8) < 0.02


def test_the_draws_of_auc_lie_around_the_exact_value() -> None:
    labels, scores, user = people(9)
    drawn, exact = b.auc_draws(labels, scores, user, generator()), auc(labels, scores)
    assert np.quantile(drawn, 0.025) < exact < np.quantile(drawn, 0.975)
    # Rows of a person depend on each other: pretending otherwise would be too narrow.
    rows = b.auc_draws(labels, scores, np.arange(len(user)), generator(), 500)
    assert rows.std() < drawn.std()


def test_many_people_in_blocks_give_the_same_width() -> None:
    labels, scores, user = people(10, users=3000, rows=12_000)
    each = b.auc_draws(labels, scores, user, generator(), 1500)
    blocks = b.auc_draws(labels, scores, user, generator(), 1500, blocks=400)
    assert blocks.std() == pytest.approx(each.std(), rel=0.15)
    of_row, count = b.user_blocks(user, len(user), generator(), 400)
    assert count == 400
    # A person is never split over blocks.
    assert len(np.unique(of_row * 3000 + user)) == len(np.unique(user))


def test_two_models_in_the_same_state_draw_the_same_people() -> None:
    labels, scores, user = people(11)
    better = scores + labels
    apart = b.auc_draws(labels, better, user, generator(1)) - b.auc_draws(
        labels, scores, user, generator(2)
    )
    paired = b.auc_draws(labels, better, user, generator(1)) - b.auc_draws(
        labels, scores, user, generator(1)
    )
    assert paired.std() < apart.std()


def test_people_may_have_any_ids() -> None:
    labels, scores, user = people(12)
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
