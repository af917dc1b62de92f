"""What a user's own history says of an item: how often they took it, and how long ago.

Three numbers of a pair of user and item, counted from the events before a place of the
history. A training table and a request call the same function, so the features are the same
offline and online.

    frequency   events of this item
    recent      those of them in the last `RECENT_DAYS` days
    recency     days since the last of them; NaN where there is none
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adwright.data.features import Feature
from adwright.data.popularity import PairCounts
from adwright.data.time import MICROSECONDS_PER_DAY

Ints = NDArray[np.int64]

RECENT_DAYS = 56

#: The row features made of them.
PERSONAL_FEATURES = (
    Feature("frequency", "numeric", "user", log=True),
    Feature("recent", "numeric", "user", log=True),
    Feature("recency", "bucketised", "user"),
)


class Personal(NamedTuple):
    """Of T pairs: frequency int64 [T], recent int64 [T], recency float64 [T] in days."""

    frequency: Ints
    recent: Ints
    recency: NDArray[np.float64]


def personal(
    item: NDArray[np.integer],
    time: Ints,
    offsets: Ints,
    *,
    owner: Ints,
    asked: NDArray[np.integer],
    end: Ints,
    at: Ints,
) -> Personal:
    """The numbers of T pairs; one sort of the E events.

    item: item codes [E]; time: microseconds [E]; user u owns the events offsets[u] to
    offsets[u + 1], oldest first. owner: int64 [T], the user of each pair. asked: its item
    [T]. end: int64 [T], it sees the events of its user before this place. at: int64 [T],
    microseconds, the moment that ages are counted to.

    >>> day = MICROSECONDS_PER_DAY
    >>> history = np.array([7, 8, 7]), np.array([0, 1, 2]) * day, np.array([0, 3])
    >>> one = np.zeros(2, np.int64)
    >>> personal(
    ...     *history, owner=one, asked=np.array([7, 9]), end=one + 3, at=one + 5 * day
    ... ).recency.tolist()
    [3.0, nan]
    """
    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    width = int(max(item.max(initial=0), asked.max(initial=0))) + 1
    counts = PairCounts(user, item.astype(np.int64), np.arange(len(item)), things=width)
    wanted: Ints = asked.astype(np.int64)
    frequency, latest = counts.before(owner, wanted, end)
    earlier, _ = counts.before(owner, wanted, _begin_recent(time, offsets, owner, at))
    had = frequency > 0
    recency = np.full(len(asked), np.nan)
    recency[had] = np.maximum(at[had] - time[latest[had]], 0) / MICROSECONDS_PER_DAY
    return Personal(frequency, frequency - np.minimum(earlier, frequency), recency)


def _begin_recent(time: Ints, offsets: Ints, owner: Ints, at: Ints) -> Ints:
    """For each pair the place of its user's first recent event: [T]."""
    # Pairs of one request lie together and share user and moment.
    change = np.ones(len(owner), dtype=bool)
    change[1:] = (owner[1:] != owner[:-1]) | (at[1:] != at[:-1])
    heads = np.flatnonzero(change)
    since = at[heads] - RECENT_DAYS * MICROSECONDS_PER_DAY
    found = [
        a + int(np.searchsorted(time[a:b], t))
        for a, b, t in zip(
            offsets[owner[heads]].tolist(),
            offsets[owner[heads] + 1].tolist(),
            since.tolist(),
            strict=True,
        )
    ]
    runs = np.diff(np.append(heads, len(owner)))
    return np.repeat(np.asarray(found, dtype=np.int64), runs)
