"""How much may wait and run at a time, in tokens: beyond it, come again later.

Whole programs are let in or not, as one that stops in the middle has cost the more for it: what a
program may read and write is reserved when it comes, and given free as its chains end. Chains
beyond what was reserved are let in one by one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import fields

from adwright.core.config import settings
from adwright.core.errors import AdwrightError, ConfigError

__all__ = ["Admission", "AdmissionBounds", "OverloadedError"]


class OverloadedError(AdwrightError):
    """There is too much to do already. retry_after: seconds until there will be room, about."""

    def __init__(
        self, what: str, *, where: str = "", hint: str = "", retry_after: float = 1.0
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.retry_after = retry_after


@settings
class AdmissionBounds:
    """Tokens that are read and written: of all that is let in and not over; of one tenant's; and of
    what one tenant has on engines or before them at a time, beyond which his own chains wait for
    each other; None: no bound. Raises ConfigError for a bound below 1."""

    all_tokens: int | None = 20_000_000
    tenant_tokens: int | None = None
    tenant_in_flight: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and value < 1:
                raise ConfigError(
                    f"{each.name} must be at least 1",
                    where=f"AdmissionBounds.{each.name} {value}",
                    hint="None: no bound",
                )


class Admission:
    """Counts what is let in. seconds: that so many tokens will take, as things are."""

    def __init__(self, bounds: AdmissionBounds, seconds: Callable[[int], float]) -> None:
        self.bounds, self._seconds = bounds, seconds
        self.tokens = 0
        self.by_tenant: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()

    def let_in(self, tenant: str, tokens: int) -> None:
        """Let so many tokens of the tenant's in. Raises OverloadedError where they are too many;
        who has nothing here is let in however much it is, once nothing else is there."""
        bounds = self.bounds
        told = (
            (self.tokens, bounds.all_tokens, "all together"),
            (self.by_tenant.get(tenant, 0), bounds.tenant_tokens, "of one tenant"),
        )
        for there, most, whose in told:
            if most is not None and there and there + tokens > most:
                over = there + tokens - most
                raise OverloadedError(
                    f"there are {there:,} tokens to do {whose}, and with {tokens:,} more it would "
                    f"be above {most:,}",
                    where="admission",
                    hint="come again later, or divide the program",
                    retry_after=max(1.0, math.ceil(self._seconds(min(over, there)))),
                )
        self.tokens += tokens
        self.by_tenant[tenant] += tokens

    def let_go(self, tenant: str, tokens: int) -> None:
        """So many of them are done, or will not be."""
        self.tokens -= tokens
        _take(self.by_tenant, tenant, tokens)

    def has_room(self, tenant: str, tokens: int) -> bool:
        """Whether so many tokens of a chain may go on to the engines now."""
        most = self.bounds.tenant_in_flight
        there = self.in_flight.get(tenant, 0)
        return most is None or not there or there + tokens <= most

    def begin(self, tenant: str, tokens: int) -> None:
        """A chain of so many goes on to the engines."""
        self.in_flight[tenant] += tokens

    def end(self, tenant: str, tokens: int) -> None:
        """It is over."""
        _take(self.in_flight, tenant, tokens)


def _take(counts: Counter[str], tenant: str, tokens: int) -> None:
    counts[tenant] -= tokens
    if not counts[tenant]:
        del counts[tenant]
