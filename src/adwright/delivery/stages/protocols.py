"""The stages of the cascade: what each receives and gives, so that any of them can be replaced.

    CandidateSource   finds a few hundred items of the catalogue for each user
    Scorer            scores the items that it is handed: the coarse and the fine stage

Lists of items are item codes laid end to end (`Shortlist`), never padded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.delivery.stages.histories import RequestBatch

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shortlist:
    """Items for U users: codes int64 [C]; user u has those from offsets[u] to offsets[u + 1]
    (int64 [U + 1]), each once, in no particular order."""

    codes: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owner(self) -> Ints:
        """int64 [C], the user of each item."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.integer]]) -> Shortlist:
        """Build a Shortlist from one list per user."""
        codes = np.concatenate([np.zeros(0, np.int64), *lists])
        return cls(codes, np.cumsum([0, *(len(one) for one in lists)], dtype=np.int64))

    def bounds(self) -> list[tuple[int, int]]:
        """Where each user's items begin and end."""
        return list(pairwise(self.offsets.tolist()))

    def lists(self) -> list[Ints]:
        """One array per user."""
        return [self.codes[start:end] for start, end in self.bounds()]

    def some(self, users: Sequence[int]) -> Shortlist:
        """The lists of these users, in that order."""
        lists = self.lists()
        return Shortlist.of([lists[user] for user in users])


class CandidateSource(Protocol):
    """Finds candidates for users."""

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """At most k items of the catalogue per user; where there are k, best first."""


class Scorer(Protocol):
    """Scores the items that it is handed, for each user."""

    @property
    def probability(self) -> bool:
        """Whether the scores are calibrated probabilities."""

    def score(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Finite scores [C], higher is better; compared within a user only."""


#: What is read of each request beside its user's history: with equal ones, and equal histories, the
#: same is said. None where that is never so.
Read = Sequence[Hashable] | None


class HistoryAlone:
    """Reads nothing of a request but the user's history."""

    def reads(self, batch: RequestBatch) -> Read:
        """The same for all."""
        return [()] * len(batch)


def read_by(parts: Iterable[object], batch: RequestBatch) -> Read:
    """What all of these sources and scorers read; None where one has no method `reads` that tells,
    so that nothing that they say can be kept."""
    found = []
    for part in parts:
        reads: Callable[[RequestBatch], Read] | None = getattr(part, "reads", None)
        what = None if reads is None else reads(batch)
        if what is None:
            return None
        found.append(what)
    return list(zip(*found, strict=True)) if found else [()] * len(batch)


def best_of(items: Shortlist, score: Floats, k: Ints) -> tuple[Shortlist, Floats]:
    """The k[u] best items of each user, best first (ties by code), and their scores.

    score: [C]. k: int64 [U].
    """
    order = np.lexsort((items.codes, -score, items.owner))
    sizes = np.diff(items.offsets)
    place = np.arange(len(order)) - np.repeat(items.offsets[:-1], sizes)
    kept = order[place < np.repeat(k, sizes)]
    offsets = np.concatenate(([0], np.cumsum(np.minimum(sizes, k))))
    return Shortlist(items.codes[kept], offsets), score[kept]


# --------------------------------------------------------------------------------------------------
# The codes of the items that requests exclude.
#
# Thousands may be excluded from every request, such as all that is stopped: looking each of them up
# for each request would take longer than the models. So what was looked up is remembered, and the
# set of the request before, which is often the very same, is not even gone through again.

#: Ids that are remembered, known to the catalogue or not; beyond, all are forgotten.
_MOST = 1_000_000


class ExcludedCodes:
    """Looks up sets of ids.

    codes: gives the int64 [N] codes of N ids, 0 for an unknown one.
    """

    def __init__(self, codes: Callable[[Sequence[str]], Ints], *, most: int = _MOST) -> None:
        self._codes = codes
        self._most = most
        self._known: dict[str, int] = {}
        self._last = (frozenset[str](), np.zeros(0, np.int64))

    def of(self, ids: frozenset[str]) -> Ints:
        """int64 [E], rising: the codes of those of the ids that are known."""
        last, found = self._last
        if ids is last:
            return found
        known = self._known
        new = [one for one in ids if one not in known]
        if len(known) + len(new) > self._most:
            known, new = {}, list(ids)
            self._known = known
        if new:
            known.update(zip(new, self._codes(new).tolist(), strict=True))
        found = np.sort(np.fromiter(map(known.__getitem__, ids), np.int64, len(ids)))
        found = found[np.searchsorted(found, 1) :]
        found.flags.writeable = False
        self._last = ids, found
        return found
