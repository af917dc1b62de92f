"""The honest choice: of several ways to predict one is kept by validation that imitates use.

    folds = imitating_folds(len(y), times=days, together=stories)     # later ones, unseen before
    found = choose(candidates, y, folds, spearman_of(y), units=pages)
    found.kept                          # "tf-idf", "mixture"; None: nothing here predicts this
    found.told                          # what a new part will show, with its interval
    print("\\n".join(found.sentences()))

Folds imitate use: where there are times, each of a few steps learns from what came before and is
asked about what came after; else groups (brands, pages, merchants) are unseen; else rows. Rows that
belong together never stand on both sides.

A measure tells of each row a share of a numerator and of a denominator, within its fold. So a value
is a ratio of sums, v = sum_i n_i / sum_i d_i, and what a unit u moves is (n_u - v d_u) / sum d, of
which come standard errors, also of differences of two candidates on the same rows.

The mixture has non-negative weights of least squared error on out-of-fold predictions, centred in
each fold, shrunk towards equal ones by as much as `_SHRUNK` rows would; so predictions are in one
unit.

Kept is the first of the candidates (they are listed from the simplest on, the mixture is last) that
is behind the best by less than the standard error of their difference: when two are level, the
simpler. What is told is free of this choice: for each fold it is made by the other folds, weights
of the mixture too, and what was chosen there is measured on the fold. The interval is that of a
further part as large as a fold: of F folds the spread s of a fold's value, s sqrt(1 + 1 / F), by
the normal quantile where s is what units alone make differ, by that of t with F - 1 degrees where
folds differ by more than that, as they do when times change.

Whether there is anything at all: within each fold predictions of whole units are exchanged at
random, for all candidates alike, and the largest standardised value is compared with the largest
that chance has (Westfall and Young 1993). Folds that learn from each other count what two rows have
in common from both sides, which doubles the variance that chance has (of rules that are linear in
the truths; less, where few inputs are read): values are divided by the root of 2. Steps in time
do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adwright.core.errors import DataError
from adwright.metrics.arrays import check_same_length
from adwright.metrics.bootstrap import Interval
from adwright.metrics.ranking import average_ranks

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
#: Of some rows to a predictor of any rows: [n], or of K classes [n, K].
Fit = Callable[[Rows], Callable[[Rows], Floats]]
How = Literal["time", "groups", "rows"]

MIXTURE = "mixture"
#: Of the test whether there is anything; its draws, the second ones where the first do not tell;
#: from so many standard errors on it is plain.
_LEVEL, _DRAWS, _PLAIN = 0.01, (49, 150), 6.0
#: Rows that the pull towards equal weights counts as.
_SHRUNK = 100.0
#: Share of the rows, the earliest, that are only learned from.
_BEFORE = 0.5
_CONFIDENCE = 0.95
#: Folds differ by more than their units do, where chance has that in so many.
_APART = 0.1
_NONE = Interval(0.0, 0.0, 0.0)
_NEIGHBOURS = 500


@dataclass(frozen=True)
class Candidate:
    """A way to predict. simple: it is a rule, beside which others are reported."""

    name: str
    fit: Fit
    simple: bool = False


class Told(NamedTuple):
    """Of n rows each one's share of a numerator and of a denominator, float64 [n]."""

    above: Floats
    below: Floats


#: Of rows of one fold, and predictions of them.
Measure = Callable[[Rows, Floats], Told]


@dataclass(frozen=True, eq=False)
class Folds:
    """train, held: rows of each fold. how: what they imitate. said: the same, a sentence."""

    train: tuple[Rows, ...]
    held: tuple[Rows, ...]
    how: str
    said: str

    def __len__(self) -> int:
        """F."""
        return len(self.held)


