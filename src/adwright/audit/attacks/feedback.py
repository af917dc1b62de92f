"""What a black-box attack learns of a text: the ranks of its product, and no more.

    feedback = RankFeedback(target, goal, orders, meter)
    feedback.mean_ranks([" The best of all."], upto=2)     # over the first two orders

Each text is asked once an order; what was asked before costs nothing. Who knows the ranker learns
the score, too (`by_score`): of equal ranks the better score is then better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from adwright.audit.attacks.budget import SpendingMeter
from adwright.audit.attacks.goal import AttackGoal
from adwright.audit.targets.target import Ask, Target
from adwright.core.errors import ConfigError

Ranks = NDArray[np.float64]


class RankFeedback:
    """orders: in which texts are tried, not those that they are scored in later. meter: counts one
    call a ranking. request: instead of the one of the catalogue. by_score: a rank is less by up to
    one half, the more the better the score is, where the target has scores."""

    def __init__(
        self,
        target: Target,
        goal: AttackGoal,
        orders: Sequence[Sequence[int]],
        meter: SpendingMeter,
        *,
        request: str = "",
        by_score: bool = False,
    ) -> None:
        if not orders:
            raise ConfigError("there is no order to try texts in", where="orders", hint="draw some")
        self.target, self.goal, self.meter = target, goal, meter
        self.orders = tuple(tuple(order) for order in orders)
        self._request, self._by_score = request, by_score
        self._known: dict[tuple[str, int], float] = {}

    def mean_ranks(self, texts: Sequence[str], upto: int | None = None) -> Ranks:
        """The mean rank of the product with each text over the first `upto` orders, all by default:
        float64 [K], 1 is first."""
        count = len(self.orders) if upto is None else min(upto, len(self.orders))
        ranks = np.array([self._of(texts, order) for order in range(count)])  # [O, K]
        found: Ranks = ranks.mean(0)
        return found

    def in_order(self, texts: Sequence[str]) -> Callable[[int, NDArray[np.int64]], Ranks]:
        """The ranks of some rows of `texts` in one order, as `halved` asks for them."""

        def look(order: int, rows: NDArray[np.int64]) -> Ranks:
            return self._of([texts[row] for row in rows], order)

        return look

    def cost(self, texts: Sequence[str], upto: int | None = None) -> int:
        """How many calls `mean_ranks` would make."""
        count = len(self.orders) if upto is None else min(upto, len(self.orders))
        return len({(t, at) for t in texts for at in range(count) if (t, at) not in self._known})

    def _of(self, texts: Sequence[str], order: int) -> Ranks:
        new = list(dict.fromkeys(text for text in texts if (text, order) not in self._known))
        asks: list[Ask] = []
        for text in new:
            asks.extend(self.goal.asks(text, [self.orders[order]], self._request))
        if asks:
            n = len(self.goal.catalogue)
            for text, ranking in zip(new, self.target.rank(asks), strict=True):
                rank = float(ranking.rank_of(self.goal.row, of=n))
                if self._by_score and ranking.scores is not None:
                    score = ranking.scores[self.goal.row]
                    rank -= (1 + score / (1 + abs(score))) / 4
                self._known[text, order] = rank
            self.meter.add(calls=len(asks), trials=len(asks))
        return np.array([self._known[text, order] for text in texts], dtype=np.float64)
