"""Negatives drawn for a ranking task, and how to undo the drawing.

A basket has M negatives, each drawn from a mixture: with probability `own` one of the user's
n distinct past items, with `popular` an item by popularity^0.75, else any of the N items of the
catalogue. What the user took this time is struck out afterwards and not drawn again, so an
item i that was not taken is expected among the negatives M q times,

    q(i) = own [i had before] / n + popular c_i^0.75 / sum_j c_j^0.75 + uniform / N

with c_i its training events. A model trained on the items taken and on these rows learns the
odds P / ((1 - P) M q), therefore

    logit P(i is taken) = learned logit + log(M q(i))

Without that term the order is wrong, not only the level: past items are drawn a hundred times
as often as others, and the model learns to think that much less of them. The share of negatives
that a stream keeps (`negative_rate`) is the same for all items, and cannot stand for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Count, NotNegative, settings
from adwright.core.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
POWER = 0.75


@settings
class Draws:
    """number: M, negatives drawn per basket. own, popular: shares of them; what they leave is
    uniform, and is above 0, so that no item lies outside the task."""

    number: Count = 40
    own: NotNegative = 0.4
    popular: NotNegative = 0.3

    def __post_init__(self) -> None:
        if self.own + self.popular >= 1:
            raise ConfigError(
                "the shares own and popular leave some for uniform",
                where=f"own {self.own}, popular {self.popular}",
            )

    def log_expected(
        self,
        share: Floats,
        *,
        items: int,
        had: NDArray[np.bool_],
        distinct: NDArray[np.integer],
    ) -> Floats:
        """log(M q) of T pairs of user and item, to be added to a model's logits: [T].

        share: [T], `popular_share` of the items. items: N of the catalogue. had: [T], whether
        the user had the item before. distinct: [T], n of the user.
        """
        own = np.where(had, self.own / np.maximum(distinct, 1), 0.0)
        uniform = (1 - self.own - self.popular) / items
        expected = self.number * (own + self.popular * share + uniform)
        logs: Floats = np.log(expected)
        return logs


def popular_share(count: NDArray[np.integer]) -> Floats:
    """c^0.75, scaled to sum to 1, of the training events [V] of each item code (0: unknown,
    share 0)."""
    weight: Floats = np.power(count.astype(np.float64), POWER)
    weight[0] = 0
    share: Floats = weight / max(weight.sum(), 1e-300)
    return share


def draw_negatives(
    draws: Draws, past: Ints, offsets: Ints, share: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Negatives of B baskets, before the items taken are struck out.

    past: distinct past items of the baskets' users [S]; basket b has those from offsets[b] to
    offsets[b + 1]. share: `popular_share` [V]. Returns (item codes [R], basket of each [R]);
    R is M per basket, less the own ones of users without a past.
    """
    distinct = np.diff(offsets)
    basket = np.repeat(np.arange(len(distinct)), draws.number)
    source, place = rng.random((2, len(basket)))
    of_own = source < draws.own
    of_popular = ~of_own & (source < draws.own + draws.popular)
    ends = np.cumsum(share)
    item = 1 + (place * (len(share) - 1)).astype(np.int64)
    popular = np.searchsorted(ends, place[of_popular] * ends[-1], side="right")
    item[of_popular] = np.minimum(popular, len(share) - 1)
    mine = of_own & (distinct[basket] > 0)
    at = offsets[basket[mine]] + (place[mine] * distinct[basket[mine]]).astype(np.int64)
    item[mine] = past[at]
    kept = ~of_own | mine
    return item[kept], basket[kept]
