"""?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.campaigns.simulation.ab_test import (
    SimulationRunConfig,
    VerdictConfig,
    asked_again,
    assigned_arm,
    compare_arms,
    counts_per_user,
    judge_from_log,
    policy_config,
    policy_text,
)
from adwright.campaigns.simulation.purchase_model import (
    Pairs,
    PersonalFrequency,
    PurchaseModel,
    UserItemFeatures,
    Visits,
    draw_pairs,
    fit_purchase_model,
)
from adwright.campaigns.simulation.run import SimulationConfig
from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, save_log
from adwright.delivery.decision import Candidates, Deadline, Request
from adwright.delivery.policy.rules import (
    EpsilonGreedyConfig,
    GreedyConfig,
    PolicyConfig,
    SoftmaxConfig,
    ThompsonConfig,
)
from adwright.delivery.policy.slate_policy import ABSplit, build_policy
from tests.support.store.small_world import ITEMS as small_world_ITEMS
from tests.support.store.small_world import START, Round, events, played

TWO_WEEKS = SimulationConfig(days=14, places=3)
FAST = VerdictConfig(draws=200)
RANDOM = SoftmaxConfig(temperature=1000.0)


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Round:
    """A shows anything, B what people like."""
    with played(tmp_path_factory.mktemp("v"), RANDOM, GreedyConfig(), TWO_WEEKS) as one:
        return one


def test_a_better_policy_is_found(unlike: Round) -> None:
    found = compare_arms(unlike.people, unlike.plan, unlike.read.events, FAST)
    assert found.difference.low > 0
    assert found.adjusted.low > 0
    assert found.lift.value > 0.5
    assert found.stopped is not None
    assert found.looks[-1].difference.low > 0
    assert found.looks[-1].p_value < 0.01
    assert 0 <= found.variance_reduction < 1
    assert found.adjusted.width < found.difference.width
    assert found.sample_ratio > 0.001
    assert found.a.policy_id == "A it"
    assert found.b.stages == {"fine": 1.0}


def test_the_counts_are_those_of_the_log(unlike: Round) -> None:
    events = unlike.read.events
    found = compare_arms(unlike.people, unlike.plan, events, FAST)
    arm = assigned_arm(events, unlike.plan.config.split)
    for one in (found.a, found.b):
        mine = events.filter(arm == one.arm)
        assert one.people == sum(
            unlike.plan.config.split.arm(user) == one.arm for user in unlike.people.users
        )
        assert one.responses == mine.filter(pl.col("kind") == "purchase").height
        assert one.clicks == mine.filter(pl.col("kind") == "click").height
        assert one.visits == mine["request_id"].n_unique()
        assert one.visitors == mine["user_id"].n_unique() <= one.people
        assert one.per_person.value == pytest.approx(one.responses / one.people)
        assert one.per_visit.value == pytest.approx(one.responses / one.visits)
        assert one.per_person.low < one.per_person.value < one.per_person.high
    plain = found.b.per_person.value - found.a.per_person.value
    assert found.difference.value == pytest.approx(plain)
    # The last look is the whole, a week.
    assert found.looks[-1].day == 14
    assert found.looks[-1].difference.value == pytest.approx(found.adjusted.value / 2)


def test_a_policy_against_itself(tmp_path: Path) -> None:
    covered, decided = 0, 0
    for seed in range(4):
        config = replace(TWO_WEEKS, seed=seed, salt=f"deal {seed}")
        one = played(tmp_path / str(seed), GreedyConfig(), GreedyConfig(), config, seed=seed)
        with one as it:
            found = compare_arms(it.people, it.plan, it.read.events, FAST)
        covered += not found.adjusted.excludes(0)
        decided += found.stopped is not None
    assert covered >= 3
    assert decided == 0


def test_settings_change_what_they_should(unlike: Round) -> None:
    events = unlike.read.events
    base = compare_arms(unlike.people, unlike.plan, events, FAST)

    def with_(**change: object) -> object:
        return compare_arms(unlike.people, unlike.plan, events, replace(FAST, **change))

    assert with_(before_weeks=1).adjusted != base.adjusted
    assert with_(planned=5.0).looks != base.looks
    assert with_(confidence=0.8).difference.width < base.difference.width
    assert with_(seed=1).a.per_person != base.a.per_person
    assert with_(draws=50).a.per_person != base.a.per_person


def test_people_who_met_both_policies_are_noticed(unlike: Round) -> None:
    other = replace(unlike.plan, config=replace(TWO_WEEKS, salt="another deal"))
    with pytest.raises(DataError, match="met several policies") as caught:
        compare_arms(unlike.people, other, unlike.read.events, FAST)
    assert "salt" in caught.value.hint


def test_counts_per_user_tell_visits_from_impressions() -> None:
    rows = [
        ("u1", "r1", "impression"),
        ("u1", "r1", "impression"),
        ("u0", "r2", "impression"),
        ("u1", "r3", "impression"),
        ("u1", "r3", "click"),
        ("u1", "r3", "purchase"),
        ("u2", "r9", "purchase"),
    ]
    schema = ["user_id", "request_id", "kind"]
    counts = counts_per_user(pl.DataFrame(rows, schema=schema, orient="row"))
    assert counts.rows() == [("u1", 2, 3, 1, 1), ("u0", 1, 1, 0, 0), ("u2", 0, 0, 0, 1)]
    assert counts_per_user(pl.DataFrame(rows, schema=schema, orient="row").clear()).height == 0


EXPLORES, BETTER = SoftmaxConfig(temperature=1.0), SoftmaxConfig(temperature=0.6)


@pytest.fixture(scope="module")
def played_round(tmp_path_factory: pytest.TempPathFactory) -> Round:
    config = SimulationConfig(days=21, places=3)
    with played(tmp_path_factory.mktemp("r"), EXPLORES, BETTER, config) as one:
        return one


def test_b_from_the_log_of_a_is_near_what_b_did(played_round: Round) -> None:
    one = played_round
    odds = asked_again(one.recommender, *one.policies)
    found = judge_from_log(one.read.events, one.plan.config.split, odds)
    assert found is not None
    assert found.recomputed == 1.0
    assert set(found.estimates) == {"IPS", "self-normalised IPS", "IPS, weights cut at 10"}
    for estimate in found.estimates.values():
        assert estimate.low < found.own.high
        assert found.own.low < estimate.high
    assert 0 < found.effective < 3 * found.visits
    assert found.unseen == 0


def test_a_policy_judges_itself_as_its_log_does(played_round: Round) -> None:
    one = played_round
    odds = asked_again(one.recommender, one.policies[0], one.policies[0])
    found = judge_from_log(one.read.events, one.plan.config.split, odds)
    assert found is not None
    arm = one.read.events.filter(pl.col("policy_id") == "A it")
    taken = arm.filter(pl.col("kind") == "purchase").height
    visits = arm["request_id"].n_unique()
    assert found.visits == visits
    for estimate in found.estimates.values():
        assert estimate.value == pytest.approx(taken / visits)
    assert found.effective == pytest.approx(3 * visits)


def test_decisions_that_cannot_be_asked_again_are_left_out(played_round: Round) -> None:
    one = played_round
    again = asked_again(one.recommender, *one.policies)

    def half(
        requests: Sequence[Request], slates: Sequence[Sequence[str]]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        of_a, of_b = again(requests, slates)
        return [a * (0.5 if n % 2 else 1.0) for n, a in enumerate(of_a)], list(of_b)

    found = judge_from_log(one.read.events, one.plan.config.split, half)
    assert found is not None
    assert found.recomputed == pytest.approx(0.5, abs=0.01)


SPLIT = ABSplit("hand")
A, B = (next(u for u in map(str, range(99)) if SPLIT.arm(u) == arm) for arm in "AB")
TIME = datetime(2024, 1, 1, tzinfo=UTC)


def by_hand() -> pl.DataFrame:
    """A saw two slates of two places, and took at the second place of one; B took one of one."""
    rows = [
        ("s1", A, "impression", "tea", 1, 0.5),
        ("s1", A, "impression", "jam", 2, 0.8),
        ("s1", A, "purchase", "jam", 2, None),
        ("s2", A, "impression", "jam", 1, 0.5),
        ("s2", A, "impression", "tea", 2, 0.4),
        ("s2", A, "purchase", "jam", 1, None),
        ("s3", B, "impression", "tea", 1, 1.0),
        ("s3", B, "purchase", "tea", 1, None),
        ("s4", B, "impression", "tea", 1, 1.0),
    ]
    request, user, kind, item, position, propensity = zip(*rows, strict=True)
    frame = pl.DataFrame(
        {
            "request_id": request,
            "user_id": user,
            "kind": kind,
            "item_id": item,
            "position": pl.Series(position, dtype=pl.Int32),
            "propensity": propensity,
            "time": [TIME] * len(rows),
        }
    )
    return validate_events(
        frame.with_columns(event_id=pl.format("{}-{}-{}", "request_id", "position", "kind"))
    )


def test_weights_by_hand() -> None:
    asked = []

    def odds(
        requests: Sequence[Request], slates: Sequence[Sequence[str]]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        asked.extend(zip(requests, slates, strict=True))
        a = [np.array([0.5, 0.8]), np.array([0.5, 0.4])]
        return a, [np.array([0.9, 0.6]), np.array([0.1, 0.2])]

    found = judge_from_log(by_hand(), SPLIT, odds)
    # Only one person in the arm: the estimate is a number, its interval none.
    assert found is None
    assert [(r.request_id, r.user_id, r.k, list(s)) for r, s in asked] == [
        ("s1", A, 2, ["tea", "jam"]),
        ("s2", A, 2, ["jam", "tea"]),
    ]
    people = by_hand().with_columns(user_id=pl.col("user_id") + pl.col("request_id"))
    deal = Deal({A + "s1": "A", A + "s2": "A", B + "s3": "B", B + "s4": "B"})
    found = judge_from_log(people, deal, odds)
    assert found is not None
    first, second = 0.9 * 0.6 / (0.5 * 0.8), 0.1 / 0.5
    assert found.estimates["IPS"].value == pytest.approx((first + second) / 2)
    weights = 0.9 / 0.5 + first + second + 0.1 * 0.2 / (0.5 * 0.4)
    assert found.estimates["self-normalised IPS"].value == pytest.approx(
        2 * (first + second) / weights
    )
    assert found.own.value == 0.5


class Deal(ABSplit):
    """People dealt by a table."""

    def __init__(self, table: dict[str, str]) -> None:
        object.__setattr__(self, "table", table)

    def arm(self, user_id: str) -> str:
        return self.table[user_id]


def test_asked_again_gives_both_policies_propensities() -> None:
    class Fixed:
        def __init__(self) -> None:
            self.sizes: list[int] = []

        def recommend_many(self, requests: Sequence[Request], deadline: None) -> list[Candidates]:
            self.sizes.append(len(requests))
            score = np.array([0.5, 0.2])
            return [Candidates(("tea", "jam"), score, True, "fine")] * len(requests)

    fixed = Fixed()
    a, b = build_policy(EpsilonGreedyConfig(epsilon=0.4)), build_policy(GreedyConfig())
    requests = [Request(f"r{n}", "u", TIME, k=2) for n in range(70)]
    slates = [("tea", "jam") if n % 2 else ("jam", "tea") for n in range(70)]
    of_a, of_b = asked_again(fixed, a, b)(requests, slates)
    assert fixed.sizes == [64, 6]
    assert [one.tolist() for one in of_a[:2]] == [[0.2, 1.0], [0.8, 1.0]]
    assert [one.tolist() for one in of_b[68:]] == [[0.0, 1.0], [1.0, 1.0]]


def test_nothing_to_judge(played_round: Round) -> None:
    one = played_round
    odds = asked_again(one.recommender, *one.policies)
    split = one.plan.config.split
    nobody = one.read.events.filter(pl.col("policy_id") == "B it")
    assert judge_from_log(nobody, split, odds) is None
    shown = one.read.events.filter(pl.col("kind") == "impression")
    assert judge_from_log(shown, split, odds) is None
    wrong = asked_again(one.recommender, one.policies[1], one.policies[1])
    assert judge_from_log(one.read.events, split, wrong) is None


RUN = """log = "world"
retrain = false
[b]
kind = "epsilon_greedy"
epsilon = 0.3
[population]
start = "2024-05-20T00:00:00Z"
[simulation]
days = 3.0
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "world"
    save_log(folder, Log(events().lazy(), Catalogue.checked(small_world_ITEMS)))
    return folder


