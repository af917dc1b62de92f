"""Which order serves: each rule, each model, and mixtures of them, tried on validation visits.

The weights of a mixture that judge a user's visits were fitted to other users: two halves of the
users, each judged by the weights of the other. Of all orders the best by NDCG@10 sets the mark, and
of those that are behind it by no more than one standard error the one that asks the least is
taken, the best where there are several (Breiman et al. 1984, section 3.4.3): a rule asks the least,
then what takes no network, then one network more. So no rule and no single model is ahead of what
serves, but by what users differ by chance.

    rules       what serves is one rule, or a mixture of those that it is better for: no trained
                model is asked
    models      one trained model alone, or with the rules the one that a mixture gains most from,
                and then each further one as long as it gains
    fine        the best mixture, and the fine stage over what it lets through

Letters: V visits, C candidates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.progress import progress
from adwright.data.ranges import ranges
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.build import Deployment
from adwright.delivery.cascade.cascade import found_by
from adwright.delivery.cascade.trial import ranks_in
from adwright.delivery.funnel.columns import (
    CandidateColumns,
    ColumnName,
    ScoreMixture,
    conditional_logit,
    stacked,
    standardised,
)
from adwright.delivery.funnel.funnel import OpenParts, SourceName
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist, best_of
from adwright.metrics.bootstrap import Interval
from adwright.metrics.ranking import Ranks, ndcg_per_user, recall_per_user
from adwright.metrics.reports.report import EvaluationProtocol, compare_rankings

# --------------------------------------------------------------------------------------------------
# Visits with everything that sources and models say of them: what a funnel is measured on.
#
# What is looked up once serves every question afterwards: which sources are needed, how good each
# order is, and which weights a mixture has.
#
# Letters: V visits, C candidates of all of them together, J columns.

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_TOGETHER = 64
#: Candidates that are compared at once.
_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class FoundCandidates:
    """What sources find for V visits. user: int64 [V]. targets: V arrays of codes, what was taken
    and may be shown. lists: source -> V arrays of codes, best first where a source is full."""

    visits: Ints
    user: Ints
    targets: Sequence[Ints]
    lists: Mapping[SourceName, Sequence[Ints]]

    def union(self, names: Sequence[SourceName]) -> Shortlist:
        """The candidates of some sources together; codes rising within a visit."""
        lists = [self.lists[name] for name in names]
        return Shortlist.of([np.unique(np.concatenate(per)) for per in zip(*lists, strict=True)])

    def recalled(self, names: Sequence[SourceName]) -> Floats:
        """Which share of each visit's targets some sources find together: [V]."""
        number = np.array([len(one) for one in self.targets])
        hit = np.any([self._hits[name] for name in names], axis=0)
        owner = np.repeat(np.arange(len(number)), number)
        share: Floats = np.bincount(owner, hit, len(number)) / np.maximum(number, 1)
        return share

    @cached_property
    def _hits(self) -> Mapping[SourceName, NDArray[np.bool_]]:
        """Which targets, of all visits in a row, each source finds."""
        return {
            name: np.concatenate(
                [np.isin(t, found) for t, found in zip(self.targets, lists, strict=True)]
            )
            for name, lists in self.lists.items()
        }

    def recall(self, short: Shortlist) -> Floats:
        """Which share of each visit's targets is among its candidates: [V]."""
        number = np.array([len(one) for one in self.targets])
        taken = taken_of(self.targets, short)
        hits = np.bincount(short.owner, taken, minlength=len(short))
        share: Floats = hits / np.maximum(number, 1)
        return share


@settings(eq=False)
class Bench:
    """Candidates of V visits with their columns.

    user: int64 [V]. number: int64 [V], targets of each visit, also those that no source found.
    names, z: the columns, float32 [C, J] standardised within a visit. taken: bool [C]. reached:
    source -> bool [C], which candidates it found.
    """

    user: Ints
    number: Ints
    short: Shortlist
    names: tuple[ColumnName, ...]
    z: NDArray[np.float32]
    taken: NDArray[np.bool_]
    reached: Mapping[SourceName, NDArray[np.bool_]] = field(default_factory=dict)

    def reached_by(self, names: Sequence[SourceName]) -> NDArray[np.bool_]:
        """The candidates that any of these sources found: bool [C]."""
        found = np.zeros(len(self.taken), np.bool_)
        for name in names:
            found |= self.reached[name]
        return found

    def columns(self, names: Sequence[ColumnName]) -> NDArray[np.float32]:
        """z of some columns: [C, len(names)]."""
        found: NDArray[np.float32] = self.z[:, [self.names.index(name) for name in names]]
        return found

    def best(self, score: Floats, k: int) -> Bench:
        """The k best candidates of each visit, columns standardised among them anew."""
        width = self.short.codes.max(initial=0) + 1
        kept, _ = best_of(self.short, score, np.full(len(self.short), k))
        key = self.short.owner * width + self.short.codes
        place = np.searchsorted(key, np.sort(kept.owner * width + kept.codes))
        short = Shortlist(self.short.codes[place], kept.offsets)
        z = standardised(self.z[place], kept.offsets).astype(np.float32)
        reached = {name: mask[place] for name, mask in self.reached.items()}
        return Bench(self.user, self.number, short, self.names, z, self.taken[place], reached)

    def with_column(self, name: ColumnName, values: Floats) -> Bench:
        """The same with one more column, values [C]."""
        z = standardised(values[:, None], self.short.offsets).astype(np.float32)
        return Bench(
            self.user,
            self.number,
            self.short,
            (*self.names, name),
            np.concatenate((self.z, z), axis=1),
            self.taken,
            self.reached,
        )


