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
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.loop.callbacks import Callback
from adwright.training.loop.distributed import is_distributed, rank, sum_gradients, world_size
from adwright.training.loop.loop import train
from adwright.training.loop.position import RunPosition
from adwright.training.loop.rowwise_adamw import RowWiseAdamW
from adwright.training.loop.run_folder import RunFolder
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee
from adwright.training.sequential.balance import cost_of, divided, people_of
from adwright.training.sequential.config import OLD_NAMES, SequentialConfig, SequentialResult
from adwright.training.sequential.samples import SequenceSamples
from adwright.training.sequential.validation import validation

__all__ = [
    "SequentialConfig",
    "SequentialResult",
    "Validate",
    "fit_sequential",
    "optimisers_of",
    "run_folder",
]

Ints = NDArray[np.int64]
#: Measures the model as it stands: (goal, higher is better; measures for the line).
Validate = Callable[[], tuple[float, dict[str, float]]]


def fit_sequential(
    model: SequenceModel | HSTURanker,
    sequences: ItemSequences,
    config: SequentialConfig,
    run: str | Path | None = None,
    *,
    validate: Validate | None = None,
    resume: bool = False,
    stop_now: bool = False,
    callbacks: Sequence[Callback] = (),
    checkpoint_every: int = 500,
    on_step: Callable[[int], None] | None = None,
) -> SequentialResult:
    """Train `model` in place, a retriever of the next item or a ranker of actions; afterwards it
    holds the best validation's weights, in eval mode.

    run: folder for config.json, metrics.jsonl and the checkpoint; None keeps nothing.
    validate: measures `model`, which is in eval mode then, in place of the held targets; it must
    say the same of the same weights, or a resumed run may end otherwise.
    resume: continue from the folder's checkpoint; more epochs than at its start may be asked for.
    stop_now: close the run that is resumed, with the best weights so far. callbacks: told how it
    goes, see `Callback`. checkpoint_every: steps, beside each epoch.
    on_step: called after each step with the number of steps done.
    Under torchrun all processes call it alike; `validate` is asked in the first one, for which
    the others wait, half an hour at most.
    Raises ConfigError (an existing run without resume, a loss or a goal that is not finite,
    sequences without a training sample, or split by time without `validate`, processes that were
    asked for different runs), ResumeError (no run, another config, model or data), ResourceError
    (disk full; in the other processes, whatever the first one failed of).
    """
    trainee = _Sequences(model, sequences, config, validate, checkpoint_every)
    at = train(
        trainee,
        trainee.folder(run),
        resume=resume,
        stop_now=stop_now,
        callbacks=callbacks,
        on_step=on_step,
    )
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
        loop = LoopConfig(
            epochs=config.epochs,
            patience=config.patience,
            seed=config.seed,
            clip_norm=config.clip_norm,
            checkpoint_every=checkpoint_every,
            bfloat16=config.precision == "bfloat16",
        )
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
