"""A trial of a cascade: real requests are answered and decided, and nothing is forgotten.

A request is a visit of the next-basket task, at its time and with the history before it, so
what the user then bought is known. Beside what the stages let through stand the lists that
they are judged by (see `judging`): the fine ranker's own best of the whole catalogue, which
takes it seconds per request, and the rule that is hard to beat where users repeat themselves.

Letters: R requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import ConfigError
from adwright.core.progress import progress
from adwright.data.popularity import most_popular
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.cascade import Cascade, Meter, StageCost
from adwright.delivery.decision import Candidates, Decision, Policy
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist, best_of
from adwright.delivery.stages.sources import PastSource
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.ranking import Ranks, ndcg_per_user, recall_per_user

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_BLOCK = 4096
_TOGETHER = 8


@dataclass(frozen=True, eq=False)
class Served:
    """R visits that were served, in order.

    visits: int64 [R], numbers of the task. candidates, decisions: R of each. milliseconds:
    float64 [R] of wall time, from the request to the decision. costs: of the stages, the policy
    last.
    """

    visits: Ints
    candidates: tuple[Candidates, ...]
    decisions: tuple[Decision, ...]
    milliseconds: Floats
    costs: tuple[StageCost, ...]


def serve_visits(
    cascade: Cascade,
    policy: Policy,
    task: NextBasket,
    visits: Ints,
    *,
    k: int = 10,
    seed: int = 0,
    clock: Clock | None = None,
) -> Served:
    """Answer visits int64 [R] of `task` one after the other, each with a slate of k.

    seed: of the policy's chance. clock: measures the milliseconds.
    """
    clock, meter, rng = clock or SystemClock(), Meter(), np.random.default_rng(seed)
    candidates: list[Candidates] = []
    decisions: list[Decision] = []
    seconds: list[float] = []
    with progress(len(visits), "decide", "requests") as bar:
        for request in visit_requests(task, visits, k=k):
            started = clock.monotonic()
            found = cascade.recommend_many([request], meter=meter)[0]
            with meter.stage("policy"):
                decision = policy.decide(request, found, rng)
            seconds.append(clock.monotonic() - started)
            meter.work("policy", 1, len(found))
            candidates.append(found)
            decisions.append(decision)
            bar.advance()
    milliseconds = 1000 * np.asarray(seconds, np.float64)
    return Served(visits, tuple(candidates), tuple(decisions), milliseconds, tuple(meter.report()))


def stage_lists(
    cascade: Cascade, task: NextBasket, served: Served, *, k: int = 10
) -> dict[str, list[Ints]]:
    """Item codes that each stage let through: stage -> R lists, best first but for "retrieve".

    "policy" are the slates, drawn from what "coarse" let through.
    """
    requests = visit_requests(task, served.visits, k=k)
    found: list[Ints] = []
    for start in range(0, len(requests), _TOGETHER):
        batch = cascade.histories.batch(requests[start : start + _TOGETHER])
        found += cascade.retrieve(batch).lists()
    left = [_codes(cascade, candidates.item_ids) for candidates in served.candidates]
    slates = [_codes(cascade, decision.item_ids) for decision in served.decisions]
    return {
        "retrieve": found,
        "coarse": left,
        "fine": [codes[:k] for codes in left],
        "policy": slates,
    }


def exhaustive_best(
    cascade: Cascade,
    task: NextBasket,
    visits: Ints,
    *,
    k: int = 10,
    block: int = _BLOCK,
    meter: Meter | None = None,
) -> list[Ints]:
    """The k items that the fine stage puts first when it ranks the whole catalogue, for each of
    the visits int64 [R]. block: items of one call. meter: takes the cost, as "exhaustive".

    Raises ConfigError where the cascade has no fine stage.
    """
    if cascade.fine is None:
        raise ConfigError("only a fine stage can rank the catalogue", where="no fine stage")
    meter = meter or Meter()
    every = np.arange(1, len(cascade.histories.items.ids) + 1)
    best = []
    with progress(len(visits), "rank the whole catalogue", "requests") as bar:
        for request in visit_requests(task, visits, k=k):
            batch = cascade.histories.batch([request])
            with meter.stage("exhaustive"):
                parts = [
                    cascade.fine.score(batch, Shortlist.of([every[start : start + block]]))
                    for start in range(0, len(every), block)
                ]
                first, _ = best_of(Shortlist.of([every]), np.concatenate(parts), np.array([k]))
            meter.work("exhaustive", 1, len(every))
            best.append(first.codes)
            bar.advance()
    return best


def frequency_best(cascade: Cascade, task: NextBasket, visits: Ints, *, k: int = 10) -> list[Ints]:
    """The k items that each user had most often before the visit (ties and the places that
    are left: the more popular), for visits int64 [R]."""
    popular = most_popular(task.count)[:k]
    batch = cascade.histories.batch(visit_requests(task, visits, k=k))
    past = PastSource().find(batch, max(1, len(task.items)))
    lists = []
    for user, codes in enumerate(past.lists()):
        events = batch.item[batch.offsets[user] : batch.offsets[user + 1]]
        asked = np.union1d(codes, popular)
        times = np.bincount(events, minlength=len(task.items))[asked]
        lists.append(asked[np.lexsort((asked, -task.count[asked], -times))[:k]])
    return lists


def _codes(cascade: Cascade, item_ids: Sequence[str]) -> Ints:
    return cascade.histories.items.rows(pa.array(item_ids, pa.string()))


# --------------------------------------------------------------------------------------------------
# Measure the stages of a cascade, and the order that comes out.
#
# Two questions are asked of the items that a stage lets through:
#
#     bought   which share of what the user then bought is still there?
#     own      which share of the fine ranker's own best is still there, had it ranked the whole
#              catalogue?
#
# The first holds the cascade up to the world, the second says what the cheap stages lose: where
# they lose nothing it is 1. Values are means over requests, and intervals by bootstrap over the
# users, since requests of one user depend on each other.
#
# Letters: R requests.


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
    whole, few = UserMeans(user, draws, seed), UserMeans(user[sample], draws, seed)
    return [
        StageQuality(
            name,
            float(np.mean([len(one) for one in lists])),
            whole.mean(_share(lists, bought)),
            few.mean(_share([lists[place] for place in sample], own)),
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
    (first, *_), means = orders, UserMeans(user, draws, seed)
    return [
        OrderQuality(
            name,
            means.mean(recall[name]),
            means.mean(gain[name]),
            None if name == first else means.ahead(gain[first], gain[name]),
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
    return Ranks(flat, offsets, np.zeros(len(flat), np.bool_))


def _share(lists: Sequence[Ints], wanted: Sequence[Ints]) -> Floats:
    """Which share of the wanted is in the list, of each request [R]."""
    longest = max((len(one) for one in lists), default=0)
    return recall_per_user(ranks_in(lists, wanted), max(1, longest))


@dataclass(frozen=True, eq=False)
class UserMeans:
    """Means over visits, whose users are drawn again: user int64 [V], of each visit."""

    user: Ints
    draws: int = 500
    seed: int = 0

    def mean(self, values: Floats) -> Interval:
        """Of a number a visit [V]."""
        top, number = _sums(values, self.user)
        return bootstrap_ratio(top, number, np.random.default_rng(self.seed), self.draws)

    def ahead(self, values: Floats, other: Floats) -> Interval:
        """By how much one is ahead of the other."""
        top, number = _sums(values, self.user)
        minus, _ = _sums(other, self.user)
        rng = np.random.default_rng(self.seed)
        return bootstrap_difference(top, minus, number, rng, self.draws)


def _sums(values: Floats, user: Ints) -> tuple[Floats, Floats]:
    """(sum over a user's requests, number of them) of the users that occur."""
    _, place = np.unique(user, return_inverse=True)
    sums = np.bincount(place, values).astype(np.float64)
    return sums, np.bincount(place).astype(np.float64)