def test_a_run_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    found = load_toml(tmp_path / "run.toml", SimulationRunConfig)
    assert found.b == EpsilonGreedyConfig(epsilon=0.3)
    assert found.a == SoftmaxConfig(temperature=1.0)
    assert found.population.start == START
    assert (found.simulation.days, found.retrain, found.log) == (3.0, False, "world")
    assert from_jsonable(SimulationRunConfig, to_jsonable(found)) == found


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("greedy", GreedyConfig()),
        ("epsilon_greedy:0.25", EpsilonGreedyConfig(epsilon=0.25)),
        ("softmax:0.5", SoftmaxConfig(temperature=0.5)),
        ("thompson:20", ThompsonConfig(strength=20.0)),
    ],
)
def test_policies_as_text(text: str, config: PolicyConfig) -> None:
    assert policy_config(text) == config
    assert policy_text(config) == text


@pytest.mark.parametrize("text", ["", "best", "greedy:2", "softmax:warm"])
def test_texts_that_are_no_policy(text: str) -> None:
    with pytest.raises(ConfigError):
        policy_config(text)


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


def purchase_model_log(*rows: tuple[str, str, int]) -> pl.DataFrame:
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
    found = PersonalFrequency(purchase_model_log(*PERSONAL_FREQUENCY_ROWS), ITEMS).recommend(
        asked()
    )
    assert found.item_ids == ("tea", "jam", "rice", "soap", "milk")
    # Four of four visits, one of four; of all eight takings half are of items new to a person.
    others = 4 / 8 * 2 / 6
    assert found.score == pytest.approx([4.5 / 7, 1.5 / 7, others, 0, 0])
    assert found.probability
    assert found.stage == "fine"


