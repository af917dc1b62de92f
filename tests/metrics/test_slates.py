"""Estimators of slates against literal loops, the estimators of rounds, and a world whose value is
known."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics import offpolicy as o
from adwright.metrics import slates as s
from adwright.metrics.offpolicy import Estimate, Rounds
from adwright.metrics.slates import Slates

ESTIMATORS: dict[str, Callable[[Slates], Estimate]] = {
    "slate_ips": s.slate_ips,
    "independent": s.independent,
    "reward_interaction": s.reward_interaction,
    "self_normalised": s.self_normalised,
    "pseudo_inverse": s.pseudo_inverse,
    "cascade_dr": s.cascade_dr,
    "cut": lambda slates: s.cascade_dr(slates, largest=1.5),
}
#: The estimator of rounds that each is for slates of one place.
OF_ONE: dict[str, Callable[[Rounds], Estimate]] = {
    "slate_ips": o.ips,
    "independent": o.ips,
    "reward_interaction": o.ips,
    "self_normalised": o.snips,
    "pseudo_inverse": o.ips,
    "cascade_dr": o.dr,
}


def drawn(sizes: list[int], seed: int = 0, *, groups: int = 0) -> Slates:
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    slate = np.repeat(np.arange(len(sizes)), sizes)
    return Slates(
        reward=rng.integers(0, 2, n).astype(float),
        propensity=rng.uniform(0.2, 1, n),
        target=rng.uniform(0, 1, n) * (rng.random(n) < 0.9),
        predicted=rng.uniform(0, 1, n),
        expected=rng.uniform(0, 1, n),
        slate=slate,
        group=slate % groups if groups else None,
    )


def literal(name: str, slates: Slates) -> float:
    """The estimators as sums over slates and places, written out."""
    top, bottom = 0.0, 0.0
    assert slates.predicted is not None
    assert slates.expected is not None
    for slate in range(slates.slates):
        rows = [row for row in range(len(slates)) if slates.slate[row] == slate]
        w = [slates.target[row] / slates.propensity[row] for row in rows]
        r = [slates.reward[row] for row in rows]
        down = [math.prod(w[: k + 1]) for k in range(len(rows))]
        if name == "slate_ips":
            top += down[-1] * sum(r)
        elif name == "independent":
            top += sum(a * b for a, b in zip(w, r, strict=True))
        elif name in ("reward_interaction", "self_normalised"):
            top += sum(a * b for a, b in zip(down, r, strict=True))
        elif name == "pseudo_inverse":
            top += (sum(w) - len(w) + 1) * sum(r)
        else:
            most = 1.5 if name == "cut" else math.inf
            for k, row in enumerate(rows):
                above = min(down[k - 1], most) if k else min(1.0, most)
                top += min(down[k], most) * (r[k] - slates.predicted[row])
                top += above * slates.expected[row]
        bottom += sum(down) if name == "self_normalised" else 1
    scale = len(slates) / slates.slates if name == "self_normalised" else 1
    return float(scale * top / bottom)


@pytest.mark.parametrize("groups", [0, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_equals_a_literal_loop(name: str, groups: int) -> None:
    slates = drawn([3, 1, 4, 2, 2, 5, 1], groups=groups)
    assert ESTIMATORS[name](slates).value == pytest.approx(literal(name, slates), rel=1e-12)
    assert len(ESTIMATORS[name](slates).numerators) == (groups or slates.slates)


@pytest.mark.parametrize("name", OF_ONE)
def test_slates_of_one_place_are_rounds(name: str) -> None:
    slates = drawn([1] * 40)
    found, rounds = ESTIMATORS[name](slates), OF_ONE[name](slates)
    assert found.value == pytest.approx(rounds.value, rel=1e-12)
    assert found.standard_error == pytest.approx(rounds.standard_error, rel=1e-12)
    mine, theirs = s.summarise_slates(slates), o.summarise_weights(slates)
    assert (mine.mean, mine.largest, mine.unseen) == pytest.approx(
        (theirs.mean, theirs.largest, theirs.unseen)
    )
    assert mine.effective == pytest.approx(theirs.effective)


def slate_chances(utility: np.ndarray, k: int) -> dict[tuple[int, ...], list[float]]:
    """Plackett-Luce: for each slate the chance of each place, given those above."""
    found = {}
    for slate in permutations(range(len(utility)), k):
        left, chances = np.exp(utility), []
        for item in slate:
            chances.append(float(left[item] / left.sum()))
            left[item] = 0
        found[slate] = chances
    return found


def expected_value(name: str, cut: float = math.inf) -> tuple[float, float]:
    """What an estimator gives in the mean over all logs of one slate, and the truth, of a world in
    which what is taken at a place depends on the places above, too."""
    rng = np.random.default_rng(3)
    logging, policy = (slate_chances(rng.normal(size=4), 3) for _ in range(2))
    rate = rng.uniform(0.1, 0.9, 4)
    model = rng.uniform(0, 1, (3, 4))  # of the item at a place: Q_k, wrong as can be

    def reward(slate: tuple[int, ...], k: int) -> float:
        return float(rate[slate[k]] * (0.5 if k and rate[slate[k - 1]] > 0.5 else 1.0))

    def expects(slate: tuple[int, ...], k: int) -> float:
        found: dict[int, float] = {}
        for other, chances in policy.items():
            if other[:k] == slate[:k]:
                found[other[k]] = chances[k]
        return sum(chance * model[k, item] for item, chance in found.items())

    value = sum(
        math.prod(chances) * sum(reward(slate, k) for k in range(3))
        for slate, chances in policy.items()
    )
    mean = 0.0
    for slate, chances in logging.items():
        one = Slates(
            reward=np.array([reward(slate, k) for k in range(3)]),
            propensity=np.array(chances),
            target=np.array(policy[slate]),
            predicted=np.array([model[k, item] for k, item in enumerate(slate)]),
            expected=np.array([expects(slate, k) for k in range(3)]),
            slate=np.zeros(3, np.int64),
        )
        mean += math.prod(chances) * ESTIMATORS[name](one).value
    return mean, value


@pytest.mark.parametrize("name", ["slate_ips", "reward_interaction", "cascade_dr"])
def test_unbiased_over_all_slates_where_a_reward_depends_on_those_above(name: str) -> None:
    mean, value = expected_value(name)
    assert mean == pytest.approx(value, rel=1e-10)


def test_what_assumes_more_is_biased_there() -> None:
    for name in ("independent", "cut"):
        mean, value = expected_value(name)
        assert abs(mean - value) > 0.01 * value


def test_of_places_drawn_on_their_own_what_assumes_more_is_unbiased() -> None:
    rng = np.random.default_rng(4)
    logging, policy = rng.dirichlet(np.ones(3), 2), rng.dirichlet(np.ones(3), 2)
    rate = rng.uniform(0.1, 0.9, (2, 3))
    value = float((policy * rate).sum())
    for name in ("independent", "pseudo_inverse"):
        mean = 0.0
        for slate in product(range(3), repeat=2):
            at = (np.arange(2), np.array(slate))
            one = Slates(
                reward=rate[at],
                propensity=logging[at],
                target=policy[at],
                slate=np.zeros(2, np.int64),
            )
            mean += float(logging[at].prod()) * ESTIMATORS[name](one).value
        assert mean == pytest.approx(value, rel=1e-10)


def test_weights_of_slates_by_hand() -> None:
    slates = Slates(
        reward=np.zeros(3),
        propensity=np.array([0.5, 0.5, 0.5]),
        target=np.array([1.0, 0.25, 0.0]),
        slate=np.array([0, 0, 1]),
    )
    here, above = slates.down_to
    assert here.tolist() == [2.0, 1.0, 0.0]
    assert above.tolist() == [1.0, 2.0, 1.0]
    found = s.summarise_slates(slates)
    assert (found.mean, found.largest, found.effective, found.unseen) == (0.75, 2.0, 1.0, 1 / 3)
    assert s.summarise_slates(slates, largest=1.0).mean == 0.5


def test_what_is_refused() -> None:
    ok = drawn([2, 2])
    with pytest.raises(DataError, match="numbered from 0"):
        Slates(reward=ok.reward, propensity=ok.propensity, target=ok.target, slate=ok.slate + 1)
    with pytest.raises(DataError, match="numbered from 0"):
        Slates(
            reward=ok.reward,
            propensity=ok.propensity,
            target=ok.target,
            slate=ok.slate[[0, 2, 1, 3]],
        )
    with pytest.raises(DataError, match="expected 4 rows"):
        Slates(reward=ok.reward, propensity=ok.propensity, target=ok.target, slate=ok.slate[:3])
    plain = Slates(reward=ok.reward, propensity=ok.propensity, target=ok.target, slate=ok.slate)
    with pytest.raises(DataError, match="cascade_dr needs a model"):
        s.cascade_dr(plain)
    with pytest.raises(ValueInvalidError, match="largest"):
        s.cascade_dr(ok, largest=0)
    none = Slates(reward=ok.reward, propensity=ok.propensity, target=np.zeros(4), slate=ok.slate)
    with pytest.raises(DataError, match="none of these items"):
        s.self_normalised(none)
