"""Measure the stages of a cascade, and the order that comes out.

Two questions are asked of the items that a stage lets through:

    bought   which share of what the user then bought is still there?
    own      which share of the fine ranker's own best is still there, had it ranked the whole
             catalogue?

The first holds the cascade up to the world, the second says what the cheap stages lose: where
they lose nothing it is 1. Values are means over requests, and intervals by bootstrap over the
users, since requests of one user depend on each other.

Letters: R requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.ranking import Ranks, ndcg_per_user, recall_per_user

__all__ = ["OrderQuality", "StageQuality", "judge_orders", "judge_stages", "ranks_in"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StageQuality:
    """Quality of one stage.

    items: that the stage lets through, on average. bought, own: see the module.
    """

    stage: str
    items: float
    bought: Interval
    own: Interval


@dataclass(frozen=True)
class OrderQuality:
    """Quality of one order.

    recall, ndcg: at k. ahead: NDCG of the first order less that of this one, paired; None
    for the first itself.
    """

    name: str
    recall: Interval
    ndcg: Interval
    ahead: Interval | None


def judge_stages(
    stages: Mapping[str, Sequence[Ints]],
    bought: Sequence[Ints],
    user: Ints,
    *,
    own: Sequence[Ints],
    sample: Ints,
    draws: int = 500,
    seed: int = 0,
) -> list[StageQuality]:
    """The quality of each stage.

    stages: name -> R lists of item codes. bought: R arrays of codes. user: int64 [R].
    own: the fine ranker's best for the requests `sample` (int64, places in 0..R - 1). draws,
    seed: of the bootstrap.
    """
    return [
        StageQuality(
            name,
            float(np.mean([len(one) for one in lists])),
            _mean(_share(lists, bought), user, draws, seed),
            _mean(_share([lists[place] for place in sample], own), user[sample], draws, seed),
        )
        for name, lists in stages.items()
    ]


def judge_orders(
    orders: Mapping[str, Sequence[Ints]],
    bought: Sequence[Ints],
    user: Ints,
    *,
    k: int = 10,
    draws: int = 500,
    seed: int = 0,
) -> list[OrderQuality]:
    """The quality of each order, and how far the first is ahead of the others.

    orders: name -> R lists of item codes, best first. The others as in `judge_stages`.
    Raises ConfigError where there is no order.
    """
    if not orders:
        raise ConfigError("there is no order to judge", where="orders")
    ranks = {name: ranks_in(lists, bought) for name, lists in orders.items()}
    recall = {name: recall_per_user(one, k) for name, one in ranks.items()}
    gain = {name: ndcg_per_user(one, k) for name, one in ranks.items()}
    first, *_ = orders
    return [
        OrderQuality(
            name,
            _mean(recall[name], user, draws, seed),
            _mean(gain[name], user, draws, seed),
            None if name == first else _difference(gain[first], gain[name], user, draws, seed),
        )
        for name in orders
    ]


def ranks_in(lists: Sequence[Ints], wanted: Sequence[Ints]) -> Ranks:
    """Ranks from 1 of the items `wanted` (R arrays of distinct codes) in R lists; infinity where
    an item is not in its list."""
    ranks = []
    for listed, mine in zip(lists, wanted, strict=True):
        at = {code: float(place) for place, code in enumerate(listed.tolist(), start=1)}
        ranks.append(np.sort([at.get(code, np.inf) for code in mine.tolist()]))
    offsets = np.cumsum([0, *(len(one) for one in ranks)], dtype=np.int64)
    flat = np.concatenate([np.zeros(0), *ranks])
    return Ranks(flat, offsets, np.zeros(len(flat), np.bool_), "hash")


def _share(lists: Sequence[Ints], wanted: Sequence[Ints]) -> Floats:
    """Which share of the wanted is in the list, of each request [R]."""
    longest = max((len(one) for one in lists), default=0)
    return recall_per_user(ranks_in(lists, wanted), max(1, longest))


def _mean(values: Floats, user: Ints, draws: int, seed: int) -> Interval:
    top, number = _sums(values, user)
    return bootstrap_ratio(top, number, np.random.default_rng(seed), draws)


def _difference(values: Floats, other: Floats, user: Ints, draws: int, seed: int) -> Interval:
    top, number = _sums(values, user)
    minus, _ = _sums(other, user)
    return bootstrap_difference(top, minus, number, np.random.default_rng(seed), draws)


def _sums(values: Floats, user: Ints) -> tuple[Floats, Floats]:
    """(sum over a user's requests, number of them) of the users that occur."""
    _, place = np.unique(user, return_inverse=True)
    sums = np.bincount(place, values).astype(np.float64)
    return sums, np.bincount(place).astype(np.float64)
