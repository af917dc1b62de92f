"""When to say no: an estimate of the wait, against the time that the caller has, and shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from adwright.web.errors import Busy

__all__ = ["Load", "Shares", "commit_reserve", "missed", "shed"]

_MIN_RESERVE = 0.004
#: Decisions that a tenant may have in work whatever an estimate says.
_FEW = 3


class Shares:
    """How much of a whole each tenant holds. A tenant may hold as much as is still free.

    So one that floods gets half of the whole, two get a third each, and a last part stays free
    for those who come next. most: the whole. Belongs to one event loop.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()
        self.total = 0

    def of(self, tenant: str) -> int:
        """What the tenant holds."""
        return self._held[tenant]

    def fits(self, tenant: str, amount: int = 1) -> bool:
        """Whether the tenant may hold so much more."""
        return self._held[tenant] + amount <= self._most - self.total

    def before(self, tenant: str, turn: int) -> int:
        """What is served before something that this tenant adds now, where each tenant gets `turn`
        in a round: all that it holds itself, and of the others no more than in the same rounds."""
        own = self._held[tenant]
        most = (own // turn + 1) * turn
        return own + sum(min(held, most) for other, held in self._held.items() if other != tenant)

    @contextmanager
    def held(self, tenant: str, amount: int = 1) -> Iterator[None]:
        """Hold so much during the block."""
        self._held[tenant] += amount
        self.total += amount
        try:
            yield
        finally:
            self.total -= amount
            self._held[tenant] -= amount
            if not self._held[tenant]:
                del self._held[tenant]


@dataclass(frozen=True)
class Load:
    """What stands before a request that comes now, where all tenants are served in turn.

    own: decisions of its tenant that are in work. decisions: these and those of others that have
    their turn before it. per_rescue: seconds of one that is taken from the fallback. store:
    seconds until a transaction of its own can begin. per_commit: seconds of one.
    """

    own: int
    decisions: int
    per_rescue: float
    store: float
    per_commit: float

    def wait(self) -> float:
        """The least seconds until a decision that comes now is written.

        All decisions before it and itself taken from the fallback, which is what happens when
        the model is late; then the transactions before its own, and that one.
        """
        return (self.decisions + 1) * self.per_rescue + self.store + self.per_commit


def shed(load: Load, seconds: float) -> Busy | None:
    """The refusal of a decision that has `seconds` of time left; None where it may come in.

    A tenant that has hardly anything in work is always let in: neither what others do may shut the
    door before it, nor an estimate that is wrong, which whoever is let in renews.
    """
    if load.own < _FEW:
        return None
    wait = load.wait()
    if wait > seconds or seconds <= 0:
        return missed(wait - seconds)
    return None


def missed(seconds: float) -> Busy:
    """The refusal of a decision whose time is not enough. seconds: when to come back."""
    return Busy(
        "deadline",
        seconds,
        what="too busy to answer within the deadline of this request",
        hint="send a longer deadline_ms with it, or raise the setting deadline_ms of the service",
    )


def commit_reserve(per_commit: float, seconds: float) -> float:
    """The part of a deadline of `seconds` that is kept for writing the decision.

    The transaction in work and its own, at least 4 ms, at most half of the time.
    """
    return min(max(_MIN_RESERVE, 2 * per_commit), seconds / 2)
