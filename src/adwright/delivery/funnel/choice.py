"""Which order serves: each rule, each model, and mixtures of them, tried on validation visits.

The weights of a mixture that judge a user's visits were fitted to other users: two halves of the
users, each judged by the weights of the other. Of all orders the best by NDCG@10 sets the mark, and
of those that are behind it by no more than one standard error the one that asks the least is
taken, the best where there are several (Breiman et al. 1984, section 3.4.3): a rule asks the least,
then what takes no network, then one network more. So no rule and no single model is ahead of what
serves, but by what users differ by chance.

    rules       what serves is one rule, or a mixture of those that it is better for: no trained
                model is asked
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
#: Columns that a model is asked for. The linear one is a table, as item-item is, and no network.
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
        alone = self.fine is None and self.models == 0 and len(self.coarse.names) == 1
        return alone and self.coarse.names[0] in RULES


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
    rules = _needed(bench, half, [name for name in bench.names if name not in NETWORKS], sources)
    best, best_score = None, np.zeros(0)
    for networks in _subsets([name for name in NETWORKS if name in bench.names]):
        names = [name for name in bench.names if name in rules or name in networks]
        if len(names) < 2:
            continue
        score = _cross_fitted(bench, half, names, sources)
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
    near = [one for one in orders if _behind(best, one, user) <= 0]
    least = min(_asks(one) for one in near)
    return max((one for one in near if _asks(one) == least), key=lambda one: float(one.gain.mean()))


def _asks(order: TriedOrder) -> int:
    """How much an order takes: nothing beside a rule, tables, or networks."""
    return 0 if order.is_rule else 1 + order.models


def _behind(best: TriedOrder, other: TriedOrder, user: Ints) -> float:
    """By how much more than one standard error, over users, the other is behind."""
    lost = best.gain - other.gain
    return float(lost.mean()) - _error(lost, user)


def _error(values: Floats, user: Ints) -> float:
    """The standard error of a mean over visits [V], whose users differ."""
    _, place = np.unique(user, return_inverse=True)
    beside = np.bincount(place, values - values.mean())
    return float(np.sqrt((beside**2).sum())) / len(values)


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


def _needed(
    bench: Bench,
    half: NDArray[np.bool_],
    names: Sequence[ColumnName],
    sources: Sequence[SourceName],
) -> list[ColumnName]:
    """Of some columns those that a mixture is better for, as the cross-fit says: the best one, and
    then each that raises NDCG@10 most, as long as it rises by half a standard error."""
    kept: list[ColumnName] = []
    before = np.zeros(len(bench.user))
    while len(kept) < len(names):
        gains = {
            name: ndcg_per_user(
                order_ranks(bench, _cross_fitted(bench, half, [*kept, name], sources)), _K
            )
            for name in names
            if name not in kept
        }
        name = max(gains, key=lambda one: float(gains[one].mean()))
        rise = gains[name] - before
        if kept and float(rise.mean()) <= 0.5 * _error(rise, bench.user):
            break
        kept.append(name)
        before = gains[name]
    return [name for name in bench.names if name in kept]


def _cross_fitted(
    bench: Bench,
    half: NDArray[np.bool_],
    names: Sequence[ColumnName],
    sources: Sequence[SourceName] | None = None,
) -> Floats:
    """The score of each candidate by the weights of the other half: [C]. sources: what only those
    of networks find that are not asked, is not there."""
    z, owner = bench.columns(names), bench.short.owner
    score = np.zeros(len(z))
    for judged in (False, True):
        others = bench.taken & (half != judged)[owner]
        weight = conditional_logit(z, bench.short.offsets, others)
        mine = (half == judged)[owner]
        score[mine] = z[mine] @ weight
    if sources is None:
        return score
    found_by = [name for name in sources if name not in NETWORKS or name in names]
    return np.where(bench.reached_by(found_by), score, -np.inf)


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
