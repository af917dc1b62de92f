"""Who calls with an API key, asked from the store and believed for a while.

    fresh        answered from memory
    older        asked again; believed on while the store cannot be asked, up to a bound
    never seen   asked together with all others that came meanwhile, in one look

So a flood of invented keys costs one look at a time, however many there are, and a key of an
honest caller waits for no more than the look before it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from adwright.core.clock import Clock
from adwright.web.turns import in_thread, store_is_silent

T = TypeVar("T")
_MOST = 10_000
#: Two, so that one that never ends does not shut the door for good.
_LOOKS = 2
_KEYS_A_LOOK = 1_000
#: For a key that was never seen, and for one that may be believed on.
PATIENCE, STALE_PATIENCE = 2.0, 0.25


class KeyCache(Generic[T]):
    """Answers whose key it is from memory for `seconds`, unknown keys included.

    ask: the store's own look-up of several keys; it may block, so it runs on threads of its own.
    stale_seconds: how long a known key is believed, since the store was last asked, while it
    cannot be asked: so long may a key live that was revoked meanwhile.
    The keys themselves are not kept, only their SHA-256. Belongs to one event loop.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Sequence[T | None]],
        clock: Clock,
        *,
        seconds: float,
        stale_seconds: float = 0.0,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._seconds = seconds
        self._stale_seconds = stale_seconds
        # Apart from each other, so that guesses drive no known key out.
        self._known: OrderedDict[bytes, tuple[T | None, float]] = OrderedDict()
        self._unknown: OrderedDict[bytes, tuple[T | None, float]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Future[T | None]] = {}
        self._waiting: OrderedDict[bytes, str] = OrderedDict()
        self._began: list[float] = []
        self._failing = False

    async def caller(self, key: str) -> T | None:
        """Who calls with the key; None where it is unknown.

        Raises what the store raises, and ApiError 503 where it does not answer, unless the key is
        known and may be believed on.
        """
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        now = self._clock.monotonic()
        found, asked = self._known.get(digest) or self._unknown.get(digest) or (None, None)
        if asked is not None and now < asked + self._seconds:
            return found
        believed = found if asked is not None and now < asked + self._stale_seconds else None
        patience = PATIENCE if believed is None else 0.0 if self._failing else STALE_PATIENCE
        if believed is None and self._hangs(now):
            raise store_is_silent(PATIENCE)
        answer = self._answer(digest, key)
        await asyncio.wait({answer}, timeout=patience)
        if answer.done() and (believed is None or answer.exception() is None):
            return answer.result()
        if believed is not None:
            self._failing = True
            return believed
        raise store_is_silent(PATIENCE)

    def _hangs(self, now: float) -> bool:
        """Whether no look has ended for so long that no more keys should wait."""
        return len(self._began) == _LOOKS and now > max(self._began) + PATIENCE

    def _answer(self, digest: bytes, key: str) -> asyncio.Future[T | None]:
        """The coming answer about a key, which all share that ask for it."""
        answer = self._asked.get(digest)
        if answer is None:
            answer = asyncio.get_running_loop().create_future()
            # An error that nobody asks for is none.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asked[digest] = answer
            self._waiting[digest] = key
            self._look()
        return answer

    def _look(self) -> None:
        """Ask for what waits, as long as a look is free."""
        while self._waiting and len(self._began) < _LOOKS:
            some = min(len(self._waiting), _KEYS_A_LOOK)
            keys = dict(self._waiting.popitem(last=False) for _ in range(some))
            began = self._clock.monotonic()
            self._began.append(began)
            look = in_thread("keys", partial(self._ask, list(keys.values())))
            look.add_done_callback(partial(self._end, list(keys), began))

    def _end(
        self,
        digests: Sequence[bytes],
        began: float,
        look: asyncio.Future[Sequence[T | None]],
    ) -> None:
        self._began.remove(began)
        error = look.exception()
        self._failing = error is not None
        answers = [self._asked.pop(digest) for digest in digests]
        if error is not None:
            for answer in answers:
                answer.set_exception(error)
        else:
            for digest, answer, caller in zip(digests, answers, look.result(), strict=True):
                # As of the beginning: it may have been revoked since.
                self._keep(digest, caller, began)
                answer.set_result(caller)
        self._look()

    def _keep(self, digest: bytes, caller: T | None, now: float) -> None:
        kept, other = self._known, self._unknown
        if caller is None:
            kept, other = other, kept
        other.pop(digest, None)
        kept[digest] = caller, now
        kept.move_to_end(digest)
        while len(kept) > _MOST:
            kept.popitem(last=False)
