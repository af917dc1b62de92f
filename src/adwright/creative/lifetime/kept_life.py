"""What a record of lives teaches, chosen honestly: the pooled life, a rule, the network, a mixture.

    kept = chosen_life(stacked, train_network, seed=0)
    kept.choice["sentences"]              # which was kept, and by how much
    kept.predict(table)                   # curves; the pooled life's where nothing predicts

Candidates, from the simplest on:

    by age        a hazard of each bin of ages, the same for all of an age
    few columns   the hazard of the next period, logistic in age and in those columns, five at most,
                  that tell most of it, each by 2.5 standard errors of its score
    regression    logistic in age and all numbers and categories (ridge), as Cox's model in periods
    network       `survival_network`

and mixtures of these. The pooled life, one hazard for all of any age, is served where none of them
orders lives better than chance does. Each predicts how much sooner a unit ends than that life says,

    s = log(expected periods to come of the pooled life / of the unit)

Folds are steps in time: candidates learn what was known at a date, and are asked about each life at
the first period in which it ran from then on; how long they went on is compared by pairs of which
one is known to have ended first (Harrell's C). Mixtures are made in logs: of hazards L of a bin,

    log L = log L_pooled + sum_k w_k (log L_k - log L_pooled)

`exceeds` is the s from which on more lives ended, on the held parts, than the pooled life says: the
lowest of its fifths such that it and all above ended more often by 1.64 standard errors.

Letters: N units, J bins, K columns.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.stop_rule import outlook_of
from adwright.creative.lifetime.survival_curves import FittedLifetime, LifeCurves
from adwright.creative.lifetime.survival_fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.survival_network import InputSpec, LifeTerms, Vectors
from adwright.metrics.bootstrap import Interval
from adwright.metrics.choosing import MIXTURE, Candidate, Folds, HonestChoice, Measure, Told, choose

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
KIND = "kept-life"
POOLED, BY_AGE, FEW = "pooled life", "by age", "few columns"
REGRESSION, NETWORK = "regression", "network"
#: Ridge of the slopes and of what ages differ by; Newton's steps; numbers that a rule is fitted on.
_RIDGE, _AGE_RIDGE, _STEPS, _CELLS = 50.0, 20.0, 12, 12_000_000
#: Of few columns: ridge, how many at most, and how sure each is.
_LITTLE, _FEW, _SCORE = 2.0, 5, 2.5
#: Folds; share of the units before the first; lives that are asked about in each; rows that each
#: learns from.
_FOLDS, _BEFORE, _HELD, _LEARNED = 8, 0.3, 600, 40_000
_VALID, _FIFTHS, _SURE = 0.2, 5, 1.64


class LifeModel(Protocol):
    """Anything that predicts curves. reads: names of the inputs that move it."""

    @property
    def terms(self) -> LifeTerms: ...
    @property
    def reads(self) -> tuple[str, ...]: ...
    def predict(self, table: SpellTable, vectors: Vectors | None = None, /) -> LifeCurves: ...
    def hidden(
        self, table: SpellTable, vectors: Vectors | None = None, /
    ) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True, eq=False)
class HazardRule:
    """logit h = level + ages[bin of the age] + x slopes, h of ending in a period that is reached.

    ages: [A] of the bins of `terms.joined`, () for none. slopes: [K] of the columns of `spec`, ()
    for none. shares: of each cause among the endings.
    """

    terms: LifeTerms
    causes: tuple[str, ...]
    unit: str
    level: float
    shares: tuple[float, ...]
    ages: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    spec: InputSpec | None = None

    @classmethod
    def fit(
        cls, name: str, table: SpellTable, terms: LifeTerms, spec: InputSpec | None = None
    ) -> HazardRule:
        """One of the rules, from units at all of their periods, of which those count whose next one
        is known. spec: of the columns, None for none."""
        known = np.flatnonzero(table.time > table.entry + 0.75)
        wide = 1 if spec is None else 2 * len(spec.numbers) + spec.code_offsets[-1] + 20
        known = known[:: max(1, -(-len(known) * wide // _CELLS))]
        rows = table.take(known)
        y = (rows.ended & (rows.time <= rows.entry + 1)).astype(np.float64)
        ages = _age_bins(terms, rows.entry + 0.5)[:, : None if name != POOLED else 0]
        x = np.concatenate([np.ones((len(rows), 1)), ages, _columns(spec, rows)], 1)
        ridge = np.full(x.shape[1], _LITTLE if name == FEW else _RIDGE)
        ridge[0], ridge[1 : 1 + ages.shape[1]] = 1e-6, _AGE_RIDGE
        beta = _of_few(x, y, ridge, 1 + ages.shape[1]) if name == FEW else _logistic(x, y, ridge)
        ended = np.bincount(rows.cause[y > 0], minlength=len(table.causes) + 1)[1:] + 0.5
        many = 1 + ages.shape[1]
        return cls(
            terms,
            table.causes,
            table.unit,
            float(beta[0]),
            tuple((ended / ended.sum()).tolist()),
            tuple(beta[1:many].tolist()),
            tuple(beta[many:].tolist()),
            spec,
        )

    @property
    def reads(self) -> tuple[str, ...]:
        """Numbers and categories that have a slope."""
        if self.spec is None:
            return ()
        names = [one.name for one in self.spec.numbers]
        sizes = [len(one.values) + 1 for one in self.spec.categories]
        values = np.repeat([one.name for one in self.spec.categories], sizes).tolist()
        own = zip((*names, *names, *values), self.slopes, strict=True)
        return tuple(dict.fromkeys(name for name, slope in own if slope))

    def predict(self, table: SpellTable, vectors: Vectors | None = None, /) -> LifeCurves:
        """The curves of N units: what moves them stays, their ages go on."""
        moved = self.hidden(table).sum(1, dtype=np.float64)
        steps = []
        for edges in self.terms.heads:
            bounds = np.array(edges)
            logit = np.full(len(bounds) - 1, self.level)
            if self.ages:
                logit += _age_bins(self.terms, (bounds[1:] + bounds[:-1]) / 2) @ self.ages
            lost = -np.logaddexp(0, logit + moved[:, None]) * np.diff(bounds)
            steps.append(lost.astype(np.float32))
        shares = None
        if len(self.causes) > 1:
            share = np.array(self.shares, np.float32)
            shares = tuple(np.broadcast_to(share, (*s.shape, len(share))) for s in steps)
        return LifeCurves(self.terms, self.causes, table.entry, tuple(steps), shares)

    def hidden(
        self, table: SpellTable, vectors: Vectors | None = None, /
    ) -> npt.NDArray[np.float32]:
        """[N, K]: what each column adds to the logit."""
        columns = _columns(self.spec, table)
        found: npt.NDArray[np.float32] = (columns * np.array(self.slopes)).astype(np.float32)
        return found


def _age_bins(terms: LifeTerms, age: npt.NDArray[np.floating]) -> Floats:
    """[N, A]: 1 in the bin of each age; beyond the last edge in the last one."""
    inner = np.array(terms.joined[1:-1])
    return np.asarray(np.eye(len(inner) + 1)[np.searchsorted(inner, age, side="left")])


def _columns(spec: InputSpec | None, table: SpellTable) -> Floats:
    """[N, K]: scaled numbers, 0 where missing, whether each is, and each value of categories."""
    if spec is None:
        return np.zeros((len(table), 0))
    inputs = spec.encode(table)
    numbers = inputs.numbers.double().numpy()
    gaps = np.isnan(numbers)
    values = np.zeros((len(table), spec.code_offsets[-1]))
    values[np.arange(len(table))[:, None], inputs.codes.numpy()] = 1
    return np.concatenate([np.where(gaps, 0.0, numbers), gaps, values], 1)


def _of_few(x: Floats, y: Floats, ridge: Floats, first: int) -> Floats:
    """[K]: of those columns from `first` on that tell most, 0 of all others."""
    chosen = list(range(first))
    while True:
        beta = np.zeros(x.shape[1])
        some = x[:, chosen]
        beta[chosen] = _logistic(some, y, ridge[chosen])
        p = 1 / (1 + np.exp(-np.clip(some @ beta[chosen], -30, 30)))
        weight = p * (1 - p)
        # The score of each column beside those that are there: its variance is less what they tell.
        cross = (some * weight[:, None]).T @ x
        known = np.linalg.solve(
            (some * weight[:, None]).T @ some + np.diag(ridge[chosen] + 1e-9), cross
        )
        spread = (x**2 * weight[:, None]).sum(0) - (cross * known).sum(0)
        score = np.abs(x.T @ (y - p)) / np.sqrt(np.maximum(spread, 1e-6))
        score[(spread < 1e-3) | np.isin(np.arange(len(score)), chosen)] = 0
        best = int(score.argmax())
        if score[best] < _SCORE or len(chosen) - first >= _FEW:
            return beta
        chosen.append(best)


def _logistic(x: Floats, y: Floats, ridge: Floats) -> Floats:
    """[K]: where sum ridge beta^2 / 2 less the log-likelihood of y [N] by x [N, K] is least."""
    beta = np.zeros(x.shape[1])
    share = np.clip(y.mean() if len(y) else 0.5, 1e-4, 1 - 1e-4)
    beta[0] = np.log(share / (1 - share))
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (p - y) + ridge * beta
        curve = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge + 1e-9)
        step = np.linalg.solve(curve, slope)
        beta -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    return beta


@dataclass(frozen=True, eq=False)
class KeptLife:
    """pooled: the life of all. parts: weight and model by name, none where nothing predicts.
    choice: kept, told (value, low, high), sentences, exceeds; empty where nothing was chosen.
    config: before, valid_from and seed of the training."""

    pooled: HazardRule | None
    parts: Mapping[str, tuple[float, LifeModel]]
    choice: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: KeptLife | FittedLifetime) -> KeptLife:
        """A network alone, of which nobody said how well it does."""
        if isinstance(model, KeptLife):
            return model
        return cls(None, {NETWORK: (1.0, model)}, config=model.config)

    @property
    def first(self) -> HazardRule | FittedLifetime:
        """A model that knows the edges, causes and unit."""
        if self.pooled is not None:
            return self.pooled
        (_, alone), *_ = self.parts.values()
        return cast(FittedLifetime, alone)

    @property
    def terms(self) -> LifeTerms:
        """Edges of the heads."""
        return self.first.terms

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the inputs that move it; none of the pooled life and of ages alone."""
        return tuple(dict.fromkeys(name for _, one in self.parts.values() for name in one.reads))

    def predict(self, table: SpellTable, vectors: Vectors | None = None, /) -> LifeCurves:
        """The curves of N units from their landmarks on. Raises SchemaError for another unit."""
        if table.unit != self.first.unit:
            raise SchemaError(
                "the spells count their ages in another unit than the model",
                column="unit",
                value=table.unit,
                hint=f"make a table in {self.first.unit}s",
            )
        alone = [one for weight, one in self.parts.values() if weight == 1 or self.pooled is None]
        if len(alone) == len(self.parts) == 1:
            return alone[0].predict(table, vectors)
        if self.pooled is None:
            return self.first.predict(table, vectors)
        base = self.pooled.predict(table)
        logs = [_logs(step) for step in base.steps]
        made = [one.copy() for one in logs]
        for weight, one in self.parts.values():
            for at, step in enumerate(one.predict(table, vectors).steps):
                made[at] += weight * (_logs(step) - logs[at])
        return replace(base, steps=tuple(-np.exp(one).astype(np.float32) for one in made))

    def hidden(
        self, table: SpellTable, vectors: Vectors | None = None, /
    ) -> npt.NDArray[np.float32]:
        """[N, H]: what moves it, for what is near."""
        parts = [weight * one.hidden(table, vectors) for weight, one in self.parts.values()]
        return np.concatenate([np.zeros((len(table), 0), np.float32), *parts], 1)

    def ends_sooner(self, curves: LifeCurves) -> npt.NDArray[np.bool_] | None:
        """Units of whose kind more end than of all, as was measured; None where nobody did."""
        if self.pooled is None:
            return None
        least = self.choice.get("exceeds")
        if least is None:
            return np.zeros(len(curves), np.bool_)
        found = _sooner(self.pooled, curves, int(np.ceil(self.terms.joined[-1])))
        return np.asarray(found >= least)

    def sentences(self) -> list[str]:
        """Which was kept, by how much, and what to expect."""
        return list(self.choice.get("sentences", ()))

    def digest(self) -> str:
        """Of all that it says."""
        told = [
            [name, weight, one.digest() if isinstance(one, FittedLifetime) else to_jsonable(one)]
            for name, (weight, one) in self.parts.items()
        ]
        return content_hash([told, None if self.pooled is None else to_jsonable(self.pooled)])

    def save(self, folder: Path, network: Path, *, overwrite: bool = False) -> str:
        """Write the artifact, and that of the network where it takes part; the id of the first."""
        rules, weights, beside = {}, {}, ""
        for name, (weight, one) in self.parts.items():
            weights[name] = weight
            if isinstance(one, FittedLifetime):
                beside = one.save(network, overwrite=overwrite)
            else:
                rules[name] = to_jsonable(one)
        said = {"weights": weights, "rules": rules, "pooled": to_jsonable(self.pooled)}
        said |= {"choice": dict(self.choice), "training": dict(self.config), "network": beside}
        return save_artifact(folder, kind=KIND, config=said, tensors={}, overwrite=overwrite)

    @classmethod
    def load(cls, source: str | Path | Artifact, network: Path) -> KeptLife:
        """Of an artifact and its network's folder. Raises as `load_artifact`."""
        artifact = source if isinstance(source, Artifact) else load_artifact(source, kind=KIND)
        said = artifact.config
        parts: dict[str, tuple[float, LifeModel]] = {}
        for name, weight in said["weights"].items():
            rule = said["rules"].get(name)
            one = FittedLifetime.load(network) if rule is None else from_jsonable(HazardRule, rule)
            parts[name] = float(weight), one
        pooled = from_jsonable(HazardRule, said["pooled"])
        return cls(pooled, parts, said["choice"], said["training"])


