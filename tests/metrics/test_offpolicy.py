"""Off-policy estimators against worked examples, literal loops and a world whose value is known.

One contract runs over all estimators: equal to a loop, moved by every argument, in groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics import offpolicy as o
from adwright.metrics.offpolicy import Estimate, Rounds

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
