"""LRU cache of per-user vectors.

One entry per user, under a key that says all that it depends on: another key replaces it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["VectorCache"]

Floats = NDArray[np.float32]


class VectorCache:
    """Keeps the vectors of at most `keep` users; safe for several threads."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._kept: OrderedDict[int, tuple[Hashable, Floats]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Users whose vectors are kept."""
        return len(self._kept)

    def of(
        self,
        users: Sequence[int],
        keys: Sequence[Hashable],
        compute: Callable[[list[int]], Floats],
    ) -> list[Floats]:
        """The vectors of U requests, each of a user (by number) and with a key.

        compute: gives the vectors [M, ...] of the M requests that are not kept, by their rows.
        """
        with self._lock:
            found = [self._found(user, key) for user, key in zip(users, keys, strict=True)]
        missing = [n for n, vectors in enumerate(found) if vectors is None]
        if missing:
            fresh = compute(missing)
            with self._lock:
                for n, vectors in zip(missing, fresh, strict=True):
                    found[n] = vectors
                    self._kept[users[n]] = keys[n], vectors
                while len(self._kept) > self.keep:
                    self._kept.popitem(last=False)
        return [vectors for vectors in found if vectors is not None]

    def _found(self, user: int, key: Hashable) -> Floats | None:
        had = self._kept.get(user)
        if had is None or had[0] != key:
            return None
        self._kept.move_to_end(user)
        return had[1]