def imitating_folds(
    rows: int,
    *,
    times: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    together: ArrayLike | None = None,
    called: str = "group",
    folds: int = 5,
    seed: int = 0,
) -> Folds:
    """The folds of N rows that are nearest to use.

    times: [N], numbers, NaN where unknown, which is only learned from. groups: [N], what will be
    new; called: its name. together: [N], what must not stand on both sides (stories of one test).
    Raises DataError where no two folds can be made.
    """
    kin = np.arange(rows) if together is None else _codes(together)
    check_same_length(rows, {"together": kin})
    if times is not None and (made := _by_time(np.asarray(times, np.float64), kin, folds)):
        return made
    how: How = "rows"
    said = "each row held out with what belongs to it"
    parted = kin
    if groups is not None:
        codes = _codes(groups)
        joined = _joined(codes, kin)
        if len(np.unique(joined)) >= max(2, folds):
            parted, how = joined, "groups"
            single = len(np.unique(codes)) == rows
            said = f"{called}s held out" + (", which is ads held out: each has one" * single)
    several = min(folds, len(np.unique(parted)))
    if several < 2:
        raise DataError(
            "what is not told apart cannot be held out",
            value=f"{len(np.unique(parted))} {called}",
            hint="give rows of more than one",
        )
    of = dealt(parted, several, seed=seed)
    held = tuple(np.flatnonzero(of == one) for one in range(several))
    train = tuple(np.flatnonzero(of != one) for one in range(several))
    return Folds(train, held, how, f"{several} folds, {said}")


def dealt(groups: ArrayLike, folds: int, *, seed: int = 0) -> Rows:
    """int64 [N]: the fold, from 0, in which each row is held out; a group is in one fold whole.

    Groups are shuffled by `seed`, then dealt from the largest on, each to the fold of fewest rows.
    """
    _, code, size = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(size))
    order = shuffled[np.argsort(-size[shuffled], kind="stable")]
    rows, fold = [0] * folds, np.empty(len(size), np.int64)
    for group in order.tolist():
        least = min(range(folds), key=rows.__getitem__)
        fold[group] = least
        rows[least] += int(size[group])
    return fold[code]


def _by_time(times: Floats, kin: Rows, folds: int) -> Folds | None:
    """Steps forward through the later half; None where the times tell too few apart."""
    known = np.flatnonzero(np.isfinite(times))
    ordered = np.sort(times[known])
    if len(ordered) < 2 * (folds + 1):
        return None
    places = np.linspace(_BEFORE * len(ordered), len(ordered), folds + 1)[:-1].astype(int)
    # A cut never parts rows of one time.
    cuts = np.unique([one for one in ordered[places] if one > ordered[0]])
    if len(cuts) < 2:
        return None
    train, held = [], []
    for low, high in zip(cuts, [*cuts[1:], np.inf], strict=True):
        now = np.flatnonzero((times >= low) & (times < high))
        before = np.flatnonzero(~(times >= low))
        before = before[~np.isin(kin[before], kin[now])]
        if len(before) and len(now) > 1:
            train.append(before)
            held.append(now)
    if len(held) < 2:
        return None
    said = f"{len(held)} steps in time, each learned from what came before it"
    return Folds(tuple(train), tuple(held), "time", said)


def _joined(first: Rows, second: Rows) -> Rows:
    """[N]: rows that share either code, directly or by others, have one number."""
    label = np.arange(len(first))
    while True:
        before = label.copy()
        for code in (first, second):
            least = np.full(int(code.max(initial=0)) + 1, len(label))
            np.minimum.at(least, code, label)
            label = least[code]
        if (label == before).all():
            return label.astype(np.int64)


def _codes(values: ArrayLike) -> Rows:
    return np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)


# --------------------------------------------------------------------------------------------------
# Measures. Higher is better.


def spearman_of(truth: ArrayLike) -> Measure:
    """Spearman's rho within the fold. A row's share is its influence on a correlation of ranks."""
    found = np.asarray(truth, np.float64)

    def measure(rows: Rows, predicted: Floats) -> Told:
        a, b = (_standard(average_ranks(one)) for one in (found[rows], predicted))
        rho = float(np.mean(a * b))
        return Told(a * b - rho / 2 * (a**2 + b**2 - 2 * (a.any() and b.any())), np.ones(len(rows)))

    return measure


def _standard(values: Floats) -> Floats:
    """Of mean 0 and variance 1; zeros where they are constant."""
    centred = values - values.mean()
    size = float(np.sqrt(np.mean(centred**2)))
    return np.asarray(centred / size) if size > 0 else np.zeros(len(values))


