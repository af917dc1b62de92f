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
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace

import numpy as np
import numpy.typing as npt

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError
from adwright.core.progress import progress
from adwright.creative.lifetime.fatigue import FatigueRule, LifeSeries, low_in_a_row
from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.hazards.inputs import Vectors
from adwright.creative.lifetime.retirement.frontier import (
    Frontier,
    StopPoints,
    StopSums,
    matched,
    stopped_where,
)
from adwright.creative.lifetime.retirement.lives import LifeLog, LifeRecord, RunningUnits
from adwright.creative.lifetime.retirement.rates import Rates, credibility
from adwright.creative.lifetime.retirement.replay_result import (
    FatiguePoint,
    Replay,
    ReplayLead,
    RulePoint,
)
from adwright.creative.lifetime.retirement.rule import (
    Outlook,
    RetireConfig,
    break_even_of,
    flat_outlook,
    keeping_index,
    keeping_value,
    outlook_of,
)
from adwright.creative.lifetime.retirement.values import ValueModel
from adwright.data.hashing import mix64
from adwright.data.ranges import ranges
from adwright.metrics.bootstrap import bootstrap_sums
from adwright.metrics.two_level import MethodInterval, with_seeds

__all__ = ["ReplayConfig", "fatigue_grid", "replay"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_GRID = 96  # thresholds of a resample
_CHART = 60  # points of a curve


@settings
class ReplayConfig:
    """retire: the rule. drops, in_a_row: of the fatigue rules, each with the rate and with sales.
    best: of them, chosen beforehand. until: the last period that counts, None for the record's.
    draws, seed: of the resamples of owners."""

    retire: RetireConfig = field(default_factory=RetireConfig)
    drops: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    in_a_row: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    best: FatigueRule | None = None
    until: int | None = None
    draws: Count = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        fatigue_grid(self)


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
    model: FittedLifetime | Sequence[FittedLifetime] | None,
    periods: Sequence[int],
    config: ReplayConfig | None = None,
    *,
    values: ValueModel | Sequence[ValueModel] | None = None,
    vectors: Vectors | None = None,
    before: int | None = None,
) -> Replay:
    """What each rule would have done at the close of each of `periods`, and what came of it.

    model: trained on what was known before the first of them; several are trainings of one method
    with other seeds, None replays the rules without a model. vectors: of all lives of the log, see
    `retirement_list`. before: the period before which a model was trained that does not say it.

    Raises ConfigError for a model that may have seen what it is judged by, and as
    `LifeRecord.running`.
    """
    config = config or ReplayConfig()
    models = [model] if isinstance(model, FittedLifetime) else list(model or ())
    expecting = [values] if isinstance(values, ValueModel) else list(values or ())
    if models and expecting and len(models) != len(expecting):
        raise ConfigError(
            "each training of the one model goes with one of the other",
            where=f"{len(models)} models, {len(expecting)} models of values",
        )
    when = sorted(set(periods))
    if not when:
        raise ConfigError("a replay needs periods", where="periods")
    for each in models:
        said_before = each.config.get("before")
        _check_unseen(before if said_before is None else int(said_before), when[0])
    for one in expecting:
        _check_unseen(one.before, when[0])
    until = lives.log.closed if config.until is None else config.until
    walk = _Walk(lives, models, expecting, when, config.retire, vectors)
    points = StopPoints.of(lives.log, walk.life, walk.period, walk.break_even, until)
    return _Judge(points, walk, lives.log, config, (when[0], when[-1], until)).result()


def _check_unseen(seen: int | None, first: int) -> None:
    if seen is None:
        raise ConfigError(
            "the model does not say up to when it was trained",
            where="before",
            hint="train it by fit_retirement, or say the period before which it was trained",
        )
    if seen > first:
        raise ConfigError(
            f"the model was trained on what was known before {seen}: it may know what it is judged "
            "by",
            where=f"first period {first}",
            hint=f"train it on what was known before {first}, or begin at {seen}",
        )


