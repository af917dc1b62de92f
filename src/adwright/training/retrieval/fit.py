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

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Unpack, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.artifacts import Artifact, Fitted, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import (
    Count,
    Natural,
    NotNegative,
    Positive,
    from_jsonable,
    settings,
    to_jsonable,
)
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import FeatureSpec, ItemTable
from adwright.data.ranges import ranges
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.arrays import hash_order
from adwright.metrics.ranking import Ranks, recall
from adwright.models.retrieval.multi_interest import HCN, HCNConfig, Teacher, Weighting
from adwright.models.retrieval.two_tower import Retriever, TwoTower, TwoTowerConfig
from adwright.training.loop.distributed import RowWise
from adwright.training.loop.loop import LoopOptions, train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, Trainee, dense_and_sparse
from adwright.training.model_artifacts import (
    load_trained,
    load_weights,
    parquet_bytes,
    read_catalogue,
    weights_of,
)

# --------------------------------------------------------------------------------------------------
# Ranks of the items that users took among all items of the catalogue.
#
# A scorer scores every item for some visits; the best `depth` of them are found by a partial sort,
# and a target beyond that depth counts as not found. No candidate is sampled away. Items of equal
# scores stand in the order of a hash of visit and item, as in `metrics.ranking`: items that nothing
# is known of share one vector, and no order of the catalogue may favour one of them.

Ints = NDArray[np.int64]
_BLOCK = 8192
#: Scores compared at once, where there are ties.
_CELLS = 4_000_000
#: Visits int64 [B] to scores of every item code [B, N + 1].
Scorer = Callable[[Ints], Tensor]


@dataclass(frozen=True)
class Retrieved:
    """Ranks of the targets of V visits.

    item: int64 [P], item codes of the targets; offsets: int64 [V + 1]. rank: float64 [P] from
    1, `depth` + 1 where the target is not among the first `depth`.
    tied: bool [P], found, and another candidate has the same score. visits: int64 [V].
    """

    visits: Ints
    item: Ints
    offsets: Ints
    rank: NDArray[np.float64]
    tied: NDArray[np.bool_]
    depth: int

    def where(self, chosen: NDArray[np.bool_]) -> Retrieved:
        """Keep only the targets `chosen` [P]; visits that lose all of theirs stay, with none."""
        total = np.concatenate(([0], np.cumsum(chosen)))
        return Retrieved(
            self.visits,
            self.item[chosen],
            total[self.offsets],
            self.rank[chosen],
            self.tied[chosen],
            self.depth,
        )

    def ranks(self) -> Ranks:
        """Convert for the measures of `metrics.ranking`, up to k = depth; a visit counts as a
        user."""
        owner = np.repeat(np.arange(len(self.visits)), np.diff(self.offsets))
        order = np.lexsort((self.rank, owner))
        return Ranks(self.rank[order], self.offsets, self.tied[order])


def catalogue_vectors(model: nn.Module, task: NextBasket) -> Scorer:
    """Make the scorer of a trained Retriever; item vectors are computed once, here."""
    retriever = cast("Retriever", model)
    with torch.no_grad():
        parts = torch.split(torch.arange(len(task.items)), _BLOCK)
        vectors = torch.cat([retriever.item_vectors(part) for part in parts])

    def score(visits: Ints) -> Tensor:
        with torch.no_grad():
            return query_scores(retriever.queries(task.batch(visits)), vectors)

    return score


def query_scores(queries: Tensor, vectors: Tensor) -> Tensor:
    """Best inner product of each item over a user's K vectors: [U, K, D], [N, D] to [U, N]."""
    if queries.shape[1] == 1:
        return queries[:, 0] @ vectors.T
    best = queries[:, 0] @ vectors.T
    for k in range(1, queries.shape[1]):
        torch.maximum(best, queries[:, k] @ vectors.T, out=best)
    return best


def retrieved_ranks(
    score: Scorer,
    task: NextBasket,
    visits: Ints,
    *,
    depth: int = 500,
    unseen: bool = False,
    chunk: int = 256,
) -> Retrieved:
    """Ranks of the targets of `visits` (int64 [V]) among all items.

    unseen: rank only items that the user never had before; targets had before are left out.
    """
    start = task.target_offsets[visits]
    place, offsets = ranges(start, task.target_offsets[visits + 1] - start)
    item = task.targets[place]
    rank = np.full(len(item), float(depth + 1))
    tied = np.zeros(len(item), dtype=bool)
    keep = np.ones(len(item), dtype=bool)
    for at in range(0, len(visits), chunk):
        part = visits[at : at + chunk]
        scores = score(part)
        scores[:, 0] = -torch.inf
        mine = slice(offsets[at], offsets[at + len(part)])
        owner = np.repeat(np.arange(len(part)), np.diff(offsets[at : at + len(part) + 1]))
        if unseen:
            seen, bounds = task.seen(part)
            rows = np.repeat(np.arange(len(part)), np.diff(bounds))
            scores[torch.from_numpy(rows), torch.from_numpy(seen)] = -torch.inf
            width = len(task.items)
            keep[mine] = ~np.isin(owner * width + item[mine], rows * width + seen)
        rank[mine], tied[mine] = _places(scores, part, owner, item[mine], depth)
    found = Retrieved(visits, item, offsets, rank, tied, depth)
    return found.where(keep) if unseen else found


