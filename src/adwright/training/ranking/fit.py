"""fit(): train a ranking network, from a stream of batches to a folder with the best model.

Dense weights take Adam; embedding tables take a row-wise optimiser with mini-batch aware
decay. Validation group AUC decides when to stop and which weights are kept. Everything that a
step depends on is in the checkpoint (weights, optimiser state, position in the stream, the
best weights so far) or a function of the position (sampled negatives, the order of the
batches, the random numbers of dropout), so a run that was killed continues and ends with the
same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from adwright.core.clock import Clock, SystemClock
from adwright.core.config import check_literals, to_jsonable
from adwright.core.errors import ConfigError, ResumeError, ValueInvalidError
from adwright.core.progress import Progress, progress
from adwright.data.batches.batch import Batch
from adwright.data.batches.stream import Position, StreamConfig
from adwright.data.tasks.task import Task
from adwright.metrics.classification import group_auc, log_loss
from adwright.training.loop.distributed import (
    broadcast,
    on_first,
    process_group,
    rank,
    share_of,
    sum_gradients,
)
from adwright.training.loop.optimisers import RowWise, Rule
from adwright.training.loop.state import Checkpoint, RunFolder, pack, unpack
from adwright.training.ranking.counts import training_counts
from adwright.training.ranking.predict import Predictions, open_stream, predict

__all__ = ["FitConfig", "FitResult", "Rankable", "fit", "load_best", "validation_windows"]


@dataclass(frozen=True)
class FitConfig:
    """How a model is trained.

    epochs: at most so many. learning_rate: Adam's, for dense weights.
    embedding_learning_rate, embedding_rule: of the row-wise optimiser.
    decay: lambda of the mini-batch aware regulariser, 0 for none.
    clip_norm: gradients of dense weights are scaled down to this norm; 0 for no clipping.
    Row-wise steps of Adagrad and Adam are bounded by their learning rate already.
    precision: "bf16" computes the dense layers in bfloat16; weights stay in float32.
    patience: stop after so many validations without a better group AUC.
    validations_per_epoch: how often validation runs in an epoch, at most once a window.
    checkpoint_every: batches between checkpoints; 0 saves only after validations.
    seed: of the order of the rows, the sampled negatives and dropout, so also of `stream`,
    whose own seed stays 0.
    """

    epochs: int = 2
    learning_rate: float = 6e-3
    embedding_learning_rate: float = 0.05
    embedding_rule: Rule = "adagrad"
    decay: float = 0.0
    clip_norm: float = 10.0
    precision: Literal["fp32", "bf16"] = "fp32"
    patience: int = 2
    validations_per_epoch: int = 1
    checkpoint_every: int = 200
    seed: int = 0
    stream: StreamConfig = field(default_factory=StreamConfig)

    def __post_init__(self) -> None:
        check_literals(self)
        for name in ("epochs", "patience", "validations_per_epoch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1", where=str(getattr(self, name)))
        for name in ("learning_rate", "embedding_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be positive", where=str(getattr(self, name)))
        for name in ("decay", "clip_norm", "checkpoint_every", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must not be negative", where=str(getattr(self, name)))
        if self.stream.seed:
            raise ConfigError(
                "the stream takes the seed of the run",
                where=f"stream.seed {self.stream.seed}",
                hint="set seed, and leave stream.seed at 0",
            )


class Rankable(Protocol):
    """What fit() needs of a model beside being an `nn.Module`: called with a batch it gives
    the logits [T], and it knows its loss."""

    def loss(self, batch: Batch) -> Tensor:
        """Loss [] summed over the batch's rows."""


