from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.campaigns.simulation.purchase_model import (
    Pairs,
    PersonalFrequency,
    PurchaseModel,
    UserItemFeatures,
    Visits,
    draw_pairs,
    fit_purchase_model,
)
from adwright.core.clock import FixedClock
from adwright.data.schema import validate_events
from adwright.delivery.decision import Deadline, Request

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


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 9)), max_size=30)


def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    return tuple(np.array([row[n] for row in rows], np.int64) for n in range(3))


def habits(rows: list[tuple[int, int, int]]) -> UserItemFeatures:
    user, item, day = columns(rows)
    groups = {"wide": np.array([0, 0, 1, 1, 1]), "narrow": np.arange(5)}
    return UserItemFeatures(user, item, day * DAY, items=5, groups=groups)


ROWS = [(0, 0, 1), (0, 1, 1), (0, 0, 8), (1, 2, 3), (1, 0, 9)]


def feature(of: UserItemFeatures, name: str, user: int, item: int, day: int) -> float:
    season = of.season(0, 10 * DAY)
    at = np.array([user]), np.array([item]), np.array([day * DAY])
    return float(of.features(*at, season)[0, of.names.index(name)])


def test_features_by_hand() -> None:
    made = habits(ROWS)
    assert made.season(0, 10 * DAY).basket == 5 / 4
    assert feature(made, "popular", 0, 0, 9) == pytest.approx(np.log(3.3 / 4))
    assert feature(made, "had", 0, 0, 9) == 1
    assert feature(made, "had", 0, 2, 9) == 0
    assert feature(made, "rate", 0, 0, 9) == pytest.approx(np.log(2.5 / 5))
    assert feature(made, "rate", 0, 0, 8) == pytest.approx(np.log(1.5 / 4))
    assert feature(made, "rate", 0, 2, 9) == 0
    assert feature(made, "age", 0, 1, 15) == pytest.approx(np.log1p(2))
    assert feature(made, "recent", 0, 0, 60) == pytest.approx(np.log(1.5 / 4))
    assert feature(made, "basket", 0, 2, 9) == pytest.approx(np.log((3 + 3.75) / 5 / 1.25))
    # Three of this person's takings and all but one of everyone's are of group 0.
    usual = 5 / 7
    expected = np.log((3 + 20 * usual) / 23 / usual)
    assert feature(made, "affinity to its wide", 0, 1, 9) == pytest.approx(expected)


def test_only_the_past_counts() -> None:
    made, more = habits(ROWS), habits([*ROWS, (0, 0, 12), (0, 3, 12)])
    season = made.season(0, 10 * DAY)
    at = np.zeros(5, np.int64), np.arange(5), np.full(5, 12 * DAY)
    assert np.array_equal(made.features(*at, season), more.features(*at, season))
    later = np.full(5, 13 * DAY)
    assert not np.array_equal(
        made.features(*at[:2], later, season), more.features(*at[:2], later, season)
    )


def test_added_events_count_like_those_of_the_start() -> None:
    whole, grown = habits(ROWS), habits(ROWS[:2])
    for row in ROWS[2:]:
        user, item, day = columns([row])
        grown.add(user, item, day * DAY)
    assert grown.added == 3
    season = whole.season(0, 10 * DAY)
    pairs = np.array([(u, i, d) for u in (0, 1) for i in range(5) for d in (2, 9, 20)])
    at = pairs[:, 0], pairs[:, 1], pairs[:, 2] * DAY
    assert np.array_equal(whole.features(*at, season), grown.features(*at, season))
    user, item, day = columns(ROWS[2:])
    other = habits(ROWS[:2]).with_events(user, item, day * DAY)
    assert np.array_equal(whole.features(*at, season), other.features(*at, season))


@given(EVENTS, st.integers(0, 9), st.integers(0, 9))
def test_activity_is_what_a_count_by_hand_gives(
    rows: list[tuple[int, int, int]], since: int, until: int
) -> None:
    since, until = sorted((since, until))
    distinct = sorted(set(rows))
    people = np.arange(4)
    visits, takings = habits(distinct).activity(people, since * DAY, until * DAY)
    for person in people.tolist():
        days = [day for user, _, day in distinct if user == person and since <= day < until]
        assert takings[person] == len(days)
        assert visits[person] == len(set(days))


@given(EVENTS)
def test_every_feature_is_a_number_and_what_is_of_the_past_is_0_for_what_was_not_had(
    rows: list[tuple[int, int, int]],
) -> None:
    distinct = sorted(set(rows))
    made = habits(distinct)
    pairs = np.array([(u, i, d) for u in range(4) for i in range(5) for d in (0, 4, 30)])
    user, item, day = pairs.T
    found = made.features(user, item, day * DAY, made.season(0, 10 * DAY))
    assert found.shape == (len(pairs), len(made.names))
    assert np.isfinite(found).all()
    had = [any(u == a and i == b and d < c for u, i, d in distinct) for a, b, c in pairs.tolist()]
    of = {name: found[:, place] for place, name in enumerate(made.names)}
    assert of["had"].tolist() == [float(one) for one in had]
    for name in ("rate", "age", "recent", "had x popular", "had x basket", "had x visits"):
        assert not of[name][of["had"] == 0].any()
    assert np.array_equal(of["one"], np.ones(len(pairs)))
    for name in ("rate", "age", "recent"):
        assert of[f"{name}^2"] == pytest.approx(of[name] ** 2)
    assert of["age x rate"] == pytest.approx(of["age"] * of["rate"])
    assert of["had x basket"] == pytest.approx(of["had"] * of["basket"])


