"""fit_retriever(): train a retrieval model on the next-basket task.

Batches are visits in a seeded random order, redrawn each epoch; dense weights take Adam, tables
the row-wise optimiser of `fit`. Recall of validation visits over the whole catalogue decides
which weights are kept. The run folder holds a checkpoint; everything a step depends on is in it
or a function of the position, so a run that was killed continues and ends with the same bits.

Distillation targets: a finer ranker's scores of some candidates of some visits.

They are made once, before the training; a batch takes those of its visits. Visits without any are
trained on as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.config import Count, Natural, NotNegative, Positive, settings, to_jsonable
from adwright.core.errors import ValueInvalidError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.data.batches.jagged import Jagged
from adwright.data.ranges import ranges
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.ranking import recall
from adwright.models.retrieval.multi_interest import Teacher
from adwright.training.loop.loop import RunOptions, train
from adwright.training.loop.optimisers import RowWise
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, Trainee, dense_and_sparse
from adwright.training.retrieval.ranks import catalogue_vectors, retrieved_ranks

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DistillationTargets:
    """Scored candidates of M visits.

    visit: int64 [M], numbers of visits of the task, ascending. item: int64 [P], item codes;
    visit m has those from offsets[m] to offsets[m + 1] (int64 [M + 1]). score: float32 [P],
    the finer ranker's logits.
    Raises ValueInvalidError where these do not fit, or a score is not finite.
    """

    visit: Ints
    offsets: Ints
    item: Ints
    score: NDArray[np.float32]

    def __post_init__(self) -> None:
        if (np.diff(self.visit) <= 0).any():
            raise ValueInvalidError("the visits of distillation targets ascend", column="visit")
        if len(self.offsets) != len(self.visit) + 1 or self.offsets[-1] != len(self.item):
            raise ValueInvalidError(
                "distillation targets are one list per visit",
                value=f"{len(self.visit)} visits, {len(self.offsets)} offsets",
            )
        if self.score.shape != self.item.shape or not np.isfinite(self.score).all():
            raise ValueInvalidError(
                "distillation targets have one finite score per candidate", column="score"
            )

    def of(self, visits: Ints) -> Teacher:
        """Select those of a batch's visits [B], in that order; empty where there are none."""
        at = np.minimum(np.searchsorted(self.visit, visits), max(len(self.visit) - 1, 0))
        known = self.visit[at] == visits if len(self.visit) else np.zeros(len(visits), bool)
        start = np.where(known, self.offsets[at], 0)
        size = np.where(known, self.offsets[np.minimum(at + 1, len(self.visit))] - start, 0)
        place, offsets = ranges(start, size)
        candidates = Jagged(
            torch.from_numpy(self.item[place]), torch.from_numpy(offsets.astype(np.int64))
        )
        return Teacher(candidates, torch.from_numpy(self.score[place]))

    @cached_property
    def hash(self) -> str:
        """Hash of all visits, candidates and scores."""
        arrays = (self.visit, self.offsets, self.item, self.score)
        return content_hash([sha256_bytes(array.tobytes()) for array in arrays])


@settings
class RetrievalConfig:
    """How a retrieval model is trained.

    epochs: at most so many; visits_per_epoch: a random part of the training visits an epoch, 0
    for all. batch: visits a step. max_history: most recent events a training query sees.
    learning_rate: Adam's. embedding_learning_rate: of the row-wise Adagrad.
    validation_visits: measured after each epoch, 0 for none (the last weights are kept then).
    patience: stop after so many validations without a better recall. k: of that recall.
    """

    epochs: Count = 3
    visits_per_epoch: Natural = 0
    batch: Count = 128
    max_history: Natural = 200
    learning_rate: Positive = 2e-3
    embedding_learning_rate: Positive = 0.05
    validation_visits: Natural = 1500
    patience: Count = 2
    k: Count = 50
    clip_norm: NotNegative = 10.0
    seed: Natural = 0


@dataclass(frozen=True)
class RetrievalResult:
    """recall: of the best validation (NaN without one). epoch: of it, from 1. steps: taken.
    records: one mapping a validation, as in metrics.jsonl."""

    recall: float
    epoch: int
    steps: int
    records: tuple[dict[str, Any], ...]