@dataclass(frozen=True)
class FitResult:
    """The best validation, and the path of metrics.jsonl that tells the rest.

    gauc, log_loss, epoch: of the best validation; epochs count from 1. batches: trained on.
    stopped_early: patience ran out before the epochs did. valid: what the best weights say of
    the validation rows, so that nobody has to score them again; None where another process or
    an earlier start of the run validated.
    """

    gauc: float
    log_loss: float
    epoch: int
    batches: int
    stopped_early: bool
    metrics: Path
    valid: Predictions | None = field(default=None, repr=False, compare=False)


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
    clock: stamps the lines of metrics.jsonl, the machine's own by default.
    on_batch: called after each batch with the number of batches done.
    Under torchrun the processes divide each batch among them; all see the same folders.
    Raises ConfigError (an existing run without resume, a loss that is not finite),
    ResumeError (no run, another config, task or model), ValueInvalidError (a validation split
    that cannot be judged), ResourceError (disk full).
    """
    with process_group():
        trainer = _Trainer(model, task, config, RunFolder(Path(run), clock or SystemClock()))
        trainer.begin(resume=resume)
        trainer.train(on_batch or (lambda _: None))
        return trainer.end()


def load_best(model: nn.Module, run: str | Path) -> FitResult:
    """Put the best weights of a run into `model`, in evaluation mode.

    Raises ResumeError where the folder holds no run, no validation yet, or another model.
    """
    folder = RunFolder(Path(run), SystemClock())
    asked = folder.asked()["fit"]
    at, tensors = folder.load()
    if at.best_gauc is None:
        raise ResumeError(
            "the run has no validation yet", where=str(folder.path), hint="resume it first"
        )
    model.load_state_dict(unpack(tensors, model, {}, run=folder.path))
    model.eval()
    return _result(at, asked["epochs"], asked["patience"], folder)


class _Trainer:
    """The state of one run; `fit` is its only user."""

    def __init__(self, model: nn.Module, task: Task, config: FitConfig, folder: RunFolder) -> None:
        _check_validation(task)
        self.model, self.task, self.config, self.folder = model, task, config, folder
        self.stream = open_stream(task, "train", replace(config.stream, seed=config.seed))
        self.tables = [
            m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse
        ]
        chosen = {id(weight) for weight in self.tables}
        self.dense = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
        self.adam = torch.optim.Adam(
            [{"params": self.dense}], lr=config.learning_rate, fused=bool(self.dense)
        )
        stream = config.stream
        self.rows = RowWise(
            self.tables,
            learning_rate=config.embedding_learning_rate,
            rule=config.embedding_rule,
            decay=config.decay,
            counts=training_counts(
                model, task, stream.negative_rate, max_history=stream.max_history
            )
            if config.decay
            else None,
        )
        self.optimisers = {"adam": self.adam, "rows": self.rows}
        n_windows = math.ceil(self.stream.n_row_groups / stream.window)
        self.due = validation_windows(n_windows, config.validations_per_epoch)
        self.at = Checkpoint()
        self.best: dict[str, Tensor] = {}
        self.valid: Predictions | None = None

    def begin(self, *, resume: bool) -> None:
        """Start a new run folder, or take up the one that is there."""
        asked = to_jsonable(self.config)
        if resume:
            self.folder.check(asked, self.task)
            self.at, tensors = self.folder.load()
            best = unpack(tensors, self.model, self.optimisers, run=self.folder.path)
            self.best = {} if self.at.best_gauc is None else best
            on_first(self.folder.clean)
        else:
            broadcast(self.model)
            on_first(lambda: self.folder.create(asked, self.task, self.at, self._tensors()))

    def train(self, on_batch: Callable[[int], None]) -> None:
        """All epochs that are left."""
        # The random numbers of dropout must not disturb those of the caller.
        with torch.random.fork_rng(devices=[]):
            while self.at.position.epoch < self.config.epochs and not self._exhausted():
                self._epoch(on_batch)

    def _epoch(self, on_batch: Callable[[int], None]) -> None:
        """The rest of an epoch, with the validations in it."""
        batches, ended = self.stream.epoch(self.at.position), False
        while not ended and not self._exhausted():
            ended = self._until_validation(batches, on_batch)
            self._validate()
            if ended:
                self.at = self.at.next_epoch()
            self._save()

    def _until_validation(
        self, batches: Iterator[tuple[Batch, Position]], on_batch: Callable[[int], None]
    ) -> bool:
        """Train until a validation is due; whether that is at the end of the epoch."""
        self.model.train()
        every = self.config.checkpoint_every
        with self._bar() as bar:
            for batch, after in batches:
                loss = self._step(batch)
                self.at = self.at.after(after, loss, len(batch))
                bar.advance(len(batch))
                due = after.batch == 0 and after.window in self.due
                if every and self.at.batches % every == 0 and not due:
                    self._save()
                on_batch(self.at.batches)
                if due:
                    return False
        return True

    def _bar(self) -> AbstractContextManager[Progress]:
        """The rows that are left of the epoch; how many negatives are drawn is an estimate."""
        counts = self.task.meta["splits"]["train"]
        negatives = self.config.stream.negative_rate * (counts["rows"] - counts["positives"])
        left = max(int(counts["positives"] + negatives) - self.at.epoch_rows, 0)
        label = f"epoch {self.at.position.epoch + 1}/{self.config.epochs}"
        return progress(left, label) if rank() == 0 else nullcontext(Progress())

    def _step(self, batch: Batch) -> float:
        """One update; the loss, summed over the batch's rows."""
        # Of the position alone, so that a resumed run draws the same numbers.
        key = np.random.SeedSequence([self.config.seed, self.at.batches, rank()])
        torch.default_generator.manual_seed(int(key.generate_state(1)[0]))
        self.adam.zero_grad()
        self.rows.zero_grad()
        bf16 = self.config.precision == "bf16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            summed: Tensor = self.model.loss(share_of(batch))  # type: ignore[operator]
        (summed / len(batch)).backward()  # type: ignore[no-untyped-call]
        loss = sum_gradients(self.dense, self.tables, summed.detach().float())
        if not math.isfinite(loss):
            at = self.at.position
            raise ConfigError(
                "the loss is no longer a finite number",
                where=f"epoch {at.epoch + 1}, batch {self.at.batches + 1} of the run",
                hint="lower the learning rates or clip_norm",
            )
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.dense, self.config.clip_norm)
        self.adam.step()
        self.rows.step()
        return loss

    def _validate(self) -> None:
        stream = self.config.stream
        found = predict(
            self.model, self.task, "valid", max_history=stream.max_history, divided=True
        )
        p, label, rate = found.probability, found.label, stream.negative_rate
        gauc = group_auc(label, p, found.user)
        # The network learns the odds of the sampled rows: undo that for the true ones.
        loss = log_loss(label, p / (p + (1 - p) / rate))
        sampled = log_loss(label, p, label + (1 - label) * rate)
        on_first(lambda: self._record(gauc, loss, sampled))
        better = self.at.best_gauc is None or gauc > self.at.best_gauc
        if better:
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.valid = found
        self.at = self.at.validated(gauc, loss, better=better)

    def _record(self, gauc: float, loss: float, sampled: float) -> None:
        self.folder.record(
            {
                "epoch": self.at.position.epoch + 1,
                "batches": self.at.batches,
                "rows": self.at.rows,
                "train_loss": self.at.loss_sum / max(self.at.loss_rows, 1),
                "train_curve": self.at.curve,
                "valid_loss": sampled,
                "valid_log_loss": loss,
                "valid_gauc": gauc,
            },
            self.at.records,
        )
        self.folder.draw()

    def _exhausted(self) -> bool:
        return self.at.worse >= self.config.patience

    def _save(self) -> None:
        on_first(lambda: self.folder.save(self.at, self._tensors(), data_hash=self.task.data_hash))

    def _tensors(self) -> dict[str, Tensor]:
        return pack(self.model, self.best, self.optimisers)

    def end(self) -> FitResult:
        """Put the best weights in place."""
        self.model.load_state_dict(self.best)
        self.model.eval()
        result = _result(self.at, self.config.epochs, self.config.patience, self.folder)
        return replace(result, valid=self.valid)


def validation_windows(n_windows: int, wanted: int) -> set[int]:
    """After how many of an epoch's windows validation runs, `wanted` times an epoch, evenly
    spread; the end of the epoch, always one of them, is left out."""
    ends = (math.ceil(i * n_windows / wanted) for i in range(1, wanted))
    return {window for window in ends if window < n_windows}


def _check_validation(task: Task) -> None:
    """Better before the first epoch than after it."""
    counts = task.meta["splits"]["valid"]
    if not 0 < counts["positives"] < counts["rows"]:
        raise ValueInvalidError(
            "the validation split needs rows of both labels",
            file=str(task.rows_path("valid")),
            column="label",
            value=f"{counts['positives']} of {counts['rows']} rows are 1",
            hint="move the dates of the split",
        )


def _result(at: Checkpoint, epochs: int, patience: int, folder: RunFolder) -> FitResult:
    if at.best_gauc is None or at.best_log_loss is None:
        raise ResumeError("the run has no validation yet", where=str(folder.path))
    return FitResult(
        gauc=at.best_gauc,
        log_loss=at.best_log_loss,
        epoch=at.best_epoch,
        batches=at.batches,
        stopped_early=at.worse >= patience and at.position.epoch < epochs,
        metrics=folder.metrics,
    )
