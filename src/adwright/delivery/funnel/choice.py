"""Which order serves: each rule, each model, and mixtures of them, tried on validation visits.

The weights of a mixture that judge a user's visits were fitted to other users: two halves of the
users, each judged by the weights of the other. Of all orders the best by NDCG@10 sets the mark, and
of those that are behind it by no more than one standard error the one that asks the fewest models
is taken, the best where there are several (Breiman et al. 1984, section 3.4.3). A single rule, of
which nothing was fitted to these visits, is given up only where it is behind by two. So no rule and
no single model is ahead of what serves, but by what users differ by chance.

    rules       what serves is one rule, or a mixture of rules: no trained model is asked
    models      one trained model alone, or mixtures of some with the rules
    fine        the best mixture, and the fine stage over what it lets through

Letters: V visits, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from adwright.delivery.funnel.bench import Bench, order_ranks
from adwright.delivery.funnel.columns import ColumnName
from adwright.delivery.funnel.mixture import ScoreMixture, conditional_logit
from adwright.delivery.funnel.parts import SourceName
from adwright.delivery.stages.protocols import Shortlist
from adwright.metrics.ranking import ndcg_per_user, recall_per_user

__all__ = ["NETWORKS", "RULES", "TriedOrder", "chosen", "fitted", "halves", "try_orders"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Columns that are simple rules when they order alone, and how tables call them.
RULES: dict[ColumnName, str] = {
    "popularity": "Popularity",
    "lately": "Popularity lately",
    "category": "Popularity by category",
    "frequency": "Personal frequency",
    "again": "Last items again",
    "item-item": "Item-item",
}
#: Columns that a model is asked for. The linear one is a table like item-item, and takes no more.
NETWORKS: tuple[ColumnName, ...] = ("linear", "sequence", "two-tower", "hcn")
_TABLES: tuple[ColumnName, ...] = ("linear",)
_K = 10


@dataclass(frozen=True, eq=False)
class TriedOrder:
    """An order and how good it is by the cross-fit.

    coarse, fine: fitted to all visits; without a fine stage None. models: networks that are
    asked. gain, recall: NDCG@10 and recall@50 of each visit: [V].
    """

    name: str
    coarse: ScoreMixture
    fine: ScoreMixture | None
    models: int
    gain: Floats
    recall: Floats

    @property
    def is_rule(self) -> bool:
        """Whether this is one of the simple rules, alone."""
        return self.fine is None and len(self.coarse.names) == 1 and self.coarse.names[0] in RULES


def halves(user: Ints, seed: int = 0) -> NDArray[np.bool_]:
    """Which half of the users each visit belongs to: bool [V]."""
    users, place = np.unique(user, return_inverse=True)
    second = np.random.default_rng(seed).permutation(len(users)) % 2 == 1
    found: NDArray[np.bool_] = second[place]
    return found


def fitted(bench: Bench, names: Sequence[ColumnName]) -> ScoreMixture:
    """The mixture of these columns that is likeliest on all visits."""
    weight = conditional_logit(bench.columns(names), bench.short.offsets, bench.taken)
    return ScoreMixture(tuple(names), tuple(float(one) for one in weight))


def try_orders(
    bench: Bench,
    half: NDArray[np.bool_],
    sources: Sequence[SourceName],
    *,
    through: int = 50,
    fine: Callable[[Shortlist], Floats] | None = None,
) -> list[TriedOrder]:
    """All orders of the module that the columns of `bench` allow.

    half: bool [V], see `halves`. sources: that the candidates are of. through: how many of them
    the coarse order lets through. fine: the fine stage's scores of such candidates, or None
    without one.
    """
    found = [_single(bench, name, through) for name in (*RULES, *NETWORKS) if name in bench.names]
    rules = [name for name in bench.names if name not in NETWORKS]
    best, best_score = None, np.zeros(0)
    for networks in _subsets([name for name in NETWORKS if name in bench.names]):
        names = [name for name in bench.names if name in rules or name in networks]
        if len(names) < 2:
            continue
        # What only the other networks find is not there, where these serve alone.
        found_by = [name for name in sources if name not in NETWORKS or name in networks]
        there = bench.reached_by(found_by)
        score = np.where(there, _cross_fitted(bench, half, names), -np.inf)
        called = " + ".join(("rules", *networks)) if networks else "Rules together"
        order = _order(called, bench, score, fitted(bench, names), _networks(networks), through)
        found.append(order)
        if best is None or order.gain.mean() > best.gain.mean():
            best, best_score = order, score
    if fine is not None and best is not None:
        found += _with_fine(bench, half, best, best_score, through, fine)
    return found


def chosen(orders: Sequence[TriedOrder], user: Ints) -> TriedOrder:
    """The order that serves, by the rule of the module. user: int64 [V]."""
    best = max(orders, key=lambda one: float(one.gain.mean()))
    near = [one for one in orders if _behind(best, one, user, 2 if one.is_rule else 1) <= 0]
    fewest = min(_stages(one) for one in near)
    return max(
        (one for one in near if _stages(one) == fewest), key=lambda one: float(one.gain.mean())
    )


def _stages(order: TriedOrder) -> int:
    """How much an order takes: trained models, and one more for any mixture."""
    return 2 * order.models + (len(order.coarse.names) > 1)


def _behind(best: TriedOrder, other: TriedOrder, user: Ints, errors: float) -> float:
    """By how much more than so many standard errors, over users, the other is behind."""
    lost = best.gain - other.gain
    _, place = np.unique(user, return_inverse=True)
    mean = float(lost.mean())
    beside = np.bincount(place, lost - mean)
    return mean - errors * float(np.sqrt((beside**2).sum())) / len(lost)


def _networks(names: Sequence[ColumnName]) -> int:
    """How many of these are networks."""
    return sum(name in NETWORKS and name not in _TABLES for name in names)


def _subsets(names: Sequence[ColumnName]) -> Iterator[tuple[ColumnName, ...]]:
    for size in range(len(names) + 1):
        yield from combinations(names, size)


def _single(bench: Bench, name: ColumnName, through: int) -> TriedOrder:
    mixture = ScoreMixture.of(name)
    called = RULES.get(name, name)
    models = _networks((name,))
    score = mixture.scores(bench.names, bench.z)
    return _order(called, bench, score, mixture, models, through)


def _order(
    name: str, bench: Bench, score: Floats, coarse: ScoreMixture, models: int, through: int
) -> TriedOrder:
    ranks = order_ranks(bench, score)
    return TriedOrder(
        name, coarse, None, models, ndcg_per_user(ranks, _K), recall_per_user(ranks, through)
    )


def _cross_fitted(bench: Bench, half: NDArray[np.bool_], names: Sequence[ColumnName]) -> Floats:
    """The score of each candidate by the weights of the other half: [C]."""
    z, owner = bench.columns(names), bench.short.owner
    score = np.zeros(len(z))
    for judged in (False, True):
        others = bench.taken & (half != judged)[owner]
        weight = conditional_logit(z, bench.short.offsets, others)
        mine = (half == judged)[owner]
        score[mine] = z[mine] @ weight
    return score


def _with_fine(
    bench: Bench,
    half: NDArray[np.bool_],
    coarse: TriedOrder,
    score: Floats,
    through: int,
    fine: Callable[[Shortlist], Floats],
) -> list[TriedOrder]:
    """The fine stage over what the best coarse order lets through, alone and as one more column."""
    top = bench.best(score, through)
    top = top.with_column("fine", fine(top.short))
    names = (*coarse.coarse.names, "fine")
    kept = tuple(name for name in names if name in top.names)
    alone = ScoreMixture.of("fine")
    mixed = _cross_fitted(top, half, kept)
    pairs = (
        (f"{coarse.name}, then fine alone", alone, alone.scores(top.names, top.z)),
        (f"{coarse.name} + fine", fitted(top, kept), mixed),
    )
    found = []
    for name, mixture, by in pairs:
        order = _order(name, top, by, coarse.coarse, coarse.models + 1, through)
        found.append(replace(order, fine=mixture))
    return found
