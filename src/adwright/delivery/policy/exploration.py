"""Exploration stated in what it costs: a share of the expected value, and what is learned for it.

The value of a slate is what is expected to be taken from it, the sum of the probabilities of its
items; that of the best slate is what the greedy policy gets. Plackett-Luce on log-odds gives up
more of it the higher its temperature. `solve_exploration` finds the temperature at which a sample
of requests gives up a stated share; `kept_by` lets a policy decide for the sample and says what it
keeps.

Letters: S lists, D draws of each, C candidates at most, K places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import Exploration, log_odds
from adwright.delivery.policy.slate_policy import SlatePolicy

__all__ = ["Kept", "kept_by", "solve_exploration"]

Floats = NDArray[np.float64]
#: Slates that are drawn to find a temperature, and the temperatures that are looked at.
_SLATES = 16_384
_TEMPERATURES = np.geomspace(1e-3, 1e2, 61)


def solve_exploration(share: float, sample: Sequence[Candidates]) -> Exploration:
    """The temperatures at which slates of 1, 2, ... places give up `share` of their value.

    sample: candidates of requests such as will come, their scores probabilities. Deterministic.
    Raises ConfigError where even one item drawn blindly gives up less.
    """
    most = max((len(one) for one in sample), default=0)
    p = np.zeros((len(sample), most))
    for row, one in enumerate(sample):
        p[row, : len(one)] = one.score
    best = p.sum(0).cumsum()
    if not most or best[0] <= 0:
        raise ConfigError(
            "there is nothing to explore: the model expects nothing to be taken",
            where=f"explore {share:g}",
        )
    utility = np.where(p > 0, log_odds(p), -np.inf)
    draws = max(1, _SLATES // len(sample))
    noise = np.random.default_rng(0).gumbel(size=(draws, *p.shape))
    # Gumbel noise on utilities, best first, is a draw of Plackett-Luce (Yellott 1977).
    lost = np.empty((len(_TEMPERATURES), most))
    for row, temperature in enumerate(_TEMPERATURES):
        order = np.argsort(-(utility / temperature + noise), axis=2)
        drawn = np.take_along_axis(np.broadcast_to(p, noise.shape), order, 2)
        lost[row] = 1 - drawn.sum((0, 1)).cumsum() / (draws * best)
    lost = np.maximum.accumulate(np.maximum(lost, 0.0), axis=0)
    found: list[float] = []
    for mine in lost.T:
        if mine[-1] >= share:
            found.append(_between(mine, int(np.searchsorted(mine, share)), share))
        elif found:
            # Of slates that hold nearly all there is, less can be given up.
            found.append(found[-1])
        else:
            raise ConfigError(
                "slates drawn blindly from what the model offers give up less: "
                f"{mine[-1]:.1%} of the expected value",
                where=f"explore {share:g}",
                hint="state a smaller share; 0.0% is of a model that tells no item from another",
            )
    return Exploration(share, tuple(found))


@dataclass(frozen=True)
class Kept:
    """What a policy keeps of the greedy slates of a sample. requests: of the sample. places: of a
    slate. value: share of the expected value. best: share of the best items, as many as there are
    places. first: share of slates whose first item is the best. effective: how many decisions as
    good as 1,000 of these are, for judging a challenger that puts the second item first."""

    requests: int
    places: int
    value: float
    best: float
    first: float
    effective: float

    def text(self) -> str:
        """In a sentence."""
        return (
            f"keeps {self.value:.1%} of the expected value and {self.best:.0%} of the "
            f"{self.places} best items; the best one comes first in {self.first:.0%} of slates. "
            f"Of 1,000 decisions {self.effective:,.0f} count for judging a challenger that puts "
            f"the second item first ({self.requests:,} requests asked)"
        )


def kept_by(
    policy: SlatePolicy,
    requests: Sequence[Request],
    sample: Sequence[Candidates],
    rng: np.random.Generator,
) -> Kept:
    """Let a policy decide for requests with their candidates, whose scores are probabilities."""
    value = greedy = 0.0
    best, first, places, weight = [], [], [], []
    for request, candidates in zip(requests, sample, strict=True):
        decision = policy.decide(request, candidates, rng)
        k = len(decision.item_ids)
        top = candidates.item_ids[:k]
        value += float(decision.score.sum())
        greedy += float(candidates.score[:k].sum())
        places.append(k)
        best.append(len(set(top) & set(decision.item_ids)) / max(k, 1))
        first.append(decision.item_ids[:1] == top[:1])
        if len(candidates) > 1:
            chance = policy.propensity(request, candidates, candidates.item_ids[1:2])[0]
            weight.append(1 / chance if chance > 0 else np.inf)
    needed = float(np.mean(weight)) if weight else np.inf
    return Kept(
        len(sample),
        max(places, default=0),
        value / greedy if greedy > 0 else 1.0,
        float(np.mean(best)),
        float(np.mean(first)),
        1_000 / needed,
    )


def _between(lost: Floats, after: int, share: float) -> float:
    """The temperature between two that were looked at, on a straight line of logarithms."""
    if after == 0 or lost[after - 1] <= 0:
        return float(_TEMPERATURES[after])
    two = slice(after - 1, after + 1)
    return float(np.exp(np.interp(np.log(share), np.log(lost[two]), np.log(_TEMPERATURES[two]))))
