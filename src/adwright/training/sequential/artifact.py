"""A trained sequence model with what its codes mean: its artifact, kind "sequence".

manifest.json         the model's name and config, data hash, seed, parents
tensors.safetensors   weights and buffers, and the training events of each item
ids.json              what the item codes 1 to N stand for, in that order
report.json           what was measured on the test, where anything was
...                   further files of whoever saved it, for example comparison.json

HSTU trained on the visits of a next-basket task: as a retriever, and as a ranker of choices.

Both read the same sequences (`sequences_of_task`, split as the task is). Each is a resumable run
in a folder of its own; a run that is complete is taken as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, Fitted, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.reports.report import Report
from adwright.models.sequential.choice_ranker import ChoiceRanker
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURankerConfig
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.models.sequential.union import SequenceNetwork, config_type, sequence_model
from adwright.training.model_artifacts import (
    REPORT,
    load_trained,
    load_weights,
    saved_report,
    weights_of,
)
from adwright.training.run_settings import seeded
from adwright.training.sequential.fit import SequentialConfig, Validate, fit_sequential
from adwright.training.sequential.ranks import choice_validation, some_visits, visit_validation

KIND = "sequence"
Ints = NDArray[np.int64]

_COUNT = "count"
_IDS = "ids.json"
_OWN_FILES = (_IDS, REPORT)


@dataclass(frozen=True, eq=False)
class SequenceArtifact:
    """A trained sequence model, retriever or ranker.

    model: in evaluation mode. ids: what the item codes 1 to N stand for. count: int64 [N + 1],
    training events of each code, 0 for the unknown item. name: of the data. by_moment: the model
    predicts the next moment, not the next event; see `ItemSequences.by_moment`. timed: the
    sequences had times, which `repeats` reads also in a model without time.
    data_hash: of the sequences. seed: of the run. parents: ids of the artifacts that it was made
    from. report: of the test. files: further files that are saved with it. fitted: on which events.
    Raises ValueInvalidError where ids and counts are not those of the model's items.
    """

    model: SequenceNetwork
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
    fitted: Fitted | None = None

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
        model: SequenceNetwork,
        sequences: ItemSequences,
        *,
        seed: int = 0,
        parents: Sequence[str] = (),
        report: Report | None = None,
        files: Mapping[str, bytes] | None = None,
        final: bool = False,
    ) -> SequenceArtifact:
        """Make the artifact of a model that was trained on `sequences`. final: on what validates,
        too."""
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
            fitted=sequences.fitted(final=final),
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
        if not isinstance(self.model, SequenceModel):
            raise ConfigError(
                "a ranker of actions has no item vectors to search",
                where=self.name,
                hint="load the artifact of a retriever",
            )
        with torch.inference_mode():
            vectors = self.model.item_vectors(torch.arange(len(self.count))).float().numpy()
        vectors[0] = 0
        return vectors

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        files: dict[str, bytes | str] = {**self.files, _IDS: json.dumps(self.ids)}
        if self.report is not None:
            files[REPORT] = self.report.to_json()
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "model": self.model.config.kind,
                "config": to_jsonable(self.model.config),
                "context_sizes": list(self.context_sizes),
                "name": self.name,
                "by_moment": self.by_moment,
                "timed": self.timed,
            },
            tensors=weights_of(self.model, "model.") | {_COUNT: self.count},
            files=files,
            data_hash=self.data_hash,
            seed=self.seed,
            parents=self.parents,
            fitted=self.fitted,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> SequenceArtifact:
        """The model of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=KIND, name="sequence model")


def _built(artifact: Artifact) -> SequenceArtifact:
    config, tensors = artifact.config, artifact.tensors
    ids = tuple(str(one) for one in json.loads(artifact.text(_IDS)))
    model = sequence_model(
        from_jsonable(config_type(str(config["model"])), config["config"]),
        len(ids),
        context_sizes=tuple(config["context_sizes"]),
    )
    load_weights(model, tensors, "model.")
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
        report=saved_report(artifact),
        files={name: data for name, data in artifact.files.items() if name not in _OWN_FILES},
        fitted=artifact.fitted,
    )


#: File in the artifact of a ranker of choices: how many visits it was trained on.
VISITS_FILE = "visits.json"
#: k of the retriever's recall.
_DEPTH = 50


def fit_task_retriever(
    task: NextBasket, model: HSTUConfig, fit: SequentialConfig, run: str | Path
) -> SequenceArtifact:
    """Train HSTU to predict what users take next, in the folder `run`, resumed where there is one.

    Unless `fit.train_on_validation`, the epoch of the best recall among 50 items stays, on the
    validation visits of `fit.validation_people`. Raises as `fit_sequential`.
    """
    sequences = sequences_of_task(task, split="task")
    made = seeded(fit.seed, lambda: HSTU(model, sequences.items, count=sequences.count))
    validate = None
    if not fit.train_on_validation:
        visits = some_visits(task, fit.validation_people, fit.seed)
        depth = min(_DEPTH, sequences.items)
        validate = visit_validation(made, task, visits, depth=depth, k=min(fit.k, depth))
    _fitted(made, sequences, fit, Path(run), validate)
    return SequenceArtifact.of(made, sequences, seed=fit.seed)


def fit_choice_ranker(
    task: NextBasket,
    model: HSTURankerConfig,
    fit: SequentialConfig,
    run: str | Path,
    *,
    draws: Draws | None = None,
) -> SequenceArtifact:
    """Train an HSTU ranker to tell what users take from drawn negatives (by default `Draws()`),
    in the folder `run`, resumed where there is one.

    Unless `fit.train_on_validation`, the epoch of the lowest log loss on the validation visits
    stays. The artifact is of an `HSTURanker` and has the number of training visits in visits.json.
    Raises as `fit_sequential`.
    """
    sequences, drawn = sequences_of_task(task, split="task"), draws or Draws()
    made = seeded(
        fit.seed,
        lambda: ChoiceRanker(model, sequences.items, draws=drawn, count=sequences.count),
    )
    validate = None
    if not fit.train_on_validation:
        visits = some_visits(task, fit.validation_people, fit.seed)
        validate = choice_validation(made, task, visits, seed=fit.seed)
    _fitted(made, sequences, fit, Path(run), validate)
    about = json.dumps({"visits": len(task.visits("train"))})
    return SequenceArtifact.of(
        made, sequences, seed=fit.seed, files={VISITS_FILE: about.encode("utf-8")}
    )


def _fitted(
    model: HSTU | ChoiceRanker,
    sequences: ItemSequences,
    fit: SequentialConfig,
    run: Path,
    validate: Validate | None,
) -> None:
    resume = (run / "config.json").exists()
    fit_sequential(model, sequences, fit, run, validate=validate, resume=resume)
