from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.campaigns.simulation.purchase_model import (
    Pairs,
    PurchaseModel,
    UserItemFeatures,
    Visits,
    draw_pairs,
    fit_purchase_model,
)
from adwright.core.errors import DataError

DAY = 86_400


def shop(seed: int = 0, people: int = 60, items: int = 30) -> tuple[UserItemFeatures, Visits]:
    """People who each take some of three items of their own, and rarely others."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(people):
        for day in range(1, 40, 3):
            chance = np.full(items, 0.02)
            chance[[user % items, (user * 7) % items, (user * 11) % items]] = 0.5
            rows += [(user, item, day * DAY) for item in np.flatnonzero(rng.random(items) < chance)]
    user, item, time = np.array(rows).T
    first = np.flatnonzero(np.append(True, (np.diff(user) != 0) | (np.diff(time) != 0)))
    offsets = np.append(first, len(user))
    group = {"type": np.arange(items) % 3}
    return UserItemFeatures(user, item, time, items=items, groups=group), Visits(
        user[first], time[first], item, offsets
    )


def test_drawn_pairs_stand_for_all_pairs() -> None:
    habits, visits = shop()
    season = habits.season(0, 40 * DAY)
    pairs = draw_pairs(habits, season, visits, np.random.default_rng(0), past=20, others=40)
    keys = pairs.visit * habits.items + pairs.item
    owner = np.repeat(np.arange(len(visits)), np.diff(visits.offsets))
    taken = owner * habits.items + visits.item
    assert sorted(keys[pairs.taken == 1]) == sorted(taken)
    assert not np.isin(keys[pairs.taken == 0], taken).any()
    assert pairs.weight.sum() == pytest.approx(len(visits) * habits.items, rel=0.02)
    # Also by whether the person had the item before.
    every = np.arange(len(visits) * habits.items)
    visit, item = every // habits.items, every % habits.items
    before = habits.past.before
    had = before(visits.user[visit], item, visits.time[visit])[0] > 0
    drawn = before(visits.user[pairs.visit], pairs.item, visits.time[pairs.visit])[0] > 0
    assert pairs.weight[drawn].sum() == pytest.approx(had.sum(), rel=0.03)


def test_the_fitted_people_take_as_much_as_the_real_ones() -> None:
    habits, visits = shop()
    season = habits.season(0, 40 * DAY)
    pairs = draw_pairs(habits, season, visits, np.random.default_rng(0), past=20, others=40)
    user, time = visits.user[pairs.visit], visits.time[pairs.visit]
    features = habits.features(user, pairs.item, time, season)
    found = fit_purchase_model(features, pairs, habits.names, visits=len(visits))
    expected = pairs.weight @ found.chance(features)
    assert expected == pytest.approx(pairs.taken.sum(), rel=1e-4)
    assert (found.visits, found.pairs) == (len(visits), len(pairs.item))
    # And they take what they like: a favourite far more often than another thing.
    at = np.full(habits.items, 38 * DAY)
    chance = found.chance(
        habits.features(np.full(habits.items, 5), np.arange(habits.items), at, season)
    )
    own = np.isin(np.arange(habits.items), [5, 35 % 30, 55 % 30])
    assert chance[own].mean() > 10 * chance[~own].mean()


def test_weights_of_a_known_model_are_found() -> None:
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(40_000), rng.normal(3, 2, 40_000), rng.random(40_000)])
    truth = np.array([-2.0, 0.5, -1.0])
    taken = (rng.random(40_000) < 1 / (1 + np.exp(-(x @ truth)))).astype(float)
    rows = np.arange(40_000)
    # Half of the rows, each for two.
    kept = rng.random(40_000) < 0.5
    pairs = Pairs(rows[kept], rows[kept], taken[kept], np.full(int(kept.sum()), 2.0))
    found = fit_purchase_model(x[kept], pairs, ("one", "x", "z"), visits=1)
    assert found.weights == pytest.approx(truth, abs=0.12)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_nothing_to_learn(label: float) -> None:
    rows = np.arange(4)
    pairs = Pairs(rows, rows, np.full(4, label), np.ones(4))
    with pytest.raises(DataError, match="nothing to learn"):
        fit_purchase_model(np.ones((4, 2)), pairs, ("one", "x"), visits=4)


def test_a_sample_of_visits_keeps_their_order_and_their_items() -> None:
    _, visits = shop()
    rng = np.random.default_rng(1)
    chosen = np.arange(0, len(visits), 2)
    some = visits.sample(chosen, 7, rng)
    assert len(some) == 7
    assert (np.diff(some.time) >= 0).all() or len(set(some.user.tolist())) > 1
    user, item, time = visits.events()
    whole = set(zip(user.tolist(), item.tolist(), time.tolist(), strict=True))
    own = set(zip(*(each.tolist() for each in some.events()), strict=True))
    assert own < whole
    assert len(user) == len(item) == len(time) == visits.offsets[-1]
    # No more than there are: nothing is drawn, and the generator is left as it was.
    state = rng.bit_generator.state
    assert np.array_equal(visits.sample(chosen, 10**6, rng).user, visits.user[chosen])
    assert rng.bit_generator.state == state


def few() -> Visits:
    """Three visits, of which the second took nothing."""
    return Visits(
        np.array([4, 2, 4]), np.array([10, 20, 30]), np.array([7, 9, 8]), np.array([0, 2, 2, 3])
    )


def test_some_visits_in_the_order_asked_for() -> None:
    found = few().some(np.array([2, 1, 0, 2]))
    assert found.user.tolist() == [4, 2, 4, 4]
    assert found.time.tolist() == [30, 20, 10, 30]
    assert found.offsets.tolist() == [0, 1, 1, 3, 4]
    assert found.item.tolist() == [8, 7, 9, 8]
    none = few().some(np.zeros(0, np.int64))
    assert (len(none), none.item.tolist(), none.offsets.tolist()) == (0, [], [0])


def test_each_item_taken_is_an_event_of_its_visit() -> None:
    user, item, time = few().events()
    assert user.tolist() == [4, 4, 4]
    assert item.tolist() == [7, 9, 8]
    assert time.tolist() == [10, 10, 30]


def test_the_chance_is_the_logistic_function_of_the_product() -> None:
    model = PurchaseModel(("one", "x"), np.array([-1.0, 2.0]), visits=1, pairs=1)
    x = np.array([[1.0, 0.5], [1.0, 0.0], [1.0, -3.0], [0.0, 0.0]])
    expected = [1 / (1 + math.exp(1 - 2 * one)) for one in (0.5, 0.0, -3.0)] + [0.5]
    assert model.chance(x) == pytest.approx(expected)


def test_without_features_the_chance_is_the_weighted_share_of_what_was_taken() -> None:
    taken, weight = np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 1.0, 5.0, 3.0])
    rows = np.arange(4)
    found = fit_purchase_model(
        np.ones((4, 1)), Pairs(rows, rows, taken, weight), ("one",), visits=2
    )
    assert found.chance(np.ones((1, 1))) == pytest.approx([0.2])
    assert (found.names, found.visits, found.pairs) == (("one",), 2, 4)


def test_a_weight_counts_as_so_many_rows_of_its_kind() -> None:
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(200), rng.normal(size=200)])
    taken = (rng.random(200) < 0.3).astype(float)
    weight = rng.integers(1, 5, 200)
    rows = np.arange(200)
    one = fit_purchase_model(
        x, Pairs(rows, rows, taken, weight.astype(float)), ("1", "x"), visits=1
    )
    often = np.repeat(rows, weight)
    pairs = Pairs(often, often, taken[often], np.ones(len(often)))
    other = fit_purchase_model(x[often], pairs, ("1", "x"), visits=1)
    assert one.weights == pytest.approx(other.weights, rel=1e-3)


def test_the_unit_of_a_feature_changes_no_chance() -> None:
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(300), rng.normal(size=300), rng.random(300)])
    taken = (rng.random(300) < 1 / (1 + np.exp(-x[:, 1]))).astype(float)
    rows = np.arange(300)
    pairs = Pairs(rows, rows, taken, np.ones(300))
    one = fit_purchase_model(x, pairs, ("1", "x", "z"), visits=1)
    moved = x * np.array([1, 1000, 0.01]) + np.array([0, 5, -2])
    other = fit_purchase_model(moved, pairs, ("1", "x", "z"), visits=1)
    assert one.chance(x) == pytest.approx(other.chance(moved), abs=1e-5)
    assert one.weights[1] == pytest.approx(1000 * other.weights[1], rel=1e-3)


def test_a_column_that_says_nothing_gets_no_weight() -> None:
    rows = np.arange(6)
    taken = np.array([1.0, 0, 0, 1, 0, 0])
    x = np.column_stack([np.ones(6), np.full(6, 7.0)])
    found = fit_purchase_model(x, Pairs(rows, rows, taken, np.ones(6)), ("1", "7"), visits=1)
    assert found.chance(x) == pytest.approx(np.full(6, 1 / 3), abs=1e-6)


@pytest.mark.parametrize(("past", "others"), [(1, 1), (3, 50)])
def test_no_draw_is_lost_but_those_that_do_not_count(past: int, others: int) -> None:
    habits, visits = shop(people=8)
    season = habits.season(0, 40 * DAY)
    rng = np.random.default_rng(0)
    pairs = draw_pairs(habits, season, visits, rng, past=past, others=others)
    assert len(pairs.visit) == len(pairs.item) == len(pairs.taken) == len(pairs.weight)
    untaken = pairs.taken == 0
    assert np.bincount(pairs.visit[untaken], minlength=len(visits)).max() <= past + others
    assert (pairs.weight > 0).all()
    assert (pairs.weight[~untaken] == 1).all()
    assert set(pairs.taken.tolist()) == {0.0, 1.0}
    assert 0 <= pairs.item.min() <= pairs.item.max() < habits.items
    again = draw_pairs(habits, season, visits, np.random.default_rng(0), past=past, others=others)
    assert np.array_equal(pairs.item, again.item)
    assert np.array_equal(pairs.weight, again.weight)