def pairs_of(truth: ArrayLike, groups: ArrayLike, *, apart: float = 0.0) -> Measure:
    """Pairs within groups [N] (below 0: none) that are put in the right order, ties count half.
    apart: truths of a pair differ by more. Each row of a pair has half of it. Of a large group a
    row stands with the `_NEIGHBOURS` that follow it."""
    found, group = np.asarray(truth, np.float64), np.asarray(groups)
    known: dict[bytes, tuple[Rows, Rows, Floats]] = {}

    def paired(rows: Rows) -> tuple[Rows, Rows, Floats]:
        """Places of the pairs among the rows, and which of each is the higher."""
        order = np.argsort(group[rows], kind="stable")
        starts = np.flatnonzero(np.diff(group[rows][order], prepend=np.nan) != 0)
        ends = np.append(starts[1:], len(rows))
        pairs = [np.zeros((2, 0), np.int64)]
        # Each with the next one of its group, with the one after that, and so on.
        last = np.repeat(ends, ends - starts)[group[rows][order] >= 0]
        place = np.flatnonzero(group[rows][order] >= 0)
        for step in range(1, min(_NEIGHBOURS, int((ends - starts).max(initial=0)))):
            first = place[place + step < last]
            pairs.append(np.stack([order[first], order[first + step]]))
        one, other = np.concatenate(pairs, 1)
        off = found[rows[one]] - found[rows[other]]
        told = np.abs(off) > apart
        return one[told], other[told], np.sign(off[told])

    def measure(rows: Rows, predicted: Floats) -> Told:
        if (key := rows.tobytes()) not in known:
            known[key] = paired(rows)
        one, other, sign = known[key]
        right = (1 + sign * np.sign(predicted[one] - predicted[other])) / 4
        above, below = (
            np.bincount(np.append(one, other), np.append(part, part), len(rows))
            for part in (right, np.full(len(one), 0.5))
        )
        return Told(np.asarray(above, np.float64), np.asarray(below, np.float64))

    return measure


def accuracy_of(truth: ArrayLike) -> Measure:
    """Rows whose class [N], from 0, is the largest of their prediction [n, K]."""
    found = np.asarray(truth)

    def measure(rows: Rows, predicted: Floats) -> Told:
        return Told((predicted.argmax(1) == found[rows]).astype(np.float64), np.ones(len(rows)))

    return measure


# --------------------------------------------------------------------------------------------------
# The choice.


@dataclass(frozen=True, eq=False)
class HonestChoice:
    """What validation says.

    kept: name of the candidate, "mixture", or None: nothing here predicts this. values: of each
    candidate and the mixture, on the folds. simple: names of the rules. told: what a further part
    as large as a fold will show of what is kept, free of the choice; of nothing, what chance has.
    weights: of the mixture, of predictions as they are, beside `offset`. unseen: [N] or [N, K],
    predictions of what is kept by folds that had not seen the row, NaN where it was never held.
    chance: how likely so large a value is where there is nothing. rows, units: that were held out.
    next, behind: what is best beside what is kept, and how far it is behind; rule, over_rule: the
    best of the rules likewise. seen: what would have been found in nine of ten.
    """

    kept: str | None
    values: Mapping[str, Interval]
    simple: tuple[str, ...]
    told: Interval
    weights: Mapping[str, float]
    offset: Floats
    unseen: Floats = field(repr=False)
    chance: float
    rows: int
    units: int
    how: str
    next: str = ""
    behind: Interval = _NONE
    rule: str = ""
    over_rule: Interval = _NONE
    seen: float = 0.0
    best: str = ""

    @property
    def parts(self) -> dict[str, float]:
        """Candidates that are served, with their weights: one, those of the mixture, or none."""
        if self.kept is None:
            return {}
        if self.kept != MIXTURE:
            return {self.kept: 1.0}
        return {name: weight for name, weight in self.weights.items() if weight > 0}

    def predict(self, parts: Mapping[str, Floats]) -> Floats:
        """Of the predictions of `parts` that of what is kept."""
        if self.kept != MIXTURE:
            return parts[self.kept or ""]
        return self.offset + sum(weight * parts[name] for name, weight in self.parts.items())

    def sentences(self, measure: str = "rho") -> list[str]:
        """Which won and by how much, what to expect of a new part, and each candidate."""
        listed = ", ".join(f"{name} {one.value:.3f}" for name, one in self.values.items())
        more = [f"validation: {self.how}; {measure} there: {listed}"]
        if self.kept is None:
            hint = self.values[self.best].value - self.told.value if self.best else 0.0
            wanted = "other columns, or another outcome"
            if hint > 0 and self.seen > 0:
                times = max(2, math.ceil((self.seen / hint) ** 2))
                wanted += f", or some {times:,} times as many rows for what {self.best} hints at"
            first = (
                f"nothing here predicts this: of {self.rows:,} rows ({self.units:,} units) the "
                f"best order is one that chance has in {self.chance:.0%}; {measure} of "
                f"{self.told.value + self.seen:.2f} would have been seen. Needed are {wanted}"
            )
            return [first, *more]
        first = f"{self.kept} is kept"
        if self.next:
            first += f": {measure} ahead of {self.next} by {self.behind.text('.3f')}"
        if self.rule and self.rule not in (self.next, self.kept):
            first += f", of the best simple rule, {self.rule}, by {self.over_rule.text('.3f')}"
        told = f"expect {measure} {self.told.text('.3f')} of a new part as large as a fold"
        return [first, told, *more]


