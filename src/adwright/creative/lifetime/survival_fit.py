"""fit_lifetime(): train a survival network on spells, by the one loop.

A batch is some thousands of units in a seeded random order, redrawn each epoch. Dense weights take
AdamW, the tables of categories and words the row-wise Adagrad of the loop. The likelihood of the
validation spells, or their order, decides which weights are kept and when to stop. All that a step
depends on is in the checkpoint or a function of the position, so a run that was killed ends with
the same bits.

Lives are split by time, and nothing tells how a period to come will differ from those of training.
So numbers that name the period are left out (`clocks_of`), what the units of a period had in common
has a place of its own in training (`CommonEffects`), and one pass over many spells is enough: a
second one learns the periods by heart.

Weights by click rate: what is clicked often counts more in training.

Kitada et al. (Applied Sciences 12(7):3594, 2022) multiply the loss of a creative by a weight that
rises with its click rate; the form was not to be had, so these are our choices. With r_i = clicks
/ shown and m the mean rate of the training units,

    none      1
    ratio     r_i / m
    clipped   1 + alpha r_i / m, kept from 0.5 to 5
    smoothed  s_i / m,  s_i = (clicks + a) / (shown + a + b),  a = m n, b = (1 - m) n

A unit that was never shown has the mean rate. `smoothed` trusts a rate by how often the unit was
shown: n is what the mean rate counts, by default from the spread of the rates (moments of the Beta
distribution). In each batch weights are divided by their mean.

Numbers that say when a unit was looked at, and not what it is.

A split by time asks about periods that training has not seen. A number that all units of a period
share (visits of the whole chain, a season's sine in a single year) names the period: a network
learns from it how the lives of each training period went, and answers with that in periods to
which it does not apply. Such numbers are found by two shares of the training units, and left out:

    between = 1 - (W / (N - K)) / (T / (N - 1))

with W the sum of squares within the K landmark periods and T that around the mean, so that chance
alone gives 0; a number is a clock where it is at least 0.9. One that recurs (a weekday, a season
over several years) says more than the date and is kept: it has at most half as many different
values as there are periods.

What the units of a period had in common, told apart from what they were.

When many lives of a week end together (a season closes, a campaign is over), a network explains
that by the features that these units happen to share, which says nothing of other weeks. So in
training the logits of each landmark period have a part of their own, as strata have a baseline
hazard of their own in Cox's model; it is centred over the units, so that the network alone speaks
for the average period, and left out afterwards.

What a training reads: spells encoded, their targets, and what they say on the whole.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.config import Count, Natural, NotNegative, Positive, settings, to_jsonable
from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.core.progress import say
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import FittedLifetime, LifeCurves, predicted_curves
from adwright.creative.lifetime.survival_network import (
    BinTargets,
    InputSpec,
    LifeTerms,
    SpellInputs,
    SurvivalConfig,
    SurvivalNetwork,
    Vectors,
    log_hazards,
    marginal_logits,
)
from adwright.metrics.survival import harrell_c
from adwright.training.loop.distributed import RowWise
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import Callback, LoopConfig, Trainee, dense_and_sparse
from adwright.training.search import near_power_of_two, seeded

Floats = NDArray[np.float32]
_LOW, _HIGH = 0.5, 5.0
#: What the mean rate counts at most: beyond, all rates are alike.
_MOST = 1e6
_logger = logging.getLogger("adwright")


@settings
class ClickWeights:
    """How units are weighed. alpha: of "clipped". shown: n of "smoothed", impressions that the
    mean rate counts; 0 finds it from the data."""

    by: Literal["none", "ratio", "clipped", "smoothed"] = "none"
    alpha: Positive = 1.0
    shown: NotNegative = 0.0

    def of(self, clicks: Floats | None, shown: Floats | None, units: int) -> Floats:
        """Weights [N] of units with clicks [N] and impressions [N], not yet of mean 1.

        Raises ConfigError where the units have no clicks and weights are asked for,
        ValueInvalidError for counts that are negative or no numbers.
        """
        if self.by == "none":
            return np.ones(units, np.float32)
        if clicks is None or shown is None:
            raise ConfigError(
                "these spells have no clicks to weigh them by",
                where=f'by "{self.by}"',
                hint='use "none", or a table with clicks and shown',
            )
        for name, counts in (("clicks", clicks), ("shown", shown)):
            wrong = ~(np.isfinite(counts) & (counts >= 0))
            if wrong.any():
                row = int(np.argmax(wrong))
                raise ValueInvalidError(
                    "a count is a number from 0 on", row=row, column=name, value=float(counts[row])
                )
        click, show = clicks.astype(np.float64), shown.astype(np.float64)
        rate = np.divide(click, show, out=np.full(units, np.nan), where=show > 0)
        mean = float(np.nanmean(rate)) if np.isfinite(rate).any() else 0.0
        if mean == 0:
            _logger.warning("no unit was clicked: all count alike")
            return np.ones(units, np.float32)
        filled = np.nan_to_num(rate, nan=mean)
        if self.by == "ratio":
            found = filled / mean
        elif self.by == "clipped":
            found = np.clip(1 + self.alpha * filled / mean, _LOW, _HIGH)
        else:
            n = self.shown or _prior_impressions(rate[show > 0], show[show > 0], mean)
            found = (click + mean * n) / (show + n) / mean
        return np.asarray(found, np.float32)


def _prior_impressions(rate: NDArray[np.float64], shown: NDArray[np.float64], mean: float) -> float:
    """n of the Beta distribution of true rates, by moments: the variance of the rates is
    v + (mean (1 - mean) - v) E[1 / shown], with v = mean (1 - mean) / (n + 1) that of the true
    ones. At least 1, and 10^6 where the rates differ by chance alone."""
    binomial = mean * (1 - mean)
    inverse = float(np.mean(1 / shown))
    spread = (float(np.var(rate)) - binomial * inverse) / max(1 - inverse, 1e-9)
    return float(np.clip(binomial / spread - 1, 1, _MOST)) if spread > 0 else _MOST


_BETWEEN, _RECURS = 0.9, 0.5


def clocks_of(table: SpellTable) -> tuple[str, ...]:
    """Names of the numbers of the training units that are clocks, in the table's order.

    The period of a unit is that of its landmark, or of its start where all have one landmark.
    """
    periods, places = np.unique(table.start + np.floor(table.entry), return_inverse=True)
    found = []
    for name, column in zip(table.number_names, table.numbers.T, strict=True):
        known = np.isfinite(column)
        place, x = places[known], column[known].astype(np.float64)
        count = np.bincount(place, minlength=len(periods))
        there = np.count_nonzero(count)
        total = float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
        if there < 2 or len(x) <= there or not total:
            continue
        mean = np.bincount(place, x, len(periods)) / np.maximum(count, 1)
        within = float(((x - mean[place]) ** 2).sum())
        between = 1 - (within / (len(x) - there)) / (total / (len(x) - 1))
        if between >= _BETWEEN and len(np.unique(x)) > _RECURS * there:
            found.append(name)
    return tuple(found)


class CommonEffects(nn.Module):
    """A table [K, J * C] of logits for each head: K landmark periods of the training units.

    A period with fewer than `min_count` units has none of its own. sizes: J * C of each head.
    """

    def __init__(self, table: SpellTable, sizes: tuple[int, ...], min_count: int) -> None:
        super().__init__()
        periods, place = np.unique(table.start + np.floor(table.entry), return_inverse=True)
        count = np.bincount(place, minlength=len(periods))
        own = count >= min_count
        # Place 0 is that of all other periods, and stays 0.
        rows = np.where(own, np.cumsum(own), 0)[place]
        share = np.bincount(rows, minlength=int(own.sum()) + 1) / max(len(rows), 1)
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.register_buffer("share", torch.from_numpy(share).float()[:, None], persistent=False)
        # One period alone differs from no other.
        kept = int(own.sum()) if own.sum() > 1 else 0
        self.tables = nn.ParameterList(nn.Parameter(torch.zeros(kept, size)) for size in sizes)

    def __len__(self) -> int:
        """How many periods have their own."""
        return len(self.tables[0])

    def forward(self, units: Tensor) -> tuple[Tensor, ...] | None:
        """What is added to the logits of each head, [B, J * C], for training units [B]."""
        if not len(self):
            return None
        rows, share = self.get_buffer("rows")[units], self.get_buffer("share")
        found = []
        for table in self.tables:
            padded = nn.functional.pad(table, (0, 0, 1, 0))
            found.append((padded - (share * padded).sum(0))[rows])
        return tuple(found)


class TrainingSpells:
    """Spells as training reads them: encoded inputs, targets of each head, weights [N]."""

    def __init__(
        self, table: SpellTable, spec: InputSpec, terms: LifeTerms, vectors: Vectors | None
    ) -> None:
        self.table = table
        self.inputs: SpellInputs = spec.encode(table, vectors)
        self.targets = tuple(
            BinTargets.of(edges, table.entry, table.time, table.cause) for edges in terms.heads
        )
        silent = torch.stack([target.silent() for target in self.targets]).all(0)
        if bool(silent.all()):
            raise DataError(
                "no spell was at risk in any bin",
                value=f"{len(table):,} spells, edges {terms}",
                hint="choose edges within the ages that the spells reach",
            )
        if some := int(silent.sum()):
            share = f"{some:,} of {len(table):,}"
            _logger.warning("%s spells teach nothing: at risk in no bin (%s)", share, terms)

    def __len__(self) -> int:
        return len(self.table)

    def marginal_logits(self, causes: int) -> list[Tensor]:
        """Logits [J, C] of each head's hazards on the whole."""
        return [marginal_logits(target, causes) for target in self.targets]


