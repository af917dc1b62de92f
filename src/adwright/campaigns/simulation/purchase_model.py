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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.campaigns.simulation.features import Season, UserItemFeatures
from adwright.core.errors import DataError
from adwright.data.ranges import ranges

__all__ = ["Pairs", "PurchaseModel", "Visits", "draw_pairs", "fit_purchase_model"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

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
