"""Off-policy evaluation of slates: the value of a policy that fills several places a request.

A logging policy b filled the places of slate i from the best down, a place with item a_k with
probability b_k given the items above it; the reward r_k followed there. The value of an
evaluation policy e is the mean over slates of the sum of rewards it would have earned. Letters:
S slates, N places of all of them, K of one.

    w_k = e_k / b_k                  weight of a place, given the places above it
    W_k = w_1 ... w_k                weight of the places down to k; W_0 = 1
    Q_k                              what a model expects from place k on, of the item shown there
    V_k                              the same of what e would show there

An estimator assumes something of what a user takes at a place, and varies less the more it
assumes: it depends on the whole slate (`slate_ips`), on the places down to it
(`reward_interaction`, `self_normalised`, `cascade_dr`), or on the place alone (`independent`);
`pseudo_inverse` takes the reward of a slate to be a sum over its places. Slates of one place each
are the rounds of `metrics.offpolicy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import check_same_length
from adwright.metrics.offpolicy import Estimate, Floats, Rounds, WeightSummary


@dataclass(frozen=True, eq=False, kw_only=True)
class Slates(Rounds):
    """The places of S slates, those of a slate in a row, the best first.

    The columns as in `Rounds`, a row a place; propensity and target are given the items above.
    predicted: Q_k. expected: V_k. slate: [N], whole numbers that rise by one or stay. group: as in
    `Rounds`, the same for all places of a slate; None: every slate on its own.
    """

    slate: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_same_length(len(self), {"slate": self.slate})
        step = np.diff(self.slate)
        if self.slate[0] != 0 or ((step != 0) & (step != 1)).any():
            raise DataError(
                "slates are numbered from 0 in the order of their places",
                column="slate",
                hint="sort the places by slate and place",
            )
        if self.group is None:
            object.__setattr__(self, "group", self.slate)

    @property
    def slates(self) -> int:
        """S."""
        return int(self.slate[-1]) + 1

    @property
    def first(self) -> npt.NDArray[np.bool_]:
        """[N]: the first place of each slate."""
        return np.diff(self.slate, prepend=-1) > 0

    @property
    def down_to(self) -> tuple[Floats, Floats]:
        """W_k and W_{k-1}, [N] each."""
        return self._products(self.weight)

    def per_slate(self, top: Floats, bottom: Floats | None = None) -> Estimate:
        """Terms [N] of an estimator, over the number of slates where `bottom` is None."""
        below = self.first.astype(np.float64) if bottom is None else bottom
        return self.estimate(top, below)

    def total(self, column: Floats) -> Floats:
        """[N]: the sum over the slate, at its first place; 0 at the others."""
        found = np.zeros(len(self))
        found[self.first] = np.bincount(self.slate, column)
        return found

    def _products(self, weight: Floats) -> tuple[Floats, Floats]:
        start = np.flatnonzero(self.first)
        place = np.arange(len(self)) - start[self.slate]
        table = np.ones((len(start), int(place.max()) + 2))
        table[self.slate, place + 1] = weight
        table = table.cumprod(1)
        return table[self.slate, place + 1], table[self.slate, place]


def slate_ips(slates: Slates) -> Estimate:
    """V = 1/S sum_i W_K sum_k r_k: unbiased whatever a reward depends on. Of long slates the
    weights are too long to tell anything. Precup, Sutton and Singh, ICML 2000."""
    start = np.flatnonzero(slates.first)
    last = np.append(start[1:], len(slates)) - 1
    weight = slates.down_to[0][last][slates.slate]
    return slates.per_slate(weight * slates.reward)


def independent(slates: Slates) -> Estimate:
    """V = 1/S sum_i sum_k w_k r_k, for rewards that depend on the item of their place alone, and
    propensities and targets that are not given the items above. Li, Kim, Zitouni and others,
    "Offline evaluation of ranking policies with click models", KDD 2018."""
    return slates.per_slate(slates.weight * slates.reward)


def reward_interaction(slates: Slates) -> Estimate:
    """V = 1/S sum_i sum_k W_k r_k. McInerney, Brost, Chandar and others, "Counterfactual evaluation
    of slate recommendations with sequential reward interactions", KDD 2020."""
    return slates.per_slate(slates.down_to[0] * slates.reward)


def self_normalised(slates: Slates) -> Estimate:
    """V = N/S sum W_k r_k / sum W_k: as `reward_interaction`, within the range of rewards.

    Raises DataError where every weight is 0.
    """
    weight = slates.down_to[0]
    if not weight.any():
        raise DataError(
            "the evaluation policy would have shown none of these items",
            column="target",
            hint="its value cannot be told from this log",
        )
    return slates.per_slate(weight * slates.reward, weight * (slates.slates / len(slates)))


def pseudo_inverse(slates: Slates) -> Estimate:
    """V = 1/S sum_i (sum_k w_k - K + 1) sum_k r_k, of propensities as in `independent` that are
    drawn place by place on their own. Swaminathan, Krishnamurthy, Agarwal and others, "Off-policy
    evaluation for slate recommendation", NeurIPS 2017."""
    weight = slates.total(slates.weight - 1) + slates.first
    return slates.per_slate(weight * slates.total(slates.reward))


def cascade_dr(slates: Slates, *, largest: float = math.inf) -> Estimate:
    """V = 1/S sum_i sum_k [W_k (r_k - Q_k) + W_{k-1} V_k].

    Unbiased where the propensities are true, whatever the model: of one place `offpolicy.dr`.
    Kiyohara, Saito, Matsuhiro and others, "Doubly robust off-policy evaluation for ranking
    policies under the cascade behavior model", WSDM 2022. largest: weights W are cut there, above
    0; what is cut is left to the model (Ionides 2008 cuts at sqrt(S), which is no bias in the end).
    """
    if not largest > 0:
        raise ValueInvalidError("largest must be above 0", value=largest)
    predicted, expected = slates.model("cascade_dr")
    here, above = (np.minimum(one, largest) for one in slates.down_to)
    return slates.per_slate(here * (slates.reward - predicted) + above * expected)


def summarise_slates(slates: Slates, *, largest: float = math.inf) -> WeightSummary:
    """How far the two policies are apart: of each slate the mean of W_k over its places counts.

    largest: as in `cascade_dr`; the largest weight that is told is that before the cut.
    """
    full = slates.down_to[0]
    size = np.bincount(slates.slate)
    mean = np.bincount(slates.slate, np.minimum(full, largest)) / size
    square = float((mean**2).sum())
    return WeightSummary(
        mean=float(mean.mean()),
        largest=float(full.max()),
        effective=float(mean.sum() ** 2 / square) if square else 0.0,
        unseen=float((slates.target == 0).mean()),
    )
