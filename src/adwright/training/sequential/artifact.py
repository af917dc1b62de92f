"""A trained sequential model with what its codes mean: its artifact, kind "sequence".

    manifest.json         the model's name and config, data hash, seed, parents
    tensors.safetensors   weights and buffers, and the training events of each item
    ids.json              what the item codes 1 to N stand for, in that order
    report.json           what was measured on the test, where anything was
    ...                   further files of whoever saved it, for example comparison.json

Loading leaves the random numbers of the process alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, DataError, ValueInvalidError
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.metrics.reports.report import Report
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.sasrec import SASRec, SASRecConfig

__all__ = ["KIND", "SequenceArtifact", "Sequential"]

KIND = "sequence"
Sequential = HSTU | SASRec | HSTURanker
Ints = NDArray[np.int64]

_COUNT = "count"
_IDS = "ids.json"
_REPORT = "report.json"
_OWN_FILES = (_IDS, _REPORT)

# What reading parts that do not fit this version may raise.
_MISFITS = (ConfigError, DataError, KeyError, TypeError, ValueError, RuntimeError)


@dataclass(frozen=True, eq=False)
class SequenceArtifact:
    """A trained HSTU, SASRec or HSTURanker.

    model: in evaluation mode. ids: what the item codes 1 to N stand for. count: int64 [N + 1],
    training events of each code, 0 for the unknown item. name: of the data. by_moment: the model
    was taught the next instant, not the next event; see `ItemSequences.by_moment`. timed: the
    sequences had times, which the part for repeats reads also in a model without time.
    data_hash: of the sequences. seed: of the run. parents: ids of the artifacts that it was made
    from. report: of the test. files: further files that are saved with it.
    Raises ValueInvalidError where ids and counts are not those of the model's items.
    """

    model: Sequential
    ids: tuple[str, ...]
    count: Ints
    name: str
    by_moment: bool = False
    timed: bool = True
    data_hash: str = ""
    seed: int = 0
    parents: tuple[str, ...] = ()
    report: Report | None = None
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        items = self.model.input.item.num_embeddings - 1
        if len(self.ids) != items or self.count.shape != (items + 1,):
            raise ValueInvalidError(
                f"the model knows {items:,} items, and needs an id and a count of each",
                value=f"{len(self.ids):,} ids, counts {list(self.count.shape)}",
            )
        if len(set(self.ids)) != items:
            raise ValueInvalidError("an id stands for two item codes", column="ids")
        self.model.eval()

    @classmethod
    def of(
        cls,
        model: Sequential,
        sequences: ItemSequences,
        *,
        seed: int = 0,
        parents: Sequence[str] = (),
        report: Report | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> SequenceArtifact:
        """Of a model that was trained on `sequences`."""
        return cls(
            model=model,
            ids=sequences.ids,
            count=sequences.count,
            name=sequences.name,
            by_moment=sequences.by_moment,
            timed=sequences.time is not None,
            data_hash=sequences.data_hash,
            seed=seed,
            parents=tuple(parents),
            report=report,
            files=files or {},
        )

    @property
    def context_sizes(self) -> tuple[int, ...]:
        """Codes of each context feature that the model reads."""
        tables = self.model.input.context
        return tuple(table.num_embeddings for table in tables)  # type: ignore[misc]

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """A retriever's vectors of its items, float32 [N + 1, D] or, with `popularity`, [N + 1,
        D + 1]; row 0, the unknown item, is 0. See `SequenceModel.item_vectors`.

        Raises ConfigError for a ranker, which has no such vectors.
        """
        if isinstance(self.model, HSTURanker):
            raise ConfigError(
                "a ranker of actions has no vectors of items to search",
                where=self.name,
                hint="load the artifact of an HSTU or SASRec retriever",
            )
        with torch.inference_mode():
            vectors = self.model.item_vectors(torch.arange(len(self.count))).float().numpy()
        vectors[0] = 0
        return vectors

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        state = {name: t.detach().numpy() for name, t in self.model.state_dict().items()}
        files: dict[str, bytes | str] = {**self.files, _IDS: json.dumps(self.ids)}
        if self.report is not None:
            files[_REPORT] = self.report.to_json()
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "model": _name_of(self.model),
                "config": to_jsonable(self.model.config),
                "context_sizes": list(self.context_sizes),
                "name": self.name,
                "by_moment": self.by_moment,
                "timed": self.timed,
            },
            tensors={f"model.{name}": t for name, t in state.items()} | {_COUNT: self.count},
            files=files,
            data_hash=self.data_hash,
            seed=self.seed,
            parents=self.parents,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, folder: str | Path) -> SequenceArtifact:
        """The model of an artifact, after every byte was checked.

        Raises ArtifactError where it is none, of another version or incomplete,
        ArtifactCorruptError where a file was changed, ArtifactUnsafeError for a pickle.
        """
        artifact = load_artifact(folder, kind=KIND)
        try:
            return _built(artifact)
        except ArtifactError as error:
            where = error.where or str(folder)
            raise type(error)(error.what, where=where, hint=error.hint) from error
        except _MISFITS as error:
            # Every hash is right, so another version wrote it.
            raise ArtifactError(
                f"the sequential model does not fit this version: {type(error).__name__}: {error}",
                where=str(folder),
                hint="train it again, or use the version of adwright that saved it",
            ) from error


def _name_of(model: Sequential) -> str:
    match model:
        case HSTU():
            return "hstu"
        case SASRec():
            return "sasrec"
        case HSTURanker():
            return "hstu_ranker"


def _built(artifact: Artifact) -> SequenceArtifact:
    config, tensors = artifact.config, artifact.tensors
    ids = tuple(str(one) for one in json.loads(artifact.text(_IDS)))
    # First weights are drawn and thrown away; on the meta device they would not be, but torch
    # loads its compiler for that, which takes twenty times as long.
    with torch.random.fork_rng(devices=[]):
        model = _model(str(config["model"]), config["config"], len(ids), config["context_sizes"])
    own = {name.removeprefix("model."): t for name, t in tensors.items() if name != _COUNT}
    model.load_state_dict({name: torch.from_numpy(np.array(t)) for name, t in own.items()})
    return SequenceArtifact(
        model=model,
        ids=ids,
        count=tensors[_COUNT].astype(np.int64),
        name=str(config["name"]),
        by_moment=bool(config["by_moment"]),
        timed=bool(config["timed"]),
        data_hash=artifact.data_hash,
        seed=artifact.seed,
        parents=artifact.parents,
        report=Report.from_json(artifact.text(_REPORT)) if _REPORT in artifact.files else None,
        files={name: data for name, data in artifact.files.items() if name not in _OWN_FILES},
    )


def _model(name: str, config: dict[str, Any], items: int, sizes: Sequence[int]) -> Sequential:
    contexts = tuple(sizes)
    match name:
        case "hstu":
            return HSTU(from_jsonable(HSTUConfig, config), items, context_sizes=contexts)
        case "sasrec":
            return SASRec(from_jsonable(SASRecConfig, config), items, context_sizes=contexts)
        case "hstu_ranker":
            return HSTURanker(
                from_jsonable(HSTURankerConfig, config), items, context_sizes=contexts
            )
        case other:
            raise ConfigError("no sequential model is called so", where=other)
