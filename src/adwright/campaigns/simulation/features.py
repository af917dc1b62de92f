"""User-item features: what users did before a moment, as numbers per pair of user and item.

For user u and item i at time t, from events strictly before t:

    popular       log share of visits of the season with i
    had           1 if u ever took i, else 0; what is marked * counts only then
    rate *        log((c + 1/2) / (v + 3)), c purchases of i in v visits of u; also squared
    age *         log(1 + days since the last / 7); also squared, and times rate
    recent *      as rate, of the last 56 days alone; also squared
    popular *     again, for what was had
    basket        log of u's purchases per visit over everyone's, smoothed by 3 visits; and again *
    visits *      log(v + 3)
    affinity      to i's value of each group (department, ...): log of its share in u's purchases
                  over that in everyone's, u's counts smoothed by 20 purchases of everyone's; that
                  of the last group again *

The season says what is usual: it is counted over some weeks before a moment and stays fixed.

Letters: U users, N items, E events, R pairs. Codes of users and items count from 0, times
are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.data.popularity import PairCounts
from adwright.data.ranges import run_starts
from adwright.data.time import SECONDS_PER_DAY

__all__ = ["Season", "UserItemFeatures"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SMOOTHING = 20.0  # purchases
_RECENT = 56 * SECONDS_PER_DAY
_VISITS = 3.0
_FEW = 0.3  # purchases of an item that nobody took in the season


@dataclass(frozen=True, eq=False)
class Season:
    """Rates of all users over some weeks.

    popular: [N], log share of visits with the item. group: one [values] per group, log share
    of purchases. basket: purchases per visit.
    """

    popular: Floats
    group: tuple[Floats, ...]
    basket: float


class UserItemFeatures:
    """Features of pairs of user and item at a moment, from the events of all users.

    user, item, time: [E], each (user, time, item) once. items: N. groups: name -> the value's
    code of each item [N], from 0.
    """

    def __init__(
        self, user: Ints, item: Ints, time: Ints, *, items: int, groups: Mapping[str, Ints]
    ) -> None:
        self._user, self._item, self._time = user, item, time
        self.group_names, self._groups = tuple(groups), tuple(groups.values())
        self._values = tuple(int(codes.max(initial=0)) + 1 for codes in self._groups)
        self.items = items
        self._added = (user[:0], item[:0], time[:0])
        self._layers = [self._layer(user, item, time)]
        self.names = (
            *("one", "popular", "had", "rate", "rate^2", "age", "age^2", "age x rate"),
            *("recent", "recent^2"),
            *("had x popular", "basket", "had x basket", "had x visits"),
            *(f"affinity to its {name}" for name in groups),
            *(f"had x affinity to its {name}" for name in tuple(groups)[-1:]),
        )

    @property
    def past(self) -> PairCounts:
        """Purchases of items, without those that were added."""
        return self._layers[0][0]

    @property
    def added(self) -> int:
        """Events that were added."""
        return len(self._added[0])

    def add(self, user: Ints, item: Ints, time: Ints) -> None:
        """More events; sorted in at the cost of those added so far, not of all."""
        pairs = zip(self._added, (user, item, time), strict=True)
        users, things, times = (np.concatenate(pair) for pair in pairs)
        self._added = (users, things, times)
        self._layers = [self._layers[0], self._layer(*self._added)]

    def with_events(self, user: Ints, item: Ints, time: Ints) -> UserItemFeatures:
        """New features of these events and all others; this stays as it is."""
        own = (self._user, self._item, self._time)
        triples = zip(own, self._added, (user, item, time), strict=True)
        users, things, times = (np.concatenate(each) for each in triples)
        groups = dict(zip(self.group_names, self._groups, strict=True))
        return UserItemFeatures(users, things, times, items=self.items, groups=groups)

    def season(self, since: int, until: int) -> Season:
        """The rates from `since` to before `until`."""
        chosen = (self._time >= since) & (self._time < until)
        user, item, time = self._user[chosen], self._item[chosen], self._time[chosen]
        visits = max(1, len(_moments(user, time)[0]))
        taken = np.bincount(item, minlength=self.items)
        groups = []
        for codes, values in zip(self._groups, self._values, strict=True):
            count = 1.0 + np.bincount(codes[item], minlength=values)
            groups.append(np.log(count / count.sum()))
        return Season(
            popular=np.log((taken + _FEW) / visits),
            group=tuple(groups),
            basket=max(len(item), 1) / visits,
        )

    def activity(self, user: Ints, since: int, until: int) -> tuple[Ints, Ints]:
        """(visits, purchases) of each user [R] from `since` to before `until`."""
        found = []
        for place in (1, 2):
            zero = np.zeros_like(user)
            late, _ = self._before(place, user, zero, np.full_like(user, until))
            early, _ = self._before(place, user, zero, np.full_like(user, since))
            found.append(late - early)
        return found[0], found[1]

    def features(self, user: Ints, item: Ints, time: Ints, season: Season) -> Floats:
        """[R, F], the columns `names`."""
        zero = np.zeros_like(item)
        count, last = self._before(0, user, item, time)
        visits, _ = self._before(1, user, zero, time)
        events, _ = self._before(2, user, zero, time)
        had = (count > 0).astype(np.float64)
        rate = had * np.log((count + 0.5) / (visits + _VISITS))
        lately, _ = self._before(0, user, item, time - _RECENT)
        visits_lately, _ = self._before(1, user, zero, time - _RECENT)
        recent = np.log((count - lately + 0.5) / (visits - visits_lately + _VISITS))
        age = had * np.log1p(np.where(count > 0, time - last, 0) / SECONDS_PER_DAY / 7.0)
        popular = season.popular[item]
        affinity = []
        for place, (codes, usual) in enumerate(zip(self._groups, season.group, strict=True)):
            value = codes[item]
            of_group, _ = self._before(3 + place, user, value, time)
            share = (of_group + _SMOOTHING * np.exp(usual[value])) / (events + _SMOOTHING)
            affinity.append(np.log(share) - usual[value])
        basket = np.log((events + _VISITS * season.basket) / (visits + _VISITS) / season.basket)
        columns = (
            *(np.ones(len(user)), popular, had, rate, rate**2, age, age**2, age * rate),
            had * recent,
            had * recent**2,
            *(had * popular, basket, had * basket, had * np.log(visits + _VISITS)),
            *affinity,
            *(had * each for each in affinity[-1:]),
        )
        return np.stack(columns, axis=1)

    def _before(self, place: int, user: Ints, thing: Ints, time: Ints) -> tuple[Ints, Ints]:
        count, last = self._layers[0][place].before(user, thing, time)
        for layer in self._layers[1:]:
            more, later = layer[place].before(user, thing, time)
            count, last = count + more, np.maximum(last, later)
        return count, last

    def _layer(self, user: Ints, item: Ints, time: Ints) -> tuple[PairCounts, ...]:
        """Counts of items, of visits, of purchases, and of each group."""
        zero = np.zeros_like(item)
        visitor, moment = _moments(user, time)
        return (
            PairCounts(user, item, time, things=self.items),
            PairCounts(visitor, np.zeros_like(visitor), moment, things=1),
            PairCounts(user, zero, time, things=1),
            *(
                PairCounts(user, codes[item], time, things=values)
                for codes, values in zip(self._groups, self._values, strict=True)
            ),
        )


def _moments(user: Ints, time: Ints) -> tuple[Ints, Ints]:
    """The distinct pairs of user and time."""
    order = np.lexsort((time, user))
    user, time = user[order], time[order]
    first = run_starts(user, time)[:-1]
    return user[first], time[first]
