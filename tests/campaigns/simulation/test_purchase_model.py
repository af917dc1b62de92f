from __future__ import annotations

import numpy as np
import pytest

from adwright.campaigns.simulation.features import UserItemFeatures
from adwright.campaigns.simulation.purchase_model import (
    Pairs,
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
