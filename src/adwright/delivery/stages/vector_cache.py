"""What was computed for people, kept until what it was computed of is another.

One thing a person, under a key that says all that it depends on; who was asked for longest ago
goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeptVectors"]

Floats = NDArray[np.float32]


class KeptVectors:
    """Vectors of at most `keep` people. Several threads may ask."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._kept: OrderedDict[int, tuple[Hashable, Floats]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """People whose vectors are kept."""
        return len(self._kept)

    def of(
        self,
        people: Sequence[int],
        keys: Sequence[Hashable],
        compute: Callable[[list[int]], Floats],
    ) -> list[Floats]:
        """The vectors of U requests, each of a person (a number) and with a key.

        compute: given the places of those that are not kept, their vectors [M, ...].
        """
        with self._lock:
            found = [self._found(person, key) for person, key in zip(people, keys, strict=True)]
        missing = [n for n, vectors in enumerate(found) if vectors is None]
        if missing:
            fresh = compute(missing)
            with self._lock:
                for n, vectors in zip(missing, fresh, strict=True):
                    found[n] = vectors
                    self._kept[people[n]] = keys[n], vectors
                while len(self._kept) > self.keep:
                    self._kept.popitem(last=False)
        return [vectors for vectors in found if vectors is not None]

    def _found(self, person: int, key: Hashable) -> Floats | None:
        had = self._kept.get(person)
        if had is None or had[0] != key:
            return None
        self._kept.move_to_end(person)
        return had[1]