def test_names_follow_the_groups_and_only_the_narrowest_counts_twice() -> None:
    names = habits(ROWS).names
    assert names[-3:] == (
        "affinity to its wide",
        "affinity to its narrow",
        "had x affinity to its narrow",
    )
    assert len(set(names)) == len(names)
    assert habits(ROWS).group_names == ("wide", "narrow")


def test_more_events_leave_the_first_features_as_they_are() -> None:
    made = habits(ROWS)
    season = made.season(0, 10 * DAY)
    at = np.array([0]), np.array([3]), np.array([20 * DAY])
    unchanged = made.features(*at, season)
    user, item, day = columns([(0, 3, 12)])
    more = made.with_events(user, item, day * DAY)
    assert np.array_equal(made.features(*at, season), unchanged)
    assert not np.array_equal(more.features(*at, season), unchanged)
    assert (made.added, more.added) == (0, 0)
    made.add(user, item, day * DAY)
    assert made.added == 1
    assert np.array_equal(made.features(*at, season), more.features(*at, season))
    # What was added goes along as well.
    again = made.with_events(user[:0], item[:0], day[:0])
    assert np.array_equal(again.features(*at, season), more.features(*at, season))


FIRST = datetime(2024, 1, 1, tzinfo=UTC)
ITEMS = ["tea", "jam", "rice", "soap", "milk"]


def log(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return validate_events(
        pl.DataFrame(
            {
                "event_id": [f"e{n}" for n in range(len(rows))],
                "time": [FIRST + timedelta(days=day) for _, _, day in rows],
                "request_id": ["r"] * len(rows),
                "user_id": [user for user, _, _ in rows],
                "kind": ["purchase"] * len(rows),
                "item_id": [item for _, item, _ in rows],
            }
        )
    )


PERSONAL_FREQUENCY_ROWS = (
    *(("ann", "tea", day) for day in range(4)),
    ("ann", "jam", 1),
    *(("bob", "rice", day) for day in (0, 2)),
    ("bob", "tea", 2),
)


def asked(user: str = "ann", day: int = 10, k: int = 3, **changes: object) -> Request:
    return Request("r", user, FIRST + timedelta(days=day), k=k, **changes)


def test_own_items_by_frequency_then_those_of_all() -> None:
    found = PersonalFrequency(log(*PERSONAL_FREQUENCY_ROWS), ITEMS).recommend(asked())
    assert found.item_ids == ("tea", "jam", "rice", "soap", "milk")
    # Four of four visits, one of four; of all eight takings half are of items new to a person.
    others = 4 / 8 * 2 / 6
    assert found.score == pytest.approx([4.5 / 7, 1.5 / 7, others, 0, 0])
    assert found.probability
    assert found.stage == "fine"


def test_only_what_lay_before_the_request_counts() -> None:
    recommender = PersonalFrequency(log(*PERSONAL_FREQUENCY_ROWS), ITEMS)
    found = recommender.recommend(asked(day=2))
    assert dict(zip(found.item_ids, found.score, strict=True))["tea"] == pytest.approx(2.5 / 5)
    early = recommender.recommend(asked(day=0))
    assert early.item_ids[0] == "tea"
    assert early.score[0] < 0.5


def test_what_it_is_told_counts() -> None:
    recommender = PersonalFrequency(log(*PERSONAL_FREQUENCY_ROWS), ITEMS)
    at = FIRST + timedelta(days=5)
    event = {"user_id": "bob", "item_id": "soap", "time": at, "kind": "purchase"}
    recommender.observe([event, {**event, "kind": "click", "item_id": "milk"}])
    recommender.observe([{**event, "item_id": "cake"}])
    found = recommender.recommend(asked("bob"))
    scores = dict(zip(found.item_ids, found.score, strict=True))
    assert scores["soap"] == pytest.approx(1.5 / 6)
    assert scores["milk"] == 0
    assert recommender.recommend(asked("bob", day=4)).item_ids[0] == "rice"
    # Also of somebody new.
    recommender.observe([{**event, "user_id": "cleo"}])
    found = recommender.recommend(asked("cleo"))
    assert dict(zip(found.item_ids, found.score, strict=True))["soap"] == pytest.approx(1.5 / 4)


def test_what_a_request_allows() -> None:
    recommender = PersonalFrequency(log(*PERSONAL_FREQUENCY_ROWS), ITEMS)
    found = recommender.recommend(asked(exclude=frozenset({"tea", "cake"})))
    assert found.item_ids == ("jam", "rice", "soap", "milk")
    found = recommender.recommend(asked(candidates=("milk", "jam", "cake")))
    assert found.item_ids == ("jam", "milk")


def test_a_deadline_that_has_passed() -> None:
    recommender = PersonalFrequency(log(*PERSONAL_FREQUENCY_ROWS), ITEMS)
    clock = FixedClock()
    late = recommender.recommend_many([asked("bob")], Deadline.after(-1, clock))[0]
    assert (late.stage, late.item_ids[0]) == ("popularity", "tea")
    early = recommender.recommend_many([asked("bob")], Deadline.after(1, clock))[0]
    assert early.stage == "fine"
