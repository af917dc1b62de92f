"""A deadline: the instant by which an answer must be there, on the scale of a given clock.

It is passed down with a batch of requests. A recommender that cannot finish in time answers with
less: the coarse order instead of the fine one, or the most popular items.
"""

from __future__ import annotations

from dataclasses import dataclass

from adwright.core.clock import Clock

__all__ = ["Deadline"]


@dataclass(frozen=True)
class Deadline:
    """An instant on the scale of `clock.monotonic()`, in seconds."""

    at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        """The deadline `seconds` from now; zero or less has passed already."""
        return cls(clock.monotonic() + seconds, clock)

    def remaining(self) -> float:
        """Seconds that are left; negative once it has passed."""
        return self.at - self.clock.monotonic()

    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0