def typical_ends(
    marginal: list[Tensor], terms: LifeTerms, causes: tuple[str, ...]
) -> tuple[float, ...]:
    """The share of all units that has ended by each edge of the curve."""
    steps = tuple(log_hazards(logits[None])[0].numpy() for logits in marginal)
    shares = tuple(np.ones((*step.shape, len(causes)), np.float32) for step in steps)
    curve = LifeCurves(terms, causes, np.zeros(1, np.float32), steps, shares)
    return tuple((1 - curve.survival[0].astype(np.float64)).tolist())


def hash_of(table: SpellTable, vectors: Vectors | None) -> str:
    """Of all that training reads."""

    def told(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        return hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()

    found = {each.name: told(getattr(table, each.name)) for each in fields(table)}
    return content_hash(found | {"vectors": {n: told(x) for n, x in (vectors or {}).items()}})


#: Units that are validated at once.
_AT_ONCE = 16_384
#: Steps of an epoch, and the bounds of a batch, where the batch is left open.
_STEPS, _BATCHES = 250, (256, 8192)
#: Times learning_rate, of what periods have in common: they are logits themselves, and take a few
#: hundred steps to move by one.
_COMMON_RATE = 10.0


@settings
class LifetimeConfig:
    """A survival network and its training.

    terms: edges of the bins; None chooses them from the training spells (`LifeTerms.of`), which is
    printed. heads: 1 joins the terms in one head. clicks: weights by click rate. leave_out: inputs
    that are not read, see `InputSpec.fit`. clocks: numbers that tell the period alone are left out,
    which is printed, or kept, see `clocks_of`. min_count: a value or word that occurs less often in
    training is unknown, and a landmark period with fewer units has no `CommonEffects`, which
    common_effects may leave out. epochs: at most so many; None takes one, or as many as make some
    250 steps. batch: units a step; None takes a power of two from 256 to 8,192, for some 250 steps
    an epoch. learning_rate: AdamW's, with weight_decay; embedding_learning_rate: of the row-wise
    Adagrad. schedule: "cosine" lets the rates fall to zero over the epochs, "constant" keeps them.
    validations: so many, evenly over the run; None takes one an epoch, from 4 to 20. patience: stop
    after so many of them that are not better; None takes half of them, at least 3.
    goal: what decides there, the "likelihood" or the "concordance" (Harrell's C of all
    endings). precision: "bf16" computes the layers in bfloat16.
    """

    terms: LifeTerms | None = None
    heads: Literal[1, 2] = 2
    network: SurvivalConfig = field(default_factory=SurvivalConfig)
    clicks: ClickWeights = field(default_factory=ClickWeights)
    leave_out: tuple[str, ...] = ()
    clocks: Literal["leave_out", "keep"] = "leave_out"
    min_count: Count = 30
    common_effects: bool = True
    epochs: Count | None = None
    validations: Count | None = None
    batch: Count | None = None
    learning_rate: Positive = 4e-3
    weight_decay: NotNegative = 1e-4
    embedding_learning_rate: Positive = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    patience: Count | None = None
    goal: Literal["likelihood", "concordance"] = "likelihood"
    clip_norm: NotNegative = 10.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: Natural = 0


def fit_lifetime(
    table: SpellTable,
    valid: SpellTable | None,
    config: LifetimeConfig | None = None,
    *,
    vectors: Vectors | None = None,
    valid_vectors: Vectors | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    stop_now: bool = False,
    callbacks: Sequence[Callback] = (),
) -> FittedLifetime:
    """Train on the spells of `table`; returns the model with the best validation's weights.

    valid: spells that decide when to stop; None keeps the last weights. vectors, valid_vectors:
    name -> float32 [N, D] of texts or images, NaN where missing. out: folder of the run, with
    config.json, metrics.jsonl and the checkpoint; None keeps nothing. resume, stop_now, callbacks:
    as of the loop's `train`.

    Raises DataError for spells that teach nothing, SchemaError for validation spells of other
    causes or another unit, ConfigError (an existing run without resume, a loss that is not finite),
    ResumeError (no run, or of other settings or spells), ResourceError (disk full).
    """
    config = config or LifetimeConfig()
    if valid is not None and (valid.causes, valid.unit) != (table.causes, table.unit):
        raise SchemaError(
            "the validation spells end of other causes or count in another unit",
            value=f"{valid.causes}, {valid.unit}",
            hint=f"training has {table.causes}, {table.unit}",
        )
    terms = config.terms
    if terms is None:
        terms = LifeTerms.of(table.entry, table.time, table.cause)
        say(f"edges of the bins, in {table.unit}s: {terms}")
    if config.heads == 1:
        terms = terms.one_head
    out_of = config.leave_out
    clocks: tuple[str, ...] = ()
    if config.clocks == "leave_out":
        clocks = tuple(name for name in clocks_of(table) if not {name, "numbers"} & set(out_of))
    if clocks:
        say(f"left out, since they tell the {table.unit} alone: {', '.join(clocks)}")
    spec = InputSpec.fit(
        table,
        vectors,
        min_count=config.min_count,
        bins=config.network.number_bins,
        leave_out=(*out_of, *clocks),
    )
    causes = len(table.causes)
    network = seeded(config.seed, lambda: SurvivalNetwork(config.network, spec, terms, causes))
    data = TrainingSpells(table, spec, terms, vectors)
    judged = None if valid is None else TrainingSpells(valid, spec, terms, valid_vectors)
    hashes = [hash_of(t, v) for t, v in ((table, vectors), (valid, valid_vectors)) if t]
    marginal = data.marginal_logits(causes)
    network.begin_at(marginal)
    typical = typical_ends(marginal, terms, table.causes)
    data_hash = content_hash(hashes)
    trainee = _Lifetime(network, data, judged, config, data_hash, typical)
    run = trainee.folder(out)
    at = train(trainee, run, resume=resume, stop_now=stop_now, callbacks=callbacks)
    return FittedLifetime(
        network,
        causes=table.causes,
        unit=table.unit,
        config=to_jsonable(config),
        valid_loss=math.nan if at.best is None else at.best,
        epoch=at.best_epoch,
        records=at.records,
        data_hash=data_hash,
        seed=config.seed,
        typical=typical,
    )


class _Lifetime(Trainee[Tensor]):
    """A survival network in training; `fit_lifetime` is its only user."""

    kind = "lifetime-checkpoint"
    higher_is_better: ClassVar[bool] = False
    hint = "lower the learning rates or clip_norm"

    def __init__(
        self,
        network: SurvivalNetwork,
        data: TrainingSpells,
        valid: TrainingSpells | None,
        config: LifetimeConfig,
        data_hash: str,
        typical: tuple[float, ...],
    ) -> None:
        self.network, self.data, self.valid, self.config = network, data, valid, config
        self.typical = typical
        self.goal = "valid_nll" if config.goal == "likelihood" else "valid_misordered"
        self.batch = config.batch or near_power_of_two(len(data) / _STEPS, *_BATCHES)
        table = data.table
        weights = config.clicks.of(table.clicks, table.shown, len(table))
        self.weight = None if config.clicks.by == "none" else torch.from_numpy(weights)
        self.steps = math.ceil(len(data) / self.batch)
        epochs = config.epochs or max(1, round(_STEPS / self.steps))
        validations = config.validations or min(max(epochs, 4), 20)
        ends = np.arange(1, validations + 1) * (epochs * self.steps) / validations
        #: Steps of the run after which a validation follows.
        self.due = frozenset(np.ceil(ends).astype(int).tolist())
        sizes = tuple((len(edges) - 1) * network.causes for edges in network.terms.heads)
        effects = CommonEffects(table, sizes, config.min_count)
        self.common = effects if config.common_effects and len(effects) else None
        dense, tables = dense_and_sparse(network)
        groups: list[dict[str, Any]] = [{"params": dense}]
        if self.common is not None:
            rate = _COMMON_RATE * config.learning_rate
            groups.append({"params": list(self.common.parameters()), "lr": rate})
        optimisers = {
            "adamw": torch.optim.AdamW(
                groups, lr=config.learning_rate, weight_decay=config.weight_decay
            ),
            "rows": RowWise(tables, learning_rate=config.embedding_learning_rate),
        }
        loop = LoopConfig(
            epochs=epochs,
            patience=config.patience or max(3, validations // 2),
            seed=config.seed,
            clip_norm=config.clip_norm,
            bfloat16=config.precision == "bf16",
        )
        asked = {"fit": to_jsonable(config), "data_hash": data_hash}
        common = {} if self.common is None else {"common": self.common}
        super().__init__(nn.ModuleDict({"network": network, **common}), optimisers, loop, asked)

    def epoch(self, at: RunPosition) -> Iterator[Tensor]:
        """The units of each step that is left."""
        rng = np.random.default_rng([self.config.seed, at.epoch])
        order = torch.from_numpy(rng.permutation(len(self.data)))
        batch = self.batch
        return (order[i : i + batch] for i in range(at.step * batch, len(order), batch))

    def left(self, at: RunPosition) -> int:
        """Steps that are left of the epoch."""
        return self.steps - at.step

    def is_due(self, at: RunPosition) -> bool:
        """Whether a validation follows before the end of the epoch."""
        return at.steps in self.due and at.step < self.steps

    def is_due_after_epoch(self, at: RunPosition) -> bool:
        """Whether one follows at its end."""
        return at.steps in self.due

    def share_of_rate(self, at: RunPosition) -> float:
        """Half a cosine from 1 to 0 over all epochs, where that is asked for."""
        if self.config.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * at.steps / (self.loop.epochs * self.steps))) / 2

    def loss(self, rows: Tensor) -> tuple[Tensor, int]:
        """Over the units `rows`."""
        targets = tuple(target.take(rows) for target in self.data.targets)
        weight = None if self.weight is None else self.weight[rows]
        added = None if self.common is None else self.common(rows)
        return self.network.loss(self.data.inputs.take(rows), targets, weight, added), len(rows)

    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        """The mean of L over the validation spells, unweighted, and of each head; and Harrell's C
        where there are pairs, with its rest to 1, the share of pairs in the wrong order."""
        if self.valid is None:
            return None, {}
        self.network.eval()
        losses = self._losses(self.valid)
        short = self.config.network.short_weight if len(losses) == 2 else 1.0
        measures = {"valid_nll": short * losses[0] + (1 - short) * losses[-1]}
        measures |= dict(zip(("valid_short", "valid_long"), losses, strict=False))
        table = self.valid.table
        curves = predicted_curves(self.network, self.valid.inputs, table.entry, table.causes)
        risk = replace(curves, typical=self.typical).risk()
        try:
            found = harrell_c(table.time, table.ended, risk, entry=table.entry)
            measures |= {"valid_c": found.value, "valid_misordered": 1 - found.value}
        except DataError:
            if self.config.goal == "concordance":
                raise
        return measures[self.goal], measures

    @torch.no_grad()
    def _losses(self, part: TrainingSpells) -> list[float]:
        """The mean loss of each head."""
        sums = torch.zeros(len(part.targets), dtype=torch.float64)
        for rows in torch.split(torch.arange(len(part)), _AT_ONCE):
            targets = tuple(target.take(rows) for target in part.targets)
            found = self.network.losses(part.inputs.take(rows), targets)
            sums += torch.stack([loss.double().sum() for loss in found])
        means: list[float] = (sums / len(part)).tolist()
        return means
