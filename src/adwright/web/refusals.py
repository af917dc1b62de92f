"""How fast those are refused who send again at once."""

from __future__ import annotations

__all__ = ["Refusals"]

#: Seconds from one refusal of a caller that is slowed down to its next, and the longest that one is
#: held back; a refusal says Retry-After: 1. For how long one who did not heed it is slowed down.
_BETWEEN, _LONGEST, _AFTER, _SLOWED = 0.01, 1.0, 1.0, 10.0


class Refusals:
    """Refuses at once, and slows down a caller who comes back before it was told to.

    A refusal costs the event loop a part of what an answer costs, so that callers who send again
    at once would fill it with refusals alone. at_once: refusals of a caller within the second of
    Retry-After that are not held back: as much as it may have in work, so that one who heeds it
    never exceeds them. Who does is refused one by one for ten seconds. Belongs to one event loop.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._share = _AFTER / at_once
        self._spent: dict[str, float] = {}  # until when its share is spent
        self._next: dict[str, float] = {}

    def wait(self, caller: str, now: float) -> float:
        """Seconds until a refusal of this caller is due; none within its share.

        now: seconds of a monotonic clock.
        """
        spent = max(now, self._spent.get(caller, now))
        if spent + self._share <= now + _AFTER:
            self._spent[caller] = spent + self._share
            return 0.0
        if spent <= now + _AFTER:
            self._spent[caller] = now + _AFTER + _SLOWED
        due = min(max(now, self._next.get(caller, now)), now + _LONGEST)
        self._next[caller] = due + _BETWEEN
        return due - now
