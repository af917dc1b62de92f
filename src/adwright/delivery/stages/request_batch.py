"""What a stage is asked: requests, each with the history before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adwright.data.ranges import ranges
from adwright.data.tasks.personal import Personal, personal
from adwright.delivery.decision import Request

__all__ = ["RequestBatch"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RequestBatch:
    """U requests with the histories before each request's time.

    user: int64 [U], numbers of the users from 1, 0 for an unknown one. at: int64 [U], the
    request's time in microseconds since 1970. item: int64 [E] codes; time: int64 [E]
    microseconds; request u has the events offsets[u] to offsets[u + 1], oldest first.
    version: int64 [U]; an equal user, version and number of events mean an equal history. had: bool
    [E], the events that take their item off the user's list, where a model leaves out what was had.
    leaves: whether any kind of event does.
    """

    requests: tuple[Request, ...]
    user: Ints
    at: Ints
    item: Ints
    time: Ints
    offsets: Ints
    version: Ints
    had: NDArray[np.bool_]
    leaves: bool = True

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def lengths(self) -> Ints:
        """int64 [U], events of each request."""
        return np.diff(self.offsets)

    def items(self) -> list[Ints]:
        """The item codes of each request's history, oldest first."""
        return [self.item[a:b] for a, b in pairwise(self.offsets.tolist())]

    def barred(self) -> list[Ints]:
        """The item codes that are off each request's list."""
        return [self.item[a:b][self.had[a:b]] for a, b in pairwise(self.offsets.tolist())]

    def some(self, rows: Sequence[int]) -> RequestBatch:
        """The requests `rows`, in that order."""
        chosen = np.asarray(rows, dtype=np.int64)
        place, offsets = ranges(self.offsets[chosen], self.lengths[chosen])
        return RequestBatch(
            tuple(self.requests[row] for row in rows),
            self.user[chosen],
            self.at[chosen],
            self.item[place],
            self.time[place],
            offsets,
            self.version[chosen],
            self.had[place],
            self.leaves,
        )

    def latest(self, most: int) -> tuple[Ints, Ints]:
        """Places of the latest `most` events of each request, int64 [E'], and their offsets
        int64 [U + 1]."""
        kept = np.minimum(self.lengths, most)
        return ranges(self.offsets[1:] - kept, kept)

    def counts(self, owner: Ints, asked: Ints) -> Personal:
        """What the users `owner` (int64 [C], places in the batch) had of the items `asked`
        (int64 [C] codes) until their request."""
        return personal(
            self.item,
            self.time,
            self.offsets,
            owner=owner,
            asked=asked,
            end=self.offsets[owner + 1],
            at=self.at[owner],
        )
