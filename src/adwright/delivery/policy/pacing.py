"""Limits and prices: frequency caps per user, and budgets that last until their end.

Both are adjustments of a policy (see `delivery.policy.slate_policy`). They read what was recorded
before the request and what stands above in the slate, and no chance, so the propensities of the
policy stay exact; an item that a cap rules out simply is no candidate there. They keep their
counts in memory and take no lock: `delivery.policy.records` feeds them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.slate_policy import Adjustment, Running

__all__ = [
    "Allowance",
    "BudgetPacer",
    "BudgetPacingConfig",
    "FrequencyCap",
    "FrequencyCapConfig",
    "Limit",
]

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


@dataclass(frozen=True)
class FrequencyCapConfig:
    """At most `limit` impressions (at least 1) per user in any `hours` (above 0)."""

    limit: int = 3
    hours: float = 24.0

    def __post_init__(self) -> None:
        if self.limit < 1 or not (self.hours > 0 and math.isfinite(self.hours)):
            raise ConfigError(
                "a cap is at least 1 impression in more than 0 hours",
                where=f"limit {self.limit}, hours {self.hours}",
                hint="exclude what must never be shown",
            )


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


@dataclass(frozen=True)
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
    cost: float = 1.0
    gain: float = 200.0

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
        for name, value in (("cost", self.cost), ("gain", self.gain)):
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be 0 or above", where=f"{name} {value}")

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