def _places(
    scores: Tensor, visits: Ints, owner: Ints, item: Ints, depth: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rank from 1 of each (owner, item) in the rows of `scores` [B, V], `depth` + 1 beyond it; and
    whether it ties. visits: int64 [B], for the hash."""
    best = torch.topk(scores, min(depth, scores.shape[1]), dim=1).values
    row = torch.from_numpy(owner)
    own = scores[row, torch.from_numpy(item)]
    rank = 1 + (best[row] > own[:, None]).sum(1).numpy()
    found = (own >= best[row, -1]).numpy()
    # Those of the last score may tie with what the partial sort left out.
    several = (best[row] == own[:, None]).sum(1).numpy() > 1
    asked = np.flatnonzero(found & (several | (own == best[row, -1]).numpy()))
    tied = np.zeros(len(item), dtype=bool)
    width = scores.shape[1]
    for part in np.array_split(asked, max(1, len(asked) * width // _CELLS)):
        at, other = np.nonzero((scores[row[part]] == own[part, None]).numpy())
        visit = visits[owner[part]]
        mine = hash_order(visit * width + item[part], seed=0)
        before = hash_order(visit[at] * width + other, seed=0) < mine[at]
        rank[part] += np.bincount(at, before, minlength=len(part)).astype(np.int64)
        tied[part] = np.bincount(at, minlength=len(part)) > 1
    return np.where(found & (rank <= depth), rank, depth + 1).astype(np.float64), tied


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
    **how: Unpack[LoopOptions],
) -> RetrievalResult:
    """Train `model`, a Retriever, in place; afterwards it holds the best validation's weights.

    distillation: what a finer ranker thinks of candidates of some visits; the model's loss must
    take a Teacher then (`MultiInterest` does).
    run: folder for config.json, metrics.jsonl and the checkpoint; None keeps nothing.
    checkpoint_every: steps, beside each epoch. how: see `LoopOptions`.
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


# --------------------------------------------------------------------------------------------------
# A trained retriever with everything it needs to be asked: its artifact, kind "retriever".
#
#     manifest.json         the model's config, the feature spec, data hash, seed, parents
#     tensors.safetensors   weights, training counts, and the item tower's output for all items
#     items.parquet         the catalogue
#
# The catalogue goes through the item tower once, when training ends. Items of a history are looked
# up
# afterwards, so that a query costs no pass through the tower.
#
# Embed the catalogue once and look item vectors up: a trained model without its item tower.

M = TypeVar("M", bound=nn.Module)
_PART = 8192


class Lookup(nn.Module):
    """Maps item codes [N] to rows of a fixed table [V, D]."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Rows [N, D] of codes [N]."""
        return self.get_buffer("vectors")[codes]


def embed_catalogue(tower: nn.Module, items: int) -> Tensor:
    """Compute the vectors [V, D] of the item codes 0 to V - 1 in chunks."""
    with torch.inference_mode():
        starts = range(0, items, _PART)
        return torch.cat([tower(torch.arange(a, min(a + _PART, items))) for a in starts])


def with_vectors(model: M, vectors: Tensor) -> M:
    """Copy the model with a table in place of its submodule `item`; all other weights are shared
    with the model, which stays as it is."""
    served = copy.copy(model)
    # A copied module shares the dict of its submodules: give the copy its own.
    served._modules = {**model._modules, "item": Lookup(vectors)}
    return served


KIND = "retriever"
RetrieverConfig = TwoTowerConfig | HCNConfig
RetrieverModel = TwoTower | HCN
Floats = NDArray[np.float32]

_NAMES: dict[type[RetrieverConfig], str] = {TwoTowerConfig: "two_tower", HCNConfig: "hcn"}


def retriever_for(config: RetrieverConfig, task: NextBasket) -> RetrieverModel:
    """The model of a config for the catalogue of `task`, with first weights."""
    if isinstance(config, TwoTowerConfig):
        return TwoTower(config, task.spec, task.items, task.count)
    return HCN(config, task.spec, task.items, task.count)


@dataclass(frozen=True, eq=False)
class RetrieverArtifact:
    """A two-tower model or an HCN, ready to serve.

    tower: float32 [N + 1, W], output of the item tower for every item code; row 0 is the unknown
    item. vectors: float32 [N + 1, D], what queries are multiplied with. count: int64 [N + 1],
    training events of each item. timeless: places stood for times in training, so they stand for
    ages now, whatever the time is. data_hash: of the task. parents: ids of the artifacts that it
    was made from. fitted: on which events.
    """

    model: RetrieverModel
    spec: FeatureSpec
    catalogue: pl.DataFrame
    count: NDArray[np.int64]
    tower: Floats
    timeless: bool = False
    data_hash: str = ""
    seed: int = 0
    parents: tuple[str, ...] = ()
    fitted: Fitted | None = None
    items: ItemTable = field(init=False, repr=False)
    vectors: Floats = field(init=False, repr=False)
    _served: RetrieverModel = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.model.eval()
        object.__setattr__(self, "items", self.spec.encode_items(self.catalogue))
        served = with_vectors(self.model, torch.from_numpy(self.tower))
        with torch.inference_mode():
            vectors = served.item_vectors(torch.arange(len(self.tower))).numpy()
        object.__setattr__(self, "_served", served)
        object.__setattr__(self, "vectors", vectors)

    @classmethod
    def of(cls, model: RetrieverModel, task: NextBasket, *, seed: int = 0) -> RetrieverArtifact:
        """Make the artifact of a trained model; embeds the catalogue of its task."""
        model.eval()
        return cls(
            model=model,
            spec=task.spec,
            catalogue=task.catalogue,
            count=task.count,
            tower=embed_catalogue(model.item, len(task.items)).numpy(),
            timeless=task.timeless,
            data_hash=task.data_hash,
            seed=seed,
            fitted=task.fitted(),
        )

    @property
    def interests(self) -> int:
        """K, vectors per user."""
        config = self.model.config
        return config.interests if isinstance(config, HCNConfig) else 1

    @property
    def weighting(self) -> tuple[Weighting, float]:
        """How K products become a score, and the sharpness of the softmax."""
        config = self.model.config
        if isinstance(config, HCNConfig):
            return config.weighting, config.sharpness
        return "max", 1.0

    def query_vectors(self, batch: QueryBatch) -> Floats:
        """Compute the vectors [U, K, D] of users from their histories, profiles and moments."""
        with torch.inference_mode():
            return self._served.queries(batch.by_place() if self.timeless else batch).numpy()

    def similar(self, code: int, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Find the k other items of the highest cosine with an item (of the tower's unit vectors,
        which popularity does not enter), best first: (codes [k], cosines [k])."""
        return nearest_by_cosine(self.tower, code, k)

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "model": _NAMES[type(self.model.config)],
                "config": to_jsonable(self.model.config),
                "timeless": self.timeless,
            },
            tensors=weights_of(self.model, "model.") | {"tower": self.tower, "count": self.count},
            files={"items.parquet": parquet_bytes(self.catalogue)},
            feature_spec=to_jsonable(self.spec),
            data_hash=self.data_hash,
            seed=self.seed,
            parents=self.parents,
            fitted=self.fitted,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> RetrieverArtifact:
        """The retriever of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=KIND, name="retriever")


def nearest_by_cosine(vectors: Floats, code: int, k: int) -> tuple[NDArray[np.int64], Floats]:
    """The k rows of unit vectors [N + 1, W] nearest to row `code`, but for itself and row 0:
    (rows [k], cosines [k]), best first."""
    cosine = vectors @ vectors[code]
    cosine[[0, code]] = -np.inf
    k = min(k, len(cosine) - 2)
    best = np.argpartition(-cosine, max(k - 1, 0))[:k]
    best = best[np.lexsort((best, -cosine[best]))]
    return best, cosine[best]


def _built(artifact: Artifact) -> RetrieverArtifact:
    spec = from_jsonable(FeatureSpec, artifact.feature_spec or {})
    catalogue = read_catalogue(artifact)
    items, count = spec.encode_items(catalogue), artifact.tensors["count"]
    config = artifact.config["config"]
    model: RetrieverModel
    match artifact.config["model"]:
        case "two_tower":
            model = TwoTower(from_jsonable(TwoTowerConfig, config), spec, items, count)
        case "hcn":
            model = HCN(from_jsonable(HCNConfig, config), spec, items, count)
        case other:
            raise ConfigError(f"unknown retriever {other!r}; use two_tower or hcn", where="model")
    load_weights(model, artifact.tensors, "model.")
    return RetrieverArtifact(
        model=model,
        spec=spec,
        catalogue=catalogue,
        count=count,
        tower=artifact.tensors["tower"],
        # Artifacts of older versions do not say.
        timeless=bool(artifact.config.get("timeless", False)),
        data_hash=artifact.data_hash,
        seed=artifact.seed,
        parents=artifact.parents,
        fitted=artifact.fitted,
    )
