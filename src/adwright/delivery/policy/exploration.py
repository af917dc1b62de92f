"""Exploration stated in what it costs: a share of the expected value, and what is learned for it.

The value of a slate is what is expected to be taken from it, the sum of the probabilities of its
items; that of the best slate is what the greedy policy gets. Plackett-Luce on log-odds gives up
more of it the higher its temperature. `solve_exploration` finds the temperature at which a sample
of requests gives up a stated share; `kept_by` lets a policy decide for the sample and says what it
keeps.

Letters: S lists, D draws of each, C candidates at most, K places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import Exploration, log_odds
from adwright.delivery.policy.slate_policy import SlatePolicy

__all__ = ["Kept", "kept_by", "solve_exploration"]

Floats = NDArray[np.float64]
#: Slates that are drawn to find a temperature, the temperatures between which it is sought, and the
#: halvings of what lies between them.
_SLATES = 16_384
_COLDEST, _HOTTEST, _HALVINGS = 1e-3, 1e2, 12


def solve_exploration(share: float, sample: Mapping[int, Sequence[Candidates]]) -> Exploration:
    """The temperatures at which slates of 1, 2, ... places give up `share` of their value.

    sample: of some numbers of places, the candidates of requests for so many such as will come,
    their scores probabilities; slates of a number between two are drawn at a temperature between
    theirs. Deterministic. Raises ConfigError where even the shortest slate drawn blindly gives up
    less.
    """
    found: dict[int, float] = {}
    for places, lists in sorted(sample.items()):
        temperature, most = _solve(share, places, lists)
        if temperature is None and not found:
            raise ConfigError(
                "slates drawn blindly from what the model offers give up less: "
                f"{most:.1%} of the expected value",
                where=f"explore {share:g}",
                hint="state a smaller share; 0.0% is of a model that tells no item from another",
            )
        # Of slates that hold nearly all there is, less can be given up.
        found[places] = temperature or list(found.values())[-1]
    lengths = np.log(list(found)), np.log(list(found.values()))
    all_ = np.exp(np.interp(np.log(np.arange(1, max(found) + 1)), *lengths))
    return Exploration(share, tuple(all_.tolist()))


def _solve(share: float, places: int, lists: Sequence[Candidates]) -> tuple[float | None, float]:
    """The temperature at which slates of so many places give up `share`, None where none does; and
    what they give up at most."""
    width = max((len(one) for one in lists), default=0)
    p = np.zeros((len(lists), width))
    for row, one in enumerate(lists):
        p[row, : len(one)] = one.score
    best = float(p[:, :places].sum())
    if best <= 0:
        raise ConfigError(
            "there is nothing to explore: the model expects nothing to be taken",
            where=f"explore {share:g}",
        )
    utility = np.where(p > 0, log_odds(p), -np.inf)
    draws = max(1, _SLATES // max(len(lists), 1) // max(1, width // 30))
    noise = np.random.default_rng(0).gumbel(size=(draws, *p.shape))

    def lost(temperature: float) -> float:
        # Gumbel noise on utilities, best first, is a draw of Plackett-Luce (Yellott 1977).
        drawn = utility / temperature + noise
        if places < width:
            least = np.partition(drawn, width - places, axis=2)[:, :, width - places, None]
            return max(0.0, 1 - float((p * (drawn >= least)).sum() / (draws * best)))
        return 0.0

    most = lost(_HOTTEST)
    if most < share:
        return None, most
    low, high = np.log((_COLDEST, _HOTTEST))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if lost(float(np.exp(middle))) < share else (low, middle)
    return float(np.exp(high)), most


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
