"""fit(): train a ranking network, from a stream of batches to a folder with the best model.

Dense weights take Adam; embedding tables take a row-wise optimiser with mini-batch aware
decay. Validation group AUC decides when to stop and which weights are kept. Everything that a
step depends on is in the checkpoint (weights, optimiser state, position in the stream, the
best weights so far), so a run that was killed continues and ends with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import ConfigError
from adwright.core.progress import Progress, progress
from adwright.data.batch import Batch
from adwright.data.stream import Position, StreamConfig
from adwright.data.task import Task
from adwright.metrics.classification import group_auc, log_loss
from adwright.training.checkpoint import Checkpoint, RunFolder
from adwright.training.counts import training_counts
from adwright.training.distributed import rank, share_of, sum_gradients
from adwright.training.optim import RowState, RowWise
from adwright.training.predict import open_stream, predict

__all__ = ["FitConfig", "FitResult", "Rankable", "fit"]


@dataclass(frozen=True)
class FitConfig:
    """How a model is trained.

    epochs: at most so many. learning_rate: Adam's, for dense weights.
    embedding_learning_rate, embedding_rule: of the row-wise optimiser.
    decay: lambda of the mini-batch aware regulariser, 0 for none.
    clip_norm: gradients of dense weights are scaled down to this norm; 0 for no clipping.
    precision: "bf16" computes the dense layers in bfloat16; weights stay in float32.
    patience: stop after so many validations without a better group AUC.
    validations_per_epoch: how often validation runs in an epoch.
    checkpoint_every: batches between checkpoints; 0 saves only after validations.
    """

    epochs: int = 2
    learning_rate: float = 1e-3
    embedding_learning_rate: float = 0.05
    embedding_rule: RowState = "adagrad"
    decay: float = 0.0
    clip_norm: float = 10.0
    precision: Literal["fp32", "bf16"] = "fp32"
    patience: int = 2
    validations_per_epoch: int = 1
    checkpoint_every: int = 200
    seed: int = 0
    stream: StreamConfig = field(default_factory=StreamConfig)

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.validations_per_epoch) < 1:
            raise ConfigError("epochs, patience and validations_per_epoch are at least 1")
        if self.clip_norm < 0 or self.checkpoint_every < 0:
            raise ConfigError("clip_norm and checkpoint_every are 0 or more")


class Rankable(Protocol):
    """What fit() needs of a model beside being an `nn.Module`."""

    def loss(self, batch: Batch) -> Tensor:
        """Loss summed over the batch's rows."""


@dataclass(frozen=True)
class FitResult:
    """The best validation, and the path of metrics.jsonl that tells the rest."""

    gauc: float
    log_loss: float
    epoch: int
    batches: int
    stopped_early: bool
    metrics: Path


