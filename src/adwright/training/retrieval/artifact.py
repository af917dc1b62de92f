"""A trained retriever with everything it needs to be asked: its artifact, kind "retriever".

    manifest.json         the model's config, the feature spec, data hash, seed, parents
    tensors.safetensors   weights, training counts, and the item tower's output for all items
    items.parquet         the catalogue

The catalogue goes through the item tower once, when training ends. Items of a history are looked up
afterwards, so that a query costs no pass through the tower.

Embed the catalogue once and look item vectors up: a trained model without its item tower.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.artifacts import Artifact, Fitted, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import QueryBatch
from adwright.data.features import FeatureSpec, ItemTable
from adwright.data.tasks.next_basket import NextBasket
from adwright.models.retrieval.multi_interest import HCN, HCNConfig, Weighting
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.model_artifacts import (
    load_trained,
    load_weights,
    parquet_bytes,
    read_catalogue,
    weights_of,
)

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