def some_visits(task: NextBasket, visits: Ints, most: int, *, unseen: bool, seed: int = 0) -> Ints:
    """At most so many of `visits` (int64 [V]) that took something which may be shown, drawn by
    `seed`; ascending. unseen: what a user had may not."""
    kept = [n for n, one in enumerate(targets_of(task, visits, unseen=unseen)) if len(one)]
    some = np.random.default_rng(seed).permutation(len(kept))[: most or len(kept)]
    return visits[np.asarray(kept, np.int64)[np.sort(some)]]


def find_candidates(
    parts: OpenParts, sizes: Mapping[SourceName, int], task: NextBasket, visits: Ints
) -> FoundCandidates:
    """What each source finds for `visits` (int64 [V]); sizes: how many items each is to find."""
    unseen = not parts.parts.repeats
    pairs = [(name, parts.source(name), k) for name, k in sizes.items()]
    asked = [(source, k) for _, source, k in pairs if source is not None]
    names = [name for name, source, _ in pairs if source is not None]
    lists: dict[SourceName, list[Ints]] = {name: [] for name in names}
    with progress(len(visits), "candidates", "visits") as bar:
        for start in range(0, len(visits), _TOGETHER):
            some = visits[start : start + _TOGETHER]
            batch = parts.histories.batch(visit_requests(task, some))
            none = np.zeros(0, np.int64)
            barred = [
                np.unique(batch.item[a:b]) if unseen else none
                for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)
            ]
            for name, found in zip(names, found_by(asked, batch, barred), strict=True):
                lists[name] += found
            bar.advance(len(some))
    targets = targets_of(task, visits, unseen=unseen)
    return FoundCandidates(visits, task.visit_user[visits], targets, lists)


def score_candidates(
    parts: OpenParts,
    columns: Sequence[CandidateColumns],
    task: NextBasket,
    found: FoundCandidates,
    short: Shortlist,
) -> Bench:
    """The columns of the candidates `short` of what was found."""
    pieces, names = [], tuple(name for one in columns for name in one.names)
    with progress(len(found.visits), "scores", "visits") as bar:
        for start in range(0, len(found.visits), _TOGETHER):
            rows = range(start, min(start + _TOGETHER, len(found.visits)))
            batch = parts.histories.batch(visit_requests(task, found.visits[rows]))
            a, b = short.offsets[start], short.offsets[rows.stop]
            mine = Shortlist(short.codes[a:b], short.offsets[start : rows.stop + 1] - a)
            _, values = stacked(columns, batch, mine)
            pieces.append(standardised(values, mine.offsets).astype(np.float32))
            bar.advance(len(rows))
    number = np.array([len(one) for one in found.targets], np.int64)
    z = np.concatenate([np.zeros((0, len(names)), np.float32), *pieces])
    taken = taken_of(found.targets, short)
    reached = {name: taken_of(lists, short) for name, lists in found.lists.items()}
    return Bench(found.user, number, short, names, z, taken, reached)


def order_ranks(bench: Bench, score: Floats) -> Ranks:
    """Ranks of the targets in the order of score [C]: infinity where no source found one, or its
    score is minus infinity."""
    short, owner = bench.short, bench.short.owner
    taken = bench.taken & (score > -np.inf)
    rank = _ranks_within(short, score, np.flatnonzero(taken))
    hits = np.bincount(owner[taken], minlength=len(short))
    lost = np.repeat(np.arange(len(short)), bench.number - hits)
    of = np.concatenate((owner[taken], lost))
    ranks = np.concatenate((rank, np.full(len(lost), np.inf)))
    order = np.lexsort((ranks, of))
    offsets = np.concatenate(([0], np.cumsum(bench.number)))
    return Ranks(ranks[order], offsets, np.zeros(len(ranks), np.bool_))