def choose(
    candidates: Sequence[Candidate],
    truth: ArrayLike,
    folds: Folds,
    measure: Measure,
    *,
    units: ArrayLike | None = None,
    chance: float = 0.0,
    mix: bool = True,
    seed: int = 0,
) -> HonestChoice:
    """Fit each candidate on each fold, and say which is kept.

    candidates: from the simplest on. truth: [N], or [N, K] of classes; the mixture's weights are
    fitted to it. units: [N], what is drawn anew elsewhere: brands, pages, days; rows by default.
    chance: the measure of a constant. mix: whether the mixture is a candidate. Raises DataError
    for no candidates.
    """
    if not candidates:
        raise DataError("there is nothing to choose among", hint="give candidates")
    y = np.asarray(truth, np.float64)
    codes = np.arange(len(y)) if units is None else _codes(units)
    check_same_length(len(y), {"units": codes})
    held = np.concatenate(folds.held)
    at = np.repeat(np.arange(len(folds)), [len(rows) for rows in folds.held])
    out = {one.name: np.concatenate(_unseen(one, folds)) for one in candidates}
    mixing, fold_out = _Mixing(out, y[held], at), dict(out)
    if mix and len(candidates) > 1:
        fold_out[MIXTURE] = mixing.crossed()
    room = _Room(folds, measure, codes[held], at)
    shares = {name: room.shares(found) for name, found in fold_out.items()}
    order = list(fold_out)
    best, kept = room.kept(shares, order, np.ones(len(at), bool))
    # The same choice by the other folds, for each fold.
    crossed = Told(np.zeros(len(at)), np.zeros(len(at)))
    for fold in range(len(folds)):
        rows = at == fold
        _, name = room.kept(shares, order, ~rows)
        crossed.above[rows], crossed.below[rows] = (part[rows] for part in shares[name])
    p, seen = room.chance(fold_out, shares, chance, seed)
    flat = [room.value(shares[name]) for name, one in fold_out.items() if room.constant(one)]
    nothing = p > _LEVEL or room.value(shares[kept]) <= max([chance, *flat])
    weights, offset = mixing.whole()
    whole = np.full((len(y), *fold_out[kept].shape[1:]), np.nan)
    whole[held] = fold_out[kept]
    others = [name for name in order if name != kept]
    rules = [one.name for one in candidates if one.simple]
    ranked = sorted(others, key=lambda name: -room.value(shares[name]))
    ruled = [name for name in ranked if name in rules]
    told = room.further(crossed) if not nothing else Interval(chance, chance, chance)
    return HonestChoice(
        kept=None if nothing else kept,
        values={name: room.interval(one) for name, one in shares.items()},
        simple=tuple(rules),
        told=told,
        weights=weights,
        offset=offset,
        unseen=whole,
        chance=p,
        rows=len(held),
        units=len(np.unique(codes[held])),
        how=folds.said,
        next=ranked[0] if ranked else "",
        behind=room.ahead(shares[kept], shares[ranked[0]]) if ranked else _NONE,
        rule=ruled[0] if ruled else "",
        over_rule=room.ahead(shares[kept], shares[ruled[0]]) if ruled else _NONE,
        seen=seen,
        best=best,
    )


