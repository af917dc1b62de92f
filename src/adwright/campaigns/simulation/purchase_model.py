"""The probability that a user takes an item at a visit.

    P(u takes i at t) = sigmoid(w . x(u, i, t))          x: see `features`

fitted by maximum likelihood on real visits. A visit has a handful of items that were taken and
tens of thousands that were not, so of the latter some are drawn: M of the user's own past
items, and M' by a mixture q of popularity and chance. Each stands for as many as it was drawn
for (weight distinct / M, or 1 / (M' q)), so the weighted likelihood estimates that of all
pairs, and no correction is due afterwards. With an intercept, its maximum has

    sum of probabilities over all pairs = number of items taken

so the fitted people take as many items per visit as the real ones.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import DataError
from adwright.data.popularity import PairCounts
from adwright.data.ranges import ranges, run_starts
from adwright.data.time import SECONDS_PER_DAY
from adwright.delivery.decision import Candidates, Deadline, Request

# --------------------------------------------------------------------------------------------------
# User-item features: what users did before a moment, as numbers per pair of user and item.
#
# For user u and item i at time t, from events strictly before t:
#
#     popular       log share of visits of the season with i
#     had           1 if u ever took i, else 0; what is marked * counts only then
#     rate *        log((c + 1/2) / (v + 3)), c purchases of i in v visits of u; also squared
#     age *         log(1 + days since the last / 7); also squared, and times rate
#     recent *      as rate, of the last 56 days alone; also squared
#     popular *     again, for what was had
#     basket        log of u's purchases per visit over everyone's, smoothed by 3 visits; and again
# *
#     visits *      log(v + 3)
#     affinity      to i's value of each group (department, ...): log of its share in u's purchases
#                   over that in everyone's, u's counts smoothed by 20 purchases of everyone's; that
#                   of the last group again *
#
# The season says what is usual: it is counted over some weeks before a moment and stays fixed.
#
# Letters: U users, N items, E events, R pairs. Codes of users and items count from 0, times
# are seconds since 1970.

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


_RIDGE = 1e-2  # on standardised features: settles columns that say nothing
_STEPS = 100
_EXACT = 1e-9


@dataclass(frozen=True, eq=False)
class Visits:
    """V visits with the distinct items taken: user, time [V]; visit v took
    item[offsets[v] : offsets[v + 1]]."""

    user: Ints
    time: Ints
    item: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.user)

    def some(self, chosen: Ints) -> Visits:
        """These visits, in that order."""
        place, offsets = ranges(self.offsets[chosen], np.diff(self.offsets)[chosen])
        return Visits(self.user[chosen], self.time[chosen], self.item[place], offsets)

    def sample(self, chosen: Ints, most: int, rng: np.random.Generator) -> Visits:
        """These visits, or `most` of them drawn at random, in their order."""
        if len(chosen) > most:
            chosen = np.sort(rng.choice(chosen, most, replace=False))
        return self.some(chosen)

    def events(self) -> tuple[Ints, Ints, Ints]:
        """(user, item, time) of each item taken."""
        taken = np.diff(self.offsets)
        return np.repeat(self.user, taken), self.item, np.repeat(self.time, taken)


@dataclass(frozen=True, eq=False)
class Pairs:
    """R pairs of a visit and an item: visit [R]; item [R]; taken [R], 0 or 1; weight [R], how
    many pairs of the whole it stands for."""

    visit: Ints
    item: Ints
    taken: Floats
    weight: Floats


@dataclass(frozen=True, eq=False)
class PurchaseModel:
    """The fitted model. names, weights: of the F features. visits, pairs: it was fitted on."""

    names: tuple[str, ...]
    weights: Floats
    visits: int
    pairs: int

    def chance(self, features: Floats) -> Floats:
        """[R] probabilities of features [R, F]."""
        chance: Floats = 1 / (1 + np.exp(-(features @ self.weights)))
        return chance


def draw_pairs(
    history: UserItemFeatures,
    season: Season,
    visits: Visits,
    rng: np.random.Generator,
    *,
    past: int,
    others: int,
) -> Pairs:
    """All pairs of the visits that were taken, and some that were not, `past` and `others` per
    visit."""
    number = len(visits)
    owner = np.repeat(np.arange(number), np.diff(visits.offsets))
    taken = np.unique(owner * history.items + visits.item)
    one = np.ones(len(taken))
    drawn = [Pairs(taken // history.items, taken % history.items, one, one)]

    first, end = history.past.things_of(visits.user)
    distinct = end - first
    place = first[:, None] + (rng.random((number, past)) * distinct[:, None]).astype(np.int64)
    things = history.past.things
    own = things[np.minimum(place, len(things) - 1)].ravel() if len(things) else place.ravel()
    drawn.append(_not_taken(history, visits, own, np.repeat(distinct / past, past), taken, True))

    share = np.exp(season.popular)
    mixture = 0.5 / history.items + 0.5 * share / share.sum()
    ends = np.cumsum(mixture)
    any_ = np.searchsorted(ends, rng.random(number * others) * ends[-1], side="right")
    any_ = np.minimum(any_, history.items - 1)
    weight = 1 / (others * mixture[any_])
    drawn.append(_not_taken(history, visits, any_, weight, taken, False))
    columns = [(d.visit, d.item, d.taken, d.weight) for d in drawn]
    visit, item, label, mass = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Pairs(visit, item, label, mass)


def fit_purchase_model(
    features: Floats, pairs: Pairs, names: tuple[str, ...], *, visits: int
) -> PurchaseModel:
    """Newton's method on standardised features, halving a step that does not improve.

    features: [R, F], a column of ones first. Raises DataError where nothing was taken.
    """
    taken, weight = pairs.taken, pairs.weight
    if not taken.any() or taken.all():
        raise DataError(
            "there is nothing to learn from these visits",
            column="kind",
            hint="the log needs purchases before the start, of some items and not of others",
        )
    # Weights run from 1 to thousands; scales come from rows that count about alike.
    even = np.minimum(weight, 50.0)
    mean = np.average(features[:, 1:], axis=0, weights=weight)
    scale = np.sqrt(np.average((features[:, 1:] - mean) ** 2, axis=0, weights=even)) + _EXACT
    scaled = features.copy()
    scaled[:, 1:] = (features[:, 1:] - mean) / scale
    rate = float(weight @ taken) / float(weight.sum())
    start = np.zeros(features.shape[1])
    start[0] = np.log(rate / (1 - rate))
    found = _newton(scaled, taken, weight, start)
    weights = found.copy()
    weights[1:] /= scale
    weights[0] -= float(weights[1:] @ mean)
    return PurchaseModel(names, weights, visits, len(taken))


def _newton(x: Floats, y: Floats, weight: Floats, start: Floats) -> Floats:
    ridge = np.full(len(start), _RIDGE)
    ridge[0] = 0.0

    def objective(w: Floats) -> float:
        z = x @ w
        return float(weight @ (y * z - np.logaddexp(0.0, z)) - 0.5 * ridge @ w**2)

    w, value = start, objective(start)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-(x @ w)))
        gradient = x.T @ (weight * (y - p)) - ridge * w
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag(ridge + _EXACT)
        step = np.linalg.solve(curvature, gradient)
        size, better = 1.0, objective(w + step)
        while better < value and size > 1e-8:
            size /= 2
            better = objective(w + size * step)
        w = w + size * step
        if better - value <= _EXACT * abs(value):
            break
        value = better
    return w


def _not_taken(
    history: UserItemFeatures, visits: Visits, item: Ints, weight: Floats, taken: Ints, had: bool
) -> Pairs:
    """Those of the draws [V x M] that were not taken, and were had before or were not."""
    visit = np.repeat(np.arange(len(visits)), len(item) // max(len(visits), 1))
    count, _ = history.past.before(visits.user[visit], item, visits.time[visit])
    place = np.minimum(np.searchsorted(taken, visit * history.items + item), len(taken) - 1)
    free = taken[place] != visit * history.items + item
    kept = free & ((count > 0) == had) & (weight > 0)
    return Pairs(visit[kept], item[kept], np.zeros(int(kept.sum())), weight[kept])


# --------------------------------------------------------------------------------------------------
# A recommender that needs no training: what the person took most often, then what all take.
#
#     own items     (c + 1/2) / (v + 3)     c takings of the item in v visits of the person
#     other items   f n_i / V               n_i takings in all V visits, f the share of takings
#                                           that are of items new to the person
#
# These are smoothed frequencies, so policies that want probabilities may use them. Simple rules
# like this one are strong on groceries; a simulation can run with it before anything is trained.
# A request sees what came before its own time, so the same request is answered the same later.


class PersonalFrequency:
    """Answers with at most `most` items, or as many as the request has places.

    events: an EventLog. items: ids of all items that may be shown. kinds: events that count.
    """

    def __init__(
        self,
        events: pl.DataFrame,
        items: Sequence[str],
        *,
        most: int = 50,
        kinds: Sequence[str] = ("purchase",),
    ) -> None:
        self._most, self._kinds = most, frozenset(kinds)
        self._item = {item_id: code for code, item_id in enumerate(items)}
        self._ids = list(items)
        self._user: dict[str, int] = {}
        self._lock = threading.Lock()
        self._added: list[tuple[int, int, int]] = []
        rows = events.filter(
            pl.col("kind").is_in(kinds), pl.col("item_id").is_in(pl.Series(items).implode())
        )
        users = rows["user_id"].unique().sort()
        self._user = {user: code for code, user in enumerate(users)}
        triple = (
            rows["user_id"].cast(pl.Enum(users)).to_physical().cast(pl.Int64).to_numpy(),
            rows["item_id"].cast(pl.Enum(items)).to_physical().cast(pl.Int64).to_numpy(),
            rows["time"].dt.epoch("s").to_numpy(),
        )
        self._layers = [self._layer(*triple)]
        visits = max(1, rows.select("user_id", "time").n_unique())
        own, new = rows.select("user_id", "item_id").n_unique(), max(1, rows.height)
        count = np.bincount(triple[1], minlength=len(items))
        self._share = own / new * count / visits
        self._popular = np.argsort(-self._share, kind="stable")

    @property
    def weight(self) -> Floats:
        """[items] what all take, for a fallback: the chance of an item new to a person."""
        return self._share

    def recommend(self, request: Request) -> Candidates:
        """The answer to one request."""
        user = self._user.get(request.user_id, -1)
        at = np.int64(request.time.timestamp())
        own, score = self._own(user, at) if user >= 0 else _NOTHING
        spare = max(self._most, request.k) + len(request.exclude) + len(own)
        others = self._popular[:spare] if request.candidates is None else self._popular
        others = others[~np.isin(others, own)]
        codes = np.concatenate([own, others])
        return self._answer(request, codes, np.concatenate([score, self._share[others]]), "fine")

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None = None
    ) -> list[Candidates]:
        """The answers, in order; what all take where the deadline has passed."""
        return [
            self._answer(request, self._popular, self._share[self._popular], "popularity")
            if deadline is not None and deadline.passed()
            else self.recommend(request)
            for request in requests
        ]

    def observe(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take note of events that were stored, in the columns of EVENT_SCHEMA."""
        with self._lock:
            rows = [
                (
                    self._user.setdefault(event["user_id"], len(self._user)),
                    self._item[event["item_id"]],
                    int(event["time"].timestamp()),
                )
                for event in events
                if event["kind"] in self._kinds and event["item_id"] in self._item
            ]
            if rows:
                self._added += rows
                user, item, time = np.array(self._added, np.int64).T
                self._layers = [self._layers[0], self._layer(user, item, time)]

    def _own(self, user: int, at: np.int64) -> tuple[Ints, Floats]:
        layers = self._layers
        items, who = [], np.array([user])
        for tally, _ in layers:
            first, end = tally.things_of(who)
            items.append(tally.things[int(first[0]) : int(end[0])])
        own = np.unique(np.concatenate(items))
        users, times = np.full(len(own), user), np.full(len(own), at)
        count = sum(tally.before(users, own, times)[0] for tally, _ in layers)
        visits = sum(int(came.before(who, who * 0, times[:1])[0].sum()) for _, came in layers)
        had = np.asarray(count) > 0
        return own[had], (np.asarray(count)[had] + 0.5) / (visits + 3)

    def _answer(self, request: Request, codes: Ints, score: Floats, stage: str) -> Candidates:
        allowed = np.ones(len(codes), np.bool_)
        if request.exclude:
            allowed &= ~np.isin(codes, self._codes(request.exclude))
        if request.candidates is not None:
            allowed &= np.isin(codes, self._codes(request.candidates))
        codes, score = codes[allowed], score[allowed]
        order = np.lexsort((codes, -score))[: max(self._most, request.k)]
        ids = tuple(self._ids[code] for code in codes[order].tolist())
        return Candidates(ids, score[order], True, stage)

    def _codes(self, item_ids: Sequence[str] | frozenset[str]) -> list[int]:
        return [self._item[item_id] for item_id in item_ids if item_id in self._item]

    def _layer(self, user: Ints, item: Ints, time: Ints) -> tuple[PairCounts, PairCounts]:
        """Tallies of items and of visits."""
        moments = np.unique(np.stack([user, time]), axis=1) if len(user) else np.zeros((2, 0))
        came = moments.astype(np.int64)
        return (
            PairCounts(user, item, time, things=max(1, len(self._ids))),
            PairCounts(came[0], np.zeros_like(came[0]), came[1], things=1),
        )


_NOTHING: tuple[Ints, Floats] = (np.zeros(0, np.int64), np.zeros(0))