def _ranks_within(short: Shortlist, score: Floats, places: Ints) -> Floats:
    """The rank that each candidate at `places` has in its visit by score [C], ties by code: as many
    candidates as are before it, and one."""
    of, rank = short.owner[places], np.ones(len(places))
    starts, sizes = short.offsets[of], np.diff(short.offsets)[of]
    for some in np.split(
        np.arange(len(places)), np.flatnonzero(np.diff(np.cumsum(sizes) // _ROWS)) + 1
    ):
        rows, bounds = ranges(starts[some], sizes[some])
        mine = np.repeat(places[some], sizes[some])
        before = (score[rows] > score[mine]) | (
            (score[rows] == score[mine]) & (short.codes[rows] < short.codes[mine])
        )
        rank[some] += np.diff(np.concatenate(([0], np.cumsum(before)))[bounds])
    return rank


def taken_of(targets: Sequence[Ints], short: Shortlist) -> NDArray[np.bool_]:
    """Which candidates are among the codes of their visit (V arrays): bool [C]. The codes of a
    visit rise."""
    width = int(max((one.max(initial=0) for one in targets), default=0))
    width = max(width, int(short.codes.max(initial=0))) + 1
    lengths = [len(one) for one in targets]
    flat = np.concatenate([np.zeros(0, np.int64), *targets])
    keys = np.repeat(np.arange(len(targets)), lengths) * width + flat
    there = short.owner * width + short.codes
    found = np.zeros(len(there), np.bool_)
    if len(there):
        place = np.minimum(np.searchsorted(there, keys), len(there) - 1)
        found[place[there[place] == keys]] = True
    return found


def targets_of(task: NextBasket, visits: Ints, *, unseen: bool) -> list[Ints]:
    """What each visit took; unseen: less what its user had before."""
    start, end = task.target_offsets[visits], task.target_offsets[visits + 1]
    found = [task.targets[a:b] for a, b in zip(start, end, strict=True)]
    if not unseen:
        return found
    had, bounds = task.seen(visits)
    pairs = zip(found, bounds[:-1], bounds[1:], strict=True)
    return [one[~np.isin(one, had[a:b])] for one, a, b in pairs]


#: Columns that are simple rules when they order alone, and how tables call them.
RULES: dict[ColumnName, str] = {
    "popularity": "Popularity",
    "lately": "Popularity lately",
    "category": "Popularity by category",
    "frequency": "Personal frequency",
    "again": "Last items again",
    "item-item": "Item-item",
}
#: Columns that a model is asked for; the tables are as item-item is, and no networks.
_TABLES: tuple[ColumnName, ...] = ("linear", "alike")
NETWORKS: tuple[ColumnName, ...] = (*_TABLES, "sequence", "sasrec", "two-tower", "hcn")
_K = 10


@dataclass(frozen=True, eq=False)
class TriedOrder:
    """An order and how good it is by the cross-fit.

    coarse, fine: the weights are the mean of those of both halves (`on_all_visits` fits those of
    the coarse stage to all); fine is None without that stage. models: networks that are asked.
    gain, recall: NDCG@10 and recall@50 of each visit: [V].
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

    def mixed(networks: Sequence[ColumnName]) -> tuple[TriedOrder, Floats]:
        names = [name for name in bench.names if name in rules or name in networks]
        score, mixture = _cross_fitted(bench, half, names, sources)
        called = " + ".join(("rules", *networks)) if networks else "Rules together"
        order = _order(called, bench, score, mixture, _networks(networks), through)
        return order, score

    best = mixed(()) if len(rules) > 1 else None
    found += [best[0]] if best else []
    left, asked = [name for name in NETWORKS if name in bench.names], list[ColumnName]()
    while left:
        tried = {name: mixed([*asked, name]) for name in left}
        found += [order for order, _ in tried.values()]
        name = max(left, key=lambda one: float(tried[one][0].gain.mean()))
        if best is not None and tried[name][0].gain.mean() <= best[0].gain.mean():
            break
        best = tried[name]
        asked.append(name)
        left.remove(name)
    if fine is not None and best is not None:
        found += _with_fine(bench, half, *best, through, fine)
    return found


def chosen(orders: Sequence[TriedOrder], user: Ints) -> TriedOrder:
    """The order that serves, by the rule of the module. user: int64 [V]."""
    best = max(orders, key=lambda one: float(one.gain.mean()))
    near = [one for one in orders if _behind(best, one, user) <= 0]
    least = min(_asks(one) for one in near)
    return max((one for one in near if _asks(one) == least), key=lambda one: float(one.gain.mean()))


def on_all_visits(order: TriedOrder, bench: Bench) -> TriedOrder:
    """The order with the weights of its coarse stage fitted to all visits at once."""
    names = order.coarse.names
    return order if len(names) == 1 else replace(order, coarse=fitted(bench, names))


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
                order_ranks(bench, _cross_fitted(bench, half, [*kept, name], sources)[0]), _K
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
) -> tuple[Floats, ScoreMixture]:
    """The score of each candidate by the weights of the other half: [C], and the mean of both
    weights. sources: what only those of networks find that are not asked, is not there."""
    z, owner = bench.columns(names).astype(np.float64), bench.short.owner
    weights = [
        conditional_logit(z, bench.short.offsets, bench.taken & (half != judged)[owner])
        for judged in (False, True)
    ]
    score = np.where(half[owner], z @ weights[1], z @ weights[0])
    mixture = ScoreMixture(tuple(names), tuple(np.mean(weights, axis=0).tolist()))
    if sources is None:
        return score, mixture
    found_by = [name for name in sources if name not in NETWORKS or name in names]
    return np.where(bench.reached_by(found_by), score, -np.inf), mixture


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
    score, mixture = _cross_fitted(top, half, kept)
    pairs = (
        (f"{coarse.name}, then fine alone", alone, alone.scores(top.names, top.z)),
        (f"{coarse.name} + fine", mixture, score),
    )
    found = []
    for name, by, ranked in pairs:
        order = _order(name, top, ranked, coarse.coarse, coarse.models + 1, through)
        found.append(replace(order, fine=by))
    return found


# --------------------------------------------------------------------------------------------------
# Whether the fine stage of a cascade of three stages serves: it is measured before, as the stages
# of a funnel are.
#
# Both orders, that of the coarse stage and that of the fine one, answer the same validation visits.
# The rule of `choice` decides: the fine stage is left out unless it is ahead by more than a
# standard error, since it asks one network more.

_FINE_STAGE_K, _FINE_STAGE_TOGETHER = 10, 32
_log = logging.getLogger("adwright")


@dataclass(frozen=True, eq=False)
class MeasuredFine:
    """deployment: with its fine stage, or without it. ahead: the NDCG@10 of the fine order less
    that of the coarse one, with its 95% interval over users; None where nothing was measured.
    why: what was decided, in a sentence."""

    deployment: Deployment
    ahead: Interval | None
    why: str


def measured_fine(
    built: Deployment, task: NextBasket, *, most: int = 200, draws: int = 500, seed: int = 0
) -> MeasuredFine:
    """Leave the fine stage of `built` out unless validation visits of `task` speak for it.

    most: visits that are asked, drawn by `seed`. Without a fine stage, or a visit to ask, nothing
    is changed; the latter is warned of. Nothing is saved: `Deployment.save` does that.
    """
    if built.fine is None:
        return MeasuredFine(built, None, "there is no fine stage")
    unseen = built.config.unseen
    visits = some_visits(task, task.visits("valid"), most, unseen=unseen, seed=seed)
    if not len(visits):
        why = "the fine stage serves unmeasured: there is no validation visit"
        _log.warning("%s", why)
        return MeasuredFine(built, None, why)
    user, targets = task.visit_user[visits], targets_of(task, visits, unseen=unseen)
    coarse = replace(built, fine=None)
    ranks = {
        name: ranks_in(_answers(one, task, visits), targets)
        for name, one in (("fine", built), ("coarse", coarse))
    }
    orders = {
        name: TriedOrder(
            name,
            ScoreMixture.of("hcn"),
            ScoreMixture.of("fine") if name == "fine" else None,
            models=2 if name == "fine" else 1,
            gain=ndcg_per_user(one, _FINE_STAGE_K),
            recall=recall_per_user(one, built.config.coarse),
        )
        for name, one in ranks.items()
    }
    serves = chosen(list(orders.values()), user) is orders["fine"]
    ahead = compare_rankings(
        ranks,
        user,
        subject="fine",
        protocol=EvaluationProtocol(split="validation visits"),
        data_hash=task.data_hash,
        seed=seed,
        draws=draws,
    ).differences["coarse"][f"ndcg@{_FINE_STAGE_K}"]
    done = "serves" if serves else "is left out"
    why = (
        f"the fine stage {done}: on {len(visits):,} validation visits its NDCG@{_FINE_STAGE_K} is "
        f"{orders['fine'].gain.mean():.4f}, that of the coarse order "
        f"{orders['coarse'].gain.mean():.4f} (ahead by {ahead.text('+.4f')})"
    )
    return MeasuredFine(built if serves else coarse, ahead, why)


def _answers(built: Deployment, task: NextBasket, visits: Ints) -> list[Ints]:
    """Item codes that each of the visits is answered with, best first."""
    cascade, found = built.cascade(), []
    for start in range(0, len(visits), _FINE_STAGE_TOGETHER):
        requests = visit_requests(task, visits[start : start + _FINE_STAGE_TOGETHER])
        for answer in cascade.recommend_many(requests):
            found.append(task.items.rows(pa.array(answer.item_ids, pa.string())))
    return found
