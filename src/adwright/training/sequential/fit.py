"""fit_sequential(): train a sequential model on the sequences of people.

A sample is a person's sequence and every position of it is predicted, so an epoch reads each
person once ("generative training", Zhai et al., ICML 2024, arXiv 2402.17152). Batches have the
same mix of long and short sequences, redrawn each epoch, so that steps cost about the same.
NDCG of the validation targets over the whole catalogue decides which weights are kept, for a
ranker of actions their log loss (`sequence_validation`), or whatever `validate` measures; data
that is split by time needs that. The run folder holds a checkpoint; everything a step depends on
is in it or a function of the position, so a run that was killed continues and ends with the same
bits.

Under torchrun the processes divide each batch so that all have about as much to do
(`sequence_balance`). The loss is divided by the positions of the whole batch and gradients are
summed, so the weights are those of one process up to the order of sums; dropout and sampled
negatives are drawn by each process for itself. The first process validates and writes the run
folder, which all of them must see under the same path; they read the data themselves.

For the final number train again with `final`, on the validation targets too, for as many epochs
as the best validation took: then there is nothing to validate with, and the last weights stay.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.core.progress import Progress, progress
from adwright.data.sequences.item_sequences import ItemSequences, SequenceBatch
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.loop.distributed import (
    broadcast,
    gather,
    is_distributed,
    on_first,
    process_group,
    rank,
    sum_gradients,
    world_size,
)
from adwright.training.loop.rowwise_adamw import RowWiseAdamW
from adwright.training.loop.run_folder import RunFolder
from adwright.training.loop.state import pack, unpack
from adwright.training.sequential.balance import cost_of, divided, people_of
from adwright.training.sequential.config import SequentialConfig, SequentialResult
from adwright.training.sequential.samples import SequenceSamples
from adwright.training.sequential.validation import validation

__all__ = ["SequentialConfig", "SequentialResult", "Validate", "fit_sequential"]

Ints = NDArray[np.int64]
#: Measures the model as it stands: (goal, higher is better; measures for the line).
Validate = Callable[[], tuple[float, dict[str, float]]]


@dataclass(frozen=True)
class _At:
    """Where a run stands."""

    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    positions: int = 0
    best: float | None = None
    best_epoch: int = 0
    worse: int = 0
    records: tuple[dict[str, Any], ...] = ()


def fit_sequential(
    model: SequenceModel | HSTURanker,
    sequences: ItemSequences,
    config: SequentialConfig,
    run: str | Path | None = None,
    *,
    validate: Validate | None = None,
    resume: bool = False,
    checkpoint_every: int = 500,
    on_step: Callable[[int], None] | None = None,
) -> SequentialResult:
    """Train `model` in place, a retriever of the next item or a ranker of actions; afterwards it
    holds the best validation's weights, in eval mode.

    run: folder for config.json, metrics.jsonl and the checkpoint; None keeps nothing.
    validate: measures `model`, which is in eval mode then, in place of the held targets; it must
    say the same of the same weights, or a resumed run may end otherwise.
    resume: continue from the folder's checkpoint. checkpoint_every: steps, beside each epoch.
    on_step: called after each step with the number of steps done.
    Under torchrun all processes call it alike; `validate` is asked in the first one, for which
    the others wait, half an hour at most.
    Raises ConfigError (an existing run without resume, a loss or a goal that is not finite,
    sequences without a training sample, or split by time without `validate`, processes that were
    asked for different runs), ResumeError (no run, another config, model or data), ResourceError
    (disk full; in the other processes, whatever the first one failed of).
    """
    with process_group():
        trainer = _Trainer(model, sequences, config, None if run is None else Path(run), validate)
        trainer.begin(resume=resume)
        with torch.random.fork_rng(devices=[]):
            trainer.train(checkpoint_every, on_step or (lambda _: None))
        return trainer.end()


class _Trainer:
    """The state of one run; `fit_sequential` is its only user."""

    def __init__(
        self,
        model: SequenceModel | HSTURanker,
        sequences: ItemSequences,
        config: SequentialConfig,
        run: Path | None,
        validate: Validate | None,
    ) -> None:
        if validate is None and sequences.train_ends is not None and not config.final:
            raise ConfigError(
                "sequences split by time hold no target a person to validate with",
                where=sequences.name,
                hint="pass validate, or train with final=True for a known number of epochs",
            )
        self.model, self.sequences, self.config = model, sequences, config
        self.validate = validate or self._held
        asked: dict[str, Any] = {
            "fit": to_jsonable(config),
            "model": {"class": type(model).__name__, **to_jsonable(model.config)},
            "data_hash": sequences.data_hash,
        }
        if validate is not None:
            # A goal of another kind is not comparable with the best so far.
            asked["validate"] = "given"
        self.asked = asked
        self.run = None if run is None else RunFolder(run, asked, "sequential-checkpoint")
        self.samples = SequenceSamples(
            sequences,
            model.config.max_length,
            final=config.final,
            whole=config.whole,
            shortening=config.shortening,
            seed=config.seed,
        )
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimisers = _optimisers(model, config)
        self.cost = cost_of(model)
        self.at = _At()
        self.steps_an_epoch = 1
        self.best: dict[str, Tensor] = {}

    def begin(self, *, resume: bool) -> None:
        """Start a run, or take up the one in the folder."""
        self._require_one_run(resume)
        run = self.run
        if run is None:
            broadcast(self.model)
        elif resume:
            # The first one removes what a kill left before the others look.
            on_first(lambda: self._load(run))
            if rank():
                self._load(run)
        else:
            broadcast(self.model)
            on_first(lambda: self._start(run))

    def _require_one_run(self, resume: bool) -> None:
        """Raises ConfigError in all processes where they were asked for different runs."""
        path = None if self.run is None else str(self.run.path.resolve())
        digest = content_hash({**self.asked, "resume": resume, "run": path})
        if len(set(gather(torch.tensor([int(digest[:15], 16)])).tolist())) > 1:
            raise ConfigError(
                "the processes were asked for different runs",
                where=f"process {rank()} of {world_size()}",
                hint="call fit_sequential with the same config, model, data and folder in all",
            )

    def _start(self, run: RunFolder) -> None:
        run.require_new()
        self._write(run)
        run.begin()

    def train(self, every: int, on_step: Callable[[int], None]) -> None:
        """All epochs that are left."""
        config = self.config
        while self.at.epoch < config.epochs and self.at.worse < config.patience:
            batches = self.samples.epoch(self.at.epoch, config.batch)
            self.steps_an_epoch = len(batches)
            label = f"epoch {self.at.epoch + 1}/{config.epochs}"
            self.model.train()
            left = len(batches) - self.at.step
            shown = progress(left, label, "batches") if not rank() else nullcontext(Progress())
            with shown as bar:
                for step in range(self.at.step, len(batches)):
                    self._step(batches[step])
                    bar.advance()
                    if every and self.at.steps % every == 0 and self.at.step < len(batches):
                        self._save()
                    on_step(self.at.steps)
            self._epoch_end()
            self._save()

    def end(self) -> SequentialResult:
        """Put the best weights in place."""
        if self.best:
            self.model.load_state_dict(self.best)
        self.model.eval()
        at = self.at
        best = math.nan if at.best is None else at.best
        return SequentialResult(best, at.best_epoch, at.steps, at.records)

    def _step(self, chosen: Ints) -> None:
        config = self.config
        key = np.random.SeedSequence([config.seed, self.at.steps, rank()])
        torch.default_generator.manual_seed(int(key.generate_state(1)[0]))
        batch = self.samples.read(chosen, self.at.steps)
        positions = max(self.model.asked(batch), 1)
        loss = self._gradients(batch, positions)
        if not math.isfinite(loss):
            raise ConfigError(
                "the loss is no longer a finite number",
                where=f"epoch {self.at.epoch + 1}, step {self.at.steps + 1} of the run",
                hint="lower the learning rate or set clip_norm, or raise the temperature",
            )
        self._set_rate()
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        for optimiser in self.optimisers.values():
            optimiser.step()
        at = self.at
        self.at = replace(
            at,
            step=at.step + 1,
            steps=at.steps + 1,
            loss_sum=at.loss_sum + loss,
            positions=at.positions + positions,
        )

    def _gradients(self, batch: SequenceBatch, positions: int) -> float:
        """Leave the gradients of the whole batch behind, over `positions`; its summed loss."""
        if is_distributed():
            cost = self.cost.of(batch.items.lengths.numpy())
            batch = people_of(batch, divided(cost, world_size())[rank()])
        self.model.zero_grad()
        summed = torch.zeros(())
        if len(batch):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
                summed = self.model.loss(batch)
            (summed / positions).backward()  # type: ignore[no-untyped-call]
        return sum_gradients(self.parameters, [], summed.detach().float())

    def _set_rate(self) -> None:
        """The learning rate of this step."""
        rate = self.config.learning_rate
        if self.config.schedule == "linear":
            done = self.at.epoch + self.at.step / self.steps_an_epoch
            rate *= 1 - done / self.config.epochs
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate

    def _epoch_end(self) -> None:
        """Validate where it is time to, and go on to the next epoch."""
        epoch, config = self.at.epoch + 1, self.config
        if not config.final and (epoch % config.validate_every == 0 or epoch == config.epochs):
            self._validate(epoch)
        elif config.final:
            self.at = replace(self.at, best_epoch=epoch)
        self.at = replace(self.at, epoch=epoch, step=0, loss_sum=0.0, positions=0)

    def _validate(self, epoch: int) -> None:
        at = self.at
        self.model.eval()
        goal, measures = self._measured(epoch)
        train_loss = at.loss_sum / max(at.positions, 1)
        line = {"epoch": epoch, "steps": at.steps, "train_loss": train_loss, **measures}
        better = at.best is None or goal > at.best
        if better:
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.at = replace(
            at,
            best=goal if better else at.best,
            best_epoch=epoch if better else at.best_epoch,
            worse=0 if better else at.worse + 1,
            records=(*at.records, line),
        )

    def _measured(self, epoch: int) -> tuple[float, dict[str, float]]:
        """Goal and measures, which the first process finds out for all."""
        found: list[bytes] = []

        def ask() -> None:
            goal, measures = self.validate()
            if not math.isfinite(goal):
                raise ConfigError(
                    "the goal of the validation is not a finite number",
                    where=f"{goal} after epoch {epoch}",
                    hint="validate on people and items that can be measured",
                )
            found.append(json.dumps([float(goal), measures]).encode())

        on_first(ask)
        sent = torch.tensor(list(b"".join(found)), dtype=torch.uint8)
        goal, measures = json.loads(bytes(gather(sent).tolist()))
        return goal, measures

    def _held(self) -> tuple[float, dict[str, float]]:
        """What the held targets say of the model."""
        config, people = self.config, self.sequences.people("valid")
        if 0 < config.validation_people < len(people):
            rng = np.random.default_rng(config.seed)
            people = np.sort(rng.choice(people, config.validation_people, replace=False))
        return validation(
            self.model, self.sequences, people=people, k=config.k, unseen=config.unseen
        )

    def _save(self) -> None:
        if (run := self.run) is not None:
            on_first(lambda: self._write(run))

    def _write(self, run: RunFolder) -> None:
        at, tensors = self.at, pack(self.model, self.best, self.optimisers)
        run.save(asdict(at), tensors, steps=at.steps, epoch=at.epoch, records=at.records)

    def _load(self, run: RunFolder) -> None:
        run.require_same("another config or model, or on other data")
        state, tensors = run.load()
        try:
            self.at = _At(**state | {"records": tuple(state["records"])})
        except (KeyError, TypeError) as error:
            raise run.unreadable(error) from error
        best = unpack(tensors, self.model, self.optimisers, run=run.path)
        self.best = best if self.at.best is not None else {}


def _optimisers(model: nn.Module, config: SequentialConfig) -> dict[str, Optimizer]:
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