#: What is kept of a record, or a network alone.
AnyLife: TypeAlias = KeptLife | FittedLifetime


def _logs(step: npt.NDArray[np.float32]) -> Floats:
    return np.asarray(np.log(np.maximum(-step.astype(np.float64), 1e-12)))


def _sooner(pooled: HazardRule, curves: LifeCurves, horizon: int) -> Floats:
    """s [N]; see the module."""
    survives = 1 - 1 / (1 + np.exp(-pooled.level))
    going = (survives ** np.arange(1, horizon + 1)).sum()
    further = outlook_of(curves, horizon).further
    return np.asarray(np.log(going / np.maximum(further, 1e-6)))


# --------------------------------------------------------------------------------------------------
# The choice.


@dataclass(frozen=True, eq=False)
class StackedLives:
    """N units at their periods, one below another, as known at the end. period, life: int64 [N].
    gap: periods until an end is known. vectors: of units [R] of lives. leave_out: inputs that are
    not read."""

    table: SpellTable
    period: Ints
    life: Ints
    gap: int
    terms: LifeTerms
    config: LifetimeConfig
    vectors: Callable[[Ints], Vectors]

    def known(self, rows: Ints, before: int) -> tuple[SpellTable, Vectors]:
        """Units `rows` as known before a period, of which it was known then how they went on."""
        rows = rows[self.period[rows] <= before - 2 - self.gap]
        rows = rows[:: max(1, -(-len(rows) // _LEARNED))]
        table = self.table.take(rows).seen_before(before - self.gap)
        told = table.time > table.entry + 0.75
        return table.take(told), self.vectors(self.life[rows[told]])

    def folds(self) -> Folds:
        """Steps in time through the later units: learned from is what was known, held
        out is each life once, at its first period in the step."""
        order = np.sort(self.period)
        shares = np.linspace(_BEFORE, 1, _FOLDS + 1)[:-1]
        cuts = np.unique(order[(shares * (len(order) - 1)).astype(np.int64)])
        train, held = [], []
        for low, high in zip(cuts, [*cuts[1:], order[-1] + 1], strict=True):
            before = np.flatnonzero(self.period <= low - 2 - self.gap)
            inside = (self.period >= low) & (self.period < high)
            now = np.flatnonzero(inside & (self.table.time > self.table.entry + 0.75))
            now = now[np.argsort(self.period[now], kind="stable")]
            once = np.sort(now[np.unique(self.life[now], return_index=True)[1]])
            if len(before) and len(once) > 1:
                train.append(before)
                held.append(once[:: max(1, -(-len(once) // _HELD))])
        said = f"{len(held)} steps in time, each life asked about once a step"
        return Folds(tuple(train), tuple(held), "time", said)

    def before(self, train: Ints) -> int:
        """Before which period a fold knows what it learns from."""
        return int(self.period[train].max()) + 2 + self.gap

    def network(self, before: int, rows: Ints) -> FittedLifetime:
        """Trained on what was known then, of which the last fifth of the periods decides when to
        stop. Raises as `fit_lifetime`."""
        periods = np.unique(self.period[rows])
        begin = int(periods[-max(1, round(_VALID * len(periods)))])
        late = rows[self.period[rows] >= begin]
        train, seen = self.known(rows, begin)
        valid, shown = self.known(late, before)
        with redirect_stderr(io.StringIO()):  # of each fold nobody wants to be told
            return fit_lifetime(train, valid, self.config, vectors=seen, valid_vectors=shown)

    def rule(self, name: str, table: SpellTable) -> HazardRule:
        """A rule by its name."""
        spec = None
        if name in (FEW, REGRESSION):
            out = (*self.config.leave_out, "words")
            spec = InputSpec.fit(table, min_count=self.config.min_count, leave_out=out)
        return HazardRule.fit(name, table, self.terms, spec)

    def choice(self, seed: int) -> tuple[HonestChoice, float | None]:
        """What validation says, and `exceeds`; None where no part exceeds."""
        horizon = int(np.ceil(self.terms.joined[-1]))
        tables: dict[int, SpellTable] = {}

        def candidate(name: str) -> Candidate:
            def fit(train: Ints) -> Callable[[Ints], Floats]:
                before = self.before(train)
                if before not in tables:
                    tables[before] = self.known(train, before)[0]
                table = tables[before]
                pooled = self.rule(POOLED, table)
                model: LifeModel
                try:
                    model = (
                        self.network(before, train) if name == NETWORK else self.rule(name, table)
                    )
                except (DataError, ConfigError):  # too little was known by then
                    model = pooled

                def sooner(rows: Ints) -> Floats:
                    seen = self.vectors(self.life[rows])
                    return _sooner(pooled, model.predict(self.table.take(rows), seen), horizon)

                return sooner

            return Candidate(name, fit, simple=name != NETWORK)

        left = (self.table.time - self.table.entry).astype(np.float64)
        ended = self.table.ended
        folds = self.folds()
        held = np.concatenate([np.zeros(0, np.int64), *folds.held])
        if len(folds) < 2 or not ended[held].any():
            raise DataError(
                "too few lives went on in the later half of the record to validate anything",
                value=f"{len(held):,} lives in {len(folds)} steps",
                hint="take a longer record",
            )
        # Ends beyond those that the pooled life has, as shares of these: near s where s is small.
        expected = ended[held].sum() / left[held].sum() * left
        truth = (ended - expected) / expected[held].mean()
        found = choose(
            [candidate(name) for name in (BY_AGE, FEW, REGRESSION, NETWORK)],
            truth,
            folds,
            concordance_of(left, ended),
            units=self.life,
            chance=0.5,
            seed=seed,
        )
        low, high = np.clip([found.told.low, found.told.high], 0, 1).tolist()
        found = replace(found, told=Interval(found.told.value, low, high))
        score = found.unseen[held] - (found.offset if found.kept == MIXTURE else 0.0)
        return found, _exceeds(score, ended[held], expected[held])


def concordance_of(left: Floats, ended: npt.NDArray[np.bool_]) -> Measure:
    """Pairs of which one is known to have ended first, where that one was said to: each row of a
    pair has half of it. left: [N], ended: [N], of all rows."""
    known: dict[bytes, npt.NDArray[np.bool_]] = {}

    def measure(rows: Ints, predicted: Floats) -> Told:
        key = rows.tobytes()
        if key not in known:
            known[key] = (left[rows][:, None] < left[rows]) & ended[rows][:, None]
        pairs = known[key]
        right = pairs * (1 + np.sign(predicted[:, None] - predicted)) / 2
        return Told((right.sum(0) + right.sum(1)) / 2, (pairs.sum(0) + pairs.sum(1)) / 2)

    return measure


def _exceeds(score: Floats, ended: npt.NDArray[np.bool_], expected: Floats) -> float | None:
    """See the module; of held rows [H]."""
    found = None
    order = np.argsort(-score, kind="stable")
    for fifth in np.array_split(order, _FIFTHS):
        ends = float(ended[fifth].sum())
        if ends - _SURE * np.sqrt(max(ends, 1.0)) <= expected[fifth].sum():
            break
        found = float(score[fifth].min())
    return found


def chosen_life(
    stacked: StackedLives, network: Callable[[], FittedLifetime], seed: int
) -> KeptLife:
    """What is kept, fitted on all. network: trains it, where it takes part."""
    found, exceeds = stacked.choice(seed)
    parts: dict[str, tuple[float, LifeModel]] = {}
    for name, weight in found.parts.items():
        one = network() if name == NETWORK else stacked.rule(name, stacked.table)
        parts[name] = float(weight), one
    pooled = stacked.rule(POOLED, stacked.table)
    unit, rate = stacked.table.unit, 1 / (1 + np.exp(-pooled.level))
    said = found.sentences("C")
    if not parts:
        half = np.log(0.5) / np.log1p(-rate)
        said.insert(
            1, f"every ad has the pooled life: half of what runs ends within {half:.3g} {unit}s"
        )
    choice = {
        "kept": found.kept or "nothing",
        "told": [found.told.value, found.told.low, found.told.high],
        "sentences": said,
        "exceeds": exceeds if parts else None,
    }
    return KeptLife(pooled, parts, choice)