def test_only_what_lay_before_the_request_counts() -> None:
    recommender = PersonalFrequency(purchase_model_log(*PERSONAL_FREQUENCY_ROWS), ITEMS)
    found = recommender.recommend(asked(day=2))
    assert dict(zip(found.item_ids, found.score, strict=True))["tea"] == pytest.approx(2.5 / 5)
    early = recommender.recommend(asked(day=0))
    assert early.item_ids[0] == "tea"
    assert early.score[0] < 0.5


def test_what_it_is_told_counts() -> None:
    recommender = PersonalFrequency(purchase_model_log(*PERSONAL_FREQUENCY_ROWS), ITEMS)
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
    recommender = PersonalFrequency(purchase_model_log(*PERSONAL_FREQUENCY_ROWS), ITEMS)
    found = recommender.recommend(asked(exclude=frozenset({"tea", "cake"})))
    assert found.item_ids == ("jam", "rice", "soap", "milk")
    found = recommender.recommend(asked(candidates=("milk", "jam", "cake")))
    assert found.item_ids == ("jam", "milk")


def test_a_deadline_that_has_passed() -> None:
    recommender = PersonalFrequency(purchase_model_log(*PERSONAL_FREQUENCY_ROWS), ITEMS)
    clock = FixedClock()
    late = recommender.recommend_many([asked("bob")], Deadline.after(-1, clock))[0]
    assert (late.stage, late.item_ids[0]) == ("popularity", "tea")
    early = recommender.recommend_many([asked("bob")], Deadline.after(1, clock))[0]
    assert early.stage == "fine"