def fit_retriever(
    model: nn.Module,
    task: NextBasket,
    config: RetrievalConfig,
    run: str | Path | None = None,
    *,
    distillation: DistillationTargets | None = None,
    checkpoint_every: int = 500,
    **how: Unpack[RunOptions],
) -> RetrievalResult:
    """Train `model`, a Retriever, in place; afterwards it holds the best validation's weights.

    distillation: what a finer ranker thinks of candidates of some visits; the model's loss must
    take a Teacher then (`MultiInterest` does).
    run: folder for config.json, metrics.jsonl and the checkpoint; None keeps nothing.
    checkpoint_every: steps, beside each epoch. how: see `RunOptions`.
    Raises ConfigError (an existing run without resume, a loss that is not finite), ResumeError
    (no run, another config, task or distillation), ResourceError (disk full).
    """
    trainee = _Retrieval(model, task, config, distillation, checkpoint_every)
    at = train(trainee, trainee.folder(run), **how)
    best = math.nan if at.best is None else at.best
    return RetrievalResult(best, at.best_epoch, at.steps, at.records)


class _Retrieval(Trainee[Ints]):
    """A retrieval model in training; `fit_retriever` is its only user."""

    kind = "retrieval-checkpoint"
    renamed: ClassVar = {"pairs": "loss_count"}
    old_names: ClassVar = {"lessons": "distillation"}
    grows: ClassVar = ("fit.epochs",)
    hint = "lower the learning rates or clip_norm, or raise the temperature"

    def __init__(
        self,
        model: nn.Module,
        task: NextBasket,
        config: RetrievalConfig,
        distillation: DistillationTargets | None,
        checkpoint_every: int,
    ) -> None:
        self.task, self.config, self.distillation = task, config, distillation
        asked = {"fit": to_jsonable(config), "data_hash": task.data_hash}
        if distillation is not None:
            asked["distillation"] = distillation.hash
        dense, tables = dense_and_sparse(model)
        optimisers = {
            "adam": torch.optim.Adam(dense, lr=config.learning_rate),
            "rows": RowWise(tables, learning_rate=config.embedding_learning_rate),
        }
        loop = LoopConfig.of(config, checkpoint_every=checkpoint_every)
        super().__init__(model, optimisers, loop, asked)
        self.visits = task.visits("train")
        self.goal = f"valid_recall@{config.k}"

    def epoch(self, at: RunPosition) -> Iterator[Ints]:
        """The visits of each step that is left."""
        rng, batch = np.random.default_rng([self.config.seed, at.epoch]), self.config.batch
        order = rng.permutation(self.visits)[: self.config.visits_per_epoch or None]
        return (order[i : i + batch] for i in range(at.step * batch, len(order), batch))

    def left(self, at: RunPosition) -> int:
        """Steps that are left of the epoch."""
        visits = self.config.visits_per_epoch or len(self.visits)
        return math.ceil(min(visits, len(self.visits)) / self.config.batch) - at.step

    def loss(self, visits: Ints) -> tuple[Tensor, int]:
        """Over the pairs of visit and target."""
        batch = self.task.batch(visits, max_history=self.config.max_history)
        targets = () if self.distillation is None else (self.distillation.of(visits),)
        summed: Tensor = self.model.loss(batch, *targets)  # type: ignore[operator]
        return summed, max(batch.targets.values.numel(), 1)

    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        """Recall@k of validation visits over all items; no goal where none are asked for."""
        if not self.config.validation_visits:
            return None, {}
        valid = self.task.visits("valid")
        if len(valid) > self.config.validation_visits:
            rng = np.random.default_rng(self.config.seed)
            valid = np.sort(rng.choice(valid, self.config.validation_visits, replace=False))
        self.model.eval()
        score = catalogue_vectors(self.model, self.task)
        found = retrieved_ranks(score, self.task, valid, depth=self.config.k)
        goal = recall(found.ranks(), self.config.k)
        return goal, {self.goal: goal}