def fit(
    model: nn.Module,
    task: Task,
    config: FitConfig,
    run: str | Path,
    *,
    resume: bool = False,
    clock: Clock | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> FitResult:
    """Train `model` in place on the task; afterwards it holds the best validation's weights.

    run: folder for config.json, metrics.jsonl, curves.svg and the checkpoint.
    resume: continue from the folder's checkpoint; without it an existing run is refused.
    on_batch: called after each batch with the number of batches done.
    Raises ConfigError (an existing run without resume), ResumeError (another config or task,
    no checkpoint), ResourceError (disk full).
    """
    config = replace(config, stream=replace(config.stream, seed=config.seed))
    trainer = _Trainer(model, task, config, RunFolder(Path(run), clock or SystemClock()))
    trainer.begin(resume=resume)
    trainer.train(on_batch or (lambda _: None))
    return trainer.end()


class _Trainer:
    """The state of one run; `fit` is its only user."""

    def __init__(self, model: nn.Module, task: Task, config: FitConfig, folder: RunFolder) -> None:
        self.model, self.task, self.config, self.folder = model, task, config, folder
        self.stream = open_stream(task, "train", config.stream)
        tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse]
        chosen = {id(weight) for weight in tables}
        self.dense = [p for p in model.parameters() if id(p) not in chosen]
        self.tables = tables
        self.adam = torch.optim.Adam(self.dense, lr=config.learning_rate)
        counts = training_counts(model, task, config.stream.negative_rate) if config.decay else None
        self.rows = RowWise(
            tables,
            learning_rate=config.embedding_learning_rate,
            rule=config.embedding_rule,
            decay=config.decay,
            counts=counts,
        )
        self.at = Checkpoint()
        self.best: dict[str, Tensor] = {}

    def begin(self, *, resume: bool) -> None:
        """Start a new run folder, or take up the one that is there."""
        if resume:
            self.at, self.best = self.folder.load(
                self.config, self.task.data_hash, self.model, self.adam, self.rows
            )
        elif rank() == 0:
            self.folder.create(self.config, self.task.data_hash)

    def train(self, on_batch: Callable[[int], None]) -> None:
        """All epochs that are left."""
        rate = self.config.stream.negative_rate
        counts = self.task.meta["splits"]["train"]
        rows = counts["positives"] + rate * (counts["rows"] - counts["positives"])
        while self.at.position.epoch < self.config.epochs and not self._exhausted():
            label = f"epoch {self.at.position.epoch + 1}/{self.config.epochs}"
            shown = progress(int(rows), label) if rank() == 0 else nullcontext(Progress())
            with shown as bar:
                bar.advance(self.at.epoch_rows)
                self._epoch(bar, on_batch)

    def _epoch(self, bar: Progress, on_batch: Callable[[int], None]) -> None:
        self.model.train()
        n_windows = math.ceil(self.stream.n_row_groups / self.config.stream.window)
        share = max(1, round(n_windows / self.config.validations_per_epoch))
        for batch, after in self.stream.epoch(self.at.position):
            loss = self._step(batch)
            self.at = self.at.after(after, loss, len(batch))
            bar.advance(len(batch))
            whole = after.batch == 0
            last = whole and after.window == n_windows
            if last or (whole and after.window % share == 0 and n_windows - after.window >= share):
                self._validate()
            if last:
                self.at = replace(self.at, position=Position(after.epoch + 1), epoch_rows=0)
            every = self.config.checkpoint_every
            if last or (every and self.at.batches % every == 0):
                self._save()
            on_batch(self.at.batches)
            if self._exhausted():
                return

    def _step(self, batch: Batch) -> float:
        """One update; the loss, summed over this process's rows."""
        self.adam.zero_grad()
        self.rows.zero_grad()
        mine = share_of(batch)
        bf16 = self.config.precision == "bf16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss: Tensor = self.model.loss(mine)  # type: ignore[operator]
        (loss / len(batch)).backward()  # type: ignore[no-untyped-call]
        sum_gradients([*self.dense, *self.tables])
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.dense, self.config.clip_norm)
        self.adam.step()
        self.rows.step()
        return float(loss.detach())

    def _validate(self) -> None:
        found = predict(self.model, self.task, "valid", max_history=self.config.stream.max_history)
        gauc = group_auc(found.label, found.probability, found.user)
        rate = self.config.stream.negative_rate
        probability = found.probability / (found.probability + (1 - found.probability) / rate)
        loss = log_loss(found.label, probability)
        if rank() == 0:
            self._record(gauc, loss)
        better = gauc > self.at.best_gauc
        if better:
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.at = self.at.validated(gauc, loss, better=better)

    def _record(self, gauc: float, loss: float) -> None:
        self.folder.record(
            {
                "epoch": self.at.position.epoch + 1,
                "batches": self.at.batches,
                "rows": self.at.rows,
                "train_loss": self.at.loss_sum / max(self.at.loss_rows, 1),
                "valid_gauc": gauc,
                "valid_log_loss": loss,
            }
        )
        self.folder.draw()

    def _exhausted(self) -> bool:
        return self.at.worse >= self.config.patience

    def _save(self) -> None:
        if rank() == 0:
            self.folder.save(self.at, self.model, self.best, self.adam, self.rows)

    def end(self) -> FitResult:
        """Put the best weights in place."""
        if self.best:
            self.model.load_state_dict(self.best)
        self.model.eval()
        return FitResult(
            gauc=self.at.best_gauc,
            log_loss=self.at.best_log_loss,
            epoch=self.at.best_epoch,
            batches=self.at.batches,
            stopped_early=self._exhausted(),
            metrics=self.folder.metrics,
        )
