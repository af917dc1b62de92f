"""fit_sequential(): train a sequential model on the sequences of users.

A sample is a user's sequence and every position of it is predicted, so an epoch reads each
user once ("generative training", Zhai et al., ICML 2024, arXiv 2402.17152). Batches have the
same mix of long and short sequences, redrawn each epoch, so that steps cost about the same.
NDCG of the validation targets over the whole catalogue decides which weights are kept, for a
ranker of actions their log loss (`validation`), or whatever `validate` measures; data
that is split by time needs that. The run folder holds a checkpoint; everything a step depends on
is in it or a function of the position, so a run that was killed continues and ends with the same
bits.

Under torchrun the processes divide each batch so that all have about as much to do
(`balance`). The loss is divided by the positions of the whole batch and gradients are
summed, so the weights are those of one process up to the order of sums; dropout and sampled
negatives are drawn by each process for itself. The first process validates and writes the run
folder, which all of them must see under the same path; they read the data themselves.

For the final number train again with `train_on_validation`, on the validation targets too, for as
many epochs as the best validation took: then there is nothing to validate with, and the last
weights stay.

How a sequence model is trained, and what came of it.

The samples that a sequence model is trained on, per epoch and step.

They are a function of seed, epoch and step, so a resumed run reads the same ones.

Divide the sequences of a batch among processes so that all take about as long.

A sequence of L events costs about a L + b L^2: projections and loss for each event, attention
for each pair of them. The costliest sequences are assigned first, each to the process with the
least load so far (longest processing time first, Graham 1969): the largest load is at most 4/3 of
the least possible one. With many sequences it is near the mean: for batches of 128 of MovieLens 1M
and 8 processes .1% above it, where a random division is 26% above.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from adwright.core.config import Count, Natural, NotNegative, settings, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.ranges import ranges
from adwright.data.sequences.item_sequences import ItemSequences, SequenceBatch
from adwright.data.sequences.stochastic_length import StochasticLength, shorten
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.losses import EXACT_BELOW, LossConfig
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.loop.distributed import (
    RowWiseAdamW,
    is_distributed,
    rank,
    sum_gradients,
    world_size,
)
from adwright.training.loop.loop import LoopOptions, train
from adwright.training.loop.run_folder import RunFolder, RunPosition
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee
from adwright.training.sequential.ranks import validation

#: Fields of `SequentialConfig` that had other names, by these.
OLD_NAMES = {
    "whole": "all_windows",
    "final": "train_on_validation",
    "shortening": "stochastic_length",
    "unseen": "exclude_seen",
}


@settings
class SequentialConfig:
    """How a sequence model is trained; the defaults are those of the HSTU paper's public
    experiments but for the validation, which these lack.

    epochs: at most so many. batch: sequences per step. learning_rate, betas, weight_decay: of
    AdamW. schedule: the rate stays, or falls linearly to 0 at the end of the last epoch.
    optimiser: "rowwise" keeps 2 bytes of state for each float of the embedding tables instead
    of AdamW's 8 (`rowwise_adamw`). clip_norm: of all gradients together, 0 for none.
    all_windows: of a sequence longer than the model reads, earlier windows are samples too.
    train_on_validation: train on the validation targets as well, without validating.
    stochastic_length: how histories are shortened in training, or None. precision: of the
    products in training.
    validate_every: epochs between validations; patience: stop after so many without a better
    one. validation_people: a random sample of users, 0 for all. k: of NDCG@k. exclude_seen: rank
    without the items that a user had before; False where users take items again. These three
    are not read where `fit_sequential` is given a `validate` of its own.
    """

    epochs: Count = 100
    batch: Count = 128
    learning_rate: float = 1e-3
    schedule: Literal["constant", "linear"] = "constant"
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: NotNegative = 0.0
    optimiser: Literal["adamw", "rowwise"] = "adamw"
    clip_norm: NotNegative = 0.0
    all_windows: bool = False
    train_on_validation: bool = False
    stochastic_length: StochasticLength | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: Count = 1
    patience: Count = 10
    validation_people: Natural = 0
    exclude_seen: bool = True
    k: Count = 10
    seed: Natural = 0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf or not all(0 <= b < 1 for b in self.betas):
            raise ConfigError(
                "learning_rate is above 0, betas lie in [0, 1)",
                where=f"{self.learning_rate}, {self.betas}",
            )


@dataclass(frozen=True)
class SequentialResult:
    """What came of a training.

    best: goal of the best validation: NDCG@k, minus the log loss, or that of `validate`; NaN
    without one. epoch: of it, from 1. steps: taken. records: one mapping per validation, as in
    metrics.jsonl.
    """

    best: float
    epoch: int
    steps: int
    records: tuple[dict[str, Any], ...]


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with the current names of `OLD_NAMES`, also in its tables."""
    return {
        OLD_NAMES.get(name, name): renamed(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
    }


Ints = NDArray[np.int64]


class SequenceSamples:
    """W samples: each user's latest `longest` training events or, with `all_windows`, all windows
    of them; train_on_validation: the validation targets too (see `ItemSequences.windows`).

    Raises ConfigError where there is no sample.
    """

    def __init__(
        self,
        sequences: ItemSequences,
        longest: int,
        *,
        train_on_validation: bool = False,
        all_windows: bool = False,
        stochastic_length: StochasticLength | None = None,
        seed: int = 0,
    ) -> None:
        self.sequences, self.longest = sequences, longest
        self.stochastic_length, self.seed = stochastic_length, seed
        self.first, self.end = sequences.windows(
            longest, final=train_on_validation, whole=all_windows
        )
        if not len(self.first):
            raise ConfigError(
                "nobody has two training events, so there is nothing to predict",
                where=sequences.name,
            )

    def epoch(self, number: int, batch: int) -> list[Ints]:
        """Divide the samples of an epoch into batches of sample numbers."""
        rng = np.random.default_rng([self.seed, number])
        return balanced_batches(self.end - self.first, batch, rng)

    def read(self, chosen: Ints, step: int) -> SequenceBatch:
        """Read the samples `chosen` (int64 [B]) as step `step` of the run sees them."""
        rng = np.random.default_rng([self.seed, step, 2]) if self.sequences.by_moment else None
        batch = self.sequences.batch(self.first[chosen], self.end[chosen], rng)
        if self.stochastic_length is None:
            return batch
        age = None
        if batch.time is not None:
            last = batch.time[batch.items.offsets[1:] - 1]
            age = (last[batch.items.owner()] - batch.time).double().numpy()
        place, offsets = shorten(
            batch.items.lengths.numpy(),
            self.longest,
            self.stochastic_length,
            np.random.default_rng([self.seed, step, 1]),
            age=age,
        )
        return batch.at(torch.from_numpy(place), torch.from_numpy(offsets))


def balanced_batches(lengths: Ints, batch: int, rng: np.random.Generator) -> list[Ints]:
    """Shuffle samples 0 to W - 1 into batches of about `batch`, each with the same mix of lengths.

    lengths: int64 [W]. The samples are sorted by length, ties at random, and each run of as
    many samples as there are batches is spread over them, so that sizes differ by one
    at most and all steps cost about the same.
    """
    number = -(-len(lengths) // batch)
    order = np.lexsort((rng.random(len(lengths)), lengths))
    runs = -(-len(order) // max(number, 1))
    # A row is a run, a column a batch; the samples of a short last run go to random batches.
    dealt = np.argsort(rng.random((runs, number)), axis=1).ravel()[: len(order)]
    return [order[dealt == b] for b in range(number)]


Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SequenceCost:
    """Cost a per event and b per pair of events, in multiplications of a forward pass."""

    event: float
    pair: float

    def of(self, lengths: Ints) -> Floats:
        """Cost a L + b L^2 [U] of sequences of lengths int64 [U]."""
        long = lengths.astype(np.float64)
        return self.event * long + self.pair * long * long


def cost_of(model: SequenceModel | HSTURanker) -> SequenceCost:
    """Cost per event and pair in `model`, without windows and truncation."""
    config = model.config
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    tables.add(id(model.input.position))
    event = sum(p.numel() for p in model.parameters() if p.dim() > 1 and id(p) not in tables)
    if isinstance(model, HSTURanker):
        # Item and action are one token each.
        return SequenceCost(2 * event, 4 * config.pair_cost)
    items = model.input.item.num_embeddings - 1
    return SequenceCost(event + _candidates(config.loss, items) * config.width, config.pair_cost)


def divided(cost: Floats, processes: int) -> list[Ints]:
    """Assign sequences to processes: int64 [U_r] of each, ascending; some may have none.

    cost: [U] of each sequence, not negative. The same cost gives the same division everywhere.
    """
    parts: list[list[int]] = [[] for _ in range(processes)]
    loads = [(0.0, 0, process) for process in range(processes)]
    for row in np.argsort(-cost, kind="stable").tolist():
        # Among equal loads the process with fewer sequences.
        load, number, process = loads[0]
        parts[process].append(row)
        heapq.heapreplace(loads, (load + float(cost[row]), number + 1, process))
    return [np.array(sorted(part), dtype=np.int64) for part in parts]


def people_of(batch: SequenceBatch, rows: Ints) -> SequenceBatch:
    """Select the sequences `rows` (int64 [R]) of a batch."""
    offsets = batch.items.offsets.numpy()
    place, bounds = ranges(offsets[rows], offsets[rows + 1] - offsets[rows])
    chosen = replace(batch, context=None).at(torch.from_numpy(place), torch.from_numpy(bounds))
    context = None if batch.context is None else batch.context[torch.from_numpy(rows)]
    return replace(chosen, context=context)


def _candidates(config: LossConfig, items: int) -> int:
    """Count the candidates that each position is compared with."""
    match config.kind:
        case "exact":
            return items
        case "shared":
            return config.shared
        case "per_position":
            return config.negatives
        case "auto":
            return items if items < EXACT_BELOW else config.shared


#: Measures the model as it stands: (goal, higher is better; measures for the line).
Validate = Callable[[], tuple[float, dict[str, float]]]


def fit_sequential(
    model: SequenceModel | HSTURanker,
    sequences: ItemSequences,
    config: SequentialConfig,
    run: str | Path | None = None,
    *,
    validate: Validate | None = None,
    checkpoint_every: int = 500,
    **how: Unpack[LoopOptions],
) -> SequentialResult:
    """Train `model` in place, a retriever of the next item or a ranker of actions; afterwards it
    holds the best validation's weights, in eval mode.

    run: folder for config.json, metrics.jsonl and the checkpoint; None keeps nothing.
    validate: measures `model`, which is in eval mode then, in place of the held targets; it must
    say the same of the same weights, or a resumed run may end otherwise.
    checkpoint_every: steps, beside each epoch. how: see `LoopOptions`.
    Under torchrun all processes call it alike; `validate` is asked in the first one, for which
    the others wait, half an hour at most.
    Raises ConfigError (an existing run without resume, a loss or a goal that is not finite,
    sequences without a training sample, or split by time without `validate`, processes that were
    asked for different runs), ResumeError (no run, another config, model or data), ResourceError
    (disk full; in the other processes, whatever the first one failed of).
    """
    trainee = _Sequences(model, sequences, config, validate, checkpoint_every)
    at = train(trainee, trainee.folder(run), **how)
    best = math.nan if at.best is None else at.best
    epoch = at.epoch if config.train_on_validation else at.best_epoch
    return SequentialResult(best, epoch, at.steps, at.records)


def run_folder(
    model: SequenceModel | HSTURanker,
    sequences: ItemSequences,
    config: SequentialConfig,
    run: str | Path,
    *,
    given: bool = False,
) -> RunFolder:
    """The folder of a run of `fit_sequential`, to check what it would refuse. given: whether that
    has a `validate`."""
    asked, kind = _asked(model, sequences, config, given=given), _Sequences.kind
    return RunFolder(run, asked, kind, old_names=OLD_NAMES, grows=_Sequences.grows)


def _asked(
    model: SequenceModel | HSTURanker,
    sequences: ItemSequences,
    config: SequentialConfig,
    *,
    given: bool,
) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "fit": to_jsonable(config),
        "model": {"class": type(model).__name__, **to_jsonable(model.config)},
        "data_hash": sequences.data_hash,
    }
    if given:
        # A goal of another kind is not comparable with the best so far.
        asked["validate"] = "given"
    return asked


class _Sequences(Trainee[Ints]):
    """A sequential model in training; `fit_sequential` is its only user."""

    kind = "sequential-checkpoint"
    divides_batches = True
    renamed: ClassVar = {"positions": "loss_count"}
    old_names: ClassVar = OLD_NAMES
    grows: ClassVar = ("fit.epochs",)
    hint = "lower the learning rate or set clip_norm, or raise the temperature"

    def __init__(
        self,
        model: SequenceModel | HSTURanker,
        sequences: ItemSequences,
        config: SequentialConfig,
        validate: Validate | None,
        checkpoint_every: int,
    ) -> None:
        if validate is None and sequences.train_ends is not None and not config.train_on_validation:
            raise ConfigError(
                "sequences split by time hold no target per user to validate with",
                where=sequences.name,
                hint="pass validate, or train with train_on_validation=True for known epochs",
            )
        self.sequences, self.config = sequences, config
        self.given = validate or self._held
        asked = _asked(model, sequences, config, given=validate is not None)
        bfloat16 = config.precision == "bfloat16"
        loop = LoopConfig.of(config, checkpoint_every=checkpoint_every, bfloat16=bfloat16)
        super().__init__(model, optimisers_of(model, config), loop, asked)
        self.network = model
        self.samples = SequenceSamples(
            sequences,
            model.config.max_length,
            train_on_validation=config.train_on_validation,
            all_windows=config.all_windows,
            stochastic_length=config.stochastic_length,
            seed=config.seed,
        )
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.cost = cost_of(model)
        self.steps_per_epoch = 1
        self.goal = f"valid_ndcg@{config.k}"
        if config.schedule == "linear":
            self.when_longer = "; the learning rate now falls to 0 at the new end"

    def epoch(self, at: RunPosition) -> Sequence[Ints]:
        """The samples of each step that is left."""
        batches = self.samples.epoch(at.epoch, self.config.batch)
        self.steps_per_epoch = len(batches)
        return batches[at.step :]

    def left(self, at: RunPosition) -> int:
        """Steps that are left of the epoch."""
        return self.steps_per_epoch - at.step

    def gradients(self, chosen: Ints, at: RunPosition) -> StepLoss:
        """Compute those of this process's users, over the positions of the whole batch."""
        batch = self.samples.read(chosen, at.steps)
        positions = max(self.network.asked(batch), 1)
        if is_distributed():
            cost = self.cost.of(batch.items.lengths.numpy())
            batch = people_of(batch, divided(cost, world_size())[rank()])
        summed = torch.zeros(())
        if len(batch):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.loop.bfloat16):
                summed = self.network.loss(batch)
            (summed / positions).backward()  # type: ignore[no-untyped-call]
        return StepLoss(sum_gradients(self.weights, [], summed.detach().float()), positions)

    def parameters(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """All weights: gradients of tables are dense here."""
        return self.weights, []

    def share_of_rate(self, at: RunPosition) -> float:
        """Linear to 0 where the schedule says so."""
        if self.config.schedule != "linear":
            return 1.0
        return 1 - (at.epoch + at.step / self.steps_per_epoch) / self.config.epochs

    def is_due_after_epoch(self, at: RunPosition) -> bool:
        """Each `validate_every` epochs and after the last; never where validation is trained on."""
        epoch, config = at.epoch + 1, self.config
        return not config.train_on_validation and (
            epoch % config.validate_every == 0 or epoch == config.epochs
        )

    def validate(self, at: RunPosition) -> tuple[float, dict[str, Any]]:
        """What the caller measures, or the held-out targets."""
        self.model.eval()
        goal, measures = self.given()
        # What decides is what is told, and drawn.
        self.goal = next((name for name, value in measures.items() if value == goal), self.goal)
        return float(goal), dict(measures)

    def _held(self) -> tuple[float, dict[str, float]]:
        """Evaluate on the held-out targets."""
        config, people = self.config, self.sequences.people("valid")
        if 0 < config.validation_people < len(people):
            rng = np.random.default_rng(config.seed)
            people = np.sort(rng.choice(people, config.validation_people, replace=False))
        return validation(
            self.network, self.sequences, people=people, k=config.k, unseen=config.exclude_seen
        )


def optimisers_of(model: nn.Module, config: SequentialConfig) -> dict[str, Optimizer]:
    """The optimisers by the names of their state in a checkpoint."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    tables: list[Tensor] = []
    rate, betas, decay = config.learning_rate, config.betas, config.weight_decay
    optimisers: dict[str, Optimizer] = {}
    if config.optimiser == "rowwise":
        embeddings = (m.weight for m in model.modules() if isinstance(m, nn.Embedding))
        tables = [weight for weight in embeddings if weight.requires_grad]
        optimisers["rows"] = RowWiseAdamW(
            tables, learning_rate=rate, betas=betas, weight_decay=decay
        )
    chosen = {id(table) for table in tables}
    others = [p for p in parameters if id(p) not in chosen]
    optimisers["adam"] = torch.optim.AdamW(others, lr=rate, betas=betas, weight_decay=decay)
    return optimisers
