"""In how many rows each value occurs, where a row has its own item and the history behind it.

A value (a code of an item feature) occurs in a row once, whether it is the target's, that of one
event of the history or of many. One pass: of a user's events with a value at places p_1 < p_2 ..,
the rows that see exactly the first k of them are those with p_k < visible <= p_(k+1), and where a
row sees the latest m events alone, p_k < visible <= min(p_k + m, p_(k+1)). These spans do not
overlap, so the rows that see the value at all are the sum over its events, each a difference of two
cumulative counts of rows by `visible`. A target adds its row where the history does not show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.data.ranges import ranges

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ItemValues:
    """The values of item i: values[offsets[i] : offsets[i + 1]], each once, below `width`.

    values: int64 [K]. offsets: int64 [N + 1].
    """

    values: Ints
    offsets: Ints
    width: int

    def of(self, items: Ints) -> tuple[Ints, Ints]:
        """The values of items [E], end to end: (values int64 [K], place in `items` int64 [K])."""
        number = np.diff(self.offsets)[items]
        place, _ = ranges(self.offsets[items], number)
        return self.values[place], np.repeat(np.arange(len(items)), number)


@dataclass(frozen=True)
class SeenRows:
    """Rows and events of U users.

    user: int64 [R], from 0; visible: int64 [R], how many of the user's events stand before the row;
    item: int64 [R]; weight: float [R], what the row counts. event_user: int64 [E], ascending;
    event_item: int64 [E], in the order in which they happened. max_history: the latest events that
    a row sees, 0 for all.
    """

    user: Ints
    visible: Ints
    item: Ints
    weight: Floats
    event_user: Ints
    event_item: Ints
    max_history: int = 0

    def count(self, of: ItemValues) -> Floats:
        """Float [of.width]: the weight of the rows in which each value occurs.

        Cost: a sort of the K values of the events, and a search in them for each of a target's.
        """
        users = 1 + max(self.user.max(initial=-1), self.event_user.max(initial=-1))
        number = np.bincount(self.event_user, minlength=users)
        # One key a (user, value, place): ascending, the places of a value stand together.
        longest = int(max(number.max(initial=0), self.visible.max(initial=0))) + 1
        start = np.cumsum(number) - number
        place = np.arange(len(self.event_user)) - start[self.event_user]
        value, event = of.of(self.event_item)
        keys = np.sort((self.event_user[event] * of.width + value) * longest + place[event])
        pair, place = keys // longest, keys % longest
        counts = np.zeros(of.width)
        shown = self._shown(pair, place, number, of.width)
        counts += np.bincount(pair % of.width, shown, minlength=of.width)
        value, row = of.of(self.item)
        asked = (self.user[row] * of.width + value) * longest + self.visible[row]
        before = np.searchsorted(keys, asked) - 1  # its latest event before the row
        found = np.zeros(len(asked), bool)
        if len(keys):
            found = (before >= 0) & (pair[before] == asked // longest)
            if self.max_history:
                found &= self.visible[row] - place[before] <= self.max_history
        counts += np.bincount(value[~found], self.weight[row[~found]], minlength=of.width)
        return counts

    def _shown(self, pair: Ints, place: Ints, number: Ints, width: int) -> Floats:
        """The weight of the rows that see each event, and no later one of its value [K]."""
        user = pair // width
        last = np.append(pair[1:] != pair[:-1], True)[: len(pair)]
        end = np.where(last, number[user], np.append(place[1:], 0)[: len(pair)])
        if self.max_history:
            end = np.minimum(end, place + self.max_history)
        # Row weights by (user, visible), cumulative: slot 0 of a user are rows without history.
        slots = number + 1
        first = np.cumsum(slots) - slots
        at = first[self.user] + np.minimum(self.visible, number[self.user])
        sums = np.cumsum(np.bincount(at, self.weight, minlength=int(slots.sum())))
        shown: Floats = (
            sums[first[user] + np.minimum(end, number[user])] - sums[first[user] + place]
        )
        return shown
