"""Rank over several orders at once: what stands first in the prompt then no longer wins by that.

    target = AveragedTarget(LikelihoodTarget(model), orders=5, seed=0)

Each question is asked in `orders` orders, drawn by the seed and the order of the question, itself
the first of them. Where every answer has scores, the mean score ranks, and else the mean rank
(Borda's rule); of equals the one that the question shows first comes first. The costs add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adwright.audit.catalogue.orders import draw_orders
from adwright.audit.targets.target import Ask, Ranking, RankingCost, Target, best_first
from adwright.core.config import require_count


class AveragedTarget:
    """A target behind a mean over orders. It closes the target with itself.

    balanced: the first n orders turn the question's own round, which puts every listing in every
    place once. Raises ConfigError for fewer than one order.
    """

    def __init__(
        self, target: Target, orders: int = 5, *, seed: int = 0, balanced: bool = False
    ) -> None:
        require_count("orders", orders)
        self._target = target
        self._orders = orders
        self._seed = seed
        self._balanced = balanced

    @property
    def name(self) -> str:
        """The target, and over how many orders."""
        return f"{self._target.name}, mean of {self._orders} orders"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question; all orders of all questions are asked together."""
        every = [one for ask in asks for one in self._asks(ask)]
        found = self._target.rank(every)
        step = self._orders
        return [_mean(found[at * step : (at + 1) * step], ask) for at, ask in enumerate(asks)]

    def close(self) -> None:
        """Close the target."""
        self._target.close()

    def _asks(self, ask: Ask) -> list[Ask]:
        own, n = tuple(ask.order), len(ask.order)
        turns = min(n, self._orders) if self._balanced else 1
        # Relative to the order of the question, so that other questions get other orders.
        places = [tuple(range(turn, n)) + tuple(range(turn)) for turn in range(turns)]
        left = self._orders - turns
        if left:
            places += draw_orders(n, left, seed=self._seed, purpose="average", avoid=places)
        return [Ask(ask.listings, ask.request, [own[at] for at in one]) for one in places]


def _mean(found: Sequence[Ranking], ask: Ask) -> Ranking:
    n = len(ask.listings)
    cost = sum((one.cost for one in found), RankingCost())
    note = next((one.note for one in found if one.note), "")
    scored = [one.scores for one in found if one.scores is not None]
    if len(scored) == len(found):
        scores = np.mean(scored, axis=0)
        rules = set.intersection(*(set(one.also) for one in found))
        also = {
            rule: tuple(np.mean([one.also[rule] for one in found], axis=0).tolist())
            for rule in sorted(rules)
        }
        order = best_first(scores.tolist(), ask.order)
        return Ranking(order, tuple(scores.tolist()), cost, note, also)
    ranks = np.mean([one.ranks(n) for one in found], axis=0)
    named = {row for one in found for row in one.order}
    scores = -ranks
    order = tuple(row for row in best_first(scores.tolist(), ask.order) if row in named)
    return Ranking(order, tuple(scores.tolist()), cost, note)
