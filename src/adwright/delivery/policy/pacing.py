"""Limits and prices: frequency caps for people, and budgets that last until their end.

Both are adjustments of a policy (see `delivery.policy`). They read what was recorded before the
request and what stands above in the slate, and no chance, so the propensities of the policy
stay exact; an item that a cap rules out simply is no candidate there. They keep their records
in memory of one thread: whoever serves records each decision once it is made, and two decisions
made at the same instant do not see each other.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.delivery.policy.slate_policy import Running

__all__ = ["BudgetPacer", "BudgetPacingConfig", "FrequencyCap", "FrequencyCapConfig"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FrequencyCapConfig:
    """At most `limit` impressions (at least 1) a person in any `hours` (above 0)."""

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
    """Rules out what a person saw often enough, whole slates of one campaign included.

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
        """Start down a slate with what the person saw in the hours before the request."""
        keys = [self._key(item_id) for item_id in candidates.item_ids]
        left = {
            key: self.config.limit - self.count(request.user_id, key, request.time)
            for key in set(keys)
            if key is not None
        }
        return _Allowance(keys, left)

    def count(self, user_id: str, key: str, time: datetime) -> int:
        """Impressions of `key` (an item, or what `of` names) up to `time`, within the hours."""
        seen = self._seen.get((user_id, key), [])
        return bisect_right(seen, time) - bisect_right(seen, time - self._window)

    def record(self, decision: Decision) -> None:
        """Take note of what was shown. Impressions may come in any order of time."""
        request = decision.request
        for item_id in decision.item_ids:
            key = self._key(item_id)
            if key is not None:
                insort(self._seen.setdefault((request.user_id, key), []), request.time)

    def forget(self, before: datetime) -> None:
        """Drop impressions that no request from `before` on can still count."""
        oldest = before - self._window
        kept = {key: seen[bisect_right(seen, oldest) :] for key, seen in self._seen.items()}
        self._seen = {key: seen for key, seen in kept.items() if seen}

    def _key(self, item_id: str) -> str | None:
        return item_id if self._of is None else self._of.get(item_id)


class _Allowance:
    """How many more of each key fit; candidates without a key always do."""

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
    """Spend each budget evenly from start to end (the first instant after it), never more.

    budget: of each campaign, above 0. cost: of an impression, in the same money, 0 or above
    (0 where responses are charged instead). gain: 0 or above; a campaign that is ahead of
    time by a share x of its budget pays gain x in utility, so it settles ahead of time by the
    price it needs divided by gain (with utilities in log-odds and a gain of 200, 1.2% where a
    tenth of its odds is enough). 0 only stops at the end of the budget.
    """

    budget: Mapping[str, float]
    start: datetime
    end: datetime
    cost: float = 1.0
    gain: float = 200.0

    def __post_init__(self) -> None:
        wrong = {name: money for name, money in self.budget.items() if not money > 0}
        if wrong or not all(math.isfinite(money) for money in self.budget.values()):
            raise ConfigError("a budget must be above 0 and finite", where=f"budget {wrong}")
        if not self.start < self.end:
            raise ConfigError("pacing ends after its start", where=f"{self.start}, {self.end}")
        for name, value in (("cost", self.cost), ("gain", self.gain)):
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be 0 or above", where=f"{name} {value}")


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
        self._spent = dict.fromkeys(config.budget, 0.0)

    def begin(self, request: Request, candidates: Candidates) -> Running:
        """Start down a slate with the prices of the moment."""
        campaigns = [self._of(item_id) for item_id in candidates.item_ids]
        price = np.array(
            [0.0 if each is None else self.price(each, request.time) for each in campaigns]
        )
        left = {
            name: self.config.budget[name] - self._spent[name]
            for name in {each for each in campaigns if each is not None}
        }
        return _Purse(campaigns, price, left, self.config.cost)

    def price(self, campaign_id: str, time: datetime) -> float:
        """What an impression of this campaign costs in utility; inf outside start to end."""
        config = self.config
        if not config.start <= time < config.end:
            return math.inf
        elapsed = (time - config.start) / (config.end - config.start)
        ahead = self._spent[campaign_id] / config.budget[campaign_id] - elapsed
        return config.gain * max(0.0, ahead)

    def spent(self, campaign_id: str) -> float:
        """What was charged to a campaign with a budget so far."""
        return self._spent[campaign_id]

    def record(self, decision: Decision) -> None:
        """Charge the cost of each impression to its campaign."""
        for item_id in decision.item_ids:
            name = self._of(item_id)
            if name is not None:
                self.charge(name, self.config.cost)

    def charge(self, campaign_id: str, money: float) -> None:
        """Charge money, 0 or above, for a response say; raises ValueInvalidError otherwise."""
        if campaign_id not in self._spent:
            raise ValueInvalidError(
                "a campaign without a budget cannot be charged",
                column="campaign_id",
                value=campaign_id,
                hint=f"the budgets are of {', '.join(sorted(self._spent))}",
            )
        if not (money >= 0 and math.isfinite(money)):
            raise ValueInvalidError("a charge must be 0 or above", column="money", value=money)
        self._spent[campaign_id] += money

    def _of(self, item_id: str) -> str | None:
        name = self._campaign.get(item_id)
        return name if name in self._spent else None


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
