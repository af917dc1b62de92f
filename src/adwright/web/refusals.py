"""How fast those are refused who send again at once."""

from __future__ import annotations

__all__ = ["Refusals"]

#: Seconds from one refusal of a caller to its next, and the longest that one is held back.
_BETWEEN, _LONGEST = 0.01, 1.0


class Refusals:
    """Slows down the refusals of each caller.

    A refusal costs the event loop a part of what an answer costs, so that callers who send again
    at once would fill it with refusals alone. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def wait(self, caller: str, now: float) -> float:
        """Seconds until a refusal of this caller is due; for one that is refused rarely, none.

        now: seconds of a monotonic clock.
        """
        due = min(max(now, self._next.get(caller, now)), now + _LONGEST)
        self._next[caller] = due + _BETWEEN
        return due - now