class _Walk:
    """What the rules say at each decision, by life and then by period. [D]

    index: by rule, of each training [S, D]. stops: likewise, what the rule itself would stop.
    """

    def __init__(
        self,
        lives: LifeRecord,
        models: Sequence[FittedLifetime],
        expecting: Sequence[ValueModel],
        when: Sequence[int],
        config: RetireConfig,
        vectors: Vectors | None,
    ) -> None:
        self._lives, self._models, self._expecting = lives, models, expecting
        self._config, self._vectors = config, vectors or {}
        self.half_life = config.half_life
        life, period, pays = [], [], []
        index: dict[str, list[Floats]] = {}
        stops: dict[str, list[Bools]] = {}
        with progress(len(when), "replay", f"{lives.log.unit}s") as bar:
            for at in when:
                ran = lives.running(at)
                rules, break_even = self._rules(at, ran)
                life.append(ran.life)
                period.append(np.full(len(ran.life), at))
                pays.append(np.full(len(ran.life), break_even))
                for name, seen in rules.items():
                    scores = [keeping_index(*each) - break_even for each in seen]
                    worth = [keeping_value(*each, break_even) for each in seen]
                    index.setdefault(name, []).append(np.stack(scores))
                    stops.setdefault(name, []).append(np.stack(worth) < config.threshold)
                bar.advance()
        self.life, self.period = np.concatenate(life), np.concatenate(period)
        order = np.lexsort((self.period, self.life))
        self.life, self.period = self.life[order], self.period[order]
        self.break_even: Floats = np.concatenate(pays)[order]
        self.index = {name: np.concatenate(each, 1)[:, order] for name, each in index.items()}
        self.stops = {name: np.concatenate(each, 1)[:, order] for name, each in stops.items()}

    def _rules(
        self, period: int, ran: RunningUnits
    ) -> tuple[dict[str, list[tuple[Rates, Outlook]]], float]:
        """By rule what each training of it knows of the units; and the break-even."""
        log, config = self._lives.log, self._config
        rates = credibility(log, period, ran.life, half_life=self.half_life)
        self.half_life = rates.half_life  # as chosen at the first period
        flat = flat_outlook(log, period, len(rates), horizon=config.horizon)
        rules = {"rate rule": [(rates, flat)]}
        seen = {name: x[ran.life] for name, x in self._vectors.items()}
        outlooks = []
        for model in self._models:
            curves = model.predict(ran.table, seen)
            outlooks.append(outlook_of(curves, config.horizon_of(curves.terms)))
        if outlooks:
            rules["model"] = [(rates, each) for each in outlooks]
        if self._expecting:
            found = [each.rates(ran.table, rates) for each in self._expecting]
            ahead = outlooks or [flat] * len(found)
            rules["value model"] = list(zip(found, ahead, strict=True))
        return rules, break_even_of(config, rates)


