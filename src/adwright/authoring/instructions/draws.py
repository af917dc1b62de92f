"""Choices that depend on a seed and on what is chosen for, never on what came before.

    drawn(7, "ads", "product-12")        # a whole number below 2^64, the same everywhere
    chosen(names, 7, "product-12")       # one of them
    smallest = KeptByDraw(1000, seed=7)  # a thousand of any number of things, in memory for those

A random generator that is asked in turn would give other rows another choice when one row is added;
a hash does not, and rows can be looked at in any order.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from typing import Generic, TypeVar

from adwright.core.errors import ConfigError

T = TypeVar("T")
_BYTES = 8


def drawn(seed: int, *parts: str) -> int:
    """A whole number below 2^64 that follows from `seed` and `parts` alone."""
    digest = hashlib.blake2b(digest_size=_BYTES, key=str(seed).encode())
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(_BYTES, "little") + data)
    return int.from_bytes(digest.digest(), "little")


def share(seed: int, *parts: str) -> float:
    """A number from 0 to below 1 that follows from `seed` and `parts` alone."""
    return (drawn(seed, *parts) >> 11) / (1 << 53)


def chosen(things: Sequence[T], seed: int, *parts: str) -> T:
    """One of `things`, by `drawn`. Raises ConfigError where there are none."""
    if not things:
        raise ConfigError("there is nothing to choose from", where="chosen", hint="give some")
    return things[drawn(seed, *parts) % len(things)]


class KeptByDraw(Generic[T]):
    """The `most` things whose draw is least, of any number that are offered; 0 keeps all.

    The same things are kept in whatever order they come (Broder's bottom-k sketch). Of two with one
    key, the second replaces the first.
    """

    def __init__(self, most: int, *, seed: int = 0) -> None:
        if most < 0:
            raise ConfigError("most must not be negative", where=f"most {most}", hint="0 for all")
        self._most, self._seed = most, seed
        self._worst: list[tuple[int, str]] = []
        self._kept: dict[str, T] = {}
        #: How many were offered.
        self.seen = 0

    def offer(self, key: str, thing: T) -> bool:
        """Keep `thing` if its key is drawn low enough; whether it is kept by now."""
        self.seen += 1
        if key in self._kept:
            self._kept[key] = thing
            return True
        draw = drawn(self._seed, "kept", key)
        if not self._most or len(self._kept) < self._most:
            heapq.heappush(self._worst, (-draw, key))
            self._kept[key] = thing
            return True
        if -draw < self._worst[0][0]:
            return False
        _, out = heapq.heapreplace(self._worst, (-draw, key))
        del self._kept[out]
        self._kept[key] = thing
        return True

    def things(self) -> list[T]:
        """What is kept, the least draw first."""
        return [self._kept[key] for _, key in sorted(self._worst, reverse=True)]
