"""Off-policy estimators against worked examples, literal loops and a world whose value is known.

One contract runs over all estimators: equal to a loop, moved by every argument, in groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.metrics import offpolicy as o
from adwright.metrics import ranking as r
from adwright.metrics.arrays import hash_order
from adwright.metrics.offpolicy import Estimate, Rounds
from adwright.metrics.ranking import (
    Ranks,
    average_ranks,
    graded_ndcg_per_query,
    grades_of_lists,
    ndcg_per_user,
    ranks_of_positives,
    spearman,
    top_items,
)

ESTIMATORS: dict[str, Callable[[Rounds], Estimate]] = {
    "dm": o.dm,
    "ips": o.ips,
    "clipped_ips": lambda rounds: o.clipped_ips(rounds, largest=1.5),
    "snips": o.snips,
    "dr": o.dr,
    "switch_dr": lambda rounds: o.switch_dr(rounds, threshold=1.5),
}
# Three rounds, weights 2, 1/2 and 0, worked out by hand.
THREE = Rounds(
    reward=np.array([1.0, 0.5, 0.0]),
    propensity=np.array([0.25, 0.5, 0.25]),
    target=np.array([0.5, 0.25, 0.0]),
    predicted=np.array([0.5, 0.2, 0.1]),
    expected=np.array([0.3, 0.4, 0.2]),
)
BY_HAND = {
    "dm": (0.3 + 0.4 + 0.2) / 3,
    "ips": (2 + 0.25 + 0) / 3,
    "clipped_ips": (1.5 + 0.25 + 0) / 3,
    "snips": (2 + 0.25) / (2 + 0.5 + 0),
    "dr": (0.3 + 2 * 0.5 + 0.4 + 0.5 * 0.3 + 0.2) / 3,
    "switch_dr": (0.3 + 0.4 + 0.5 * 0.3 + 0.2) / 3,
}


def literal(name: str, rounds: Rounds) -> float:
    """The estimators as sums over rounds, written out."""
    top = bottom = 0.0
    assert rounds.predicted is not None
    assert rounds.expected is not None
    for i in range(len(rounds)):
        w = rounds.target[i] / rounds.propensity[i]
        r, q, expected = rounds.reward[i], rounds.predicted[i], rounds.expected[i]
        if name == "dm":
            top, bottom = top + expected, bottom + 1
        elif name == "ips":
            top, bottom = top + w * r, bottom + 1
        elif name == "clipped_ips":
            top, bottom = top + min(w, 1.5) * r, bottom + 1
        elif name == "snips":
            top, bottom = top + w * r, bottom + w
        elif name == "dr":
            top, bottom = top + expected + w * (r - q), bottom + 1
        else:
            top, bottom = top + expected + (w * (r - q) if w <= 1.5 else 0), bottom + 1
    return float(top / bottom)


class World:
    """Four kinds of visitors, five items, two policies, rewards of known probability."""

    def __init__(self, *, seed: int = 0, model_error: float = 0.5) -> None:
        rng = np.random.default_rng(seed)
        self.rate = rng.uniform(0.05, 0.6, (4, 5))
        self.logging = rng.dirichlet(np.full(5, 2.0), 4)
        self.policy = rng.dirichlet(np.full(5, 0.7), 4)
        self.model = self.rate * (1 + model_error * rng.uniform(-1, 1, (4, 5)))
        self.value = float((self.policy * self.rate).sum(1).mean())

    def log(self, rounds: int, seed: int, **changes: Any) -> Rounds:
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 4, rounds)
        cumulative = self.logging.cumsum(1)[kind]
        action = (rng.random(rounds)[:, None] > cumulative[:, :-1]).sum(1)
        columns: dict[str, Any] = {
            "action": action,
            "reward": rng.random(rounds) < self.rate[kind, action],
            "propensity": self.logging[kind, action],
            "policy": self.policy[kind],
            "model": self.model[kind],
        }
        return Rounds.of_tables(**columns | changes)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_worked_example(name: str) -> None:
    assert ESTIMATORS[name](THREE).value == pytest.approx(BY_HAND[name])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_equals_a_literal_loop(name: str) -> None:
    rounds = World().log(300, 1)
    assert ESTIMATORS[name](rounds).value == pytest.approx(literal(name, rounds))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_groups_change_the_intervals_and_not_the_value(name: str) -> None:
    rounds = World().log(300, 2)
    slates = replace(rounds, group=np.repeat(np.arange(30), 10))
    alone, grouped = ESTIMATORS[name](rounds), ESTIMATORS[name](slates)
    assert grouped.value == pytest.approx(alone.value)
    assert len(grouped.numerators) == 30
    assert grouped.standard_error != alone.standard_error
    # A group twice as a whole is one group of doubled sums, whatever its name.
    named = replace(rounds, group=np.array([f"slate {k // 10}" for k in range(300)]))
    assert ESTIMATORS[name](named).standard_error == pytest.approx(grouped.standard_error)


@pytest.mark.parametrize("name", ["ips", "dr"])
def test_unbiased_in_a_known_world(name: str) -> None:
    world = World()
    values = [ESTIMATORS[name](world.log(200, seed)).value for seed in range(400)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - world.value) < 3 * error
    assert error < 0.01


def test_what_is_biased_and_what_varies_in_the_known_world() -> None:
    world = World(model_error=0.2)
    logs = [world.log(200, seed) for seed in range(300)]
    values = {name: np.array([run(log).value for log in logs]) for name, run in ESTIMATORS.items()}
    bias = {name: float(found.mean() - world.value) for name, found in values.items()}
    assert values["dr"].std() < 0.95 * values["ips"].std()
    assert values["snips"].std() < values["ips"].std()
    assert values["dm"].std() < 0.2 * values["dr"].std()
    assert bias["clipped_ips"] < -0.03
    assert abs(bias["dr"]) < 0.2 * abs(bias["clipped_ips"])


def test_dr_is_right_when_either_half_is() -> None:
    world = World()
    right_model = world.log(100_000, 5, model=world.rate[kinds_of(world, 100_000, 5)])
    wrong_propensity = replace(right_model, propensity=np.clip(1.3 * right_model.propensity, 0, 1))
    assert o.dr(wrong_propensity).value == pytest.approx(world.value, abs=0.01)
    assert abs(o.ips(wrong_propensity).value - world.value) > 0.03
    no_model = world.log(100_000, 5, model=np.zeros((100_000, 5)))
    assert o.dr(no_model).value == pytest.approx(o.ips(no_model).value)
    assert o.dr(no_model).value == pytest.approx(world.value, abs=0.01)


def kinds_of(world: World, rounds: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, rounds)


def test_on_its_own_log_a_policy_has_its_mean_reward() -> None:
    world = World()
    rounds = world.log(500, 3)
    own = replace(rounds, target=rounds.propensity)
    for estimator in (o.ips, o.snips):
        assert estimator(own).value == pytest.approx(float(own.reward.mean()))


def test_limits_of_switching_and_clipping() -> None:
    rounds = World().log(300, 4)
    assert o.switch_dr(rounds, threshold=0).value == pytest.approx(o.dm(rounds).value)
    assert o.switch_dr(rounds, threshold=np.inf).value == pytest.approx(o.dr(rounds).value)
    assert o.clipped_ips(rounds, largest=np.inf).value == pytest.approx(o.ips(rounds).value)
    values = [o.clipped_ips(rounds, largest=at).value for at in (0.5, 1, 2, 4)]
    assert values == sorted(values)
    assert o.switch_dr(rounds, threshold=1).value != o.switch_dr(rounds, threshold=2).value


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("dm", "expected"),
        ("ips", "reward propensity target"),
        ("clipped_ips", "reward propensity target"),
        ("snips", "reward propensity target"),
        ("dr", "reward propensity target predicted expected"),
        ("switch_dr", "reward propensity target predicted expected"),
    ],
)
def test_every_column_that_an_estimator_uses_moves_it_and_no_other(name: str, columns: str) -> None:
    before = ESTIMATORS[name](THREE).value
    for column in ("reward", "propensity", "target", "predicted", "expected"):
        values = getattr(THREE, column).copy()
        values[1] *= 0.9
        moved = ESTIMATORS[name](replace(THREE, **{column: values})).value != before
        assert moved == (column in columns.split()), column


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_agree_where_rewards_are_plenty(name: str) -> None:
    world = World()
    estimate = ESTIMATORS[name](world.log(5000, 6))
    normal, likelihood = estimate.normal(), estimate.likelihood()
    bootstrap = estimate.bootstrap(np.random.default_rng(0), draws=400)
    for other in (likelihood, bootstrap):
        assert other.value == pytest.approx(normal.value)
        assert other.low == pytest.approx(normal.low, abs=0.15 * normal.width)
        assert other.high == pytest.approx(normal.high, abs=0.15 * normal.width)
    assert estimate.normal(confidence=0.5).width < normal.width
    assert estimate.likelihood(confidence=0.5).width < likelihood.width
    narrow = estimate.bootstrap(np.random.default_rng(0), draws=400, confidence=0.5)
    assert narrow.width < bootstrap.width
    fewer = estimate.bootstrap(np.random.default_rng(0), draws=50)
    other_seed = estimate.bootstrap(np.random.default_rng(1), draws=400)
    assert len({fewer.low, other_seed.low, bootstrap.low}) == 3


def test_normal_interval_of_a_mean_by_hand() -> None:
    estimate = Estimate(np.array([1.0, 2.0, 3.0, 6.0]), np.ones(4))
    error = np.std([1, 2, 3, 6], ddof=1) / 2
    assert estimate.standard_error == pytest.approx(error)
    interval = estimate.normal()
    assert (interval.low, interval.high) == pytest.approx(
        (3 - 1.959964 * error, 3 + 1.959964 * error), rel=1e-6
    )


def test_with_rare_rewards_the_likelihood_interval_covers_best() -> None:
    rng = np.random.default_rng(10)
    covered = {"normal": 0, "bootstrap": 0, "likelihood": 0}
    trials = 150
    for seed in range(trials):
        rate = rng.gamma(2, 0.02, 20)
        policy = rng.dirichlet(np.full(20, 0.3))
        action = rng.integers(0, 20, 400)
        rounds = Rounds(
            reward=rng.random(400) < rate[action],
            propensity=np.full(400, 1 / 20),
            target=policy[action],
        )
        estimate, value = o.ips(rounds), policy @ rate
        found = {
            "normal": estimate.normal(),
            "bootstrap": estimate.bootstrap(np.random.default_rng(seed), draws=100),
            "likelihood": estimate.likelihood(),
        }
        for name, interval in found.items():
            covered[name] += not interval.excludes(value)
    assert covered["likelihood"] > max(covered["normal"], covered["bootstrap"])
    assert covered["likelihood"] >= 0.85 * trials


def test_weights_in_four_numbers() -> None:
    summary = o.summarise_weights(THREE)
    assert summary.mean == pytest.approx(2.5 / 3)
    assert summary.largest == 2
    assert summary.effective == pytest.approx(2.5**2 / 4.25)
    assert summary.unseen == pytest.approx(1 / 3)
    nothing = o.summarise_weights(replace(THREE, target=np.zeros(3)))
    assert (nothing.effective, nothing.unseen) == (0, 1)


def test_tables_become_rounds() -> None:
    policy = np.array([[0.2, 0.8], [1.0, 0.0]])
    model = np.array([[0.1, 0.5], [0.3, 0.9]])
    rounds = Rounds.of_tables(
        action=np.array([0, 1]),
        reward=[1, 0],
        propensity=[0.5, 0.5],
        policy=policy,
        model=model,
        group=np.array([7, 7]),
    )
    assert rounds.target.tolist() == [0.2, 0.0]
    assert rounds.predicted is not None
    assert rounds.expected is not None
    assert rounds.predicted.tolist() == [0.1, 0.9]
    assert rounds.expected == pytest.approx([0.2 * 0.1 + 0.8 * 0.5, 0.3])
    assert rounds.weight.tolist() == [0.4, 0.0]
    assert len(o.ips(rounds).numerators) == 1


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("propensity", 0.0, r"above 0 and at most 1 \[row 1, column propensity, value 0.0\]"),
        ("propensity", 1.5, r"row 1, column propensity, value 1.5"),
        ("propensity", np.nan, r"row 1, column propensity, value nan"),
        ("propensity", -0.1, r"row 1, column propensity"),
        ("target", 1.01, r"outside 0..1 \[row 1, column target"),
        ("target", np.nan, r"row 1, column target"),
        ("reward", np.inf, r"not finite \[row 1, column reward"),
        ("predicted", np.nan, r"not finite \[row 1, column predicted"),
        ("expected", np.nan, r"not finite \[row 1, column expected"),
    ],
)
def test_a_bad_cell_is_named(column: str, value: float, message: str) -> None:
    values = getattr(THREE, column).copy()
    values[1] = value
    with pytest.raises(ValueInvalidError, match=message):
        replace(THREE, **{column: values})


def test_other_errors() -> None:
    one = np.ones(1)
    with pytest.raises(DataError, match="no rounds"):
        Rounds(one[:0], one[:0], one[:0])
    with pytest.raises(DataError, match=r"expected shape \(1,\) and found \(2,\)"):
        Rounds(one, np.ones(2), one)
    with pytest.raises(DataError, match="predicted and expected come together"):
        Rounds(one, one, one, predicted=one)
    with pytest.raises(DataError, match="column group"):
        Rounds(one, one, one, group=np.arange(2))
    bare = Rounds(one, one, one)
    for name in ("dm", "dr", "switch_dr"):
        with pytest.raises(DataError, match=f"{name} needs a model"):
            ESTIMATORS[name](bare)
    with pytest.raises(DataError, match="shown none of these items"):
        o.snips(replace(bare, target=np.zeros(1)))
    with pytest.raises(ValueInvalidError, match="largest must be above 0"):
        o.clipped_ips(bare, largest=0)
    with pytest.raises(ValueInvalidError, match="threshold must be 0 or above"):
        o.switch_dr(THREE, threshold=float("nan"))
    with pytest.raises(DataError, match="one group has no standard error"):
        o.ips(bare).normal()
    with pytest.raises(ValueInvalidError, match="confidence"):
        o.ips(THREE).normal(confidence=0)
    with pytest.raises(ValueInvalidError, match=r"do not sum to 1 \[row 0, column policy"):
        Rounds.of_tables(
            action=np.zeros(1, int), reward=one, propensity=one, policy=np.full((1, 2), 0.4)
        )


def ranking_literal(order: list[int], k: int) -> dict[str, float]:
    """Every measure of one list of labels in ranked order."""
    positives, top = sum(order), order[:k]
    hits = [place for place, label in enumerate(top, 1) if label]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, positives) + 1))
    return {
        "hit_rate": float(bool(hits)),
        "recall": len(hits) / positives,
        "ndcg": sum(1 / math.log2(place + 1) for place in hits) / ideal,
    }


lists = st.lists(
    st.lists(st.integers(0, 1), min_size=1, max_size=12).filter(any), min_size=1, max_size=6
)


def ranks_of_lists(data: list[list[int]]) -> Ranks:
    """Ranks of the positives of lists of labels in ranked order, none of them tied."""
    offsets = np.cumsum([0, *(sum(user) for user in data)])
    ranks = [place for user in data for place, label in enumerate(user, 1) if label]
    return Ranks(np.array(ranks, float), offsets, np.zeros(len(ranks), bool))


@given(lists, st.integers(1, 15))
def test_every_measure_equals_its_literal_form(data: list[list[int]], k: int) -> None:
    ranks = ranks_of_lists(data)
    expected = [ranking_literal(user, k) for user in data]
    found = {
        "hit_rate": (r.hit_rate_per_user(ranks, k), r.hit_rate(ranks, k)),
        "recall": (r.recall_per_user(ranks, k), r.recall(ranks, k)),
        "ndcg": (r.ndcg_per_user(ranks, k), r.ndcg(ranks, k)),
    }
    for name, (values, mean) in found.items():
        assert values == pytest.approx([one[name] for one in expected], abs=1e-12), name
        assert mean == pytest.approx(np.mean(values), abs=1e-12), name


@pytest.mark.parametrize("k", [1, 5, 40, 100])
def test_ndcg_equals_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.random((25, 40))
    labels = (rng.random((25, 40)) < 0.15).astype(int)
    labels[:, 0] = 1
    ordered = np.take_along_axis(labels, np.argsort(-scores, 1), 1)
    found = r.ndcg(ranks_of_lists(ordered.tolist()), k)
    assert found == pytest.approx(sk.ndcg_score(labels, scores, k=k), abs=1e-12)


def test_users_without_a_positive_are_nan_and_left_out_of_the_mean() -> None:
    ranks = ranks_of_lists([[0, 1, 0], [], [0]])
    for measure in (r.hit_rate_per_user, r.recall_per_user, r.ndcg_per_user):
        assert np.isnan(measure(ranks, 2)).tolist() == [False, True, True]
    assert r.recall(ranks, 2) == 1
    with pytest.raises(DataError, match="no user has a positive"):
        r.ndcg(ranks_of_lists([[0, 0]]), 10)


@pytest.mark.parametrize("k", [0, -3])
def test_k_must_be_positive(k: int) -> None:
    ranks = r.ranks_of_positives(np.eye(2), [0, 1])
    for measure in (r.hit_rate, r.recall, r.ndcg):
        with pytest.raises(ValueInvalidError, match="k must be a whole number"):
            measure(ranks, k)


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=4),
    st.integers(0, 4),
    st.sampled_from([np.float32, np.float64]),
)
def test_ranks_equal_the_literal_sort(data: list[list[int]], column: int, dtype: type) -> None:
    scores = np.array(data, dtype) + dtype(0.1)
    ranks = ranks_of_positives(scores, np.full(len(data), column), seed=3)
    for user, row in enumerate(scores):
        mixed = hash_order(user * 5 + np.arange(5), seed=3)
        place = sorted(range(5), key=lambda i: (-row[i], mixed[i])).index(column)
        assert ranks.ranks[user] == place + 1
        assert ranks.tied[user] == ((row == row[column]).sum() > 1)
    assert ranks.offsets.tolist() == list(range(len(data) + 1))


def test_a_constant_score_earns_chance_and_not_more() -> None:
    users, items = 4000, 50
    scores = np.zeros((users, items), np.float32)
    positive = np.zeros(users, int)  # a sort by item number would rank all of them first
    hashed = ranks_of_positives(scores, positive)
    assert hashed.tie_share == 1
    assert (hashed.ranks <= 10).mean() == pytest.approx(0.2, abs=0.02)
    assert hashed.ranks.mean() == pytest.approx((items + 1) / 2, rel=0.03)


def test_the_seed_moves_ties_only() -> None:
    scores = np.array([[1, 1, 1, 1, 1, 1, 1, 0.0]] * 20)
    first = ranks_of_positives(scores, [3] * 20)
    assert first.ranks.tolist() == ranks_of_positives(scores, [3] * 20).ranks.tolist()
    assert first.ranks.tolist() != ranks_of_positives(scores, [3] * 20, seed=1).ranks.tolist()
    distinct = np.random.default_rng(0).random((20, 8))
    a, b = (ranks_of_positives(distinct, [3] * 20, seed=seed) for seed in (0, 1))
    assert a.ranks.tolist() == b.ranks.tolist()


def test_seen_items_do_not_compete() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (30, 20)).astype(float)
    seen = rng.random((30, 20)) < 0.4
    positive = rng.integers(0, 20, 30)
    seen[np.arange(30), positive] = False
    masked = ranks_of_positives(scores, positive, seen=seen)
    sunk = ranks_of_positives(np.where(seen, -1, scores), positive)
    assert masked.ranks.tolist() == sunk.ranks.tolist()
    plain = ranks_of_positives(scores, positive)
    assert (masked.ranks <= plain.ranks).all()
    assert masked.ranks.tolist() != plain.ranks.tolist()


def test_infinite_and_integer_scores_rank() -> None:
    scores = np.array([[-np.inf, np.inf, 0, -1]])
    assert ranks_of_positives(scores, [0]).ranks.tolist() == [4]
    whole = np.array([[3, 200, 100]], np.uint8)
    assert ranks_of_positives(whole, [1]).ranks.tolist() == [1]


def test_large_inputs_are_cut_into_chunks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 9, (50, 12)), rng.integers(0, 12, 50)
    whole = ranks_of_positives(scores, positive)
    best = top_items(scores, 4)
    monkeypatch.setattr("adwright.metrics.ranking._CHUNK_CELLS", 36)
    assert ranks_of_positives(scores, positive).ranks.tolist() == whole.ranks.tolist()
    assert top_items(scores, 4).tolist() == best.tolist()


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("k", [1, 3, 12, 40])
def test_top_items_list_whom_the_hash_ranks_within_k(levels: int, k: int) -> None:
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (15, 12)) / levels
    top = top_items(scores, k, seed=2)
    for column in range(12):
        ranks = ranks_of_positives(scores, np.full(15, column), seed=2).ranks.astype(int)
        for user in range(15):
            place = np.flatnonzero(top[user] == column)
            assert place.tolist() == ([ranks[user] - 1] if ranks[user] <= k else [])


def test_top_items_leave_seen_items_out_and_fill_up_with_minus_one() -> None:
    scores = np.array([[0.4, 0.3, 0.2, 0.1], [-np.inf, 1.0, -np.inf, -np.inf]])
    seen = np.array([[True, False, True, False], [False, True, True, False]])
    assert top_items(scores, 3, seen=seen)[0].tolist() == [1, 3, -1]
    assert sorted(top_items(scores, 3, seen=seen)[1].tolist()) == [-1, 0, 3]


def test_nobody_and_nothing_are_allowed() -> None:
    empty = ranks_of_positives(np.zeros((0, 3)), np.zeros(0, int))
    assert (empty.users, len(empty.ranks)) == (0, 0)
    assert np.isnan(empty.tie_share)


def test_wrong_inputs_name_the_user() -> None:
    scores = np.array([[0.1, 0.2], [0.3, np.nan]])
    with pytest.raises(ValueInvalidError, match=r"NaN.*row 1"):
        ranks_of_positives(scores, [0, 0])
    good = np.array([[0.1, 0.2], [0.3, 0.4]])
    with pytest.raises(ValueInvalidError, match=r"none of the 2 candidates.*row 1.*value 2"):
        ranks_of_positives(good, [0, 2])
    with pytest.raises(ValueInvalidError, match=r"marked as seen.*row 1"):
        ranks_of_positives(good, [0, 1], seen=np.array([[False, False], [False, True]]))
    with pytest.raises(SchemaError, match="whole numbers"):
        ranks_of_positives(good, [0.0, 1.0])
    with pytest.raises(SchemaError, match="booleans of shape"):
        ranks_of_positives(good, [0, 1], seen=np.zeros((2, 2)))
    with pytest.raises(DataError, match="found shape"):
        ranks_of_positives(good[0], [0])
    with pytest.raises(DataError, match="positive"):
        ranks_of_positives(good, [0, 1, 1])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def literal_graded(listed: list[int], judged: dict[int, float], k: int, *, linear: bool) -> float:
    """The formula, read aloud."""

    def dcg(grades: list[float]) -> float:
        total = 0.0
        for rank, grade in enumerate(grades[:k], start=1):
            total += (grade if linear else 2**grade - 1) / math.log2(rank + 1)
        return total

    best = dcg(sorted(judged.values(), reverse=True))
    found = dcg([judged.get(item, 0.0) if item >= 0 else 0.0 for item in listed])
    return found / best if best else math.nan


@given(st.data())
def test_equals_the_literal_formula(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 6))
    grades = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])
    queries = data.draw(st.lists(st.dictionaries(st.integers(0, 9), grades), min_size=1))
    lists = [data.draw(st.permutations(range(10)))[:7] for _ in queries]
    ends = data.draw(st.integers(0, 7))
    lists = [[*one[:ends], *[-1] * (7 - ends)] for one in lists]
    offsets = np.cumsum([0, *map(len, queries)])
    items = [item for one in queries for item in one]
    found = [grade for one in queries for grade in one.values()]
    for gain in ("linear", "exponential"):
        got = graded_ndcg_per_query(lists, offsets, items, found, k=k, gain=gain)
        want = [
            literal_graded(one, judged, k, linear=gain == "linear")
            for one, judged in zip(lists, queries, strict=True)
        ]
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_with_grades_of_one_it_is_the_binary_measure(rng: np.random.Generator) -> None:
    scores = rng.normal(size=(20, 30))
    positive = rng.integers(0, 30, 20)
    lists = np.argsort(-scores, axis=1)[:, :10]
    got = graded_ndcg_per_query(lists, np.arange(21), positive, np.ones(20))
    ranks = ranks_of_positives(scores, positive)
    np.testing.assert_allclose(got, ndcg_per_user(ranks, 10))


def test_the_gain_and_k_change_the_measure() -> None:
    case = ([[1, 0, 2]], [0, 2], [0, 1], [3, 1])
    linear = graded_ndcg_per_query(*case, gain="linear")
    assert linear[0] > graded_ndcg_per_query(*case, gain="exponential")[0]
    assert graded_ndcg_per_query(*case, k=1)[0] < graded_ndcg_per_query(*case, k=2)[0]


def test_grades_of_what_is_listed() -> None:
    found = grades_of_lists([[4, -1, 2], [0, 1, 2]], [0, 2, 3], [2, 4, 2], [1, 3, 2])
    assert found.tolist() == [[3, 0, 1], [0, 0, 2]]
    assert grades_of_lists([[1, 2]], [0, 0], [], []).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("lists", "items", "grades", "words"),
    [
        ([[1, 1]], [0], [1], "twice"),
        ([[1, 2]], [0], [-1], "outside 0 to 30"),
        ([[1, 2]], [0], [np.nan], "outside 0 to 30"),
        ([[1, 2]], [-3], [1], "below 0"),
        ([[0.5, 2]], [0], [1], "whole numbers"),
        ([1, 2], [0], [1], "whole numbers"),
    ],
)
def test_broken_judgements_are_refused(
    lists: list[object], items: list[int], grades: list[float], words: str
) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        graded_ndcg_per_query(lists, [0, 1], items, grades)


def test_two_judgements_of_one_item_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="two judgements"):
        graded_ndcg_per_query([[1, 2]], [0, 2], [5, 5], [1, 2])
    with pytest.raises(ConfigError, match="gain"):
        graded_ndcg_per_query([[1, 2]], [0, 1], [5], [1], gain="square")  # type: ignore[arg-type]
    with pytest.raises(DataError):
        graded_ndcg_per_query([[1, 2], [1, 2]], [0, 1], [5], [1])


SMALL = st.integers(0, 4).map(float)
PAIRS = st.lists(st.tuples(SMALL, SMALL), min_size=2, max_size=30).map(np.array)


@given(PAIRS)
def test_spearman_and_ranks_are_those_of_scipy(pairs: np.ndarray) -> None:
    a, b = pairs.T
    np.testing.assert_allclose(average_ranks(a), stats.rankdata(a))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    else:
        assert math.isnan(spearman(a, b))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueInvalidError, match="row 1, column found"):
        spearman([1.0, 2.0], [1.0, float("nan")])
    with pytest.raises(DataError, match="expected 2 rows and found 1"):
        spearman([1.0, 2.0], [1.0])
    with pytest.raises(ValueInvalidError, match="no rows"):
        spearman([], [])
