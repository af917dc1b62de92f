"""Limits and prices: frequency caps per user, and budgets that last until their end.

Both are adjustments of a policy (see `delivery.policy.slate_policy`). They read what was recorded
before the request and what stands above in the slate, and no chance, so the propensities of the
policy stay exact; an item that a cap rules out simply is no candidate there. They keep their
counts in memory and take no lock: `PolicyRecords` feeds them.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock, SystemClock
from adwright.core.config import Count, Natural, NotNegative, Positive, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import ItemCounts
from adwright.delivery.policy.slate_policy import Adjustment, Running

Floats = NDArray[np.float64]
_DAY = timedelta(days=1)


class Limit(Adjustment, Protocol):
    """An adjustment that counts impressions."""

    def add(self, user_id: str, item_id: str, time: datetime) -> None:
        """Count an impression; they may come in any order of time."""

    def remove(self, user_id: str, item_id: str, time: datetime) -> None:
        """Take back an impression that was added."""

    def forget(self, before: datetime) -> None:
        """Drop what no request from `before` on can still count."""

    def needs(self, now: datetime) -> datetime:
        """The first instant whose impressions count for a request at `now`."""


@settings
class FrequencyCapConfig:
    """At most `limit` impressions (at least 1) per user in any `hours` (above 0). per: what is
    counted together, each item by itself or all of a campaign or category."""

    limit: Count = 3
    hours: Positive = 24.0
    per: Literal["item", "campaign", "category"] = "item"


class FrequencyCap:
    """Rules out what a user saw often enough, whole slates of one campaign included.

    of: what is counted together, for example the campaign of each item; items without an entry
    are not capped. None: each item by itself.
    """

    name = "frequency cap"

    def __init__(self, config: FrequencyCapConfig, *, of: Mapping[str, str] | None = None) -> None:
        self.config = config
        self._of = of
        self._window = timedelta(hours=config.hours)
        self._seen: dict[tuple[str, str], list[datetime]] = {}

    def begin(self, request: Request, candidates: Candidates) -> Running:
        """Start down a slate with what the user saw in the hours before the request."""
        keys = [self._key(item_id) for item_id in candidates.item_ids]
        left = {
            key: self.config.limit - self.count(request.user_id, key, request.time)
            for key in set(keys)
            if key is not None
        }
        return Allowance(keys, left)

    def count(self, user_id: str, key: str, time: datetime) -> int:
        """Impressions of `key` (an item, or what `of` names) since the hours before `time`, those
        included that other clocks have dated later."""
        seen = self._seen.get((user_id, key), [])
        return len(seen) - bisect_right(seen, time - self._window)

    def add(self, user_id: str, item_id: str, time: datetime) -> None:
        """As in Limit."""
        key = self._key(item_id)
        if key is not None:
            insort(self._seen.setdefault((user_id, key), []), time)

    def remove(self, user_id: str, item_id: str, time: datetime) -> None:
        """As in Limit."""
        key = self._key(item_id)
        if key is not None:
            seen = self._seen.get((user_id, key), [])
            place = bisect_left(seen, time)
            # It may be forgotten already.
            if place < len(seen) and seen[place] == time:
                del seen[place]

    def needs(self, now: datetime) -> datetime:
        """As in Limit."""
        return now - self._window

    def forget(self, before: datetime) -> None:
        """As in Limit."""
        oldest = self.needs(before)
        kept = {key: seen[bisect_right(seen, oldest) :] for key, seen in self._seen.items()}
        self._seen = {key: seen for key, seen in kept.items() if seen}

    def _key(self, item_id: str) -> str | None:
        return item_id if self._of is None else self._of.get(item_id)


class Allowance:
    """Adjustment on its way down a slate: so many more of each key fit, and any without a key."""

    def __init__(self, keys: Sequence[str | None], left: dict[str, int]) -> None:
        self._keys, self._left = keys, left

    def adjust(self, utility: Floats) -> Floats:
        fits = [key is None or self._left[key] > 0 for key in self._keys]
        return np.where(fits, utility, -np.inf)

    def place(self, row: int) -> None:
        key = self._keys[row]
        if key is not None:
            self._left[key] -= 1


@settings
class BudgetPacingConfig:
    """Spend each budget evenly over its time, and never more.

    budget: of each campaign, above 0. start, end: the first instant and the first one after
    the last, with a zone; without both, a budget is that of each day in UTC. cost: of an
    impression, in the same money, 0 or above (0 where responses are charged instead). gain: 0
    or above; a campaign that is ahead of time by a share x of its budget pays gain x in utility,
    so it settles ahead of time by the price it needs divided by gain (with utilities in log-odds
    and a gain of 200, 1.2% where a tenth of its odds is enough). 0 only stops at the end of the
    budget.
    """

    budget: Mapping[str, float]
    start: datetime | None = None
    end: datetime | None = None
    cost: NotNegative = 1.0
    gain: NotNegative = 200.0

    def __post_init__(self) -> None:
        wrong = {name: money for name, money in self.budget.items() if not money > 0}
        if wrong or not all(math.isfinite(money) for money in self.budget.values()):
            raise ConfigError("a budget must be above 0 and finite", where=f"budget {wrong}")
        times = [time for time in (self.start, self.end) if time is not None]
        if len(times) == 1 or any(time.utcoffset() is None for time in times):
            raise ConfigError(
                "pacing has both a start and an end, each with a zone, or neither",
                where=f"start {self.start}, end {self.end}",
            )
        if times and not times[0] < times[1]:
            raise ConfigError(
                "pacing ends after its start", where=f"start {self.start}, end {self.end}"
            )

    def begins(self, time: datetime) -> datetime:
        """When the stretch of time begins whose budget pays for an impression at `time`."""
        if self.start is not None:
            return self.start
        return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    def elapsed(self, time: datetime) -> float:
        """The share of that stretch that is over at `time`; outside of 0 to 1 nothing is paid."""
        begins = self.begins(time)
        return (time - begins) / (_DAY if self.end is None else self.end - begins)


class BudgetPacer:
    """Puts a price on campaigns that run ahead of time, and stops them at their budget.

    The price follows from what was spent alone,

        price = gain max(0, spent / budget - elapsed share of the time)

    a proportional controller. A campaign that nobody wants is free and may fall behind; one
    that everybody wants settles where its price keeps it just ahead of the line. A campaign
    without a budget is left alone; one with a budget is shown from start to end only.
    campaign: of each item; items without one are left alone.
    """

    name = "budget pacing"

    def __init__(self, config: BudgetPacingConfig, *, campaign: Mapping[str, str]) -> None:
        self.config = config
        self._campaign = campaign
        self._spent: dict[tuple[str, datetime], float] = {}

    def begin(self, request: Request, candidates: Candidates) -> Running:
        """Start down a slate with the prices of the moment."""
        campaigns = [self._of(item_id) for item_id in candidates.item_ids]
        price = np.array(
            [0.0 if each is None else self.price(each, request.time) for each in campaigns]
        )
        left = {
            name: self.config.budget[name] - self.spent(name, request.time)
            for name in {each for each in campaigns if each is not None}
        }
        return _Purse(campaigns, price, left, self.config.cost)

    def price(self, campaign_id: str, time: datetime) -> float:
        """Price of an impression of this campaign, in utility; inf outside start to end."""
        elapsed = self.config.elapsed(time)
        if not 0 <= elapsed < 1:
            return math.inf
        ahead = self.spent(campaign_id, time) / self.config.budget[campaign_id] - elapsed
        return self.config.gain * max(0.0, ahead)

    def spent(self, campaign_id: str, time: datetime) -> float:
        """Money charged so far to the budget that pays at `time`."""
        return self._spent.get((campaign_id, self.config.begins(time)), 0.0)

    def add(self, user_id: str, item_id: str, time: datetime) -> None:
        """As in Limit: charge the cost of the impression to its campaign."""
        self._pay(item_id, self.config.cost, time)

    def remove(self, user_id: str, item_id: str, time: datetime) -> None:
        """As in Limit."""
        self._pay(item_id, -self.config.cost, time)

    def needs(self, now: datetime) -> datetime:
        """As in Limit."""
        return self.config.begins(now)

    def forget(self, before: datetime) -> None:
        """As in Limit."""
        begins = self.needs(before)
        self._spent = {key: money for key, money in self._spent.items() if key[1] >= begins}

    def charge(self, campaign_id: str, money: float, time: datetime) -> None:
        """Charge money, 0 or above, for a response say; raises ValueInvalidError otherwise."""
        if campaign_id not in self.config.budget:
            raise ValueInvalidError(
                "a campaign without a budget cannot be charged",
                column="campaign_id",
                value=campaign_id,
                hint=f"the budgets are of {', '.join(sorted(self.config.budget))}",
            )
        if not (money >= 0 and math.isfinite(money)):
            raise ValueInvalidError("a charge must be 0 or above", column="money", value=money)
        self._spent[campaign_id, self.config.begins(time)] = self.spent(campaign_id, time) + money

    def _pay(self, item_id: str, money: float, time: datetime) -> None:
        name = self._of(item_id)
        if name is not None:
            self._spent[name, self.config.begins(time)] = max(0.0, self.spent(name, time) + money)

    def _of(self, item_id: str) -> str | None:
        name = self._campaign.get(item_id)
        return name if name in self.config.budget else None


class _Purse:
    """Prices fixed for the slate; what is left shrinks with each place."""

    def __init__(
        self,
        campaigns: Sequence[str | None],
        price: Floats,
        left: dict[str, float],
        cost: float,
    ) -> None:
        self._campaigns, self._price, self._left, self._cost = campaigns, price, left, cost

    def adjust(self, utility: Floats) -> Floats:
        # A budget that is used up to the last cent is not overdrawn by rounding.
        needed = self._cost * (1 - 1e-9)
        fits = [
            each is None or (self._left[each] >= needed and self._left[each] > 0)
            for each in self._campaigns
        ]
        adjusted: Floats = np.where(fits, utility - self._price, -np.inf)
        return adjusted

    def place(self, row: int) -> None:
        name = self._campaigns[row]
        if name is not None:
            self._left[name] -= self._cost


# --------------------------------------------------------------------------------------------------
# Variety down the slate: maximal marginal relevance, determinantal point processes, and a limit
# per category.
#
# The first two lower the utility of an item that resembles those already placed above it. All are
# adjustments of a policy (see `delivery.policy.slate_policy`): functions of the items above,
# without chance. With the greedy policy the first two are the published greedy algorithms; with any
# other the propensities stay exact, since the chances of each place are computed from the adjusted
# utilities.
#
# Letters: C candidates, D width of a vector.

_LEAST = 1e-10  # of an item that the slate above explains in full; keeps its utility finite


@settings
class DiversityConfig:
    """Method and weight of variety.

    method: "mmr", utility - weight max over the items above of the similarity (Carbonell and
        Goldstein, SIGIR 1998; their lambda is 1 / (1 + weight)), or
        "dpp", utility + weight / 2 log of the share of the item that the items above do not
        explain: greedily the slate of highest sum of utilities + weight / 2 log det of its
        similarities (Chen, Zhang and Zhou, NeurIPS 2018).
    weight: 0 or above, in units of the utility.
    similarity: of items of one category (1), or the cosine of the model's item vectors.
    max_per_category: at most so many items of a category in a slate; 0 for no limit.
    """

    method: Literal["mmr", "dpp"] = "mmr"
    weight: NotNegative = 0.5
    similarity: Literal["category", "vectors"] = "category"
    max_per_category: Natural = 0

    @property
    def by_category(self) -> bool:
        """Whether it needs the categories of items."""
        return self.max_per_category > 0 or (self.weight > 0 and self.similarity == "category")


class Similarity(Protocol):
    """Similarity of items."""

    def matrix(self, item_ids: Sequence[str]) -> Floats:
        """[C, C], symmetric, positive semidefinite, 1 on the diagonal, at most 1 elsewhere."""


class CategorySimilarity:
    """Items of one category are alike, others are not."""

    def __init__(self, category: Mapping[str, str]) -> None:
        """category: of each item; an item without one is like no other."""
        self._category = category

    def matrix(self, item_ids: Sequence[str]) -> Floats:
        """As in Similarity."""
        numbers: dict[str, int] = {}
        codes = np.empty(len(item_ids), np.int64)
        for row, item_id in enumerate(item_ids):
            category = self._category.get(item_id)
            # A code of its own, below 0, for an item without a category.
            codes[row] = (
                -1 - row if category is None else numbers.setdefault(category, len(numbers))
            )
        matrix = np.where(codes[:, None] == codes[None, :], 1.0, 0.0)
        np.fill_diagonal(matrix, 1.0)
        return matrix


class VectorSimilarity:
    """Cosine of item vectors, for example those of the item tower."""

    def __init__(self, item_ids: Sequence[str], vectors: NDArray[np.floating]) -> None:
        """vectors: [N, D], finite, of these N items; an item that is not among them, or whose
        vector is zero, is like no other.

        Raises DataError for another shape and ValueInvalidError for a vector not finite.
        """
        if vectors.ndim != 2 or len(vectors) != len(item_ids):
            raise DataError(
                f"expected {len(item_ids)} vectors and found shape {vectors.shape}",
                column="vectors",
                hint="one row per item",
            )
        wrong = ~np.isfinite(vectors).all(1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueInvalidError("a vector is not finite", row=row, column="vectors")
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._unit = np.divide(
            vectors, length, out=np.zeros(vectors.shape, np.float64), where=length > 0
        )
        self._row = {item_id: row for row, item_id in enumerate(item_ids)}

    def matrix(self, item_ids: Sequence[str]) -> Floats:
        """As in Similarity."""
        rows = np.array([self._row.get(item_id, -1) for item_id in item_ids], np.int64)
        unit = np.where((rows >= 0)[:, None], self._unit[rows], 0.0)
        matrix = unit @ unit.T
        np.fill_diagonal(matrix, 1.0)
        return matrix


@dataclass(frozen=True, eq=False)
class Diversity:
    """The adjustment: see DiversityConfig for what it does to utilities."""

    config: DiversityConfig
    similarity: Similarity
    name: str = "diversity"

    def begin(self, request: Request, candidates: Candidates) -> Running:
        """Start down a slate with nothing placed."""
        matrix = self.similarity.matrix(candidates.item_ids)
        weight = self.config.weight
        return _MMR(matrix, weight) if self.config.method == "mmr" else _DPP(matrix, weight)


@dataclass(frozen=True, eq=False)
class CategoryLimit:
    """At most `most` items (at least 1) of a category in a slate; an item without one always
    fits. category: of each item."""

    most: int
    category: Mapping[str, str]
    name: str = "category limit"

    def begin(self, request: Request, candidates: Candidates) -> Running:
        """Start down a slate with nothing placed."""
        keys = [self.category.get(item_id) for item_id in candidates.item_ids]
        return Allowance(keys, {key: self.most for key in keys if key is not None})


class _MMR:
    def __init__(self, matrix: Floats, weight: float) -> None:
        self._matrix, self._weight = matrix, weight
        self._nearest: Floats | None = None

    def adjust(self, utility: Floats) -> Floats:
        return utility if self._nearest is None else utility - self._weight * self._nearest

    def place(self, row: int) -> None:
        alike = self._matrix[row]
        self._nearest = alike if self._nearest is None else np.maximum(self._nearest, alike)


class _DPP:
    """Keeps, of each candidate, the variance that the items above leave unexplained.

    That is a Cholesky factorisation of the similarities, one row per place, so a place costs C
    times the places above instead of a determinant per candidate.
    """

    def __init__(self, matrix: Floats, weight: float) -> None:
        self._matrix, self._weight = matrix, weight
        self._left = np.ones(len(matrix))
        self._factor = np.empty((len(matrix), 0))

    def adjust(self, utility: Floats) -> Floats:
        adjusted: Floats = utility + self._weight / 2 * np.log(np.maximum(self._left, _LEAST))
        return adjusted

    def place(self, row: int) -> None:
        left = max(float(self._left[row]), _LEAST)
        explained = self._factor @ self._factor[row]
        column = (self._matrix[row] - explained) / math.sqrt(left)
        self._factor = np.column_stack([self._factor, column])
        self._left = self._left - column**2


# --------------------------------------------------------------------------------------------------
# Keep the counts of a policy (caps, budgets, evidence) up to date while it serves.
#
# A decision counts against caps and budgets from the moment it is made, before the store has it, so
# that two decisions never share what is left. What then comes out of the store takes the place of
# what was reserved; if nothing does (the request was repeated, or the store failed), the
# reservation is taken back. Evidence counts what is stored alone.
#
# Between processes nothing is shared but the store: a replica hears of what the others showed when
# it loads its next model or settings.

_FORGET_EVERY = timedelta(hours=1)
#: A request may name a time that is past by this much; its limits still hold.
_LATE = timedelta(days=1)


class PolicyRecords:
    """The limits and the evidence of one policy.

    lock: held by whoever lets the policy decide, and while events are taken note of. clock: says
    which impressions no longer count.
    """

    def __init__(
        self,
        limits: Sequence[Limit] = (),
        evidence: ItemCounts | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.lock = threading.Lock()
        self._limits, self._evidence = tuple(limits), evidence
        self._clock = SystemClock() if clock is None else clock
        self._reserved: dict[str, tuple[Request, Sequence[str]]] = {}
        self._forgot = self._clock.now()

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of the events that are to be observed; none without limits and evidence."""
        if self._evidence is not None:
            return frozenset({"impression", self._evidence.response})
        return frozenset({"impression"} if self._limits else ())

    @property
    def since(self) -> datetime | None:
        """The first instant whose events matter now; None is the beginning of the log."""
        now = self._clock.now()
        needed = [limit.needs(now) for limit in self._limits]
        if self._evidence is not None:
            if self._evidence.since is None:
                return None
            needed.append(self._evidence.since)
        return min(needed, default=now)

    def reserve(self, request: Request, ids: Sequence[str]) -> None:
        """Count what is shown to a request until `settle`: items, or what else is limited. Call it
        under the lock."""
        # Of decisions about one request only one is stored.
        if self._limits and request.request_id not in self._reserved:
            self._reserved[request.request_id] = request, ids
            for limit in self._limits:
                for item_id in ids:
                    limit.add(request.user_id, item_id, request.time)

    def settle(self, request_id: str) -> None:
        """The decision was written or was not; what is still reserved for it is taken back."""
        with self.lock:
            self._release(request_id)

    def observe(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Count events that were stored, in EVENT_SCHEMA columns; each must come once."""
        now = self._clock.now()
        with self.lock:
            if self._evidence is not None:
                self._evidence.record(events)
            for event in events if self._limits else ():
                if event["kind"] == "impression":
                    self._release(event["request_id"])
                    for limit in self._limits:  # what came is not still to come
                        limit.add(event["user_id"], event["item_id"], min(event["time"], now))
            if now - self._forgot > _FORGET_EVERY:
                self._forgot = now
                for limit in self._limits:
                    limit.forget(now - _LATE)

    def _release(self, request_id: str) -> None:
        reserved = self._reserved.pop(request_id, None)
        if reserved is not None:
            request, ids = reserved
            for limit in self._limits:
                for item_id in ids:
                    limit.remove(request.user_id, item_id, request.time)
