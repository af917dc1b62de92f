"""When to say no: an estimate of the wait, against the time that the caller has."""

from __future__ import annotations

from dataclasses import dataclass

from adwright.service.config import ServiceConfig
from adwright.web.errors import Busy

__all__ = ["Load", "commit_reserve", "shed"]

_MIN_RESERVE = 0.004


@dataclass(frozen=True)
class Load:
    """The load before a request that comes now.

    waiting: decisions queued or in work. per_rescue: seconds of one that is taken from the
    fallback. rows: rows queued or in work at the store. per_commit: seconds of one transaction.
    """

    waiting: int
    per_rescue: float
    rows: int
    per_commit: float

    def wait(self) -> float:
        """The least seconds until a decision that comes now is written.

        All decisions before it and itself taken from the fallback, which is what happens when
        the model is late; then the transaction in work and its own. With nobody before it the
        answer is 0: an estimate that is wrong must not shut the door for good, and whoever is
        let in alone renews it.
        """
        if not self.waiting and not self.rows:
            return 0.0
        commits = 2 if self.rows else 1
        return (self.waiting + 1) * self.per_rescue + commits * self.per_commit


def shed(load: Load, seconds: float, config: ServiceConfig) -> Busy | None:
    """The refusal of a decision that has `seconds` of time left; None where it may come in."""
    wait = load.wait()
    if load.waiting >= config.max_queue:
        return Busy("queue", wait)
    if load.rows >= config.max_pending_rows:
        return Busy("store", wait)
    if wait > seconds or seconds <= 0:
        return Busy("deadline", wait - seconds)
    return None


def commit_reserve(per_commit: float, seconds: float) -> float:
    """The part of a deadline of `seconds` that is kept for writing the decision.

    The transaction in work and its own, at least 4 ms, at most half of the time.
    """
    return min(max(_MIN_RESERVE, 2 * per_commit), seconds / 2)
