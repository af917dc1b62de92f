"""What a stop rule would have saved: past periods walked one by one, each with what was known then.

At the close of each period every rule sees what runs and says what it would stop; a stopped life
stays stopped. What came after is read by the judge alone (`frontier`). The rules: "model", that of
`rule` with curves; "value model", the same with what `values` expects of a unit; "rate rule", the
same without any model; fatigue rules of ad tools, a grid of them; "age rule", which stops what is
old; and "random" stops.

Rules of different zeal cannot be compared by what they save. So each comparison is made at one
share of value kept: that of a fatigue rule at its only point. Which of the grid is the best one is
chosen beforehand; if it is not given, it is the one that did best in these very periods, which
favours it: the most cost saved above the share of value lost, where stops at random have about 0.

Letters: D decisions, S models, O owners, G thresholds, R resamples.

What a stop rule saves and what it costs, at every threshold at once.

A life that is stopped at the close of period p saves its cost after p and loses its value after p.
That loss is an upper bound: what was sold beside a display would in part have been sold without it.

A rule gives a score at each decision, lower is worse. With threshold t, a life is stopped at its
first decision with score < t. That is where its running minimum first falls below t, so only new
minima matter. Let a life have them at decisions d_1, d_2, ... with m_1 > m_2 > ..., and let f be
any quantity of a stop there (cost saved, value lost):

    f(t) = f(d_j)  for m_j < t <= m_{j-1},  0 for t <= the last one
         = sum over all j with m_j < t of  f(d_j) - f(d_{j+1}),  f = 0 after the last

So each new minimum is a step at m_j, and the sums over all lives are one sort and one running sum.

Letters: D decisions, K steps, G thresholds, O owners, R resamples.

What a replay found: a table of rules, comparisons with intervals, curves for a chart.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from adwright.core.config import Count, Gt, Lt, settings, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.core.progress import progress
from adwright.creative.lifetime.kept_life import AnyLife
from adwright.creative.lifetime.lives import LifeLog, LifeRecord
from adwright.creative.lifetime.stop_rule import (
    RetireConfig,
    ValueModel,
    break_even_of,
    credibility,
    flat_outlook,
    keeping_index,
    keeping_value,
    outlook_of,
)
from adwright.creative.lifetime.survival_network import Vectors
from adwright.data.hashing import mix64
from adwright.data.ranges import ranges
from adwright.metrics.bootstrap import MethodInterval, bootstrap_sums, with_seeds

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_SUMS = 5
SAVED, LOST, STOPPED, WRONG, AGE = range(_SUMS)


class StopSums(NamedTuple):
    """Over all lives. saved, lost: cost and value after the stops. stopped: lives whose stop saved
    something; of them `wrong` went on to bring the break-even at least, and `age` is the sum of
    their ages at the stop, in periods. cost, value: of all that ran in the periods."""

    saved: float
    lost: float
    stopped: float
    wrong: float
    age: float
    cost: float
    value: float

    @property
    def cost_saved(self) -> float:
        """As a share of all cost."""
        return self.saved / self.cost

    @property
    def value_kept(self) -> float:
        """As a share of all value."""
        return 1 - self.lost / self.value


@dataclass(frozen=True, eq=False)
class StopPoints:
    """What a stop at each of D decisions does; by life and then by period.

    life, period, row: int64 [D], and the row of the log. sums: float64 [D, 5], in the order of
    `StopSums`, of a stop there alone. owner: int64 [D], places in `owners` [O]. cost, value:
    float64 [O], of all that ran from the first decision on, by owner.
    """

    life: Ints
    period: Ints
    row: Ints
    sums: Floats
    owner: Ints
    owners: Ints
    cost: Floats
    value: Floats

    @classmethod
    def of(
        cls, log: LifeLog, life: Ints, period: Ints, break_even: npt.ArrayLike, until: int
    ) -> StopPoints:
        """Of lives [D] that ran in periods [D], in any order, each pair once.

        break_even: value per cost, [D] or one, from which on a life pays. until: the last period
        that counts, so that what comes later stays unseen.
        Raises DataError for a life that has no row in its period, or where nothing is to be judged.
        """
        order = np.lexsort((period, life))
        life, period = np.asarray(life, np.int64)[order], np.asarray(period, np.int64)[order]
        if len(life) == 0:
            raise DataError("nothing is up for decision", column="life")
        first = int(period.min())
        row, last = _rows(log, life, period), _rows(log, life, np.full(len(life), until))
        there = (log.period[np.maximum(row - 1, 0)] == period) & (row > log.offsets[life])
        if not there.all():
            at = int(np.argmin(there))
            raise DataError(
                "a life is up for decision in a period in which it did not run",
                column="period",
                value=f"life {life[at]}, period {period[at]}",
            )
        sums = np.zeros((len(life), _SUMS))
        for column, of in ((SAVED, log.cost), (LOST, log.value)):
            running = np.concatenate(([0.0], np.cumsum(of)))
            sums[:, column] = np.maximum(running[np.maximum(last, row)] - running[row], 0.0)
        some = sums[:, SAVED] > 0
        pays = np.broadcast_to(np.asarray(break_even, np.float64), len(life))[order]
        sums[:, STOPPED] = some
        sums[:, WRONG] = some & (sums[:, LOST] >= pays * sums[:, SAVED])
        sums[:, AGE] = np.where(some, period - log.first[life] + 1, 0)
        owners, owner = np.unique(log.owner, return_inverse=True)
        whose = owner[log.whose]
        counted = (log.period >= first) & (log.period <= until)
        cost, value = (
            np.bincount(whose[counted], of[counted], len(owners)).astype(np.float64)
            for of in (log.cost, log.value)
        )
        if not (cost.sum() > 0 and value.sum() > 0):
            raise DataError(
                "the periods have no cost, or brought no value: nothing can be compared",
                value=f"{first} to {until}",
            )
        return cls(life, period, row - 1, sums, owner[life], owners, cost, value)

    def __len__(self) -> int:
        return len(self.life)

    def total(self, sums: Floats) -> StopSums:
        """Of sums [5] over lives."""
        saved, lost, stopped, wrong, age = (float(each) for each in sums)
        cost, value = float(self.cost.sum()), float(self.value.sum())
        return StopSums(saved, lost, stopped, wrong, age, cost, value)


@dataclass(frozen=True, eq=False)
class Frontier:
    """All thresholds of one rule.

    threshold: float64 [K + 1], ascending, from -inf on: the rule with a threshold just above it
    has done `sums` [K + 1, 5].
    """

    points: StopPoints
    threshold: Floats
    sums: Floats
    _key: Floats
    _step: Floats
    _owner: Ints

    @classmethod
    def of(cls, points: StopPoints, score: Floats) -> Frontier:
        """Of a rule's scores [D]. +inf is never below a threshold."""
        # Decisions whose score is below all earlier ones of their life: lowered life by life, one
        # running minimum of ranks begins anew with each.
        levels, rank = np.unique(score, return_inverse=True)
        lifted = rank - np.cumsum(_first(points.life)) * max(len(levels), 1)
        lowest = np.minimum.accumulate(lifted)
        row = np.flatnonzero(np.append(True, lowest[1:] < lowest[:-1])[: len(score)])
        row = row[np.isfinite(score[row]) | (score[row] < 0)]
        life, step = points.life[row], points.sums[row]
        same = np.append(life[1:] == life[:-1], False)[: len(row)]
        step[same] -= points.sums[row[np.flatnonzero(same) + 1]]
        key = score[row]
        order = np.argsort(key, kind="stable")
        sums = np.concatenate((np.zeros((1, _SUMS)), np.cumsum(step[order], 0)))
        last = np.append(key[order][1:] != key[order][:-1], True)[: len(row)]
        kept = np.concatenate(([0], np.flatnonzero(last) + 1))
        threshold = np.concatenate(([-np.inf], key[order]))[kept]
        return cls(points, threshold, sums[kept], key, step, points.owner[row])

    def at(self, threshold: float) -> StopSums:
        """Of lives stopped at their first score < threshold."""
        place = int(np.searchsorted(self.threshold[1:], threshold, "left"))
        return self.points.total(self.sums[place])

    def at_kept(self, share: float) -> StopSums:
        """At the threshold that keeps this share of the value; of decisions with one score a part
        is stopped, drawn at random so to say, so that any share is met.

        Of thresholds that lose nothing more, the one that saves most. Raises ConfigError for a
        share outside of 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ConfigError("the share of value kept lies between 0 and 1", where=f"{share}")
        lost = np.array([(1 - share) * self.points.value.sum()])
        found = [matched(self.sums[None, :, LOST], self.sums[None, :, c], lost) for c in range(5)]
        return self.points.total(np.array(found)[:, 0])

    def grid(self, size: int = 128) -> Floats:
        """At most `size` thresholds [G], by even steps of what is saved and lost, in shares."""
        share = self.sums[:, SAVED] / self.points.cost.sum()
        share = share + self.sums[:, LOST] / self.points.value.sum()
        wanted = np.linspace(0, share[-1], size + 1)[1:]
        places = np.unique(np.searchsorted(share, wanted * (1 - 1e-12), "left"))
        above: Floats = np.append(self.threshold, np.inf)[places + 1]
        return above

    def by_owner(self, grid: Floats) -> tuple[Floats, Floats]:
        """(saved, lost), float64 [O, G + 1], by owner: nothing, then at each threshold of `grid`,
        ascending."""
        owners, size = len(self.points.owners), len(grid)
        place = np.searchsorted(grid, self._key, "right")  # the first threshold above the key
        cell = self._owner * (size + 1) + place
        found = []
        for column in (SAVED, LOST):
            cells = np.bincount(cell, self._step[:, column], owners * (size + 1))
            table = np.zeros((owners, size + 1))
            table[:, 1:] = cells.reshape(owners, size + 1)[:, :size].cumsum(1)
            found.append(table)
        return found[0], found[1]


def matched(lost: Floats, saved: Floats, wanted: Floats) -> Floats:
    """[R]: `saved` [R, G] where `lost` [R, G], not falling from 0, reaches `wanted` [R].

    Between two points by a straight line; of several with one loss, the last. Beyond the last
    point, that one.
    """
    row = np.arange(len(lost))
    place = np.maximum((lost <= wanted[:, None]).sum(1) - 1, 0)
    after = np.minimum(place + 1, lost.shape[1] - 1)
    step = lost[row, after] - lost[row, place]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip(np.where(step > 0, (wanted - lost[row, place]) / step, 0.0), 0.0, 1.0)
    found: Floats = saved[row, place] + part * (saved[row, after] - saved[row, place])
    return found


def stopped_where(points: StopPoints, fires: Bools) -> Ints:
    """The decisions at which lives are stopped, each at its first that `fires` [D]."""
    fired = np.flatnonzero(fires)
    found: Ints = fired[_first(points.life[fired])]
    return found


def _rows(log: LifeLog, life: Ints, period: Ints) -> Ints:
    """The row after the last one of each life [N] up to its period [N]."""
    low = int(log.period.min()) - 1
    width = int(log.period.max()) - low + 1
    keys = log.whose * width + (log.period - low)
    found: Ints = np.searchsorted(keys, life * width + np.clip(period - low, 0, width - 1), "right")
    return found


def _first(life: Ints) -> Bools:
    """Where another life begins than before."""
    return np.append(True, life[1:] != life[:-1])[: len(life)]


@settings
class FatigueRule:
    """Stop what has fallen the share `drop` below its peak for so many `periods` in a row, as ad
    tools do. measure: "rate", clicks by shown, or "sales", clicks alone. The defaults are those of
    the tools."""

    measure: Literal["rate", "sales"] = "rate"
    drop: Annotated[float, Gt(0), Lt(1)] = 0.2
    periods: Count = 3

    def __str__(self) -> str:
        return f"{self.measure} {self.drop:.0%} below its peak {self.periods} times in a row"


def low_in_a_row(clicks: Floats, shown: Floats, offsets: Ints, rule: FatigueRule) -> Ints:
    """By period of lives, how many low ones in a row end with it: the rule fires, be it again,
    where they are `rule.periods` or more. [M]

    clicks, shown: [M], those of life i from offsets[i] to offsets[i + 1]. x_t, the rate or the
    sales, is low where x_t < (1 - drop) * max over s <= t of x_s. Periods in which nothing was
    shown say nothing of a rate: they have 0, and neither count nor break a row of low ones.
    """
    told = np.flatnonzero(shown > 0) if rule.measure == "rate" else np.arange(len(clicks))
    life = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[told]
    value = clicks[told] / shown[told] if rule.measure == "rate" else clicks
    found = np.zeros(len(clicks), np.int64)
    levels, rank = np.unique(value, return_inverse=True)
    # Lifted life by life, one running maximum of ranks begins anew with each.
    lift = life * len(levels)
    peak = levels[np.maximum.accumulate(rank + lift) - lift]
    # The first period of a life is its own peak, so no row of low ones reaches into another life.
    place = np.arange(len(value))
    low = value < (1 - rule.drop) * peak
    found[told] = place - np.maximum.accumulate(np.where(low, 0, place))
    return found


@dataclass(frozen=True)
class RulePoint:
    """A rule at one threshold.

    at: "own", or whose share of value kept it was given. cost_saved: share of all cost, and `saved`
    the cost itself. value_kept: share of all value. wrongly: share of the stopped lives that in the
    periods saved brought the break-even at least; None where nothing was stopped, like `mean_age`,
    periods lived at the stop. stopped: lives whose stop saved something.
    """

    name: str
    at: str
    cost_saved: float
    value_kept: float
    wrongly: float | None
    mean_age: float | None
    stopped: float
    saved: float

    @classmethod
    def of(cls, name: str, at: str, sums: StopSums) -> RulePoint:
        """From sums over lives."""
        many = sums.stopped or np.inf
        wrongly, age = (each / many if sums.stopped else None for each in (sums.wrong, sums.age))
        return cls(
            name, at, sums.cost_saved, sums.value_kept, wrongly, age, sums.stopped, sums.saved
        )

    def cells(self) -> tuple[str, ...]:
        """As a row of a table: rule, saved, kept, stopped wrongly, mean age."""
        return (
            self.name if self.at == "own" else f"{self.name}, value kept {self.at}",
            f"{self.cost_saved:.1%}",
            f"{self.value_kept:.1%}",
            "-" if self.wrongly is None else f"{self.wrongly:.1%}",
            "-" if self.mean_age is None else f"{self.mean_age:.1f}",
        )


@dataclass(frozen=True)
class FatiguePoint:
    """A fatigue rule, what it did, and the share of cost that others save at its value kept."""

    rule: FatigueRule
    point: RulePoint
    others: dict[str, float]


@dataclass(frozen=True)
class ReplayLead:
    """Share of cost saved by a less that by b, where both keep the share `kept` of the value."""

    a: str
    b: str
    kept: float
    found: MethodInterval


@dataclass(frozen=True, eq=False)
class Replay:
    """periods: the first and last in which was decided. until: the last that counts. named: what
    the three are called. cost, value: of all that ran in them. break_even: mean over decisions,
    value per cost. half_life: of past periods, None for an infinite one. models: trainings
    replayed. best: the fatigue rule compared with. table: rules at their own point and at equal
    value kept. fatigue: the grid. leads: with intervals over owners, and over trainings where there
    are several. curves: by rule, pairs of cost saved and value kept.
    """

    periods: tuple[int, int]
    until: int
    named: tuple[str, str, str]
    unit: str
    cost_name: str
    value_name: str
    lives: int
    owners: int
    cost: float
    value: float
    break_even: float
    half_life: float | None
    models: int
    best: FatigueRule
    table: tuple[RulePoint, ...]
    fatigue: tuple[FatiguePoint, ...]
    leads: tuple[ReplayLead, ...]
    curves: dict[str, list[tuple[float, float]]]

    def point(self, name: str, at: str = "own") -> RulePoint:
        """The row of the table whose name begins so. Raises LookupError where there is none."""
        for row in self.table:
            if row.name.startswith(name) and row.at == at:
                return row
        raise LookupError(f"no rule {name!r} at {at!r}")

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(to_jsonable(self), indent=1, allow_nan=False)

    def text(self) -> str:
        """In plain words: the table, then the comparisons."""
        first, last, until = self.named
        lines = [
            f"Replay from {first} to {last}, judged until {until}: "
            f"{self.lives:,} lives of {self.owners:,} owners, {self.cost:,.0f} {self.cost_name}, "
            f"{self.value:,.0f} {self.value_name}.",
            f"A life pays from {self.break_even:.4g} on, {self.value_name} per "
            f"{self.cost_name}. What a stopped life would have brought counts as lost, an upper "
            "bound: a part of it would have come without it.",
            "",
            f"{'rule':<62} {'saved':>7} {'kept':>7} {'wrong':>7} {'age':>6}",
        ]
        for row in self.table:
            name, saved, kept, wrong, age = row.cells()
            name = name if row.at == "own" else f"  {name}"
            lines.append(f"{name:<62} {saved:>7} {kept:>7} {wrong:>7} {age:>6}")
        return "\n".join([*lines, "", *map(self._lead, self.leads)])

    def _lead(self, lead: ReplayLead) -> str:
        found = lead.found
        verdict = "no more and no less"
        if found.excludes(0):
            verdict = "more" if found.low > 0 else "less"
        many = f", {found.seeds} trainings" if found.seeds > 1 else ""
        return (
            f"At {lead.kept:.1%} of the value kept the {lead.a} saves {verdict} than the {lead.b}: "
            f"{found.value:+.2%} of all cost ({found.low:+.2%} to {found.high:+.2%}{many})."
        )


_GRID = 96  # thresholds of a resample
_CHART = 60  # points of a curve


@settings
class ReplayConfig:
    """retire: the rule. drops, in_a_row: of the fatigue rules, each with the rate and with sales.
    best: of them, chosen beforehand. until: the last period that counts, None for the record's.
    draws, seed: of the resamples of owners."""

    retire: RetireConfig = field(default_factory=RetireConfig)
    drops: tuple[Annotated[float, Gt(0), Lt(1)], ...] = (
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
    )
    in_a_row: tuple[Count, ...] = (1, 2, 3, 4, 5, 6)
    best: FatigueRule | None = None
    until: int | None = None
    draws: Count = 1000
    seed: int = 0


def fatigue_grid(config: ReplayConfig) -> list[FatigueRule]:
    """The rules, those of one measure and drop side by side; that of the ad tools and `best` are
    always among them."""
    rules = [
        FatigueRule(measure, drop, periods)
        for measure in ("rate", "sales")
        for drop in config.drops
        for periods in config.in_a_row
    ]
    named = [FatigueRule()] if config.best is None else [FatigueRule(), config.best]
    return [*rules, *(rule for rule in dict.fromkeys(named) if rule not in rules)]


def replay(
    lives: LifeRecord,
    model: AnyLife | Sequence[AnyLife] | None,
    periods: Sequence[int],
    config: ReplayConfig | None = None,
    *,
    values: ValueModel | Sequence[ValueModel] | None = None,
    vectors: Vectors | None = None,
) -> Replay:
    """What each rule would have done at the close of each of `periods`, and what came of it.

    model: trained by `fit_retirement` on what was known before the first of them; several are
    trainings of one method with other seeds, None replays the rules without a model. vectors: of
    all lives of the log, see `retirement_list`.

    Raises ConfigError for a model that may have seen what it is judged by, and as
    `LifeRecord.running`.
    """
    models = list(model or ()) if isinstance(model, Sequence | None) else [model]
    expecting = [values] if isinstance(values, ValueModel) else list(values or ())
    if models and expecting and len(models) != len(expecting):
        raise ConfigError(
            "each training of the one model goes with one of the other",
            where=f"{len(models)} models, {len(expecting)} models of values",
        )
    when = sorted(set(periods))
    if not when:
        raise ConfigError("a replay needs periods", where="periods")
    seen = [each.config.get("before") for each in models] + [each.before for each in expecting]
    for before in seen:
        if before is None:
            raise ConfigError(
                "the model does not say up to when it was trained",
                where="before",
                hint="train it by fit_retirement",
            )
        if int(before) > when[0]:
            raise ConfigError(
                f"the model was trained on what was known before {before}: it may know what it is "
                "judged by",
                where=f"first period {when[0]}",
                hint=f"train it on what was known before {when[0]}, or begin at {before}",
            )
    return _Rules(lives, models, expecting, when, config or ReplayConfig(), vectors or {}).result()


class _Rules:
    """What the rules say at each decision of a walk over periods, and what came of it.

    frontiers: by rule, of each of its trainings. stops: bool [S, D] by rule, what it would stop.
    """

    def __init__(
        self,
        lives: LifeRecord,
        models: Sequence[AnyLife],
        expecting: Sequence[ValueModel],
        when: Sequence[int],
        config: ReplayConfig,
        vectors: Vectors,
    ) -> None:
        self.log, self.config = lives.log, config
        rule, self.half_life = config.retire, config.retire.half_life
        decided: list[tuple[Ints, Ints, Floats]] = []
        index: dict[str, list[Floats]] = defaultdict(list)
        stops: dict[str, list[Bools]] = defaultdict(list)
        with progress(len(when), "replay", f"{lives.log.unit}s") as bar:
            for at in when:
                ran = lives.running(at)
                rates = credibility(self.log, at, ran.life, half_life=self.half_life)
                self.half_life = rates.half_life  # as chosen at the first period
                break_even, ones = break_even_of(rule, rates), np.ones(len(rates))
                decided.append((ran.life, np.full(len(rates), at), ones * break_even))
                flat = flat_outlook(self.log, at, len(rates), horizon=rule.horizon)
                seen = {name: x[ran.life] for name, x in vectors.items()}
                curves = [model.predict(ran.table, seen) for model in models]
                ahead = [outlook_of(each, rule.horizon_of(each.terms)) for each in curves]
                expected = [each.rates(ran.table, rates) for each in expecting]
                known = {
                    "rate rule": [(rates, flat)],
                    "model": [(rates, each) for each in ahead],
                    "value model": list(
                        zip(expected, ahead or [flat] * len(expected), strict=False)
                    ),
                }
                for name, trainings in known.items():
                    if trainings:
                        keeps = [keeping_index(*each) - break_even for each in trainings]
                        worth = [keeping_value(*each, break_even) for each in trainings]
                        index[name].append(np.stack(keeps))
                        stops[name].append(np.stack(worth) < rule.threshold)
                bar.advance()
        life, period, self.break_even = (np.concatenate(x) for x in zip(*decided, strict=True))
        self.span = (when[0], when[-1], self.log.closed if config.until is None else config.until)
        self.points = points = StopPoints.of(self.log, life, period, self.break_even, self.span[2])
        order = np.lexsort((period, life))
        self.stops = {name: np.concatenate(each, 1)[:, order] for name, each in stops.items()}
        scores = {name: np.concatenate(each, 1)[:, order] for name, each in index.items()}
        age = (points.period - self.log.first[points.life]).astype(np.float64)
        chance = mix64(mix64(np.array([config.seed], np.uint64)) + points.life.astype(np.uint64))
        scores |= {"age rule": -age[None], "random": chance[None] / 2.0**64}
        self.frontiers = {
            name: [Frontier.of(points, each) for each in found] for name, found in scores.items()
        }
        self.trained = [name for name in ("value model", "model") if name in scores]
        self.main = (*self.trained, "rate rule")[0]

    def result(self) -> Replay:
        """All of it."""
        known = {rule: (stops, self._sums(stops)) for rule, stops in self._fatigue()}
        best = self.config.best or max(
            known, key=lambda rule: known[rule][1].cost_saved + known[rule][1].value_kept
        )
        own = {
            name: _mean([self._sums(stopped_where(self.points, each)) for each in found])
            for name, found in self.stops.items()
        }
        half_life = self.half_life or np.inf
        at_own, at_best = own[self.main], known[best][1]
        table = [RulePoint.of(name, "own", sums) for name, sums in own.items()]
        for name, rule in (("ad tools' fatigue rule", FatigueRule()), ("best fatigue rule", best)):
            table.append(RulePoint.of(f"{name}, {rule}", "own", known[rule][1]))
        for about, at in ((f"as the {self.main}", at_own), ("as the best fatigue rule", at_best)):
            table += [
                RulePoint.of(name, about, self._at_kept(name, at.value_kept))
                for name in self.frontiers
                if (name, about) != (self.main, f"as the {self.main}")
            ]
        compared = [(self.main, at_own, None), ("best fatigue rule", at_best, known[best][0])]
        leads = [
            self._over_fatigue(name, best, known[best]) for name in (*self.trained, "rate rule")
        ]
        leads += [
            self._over_rates(name, f"value kept as the {other}", at.value_kept, stops)
            for name in self.trained
            for other, at, stops in compared
        ]
        first, last, until = map(self.log.period_name, self.span)
        return Replay(
            periods=self.span[:2],
            until=self.span[2],
            named=(first, last, until),
            unit=self.log.unit,
            cost_name=self.log.cost_name,
            value_name=self.log.value_name,
            lives=len(np.unique(self.points.life)),
            owners=int((self.points.cost > 0).sum()),
            cost=at_own.cost,
            value=at_own.value,
            break_even=float(np.mean(self.break_even)),
            half_life=half_life if np.isfinite(half_life) else None,
            models=len(self.frontiers[self.main]) if self.trained else 0,
            best=best,
            table=tuple(table),
            fatigue=tuple(
                FatiguePoint(
                    rule,
                    RulePoint.of(str(rule), "own", sums),
                    {
                        name: self._at_kept(name, sums.value_kept).cost_saved
                        for name in self.frontiers
                    },
                )
                for rule, (_, sums) in known.items()
            ),
            leads=tuple(leads),
            curves={name: self._curve(name) for name in self.frontiers},
        )

    def _sums(self, stops: Ints) -> StopSums:
        return self.points.total(self.points.sums[stops].sum(0))

    def _at_kept(self, name: str, share: float) -> StopSums:
        return _mean([each.at_kept(share) for each in self.frontiers[name]])

    def _fatigue(self) -> Iterator[tuple[FatigueRule, Ints]]:
        """Each rule, and where it stops."""
        log, points = self.log, self.points
        lives = np.unique(points.life)
        rows, offsets = ranges(log.offsets[lives], np.diff(log.offsets)[lives])
        place = np.searchsorted(rows, points.row)
        last, low = None, np.zeros(0, np.int64)
        for rule in fatigue_grid(self.config):
            if (rule.measure, rule.drop) != last:
                low = low_in_a_row(log.value[rows], log.shown[rows], offsets, rule)[place]
                last = rule.measure, rule.drop
            yield rule, stopped_where(points, low >= rule.periods)

    def _curve(self, name: str) -> list[tuple[float, float]]:
        """(cost saved, value kept) at even steps of value kept, of all models."""
        least = min(1 - each.sums[-1, 1] / self.points.value.sum() for each in self.frontiers[name])
        found = [self._at_kept(name, kept) for kept in np.linspace(1.0, max(least, 0.0), _CHART)]
        return [(sums.cost_saved, sums.value_kept) for sums in found]

    def _saved(self, name: str, kept: float) -> Floats:
        """[S]: share of the cost that each training saves at this value kept."""
        return np.array([each.at_kept(kept).cost_saved for each in self.frontiers[name]])

    def _over_fatigue(self, name: str, rule: FatigueRule, at: tuple[Ints, StopSums]) -> ReplayLead:
        stops, sums = at
        exact = self._saved(name, sums.value_kept) - sums.cost_saved
        found = self._interval({name: 1.0}, stops, 0.0, exact)
        return ReplayLead(name, f"best fatigue rule, {rule}", sums.value_kept, found)

    def _over_rates(self, name: str, about: str, kept: float, stops: Ints | None) -> ReplayLead:
        exact = self._saved(name, kept) - self._saved("rate rule", kept)
        found = self._interval({name: 1.0, "rate rule": -1.0}, stops, kept, exact)
        return ReplayLead(name, f"rate rule, {about}", kept, found)

    def _interval(
        self, sides: Mapping[str, float], stops: Ints | None, kept: float, exact: Floats
    ) -> MethodInterval:
        """Over owners: the weighted saved cost of `sides`, each at the value that the fatigue rule
        with these stops keeps in the same resample (or `kept`), less what that rule saves where it
        is the other side. exact: [S], of all owners."""
        points, owners = self.points, len(self.points.owners)
        some = np.zeros(0, np.int64) if stops is None else stops
        columns = [points.cost[:, None], points.value[:, None]]
        columns += [
            np.bincount(points.owner[some], points.sums[some, at], owners).astype(np.float64)[
                :, None
            ]
            for at in (SAVED, LOST)
        ]
        spans: list[tuple[float, int, int]] = []
        at = 4
        for name, weight in sides.items():
            several = self.frontiers[name]
            for frontier in several:
                saved, lost = frontier.by_owner(frontier.grid(_GRID))
                columns += [saved, lost]
                spans.append((weight / len(several), at, saved.shape[1]))
                at += 2 * saved.shape[1]

        def lead(totals: Floats) -> Floats:
            wanted = (1 - kept) * totals[:, 1] if stops is None else totals[:, 3]
            found = -totals[:, 2] if len(sides) == 1 else np.zeros(len(totals))
            for weight, place, size in spans:
                saved = totals[:, place : place + size]
                found += weight * matched(totals[:, place + size : place + 2 * size], saved, wanted)
            shares: Floats = found / totals[:, 0]
            return shares

        rng = np.random.default_rng(self.config.seed)
        people = bootstrap_sums(np.concatenate(columns, 1), lead, rng, draws=self.config.draws)
        off = float(exact.mean()) - people.value  # the grid has only so many thresholds
        people = replace(
            people, value=people.value + off, low=people.low + off, high=people.high + off
        )
        return with_seeds(people, *([exact] if any(name in self.trained for name in sides) else ()))


def _mean(sums: Sequence[StopSums]) -> StopSums:
    return StopSums(*np.mean(np.array(sums), 0).tolist())
