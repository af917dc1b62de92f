"""The best and the worst rank that any texts can bring a product, exactly.

    bounds = rank_bounds(BoundedScores(facts, texts, eps=0.5))
    bounds.best[3], bounds.rank[3], bounds.worst[3]       # of product 3

With s_i = a_i + clip(t_i, -eps, eps), where t_i is free for whoever writes text i, and ties counted
for the attacker:

    best_i  = 1 + #{j != i: s_j > a_i + eps}     any text of i, the others as they are
    worst_i = 1 + #{j != i: a_j + eps >= s_i}    any texts of all others, i as it is

Both are reached: the first by a text that scores eps, the second by texts that all do. So they are
no estimates, and no attack, adaptive ones included, is outside of them. `collusion` has the same
for sellers who work together.

Cost: O(C log C); a million products take about a second. Letters: C products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.audit.certificate.scores import BoundedScores

Floats = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RankBounds:
    """[C] ranks from 1. rank: of the texts as they are (the best of a tie). best: that any text of
    the product can buy. worst: that the texts of all others can force on it."""

    rank: Ranks
    best: Ranks
    worst: Ranks

    @property
    def gain(self) -> Ranks:
        """[C] ranks that a text can win at most."""
        return self.rank - self.best

    @property
    def loss(self) -> Ranks:
        """[C] ranks that others can take at most."""
        return self.worst - self.rank


def rank_bounds(scores: BoundedScores) -> RankBounds:
    """The bounds of every product."""
    honest = scores.honest
    best = 1 + count_above(honest, scores.highest)
    # Product i itself has a_i + eps >= s_i, and is counted once too often.
    worst = count_at_least(scores.highest, honest)
    return RankBounds(1 + count_above(honest, honest), best, worst)


def count_above(values: Floats, limits: Floats) -> Ranks:
    """[C] how many of `values` are above each of `limits`."""
    return len(values) - np.searchsorted(np.sort(values), limits, side="right")


def count_at_least(values: Floats, limits: Floats) -> Ranks:
    """[C] how many of `values` are at least each of `limits`."""
    return len(values) - np.searchsorted(np.sort(values), limits, side="left")