def _unseen(one: Candidate, folds: Folds) -> list[Floats]:
    """Its predictions of each fold's rows."""
    made = []
    for train, held in zip(folds.train, folds.held, strict=True):
        found = np.asarray(one.fit(train)(held), np.float64)
        if len(found) != len(held) or not np.isfinite(found).all():
            raise DataError(
                "a candidate predicts a finite number of each row", column=one.name, value=found
            )
        made.append(found)
    return made


@dataclass(frozen=True, eq=False)
class _Mixing:
    """out: predictions [H] or [H, K] of the held rows. y: their truths. at: their folds [H]."""

    out: Mapping[str, Floats]
    y: Floats
    at: Rows

    def crossed(self) -> Floats:
        """Of each fold the mixture by weights of the others."""
        made = np.empty_like(next(iter(self.out.values())))
        for fold in np.unique(self.at):
            weights, offset = self._fitted(self.at != fold)
            rows = self.at == fold
            made[rows] = offset + sum(w * self.out[n][rows] for n, w in weights.items())
        return made

    def whole(self) -> tuple[dict[str, float], Floats]:
        """Weights and offset by all folds."""
        return self._fitted(np.ones(len(self.at), bool))

    def _fitted(self, rows: NDArray[np.bool_]) -> tuple[dict[str, float], Floats]:
        from scipy.optimize import nnls

        y = self._centred(self.y, rows)
        columns = {name: self._centred(one, rows) for name, one in self.out.items()}
        least = 1e-9 * max(float(np.abs(one).max()) for one in (y, *columns.values()))
        known = [name for name, one in columns.items() if np.abs(one).max() > least]
        weights = dict.fromkeys(self.out, 0.0)
        if known:
            x = np.stack([columns[name] for name in known], 1)
            middle = x.mean(1)
            slope = max(0.0, float(middle @ y) / max(float(middle @ middle), 1e-12)) / len(known)
            pull = math.sqrt(_SHRUNK * float(np.mean(x**2)))
            found, _ = nnls(
                np.vstack([x, pull * np.eye(len(known))]),
                np.concatenate([y, np.full(len(known), pull * slope)]),
            )
            weights |= dict(zip(known, found.tolist(), strict=True))
        mean = sum(w * self.out[name][rows].mean(0) for name, w in weights.items())
        return weights, np.asarray(self.y[rows].mean(0) - mean)

    def _centred(self, values: Floats, rows: NDArray[np.bool_]) -> Floats:
        """[n K], less the mean of each fold."""
        some, at = values[rows], self.at[rows]
        for fold in np.unique(at):
            some[at == fold] -= some[at == fold].mean(0)
        return some.ravel()


