"""Popularity and personal frequency: how often an item was taken, by anyone or by one user.

Popularity is a count per item code, as in `NextBasket.count`; `most_popular` orders by it.
Personal frequency is a count per pair of user and item before a moment: `PairCounts`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.data.ranges import run_starts

Ints = NDArray[np.int64]


def most_popular(count: NDArray[np.integer]) -> Ints:
    """Item codes [N] in the order of their counts [N + 1], the most taken first, ties by code;
    code 0, the unknown item, is left out.

    >>> most_popular(np.array([9, 1, 3, 1])).tolist()
    [2, 1, 3]
    """
    codes: Ints = 1 + np.argsort(-count[1:], kind="stable")
    return codes


class PairCounts:
    """How often, and when last, each user did each thing before any moment.

    user, thing, time: int64 [E], in any order; a moment may be any integer that rises with time,
    such as a place in the history. things: codes of things lie below it. One sort of the events.

    >>> jam, user = np.array([1, 1, 0]), np.zeros(3, np.int64)
    >>> counts = PairCounts(user, jam, np.array([10, 20, 30]), things=2)
    >>> [found.tolist() for found in counts.before(user[:2], jam[:2], np.array([20, 99]))]
    [[1, 2], [10, 20]]
    """

    def __init__(self, user: Ints, thing: Ints, time: Ints, *, things: int) -> None:
        self._things = things
        key = user * things + thing
        order = np.lexsort((time, key))
        key, self._time = key[order], time[order]
        self._start = run_starts(key)
        self._keys = key[self._start[:-1]]
        self._from = int(time.min(initial=0)) if len(time) else 0
        self._span = int(time.max(initial=0)) - self._from + 2 if len(time) else 1
        pair = np.repeat(np.arange(len(self._keys)), np.diff(self._start))
        # One number that sorts like (pair, time).
        self._moment = pair * self._span + (self._time - self._from)

    def before(self, user: Ints, thing: Ints, time: Ints) -> tuple[Ints, Ints]:
        """(count, last time) of R pairs, counted strictly before `time` [R]; (0, 0) for none."""
        if not len(self._keys):
            return np.zeros(len(user), np.int64), np.zeros(len(user), np.int64)
        key = user * self._things + thing
        pair = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        then = np.clip(time - self._from, 0, self._span - 1)
        place = np.searchsorted(self._moment, pair * self._span + then)
        count = np.where(self._keys[pair] == key, place - self._start[pair], 0)
        last = np.where(count > 0, self._time[np.maximum(place - 1, 0)], 0)
        return count, last

    def things_of(self, user: Ints) -> tuple[Ints, Ints]:
        """(first, end) [R]: the places in `things` of all that each user ever did."""
        first = np.searchsorted(self._keys, user * self._things)
        return first, np.searchsorted(self._keys, (user + 1) * self._things)

    @property
    def things(self) -> Ints:
        """The thing of each pair that occurs, by user and thing."""
        return self._keys % self._things
