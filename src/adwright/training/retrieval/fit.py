"""fit_retriever(): train a retrieval model on the next-basket task.

Batches are visits in a seeded random order, redrawn each epoch; dense weights take Adam, tables
the row-wise optimiser of `fit`. Recall of validation visits over the whole catalogue decides
which weights are kept. The run folder holds a checkpoint; everything a step depends on is in it
or a function of the position, so a run that was killed continues and ends with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.progress import progress
from adwright.data.tasks.next_basket import NextBasket
from adwright.training.loop.optimisers import RowWise
from adwright.training.loop.run_folder import RunFolder
from adwright.training.loop.state import pack, unpack
from adwright.training.retrieval.distillation import Lessons
from adwright.training.retrieval.ranks import catalogue_vectors, retrieved_ranks

__all__ = ["RetrievalConfig", "RetrievalResult", "fit_retriever"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RetrievalConfig:
    """How a retrieval model is trained.

    epochs: at most so many; visits_per_epoch: a random part of the training visits an epoch, 0
    for all. batch: visits a step. max_history: most recent events a training query sees.
    learning_rate: Adam's. embedding_learning_rate: of the row-wise Adagrad.
    validation_visits: measured after each epoch, 0 for none (the last weights are kept then).
    patience: stop after so many validations without a better recall. k: of that recall.
    """

    epochs: int = 3
    visits_per_epoch: int = 0
    batch: int = 128
    max_history: int = 200
    learning_rate: float = 2e-3
    embedding_learning_rate: float = 0.05
    validation_visits: int = 1500
    patience: int = 2
    k: int = 50
    clip_norm: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience", "k"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1", where=str(getattr(self, name)))
        for name in ("learning_rate", "embedding_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be positive", where=str(getattr(self, name)))
        for name in ("visits_per_epoch", "max_history", "validation_visits", "clip_norm", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must not be negative", where=str(getattr(self, name)))


@dataclass(frozen=True)
class RetrievalResult:
    """recall: of the best validation (NaN without one). epoch: of it, from 1. steps: taken.
    records: one mapping a validation, as in metrics.jsonl."""

    recall: float
    epoch: int
    steps: int
    records: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _At:
    """Where a run stands."""

    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    pairs: int = 0
    best: float | None = None
    best_epoch: int = 0
    worse: int = 0
    records: tuple[dict[str, Any], ...] = ()


def fit_retriever(
    model: nn.Module,
    task: NextBasket,
    config: RetrievalConfig,
    run: str | Path | None = None,
    *,
    lessons: Lessons | None = None,
    resume: bool = False,
    checkpoint_every: int = 500,
    on_step: Callable[[int], None] | None = None,
) -> RetrievalResult:
    """Train `model`, a Retriever, in place; afterwards it holds the best validation's weights.

    lessons: what a finer ranker thinks of candidates of some visits; the model's loss must take
    a Teacher then (`MultiInterest` does).
    run: folder for config.json, metrics.jsonl and the checkpoint; None keeps nothing.
    resume: continue from the folder's checkpoint. checkpoint_every: steps, beside each epoch.
    on_step: called after each step with the number of steps done.
    Raises ConfigError (an existing run without resume, a loss that is not finite), ResumeError
    (no run, another config, task or lessons), ResourceError (disk full).
    """
    trainer = _Trainer(model, task, config, None if run is None else Path(run), lessons)
    trainer.begin(resume=resume)
    with torch.random.fork_rng(devices=[]):
        trainer.train(checkpoint_every, on_step or (lambda _: None))
    return trainer.end()


class _Trainer:
    """The state of one run; `fit_retriever` is its only user."""

    def __init__(
        self,
        model: nn.Module,
        task: NextBasket,
        config: RetrievalConfig,
        run: Path | None,
        lessons: Lessons | None,
    ) -> None:
        self.model, self.task, self.config, self.lessons = model, task, config, lessons
        asked = {"fit": to_jsonable(config), "data_hash": task.data_hash}
        if lessons is not None:
            asked["lessons"] = lessons.hash
        self.run = None if run is None else RunFolder(run, asked, "retrieval-checkpoint")
        tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse]
        chosen = {id(weight) for weight in tables}
        self.dense = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
        self.adam = torch.optim.Adam(self.dense, lr=config.learning_rate)
        self.rows = RowWise(tables, learning_rate=config.embedding_learning_rate)
        self.optimisers = {"adam": self.adam, "rows": self.rows}
        self.visits = task.visits("train")
        self.at = _At()
        self.best: dict[str, Tensor] = {}

    def begin(self, *, resume: bool) -> None:
        """Start a run, or take up the one in the folder."""
        if self.run is None:
            return
        if resume:
            self.run.require_same("another config, other lessons, or on another task")
            self._load(self.run)
            return
        self.run.require_new()
        self._save()
        self.run.begin()

    def train(self, every: int, on_step: Callable[[int], None]) -> None:
        """All epochs that are left."""
        while self.at.epoch < self.config.epochs and self.at.worse < self.config.patience:
            order = self._order(self.at.epoch)
            batches = math.ceil(len(order) / self.config.batch)
            label = f"epoch {self.at.epoch + 1}/{self.config.epochs}"
            self.model.train()
            with progress(batches - self.at.step, label, "batches") as bar:
                for step in range(self.at.step, batches):
                    chosen = order[step * self.config.batch : (step + 1) * self.config.batch]
                    self._step(chosen)
                    bar.advance()
                    if every and self.at.steps % every == 0 and self.at.step < batches:
                        self._save()
                    on_step(self.at.steps)
            self._validate()
            self._save()

    def end(self) -> RetrievalResult:
        """Put the best weights in place."""
        if self.best:
            self.model.load_state_dict(self.best)
        self.model.eval()
        at = self.at
        return RetrievalResult(
            math.nan if at.best is None else at.best, at.best_epoch, at.steps, at.records
        )

    def _order(self, epoch: int) -> Ints:
        rng = np.random.default_rng([self.config.seed, epoch])
        order: Ints = rng.permutation(self.visits)
        wanted = self.config.visits_per_epoch
        return order[:wanted] if wanted else order

    def _step(self, visits: Ints) -> None:
        key = np.random.SeedSequence([self.config.seed, self.at.steps])
        torch.default_generator.manual_seed(int(key.generate_state(1)[0]))
        batch = self.task.batch(visits, max_history=self.config.max_history)
        self.adam.zero_grad()
        self.rows.zero_grad()
        pairs = max(batch.targets.values.numel(), 1)
        taught = () if self.lessons is None else (self.lessons.of(visits),)
        summed: Tensor = self.model.loss(batch, *taught)  # type: ignore[operator]
        loss = float(summed.detach())
        if not math.isfinite(loss):
            raise ConfigError(
                "the loss is no longer a finite number",
                where=f"epoch {self.at.epoch + 1}, step {self.at.steps + 1} of the run",
                hint="lower the learning rates or clip_norm, or raise the temperature",
            )
        (summed / pairs).backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.dense, self.config.clip_norm)
        self.adam.step()
        self.rows.step()
        at = self.at
        self.at = replace(
            at,
            step=at.step + 1,
            steps=at.steps + 1,
            loss_sum=at.loss_sum + loss,
            pairs=at.pairs + pairs,
        )

    def _validate(self) -> None:
        at, config = self.at, self.config
        line: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "steps": at.steps,
            "train_loss": at.loss_sum / max(at.pairs, 1),
        }
        recall, better = None, True
        if config.validation_visits:
            recall = self._recall()
            line[f"valid_recall@{config.k}"] = recall
            better = at.best is None or recall > at.best
        if better:
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.at = replace(
            at,
            epoch=at.epoch + 1,
            step=0,
            loss_sum=0.0,
            pairs=0,
            best=recall if better else at.best,
            best_epoch=at.epoch + 1 if better else at.best_epoch,
            worse=0 if better else at.worse + 1,
            records=(*at.records, line),
        )

    def _recall(self) -> float:
        """Recall@k of validation visits, all items."""
        from adwright.metrics.ranking import recall

        valid = self.task.visits("valid")
        if len(valid) > self.config.validation_visits:
            rng = np.random.default_rng(self.config.seed)
            valid = np.sort(rng.choice(valid, self.config.validation_visits, replace=False))
        self.model.eval()
        score = catalogue_vectors(self.model, self.task)
        found = retrieved_ranks(score, self.task, valid, depth=self.config.k)
        return recall(found.ranks(), self.config.k)

    def _save(self) -> None:
        if self.run is None:
            return
        at = self.at
        tensors = pack(self.model, self.best, self.optimisers)
        self.run.save(asdict(at), tensors, steps=at.steps, epoch=at.epoch, records=at.records)

    def _load(self, run: RunFolder) -> None:
        state, tensors = run.load()
        try:
            self.at = _At(**state | {"records": tuple(state["records"])})
        except (KeyError, TypeError) as error:
            raise run.unreadable(error) from error
        best = unpack(tensors, self.model, self.optimisers, run=run.path)
        self.best = best if self.at.best_epoch else {}