class _Judge:
    """Compares the rules of a walk by what came of them."""

    def __init__(
        self,
        points: StopPoints,
        walk: _Walk,
        log: LifeLog,
        config: ReplayConfig,
        span: tuple[int, int, int],
    ) -> None:
        self.points, self.walk, self.log, self.config = points, walk, log, config
        self.span = span
        age = (points.period - log.first[points.life]).astype(np.float64)
        chance = mix64(mix64(np.array([config.seed], np.uint64)) + points.life.astype(np.uint64))
        scores = dict(walk.index)
        scores |= {"age rule": -age[None], "random": chance[None] / 2.0**64}
        self.frontiers = {
            name: [Frontier.of(points, each) for each in found] for name, found in scores.items()
        }
        self.trained = [name for name in ("value model", "model") if name in scores]
        self.main = (*self.trained, "rate rule")[0]

    def result(self) -> Replay:
        """All of it."""
        grid = [(rule, stops, self._sums(stops)) for rule, stops in self._fatigue()]
        known = {rule: (stops, sums) for rule, stops, sums in grid}
        best = self.config.best or max(
            known, key=lambda rule: known[rule][1].cost_saved + known[rule][1].value_kept
        )
        own = {
            name: _mean([self._sums(stopped_where(self.points, each)) for each in found])
            for name, found in self.walk.stops.items()
        }
        half_life = self.walk.half_life or np.inf
        at_own, at_best = own[self.main], known[best][1]
        table = [RulePoint.of(name, "own", sums) for name, sums in own.items()]
        for name, rule in (("ad tools' fatigue rule", FatigueRule()), ("best fatigue rule", best)):
            table.append(RulePoint.of(f"{name}, {_said(rule)}", "own", known[rule][1]))
        for about, at in ((f"as the {self.main}", at_own), ("as the best fatigue rule", at_best)):
            table += [
                RulePoint.of(name, about, self._at_kept(name, at.value_kept))
                for name in self.frontiers
                if (name, about) != (self.main, f"as the {self.main}")
            ]
        leads = [
            self._over_fatigue(name, best, known[best]) for name in (*self.trained, "rate rule")
        ]
        for name in self.trained:
            leads += [
                self._over_rates(name, f"value kept as the {self.main}", at_own.value_kept, None),
                self._over_rates(
                    name,
                    "value kept as the best fatigue rule",
                    at_best.value_kept,
                    known[best][0],
                ),
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
            break_even=float(np.mean(self.walk.break_even)),
            half_life=half_life if np.isfinite(half_life) else None,
            models=len(self.walk.index[self.main]) if self.trained else 0,
            best=best,
            table=tuple(table),
            fatigue=tuple(self._fatigue_point(rule, sums) for rule, _, sums in grid),
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
        series = LifeSeries(log.value[rows], log.shown[rows], offsets)
        place = np.searchsorted(rows, points.row)
        last, low = None, np.zeros(0, np.int64)
        for rule in fatigue_grid(self.config):
            if (rule.measure, rule.drop) != last:
                low = low_in_a_row(series, rule)[place]
                last = rule.measure, rule.drop
            yield rule, stopped_where(points, low >= rule.periods)

    def _fatigue_point(self, rule: FatigueRule, sums: StopSums) -> FatiguePoint:
        others = {name: self._at_kept(name, sums.value_kept).cost_saved for name in self.frontiers}
        return FatiguePoint(rule, RulePoint.of(_said(rule), "own", sums), others)

    def _curve(self, name: str) -> list[tuple[float, float]]:
        """(cost saved, value kept) at even steps of value kept, of all models."""
        least = min(1 - each.sums[-1, 1] / self.points.value.sum() for each in self.frontiers[name])
        found = [self._at_kept(name, kept) for kept in np.linspace(1.0, max(least, 0.0), _CHART)]
        return [(sums.cost_saved, sums.value_kept) for sums in found]

    def _over_fatigue(self, name: str, rule: FatigueRule, at: tuple[Ints, StopSums]) -> ReplayLead:
        own = self._owner_sums(at[0])
        exact = [each.at_kept(at[1].value_kept).cost_saved for each in self.frontiers[name]]
        return ReplayLead(
            name,
            f"best fatigue rule, {_said(rule)}",
            at[1].value_kept,
            self._interval([(name, 1.0)], own, None, np.array(exact) - at[1].cost_saved),
        )

    def _over_rates(self, name: str, about: str, kept: float, stops: Ints | None) -> ReplayLead:
        trained, rate = (
            np.array([each.at_kept(kept).cost_saved for each in self.frontiers[one]])
            for one in (name, "rate rule")
        )
        own = None if stops is None else self._owner_sums(stops)
        found = self._interval([(name, 1.0), ("rate rule", -1.0)], own, kept, trained - rate)
        return ReplayLead(name, f"rate rule, {about}", kept, found)

    def _owner_sums(self, stops: Ints) -> Floats:
        """[O, 2]: saved and lost by a rule that stops there."""
        owner, sums = self.points.owner[stops], self.points.sums[stops]
        size = len(self.points.owners)
        return np.stack([np.bincount(owner, sums[:, at], size) for at in (0, 1)], 1)

    def _interval(
        self,
        sides: Sequence[tuple[str, float]],
        fatigue: Floats | None,
        kept: float | None,
        exact: Floats,
    ) -> MethodInterval:
        """Over owners: the weighted saved cost of `sides`, each at the value that the fatigue rule
        keeps in the same resample (or `kept`), less what that rule saves where it is a side.
        exact: [S], of all owners."""
        owners = len(self.points.owners)
        fatigue_sums = np.zeros((owners, 2)) if fatigue is None else fatigue
        columns = [self.points.cost[:, None], self.points.value[:, None], fatigue_sums]
        spans: list[tuple[float, int, int]] = []
        at = 4
        for name, weight in sides:
            several = self.frontiers[name]
            for frontier in several:
                saved, lost = frontier.by_owner(frontier.grid(_GRID))
                columns += [saved, lost]
                spans.append((weight / len(several), at, saved.shape[1]))
                at += 2 * saved.shape[1]
        alone = len(sides) == 1

        def lead(totals: Floats) -> Floats:
            wanted = totals[:, 3] if fatigue is not None else (1 - (kept or 0.0)) * totals[:, 1]
            found = -totals[:, 2] if alone else np.zeros(len(totals))
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
        trained = (exact,) if any(name in self.trained for name, _ in sides) else ()
        return with_seeds(people, *trained)


def _said(rule: FatigueRule) -> str:
    """A fatigue rule in words."""
    what = "rate" if rule.measure == "rate" else "sales"
    return f"{what} {rule.drop:.0%} below its peak {rule.periods} times in a row"


def _mean(sums: Sequence[StopSums]) -> StopSums:
    return StopSums(*np.mean(np.array(sums), 0).tolist())