@dataclass(frozen=True, eq=False)
class _Room:
    """What is measured how: units and folds of H held rows."""

    folds: Folds
    measure: Measure
    units: Rows
    at: Rows

    def shares(self, found: Floats) -> Told:
        """Of all held rows, each within its fold."""
        told = [
            self.measure(rows, found[self.at == fold]) for fold, rows in enumerate(self.folds.held)
        ]
        return Told(
            np.concatenate([one.above for one in told]), np.concatenate([one.below for one in told])
        )

    def value(self, told: Told, rows: NDArray[np.bool_] | None = None) -> float:
        """The ratio of sums, of some rows; 0 of none."""
        above, below = told if rows is None else Told(told.above[rows], told.below[rows])
        total = float(below.sum())
        return float(above.sum()) / total if total else 0.0

    def error(self, moves: Floats) -> float:
        """Standard error of a sum of what rows move, by units."""
        return _error(moves, self.units)

    def constant(self, found: Floats) -> bool:
        """Whether it tells no two rows of a fold apart."""
        folds = range(len(self.folds))
        return not any(np.ptp(found[self.at == fold], axis=0).any() for fold in folds)

    def moves(self, told: Told) -> Floats:
        """What each row moves the value by."""
        return _moves(told, np.ones(len(self.at), bool), self.value(told))

    def interval(self, told: Told) -> Interval:
        """Of the value, by units."""
        return _around(self.value(told), 1.96 * self.error(self.moves(told)))

    def ahead(self, one: Told, other: Told) -> Interval:
        """By how much one is ahead of the other, on the same units."""
        off = 1.96 * self.error(self.moves(one) - self.moves(other))
        return _around(self.value(one) - self.value(other), off)

    def kept(
        self, shares: Mapping[str, Told], order: Sequence[str], rows: NDArray[np.bool_]
    ) -> tuple[str, str]:
        """The best on these rows, and the first that is level with it."""
        values = {name: self.value(shares[name], rows) for name in order}
        best = max(order, key=values.__getitem__)
        units = self.units[rows]
        moved = {name: _moves(shares[name], rows, values[name]) for name in order}
        for name in order:
            error = _error(moved[best] - moved[name], units)
            if values[best] - values[name] <= error * (name != best):
                return best, name
        return best, best

    def further(self, told: Told) -> Interval:
        """The value, and where that of a further part as large as a fold lies."""
        from scipy.special import chdtri, ndtri, stdtrit

        several, tail = len(self.folds), (1 + _CONFIDENCE) / 2
        values = np.array([self.value(told, self.at == fold) for fold in range(several)])
        between = float(values.var(ddof=1))
        within = self.error(self.moves(told)) ** 2 * several
        # Few folds tell their spread badly, which t knows; units tell theirs well.
        apart = between > within * float(chdtri(several - 1, _APART)) / (several - 1)
        times = float(stdtrit(several - 1, tail) if apart else ndtri(tail))
        spread = math.sqrt(max(between, within) * (1 + 1 / several))
        value, off = self.value(told), times * spread
        return Interval(value, max(-1.0, value - off), min(1.0, value + off))

    def chance(
        self, out: Mapping[str, Floats], shares: Mapping[str, Told], chance: float, seed: int
    ) -> tuple[float, float]:
        """How likely the largest value is where there is nothing, and what would be seen."""
        varied = [name for name, one in out.items() if not self.constant(one)]
        if not varied:
            return 1.0, 0.0
        values = np.array([self.value(shares[name]) for name in varied])
        errors = np.array([self.error(self.moves(shares[name])) for name in varied])
        plain = (values - chance) / np.maximum(errors, 1e-12)
        if plain.max() > _PLAIN and len(np.unique(self.units)) > 30:
            return 0.0, float(errors.min()) * _PLAIN / 2
        rng = np.random.default_rng([seed, 1])
        blocks = [self._blocks(fold) for fold in range(len(self.folds))]
        both = 1.0 if self.folds.how == "time" else math.sqrt(2)
        drawn = np.empty((0, len(varied)))
        for draws in _DRAWS:
            places = (
                np.concatenate([_exchanged(one, rng) for one in blocks]) for _ in range(draws)
            )
            more = [[self.value(self.shares(out[n][at])) for n in varied] for at in places]
            drawn = np.vstack([drawn, more])
            mean, spread = drawn.mean(0), np.maximum(drawn.std(0), 1e-12)
            largest = ((drawn - mean) / spread).max(1)
            own = float(((values - mean) / spread).max()) / both
            above = int((largest >= own).sum())
            if above > 2:
                break
        bound = float(np.quantile(largest, 1 - _LEVEL))
        return (1 + above) / (len(drawn) + 1), float(spread.min()) * (bound * both + 1.28)

    def _blocks(self, fold: int) -> list[Rows]:
        """Places of each unit's rows in a fold; of single rows where it has one unit."""
        places = np.flatnonzero(self.at == fold)
        order = places[np.argsort(self.units[places], kind="stable")]
        cuts = np.flatnonzero(np.diff(self.units[order])) + 1
        return np.split(order, cuts if len(cuts) else np.arange(1, len(order)))


def _exchanged(blocks: Sequence[Rows], rng: np.random.Generator) -> Rows:
    """Of the rows of a fold, in their order, the row whose prediction each is given: a unit has
    those of another one, again from its first where that has fewer."""
    given = [blocks[at] for at in rng.permutation(len(blocks))]
    own = np.concatenate(blocks)
    new = np.concatenate([np.resize(one, len(b)) for b, one in zip(blocks, given, strict=True)])
    return new[np.argsort(own, kind="stable")]


def _moves(told: Told, rows: NDArray[np.bool_], value: float) -> Floats:
    total = float(told.below[rows].sum()) or 1.0
    return np.asarray((told.above[rows] - value * told.below[rows]) / total)


def _error(moves: Floats, units: Rows) -> float:
    """Standard error of a sum of what rows move [n], by their units [n]."""
    sums = np.bincount(np.unique(units, return_inverse=True)[1], moves)
    return float(np.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)))


def _around(value: float, off: float) -> Interval:
    return Interval(value, value - off, value + off)
