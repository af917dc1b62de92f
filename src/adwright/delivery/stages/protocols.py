"""The stages of the cascade: what each receives and gives, so that any of them can be replaced.

    Source   finds a few hundred items of the catalogue for each person
    Scorer   gives each of the items that it is handed a score: the coarse and the fine stage

Lists of items are item codes laid end to end (`Shortlist`), never padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.delivery.stages.histories import Crowd

__all__ = ["Cost", "Scorer", "Shortlist", "Source", "best_of"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shortlist:
    """Items for U people: codes int64 [C]; person u has those from offsets[u] to
    offsets[u + 1] (int64 [U + 1]), each once, in no particular order."""

    codes: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owner(self) -> Ints:
        """int64 [C], the person of each item."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.integer]]) -> Shortlist:
        """The lists, one a person."""
        codes = np.concatenate([np.zeros(0, np.int64), *lists])
        return cls(codes, np.cumsum([0, *(len(one) for one in lists)], dtype=np.int64))

    def bounds(self) -> list[tuple[int, int]]:
        """Where each person's items begin and end."""
        return list(pairwise(self.offsets.tolist()))

    def lists(self) -> list[Ints]:
        """One array a person."""
        return [self.codes[start:end] for start, end in self.bounds()]

    def some(self, people: Sequence[int]) -> Shortlist:
        """The lists of these people, in that order."""
        lists = self.lists()
        return Shortlist.of([lists[person] for person in people])


@dataclass(frozen=True)
class Cost:
    """Of one call, computed from the sizes: floating-point operations and bytes read."""

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)


class Source(Protocol):
    """Finds items for people."""

    def find(self, crowd: Crowd, k: int) -> Shortlist:
        """At most k items a person, of those in the catalogue."""
        ...

    def cost(self, crowd: Crowd, k: int) -> Cost:
        """What `find` takes."""
        ...


class Scorer(Protocol):
    """Orders the items that it is handed, for each person."""

    @property
    def probability(self) -> bool:
        """Whether the scores are calibrated probabilities."""
        ...

    def score(self, crowd: Crowd, items: Shortlist) -> Floats:
        """Finite scores [C], higher is better; compared within a person only."""
        ...

    def cost(self, crowd: Crowd, items: Shortlist) -> Cost:
        """What `score` takes."""
        ...


def best_of(items: Shortlist, score: Floats, k: Ints) -> tuple[Shortlist, Floats]:
    """The k[u] best items of each person, best first (ties by code), and their scores.

    score: [C]. k: int64 [U].
    """
    order = np.lexsort((items.codes, -score, items.owner))
    sizes = np.diff(items.offsets)
    place = np.arange(len(order)) - np.repeat(items.offsets[:-1], sizes)
    kept = order[place < np.repeat(k, sizes)]
    offsets = np.concatenate(([0], np.cumsum(np.minimum(sizes, k))))
    return Shortlist(items.codes[kept], offsets), score[kept]
