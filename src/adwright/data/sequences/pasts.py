"""Histories cut into moments: what the rules of the next item read.

A moment is everything that a user did at one instant, such as a basket: it has no order, so what
counts is how many moments lie between two events, not how many events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.data.ranges import ranges, run_starts

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pasts:
    """B histories that end with the latest event before something is asked.

    item: int64 [E], codes from 1. back: int64 [E], how many moments an event lies before the
    latest moment of its history, 0 for that one. offsets: int64 [B + 1], history b has the
    events offsets[b] to offsets[b + 1], oldest first. had: bool [E], the events that take their
    item off the user's list, where what was had is left out; None for all.
    """

    item: Ints
    back: Ints
    offsets: Ints
    had: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owner(self) -> Ints:
        """int64 [E], the history of each event."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @classmethod
    def between(
        cls,
        item: NDArray[np.integer],
        moment: Ints,
        first: Ints,
        end: Ints,
        had: NDArray[np.bool_] | None = None,
    ) -> Pasts:
        """The events `first` to `end` (int64 [B] each) of a log.

        item, had: [E]; moment: int64 [E] as `moment_numbers` gives it, rising within a history.
        """
        place, offsets = ranges(first, end - first)
        last = np.zeros(len(end), np.int64)
        filled = end > first
        last[filled] = moment[end[filled] - 1]
        back = np.repeat(last, end - first) - moment[place]
        return cls(item[place].astype(np.int64), back, offsets, None if had is None else had[place])

    @property
    def barred(self) -> Pasts:
        """Only the events that take their item off the user's list."""
        return self if self.had is None else self._kept(self.had)

    def some(self, start: int, stop: int) -> Pasts:
        """The histories `start` to `stop`."""
        events = slice(self.offsets[start], self.offsets[stop])
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        had = None if self.had is None else self.had[events]
        return Pasts(self.item[events], self.back[events], offsets, had)

    def take(self, rows: Ints) -> Pasts:
        """The histories `rows` (int64 [R]), in that order."""
        place, offsets = ranges(self.offsets[rows], np.diff(self.offsets)[rows])
        had = None if self.had is None else self.had[place]
        return Pasts(self.item[place], self.back[place], offsets, had)

    def until(self, most: int) -> Pasts:
        """Only the events of the latest `most` moments."""
        return self._kept(self.back < most)

    def _kept(self, kept: NDArray[np.bool_]) -> Pasts:
        total = np.concatenate(([0], np.cumsum(kept)))
        had = None if self.had is None else self.had[kept]
        return Pasts(self.item[kept], self.back[kept], total[self.offsets], had)


def moment_numbers(offsets: Ints, instant: NDArray[np.integer] | None) -> Ints:
    """The number of each event's moment: int64 [E], rising, none of two users.

    offsets: int64 [U + 1] of the users' events. instant: [E], what events of one moment share and
    the next moment does not; None where each event is a moment of its own.

    >>> moment_numbers(np.array([0, 3, 4]), np.array([7, 7, 9, 9])).tolist()
    [0, 0, 1, 2]
    """
    if instant is None:
        return np.arange(offsets[-1])
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    starts = run_starts(owner, instant)
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))
