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
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.artifacts import Artifact, Fitted, load_artifact, save_artifact
from adwright.core.atomic import check_free
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.item_sequences import ItemSequences, SequenceBatch
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.reports.report import Report
from adwright.models.sequential.choice_ranker import ChoiceRanker
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import Falcon
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.models.sequential.union import (
    SequenceNetwork,
    config_type,
    dense_network,
    inputs_read,
    sequence_model,
)
from adwright.training.model_artifacts import (
    REPORT,
    OnnxProgram,
    load_trained,
    load_weights,
    onnx_bytes,
    require_close,
    saved_report,
    weights_of,
)
from adwright.training.ranking.ranker import Ranker, export_onnx
from adwright.training.search import seeded
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


# --------------------------------------------------------------------------------------------------
# Export a sequence model for other runtimes: torch.export and ONNX.
#
# The exported network takes item codes, not ids; the artifact carries what they stand for.
#
#     model.onnx           inputs as in signature.json; outputs `query` [U, D] of a retriever and,
#                          with `repeats`, `own` [U, L]; `logit` [m, K] of a ranker
#     signature.json       each input's name, type and dimensions
#     ids.json             what the item codes 1 to N stand for, in that order
#     tensors.safetensors  `vectors` [N + 1, D] of a retriever's items
#     ...                  report.json and further files of the model
#
# The score of an item is query times vector, and `own` is added to the scores of the items in the
# history, per place. Sequences are oldest first and padded at their end. Times are whole
# seconds since 1970.

ONNX_KIND = "sequence-onnx"
Arrays = dict[str, NDArray[Any]]

_FILE = "model.onnx"
#: Request time of the examples, and the longest history that the check reads.
_NOW = 1_700_000_000
_LONG = 512
#: Words for the dimensions of the inputs that are open, of a retriever and of a ranker.
_RETRIEVER = {
    **dict.fromkeys(("items", "time", "next_time"), ("people", "events")),
    **dict.fromkeys(("lengths", "context"), ("people", "")),
}
_RANKER = {
    **dict.fromkeys(("items", "actions", "time"), ("past",)),
    **{"candidates": ("candidates",), "request_time": ("",), "context": ("",)},
}


def retriever_inputs(model: SequenceModel, batch: SequenceBatch, *, timed: bool = True) -> Arrays:
    """Make the tensors for U users, by the names of the inputs that the model reads.

    batch: for example of `SequenceBatch.serving`. timed: whether the sequences that the model was
    trained on have times. Returns items [U, L] and lengths [U], and as far as the model reads
    them time and next_time [U, L], context [U, F].
    Raises ValueInvalidError for a sequence that is too long, or without what the model reads.
    """
    model.input.places(batch)
    found: dict[str, Tensor] = {}
    for name in inputs_read(model, timed=timed):
        match name:
            case "items":
                found[name] = batch.items.to_padded()[0]
            case "lengths":
                found[name] = batch.items.lengths
            case "context":
                found[name] = _there(batch.context, name)
            case _:
                value = _there(getattr(batch, name), name)
                found[name] = Jagged(value, batch.items.offsets).to_padded()[0]
    return {name: value.numpy() for name, value in found.items()}


def ranker_inputs(
    model: HSTURanker,
    person: SequenceBatch,
    candidates: NDArray[np.int64],
    *,
    request_time: int | None = None,
) -> Arrays:
    """Make the tensors for m candidates of one user, by the names of the inputs.

    person: a batch of one, with its actions. candidates: int64 [m] item codes. request_time:
    seconds; needed where the model reads times.
    Returns items, actions [n] and candidates [m], and as far as the model reads them time [n],
    request_time [1], context [F].
    Raises ValueInvalidError for more than one user, a history that leaves no place for a
    candidate, or without what the model reads.
    """
    if len(person) != 1:
        raise ValueInvalidError("candidates are scored for one user", value=len(person))
    if len(person.items.values) >= model.config.max_length:
        raise ValueInvalidError(
            "the history leaves no place for a candidate",
            value=f"{len(person.items.values)} events, max_length {model.config.max_length}",
            hint="cut it to the latest max_length - 1 events",
        )
    found = {
        "items": person.items.values,
        "actions": _there(person.action, "action"),
        "candidates": torch.from_numpy(candidates),
    }
    if model.config.time:
        now = None if request_time is None else torch.tensor([request_time])
        found["time"] = _there(person.time, "time")
        found["request_time"] = _there(now, "request_time")
    if model.config.context:
        found["context"] = _there(person.context, "context")[0]
    return {name: value.numpy() for name, value in found.items()}


def sequence_program(model: SequenceNetwork, *, timed: bool = True) -> torch.export.ExportedProgram:
    """The padded network as a torch.export program, its dimensions left open.

    Call it by the names of its inputs: `program.module()(**inputs)` with tensors as
    `retriever_inputs` or `ranker_inputs` give them as arrays. A retriever returns vectors [U, D],
    with `repeats` also what that adds [U, L], see `DenseRetriever`; a ranker returns logits [m, K].
    `torch.export.save` writes the program to a .pt2 file; that is an archive which an artifact does
    not hold, so its loader has to trust it. Raises ConfigError for a model that reads fewer than
    three events, and as `dense_network`.
    """
    longest = model.config.max_length
    if longest < 3:
        raise ConfigError(
            "a model that reads fewer than three events has no open dimension to export",
            where=f"max_length {longest}",
        )
    dense = dense_network(model, timed=timed)
    inputs, words = _example(model, 2, timed), _words(model)
    limits = {"past": (0, longest - 1), "events": (1, longest)}
    dimensions: dict[str, Any] = {}
    for word in sorted({word for name in inputs for word in words[name] if word}):
        least, most = limits.get(word, (1, None))
        dimensions[word] = torch.export.Dim(word, min=least, max=most)
    shapes = {
        name: {at: dimensions[word] for at, word in enumerate(words[name]) if word}
        for name in inputs
    }
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.no_grad():
        return torch.export.export(dense, (), kwargs=tensors, dynamic_shapes=shapes, strict=False)


def export_sequence(
    artifact: SequenceArtifact, folder: str | Path, *, overwrite: bool = False
) -> float:
    """Write the model as an artifact of kind "sequence-onnx", and check it against the model.

    Returns the largest difference between the ONNX file and the model over a few lengths, at most
    1e-5: of probabilities, or of vectors and terms times the temperature, that is, of cosines.
    Raises MissingExtraError without the extra `export`, ArtifactError where the runtime gives
    other numbers than the model (nothing is written), ConfigError as `sequence_program`,
    ResourceError where the folder exists (without `overwrite`) or the disk is full.
    """
    model, timed = artifact.model, artifact.timed
    check_free(Path(folder), overwrite=overwrite)
    names = tuple(_example(model, 2, timed))
    data = onnx_bytes(sequence_program(model, timed=timed), names, _outputs(model))
    program = OnnxProgram(data, _words(model))
    difference = _largest_difference(model, program, timed)
    require_close(difference, folder)
    ranks = isinstance(model, HSTURanker)
    files: dict[str, bytes | str] = {
        **artifact.files,
        _FILE: data,
        "signature.json": json.dumps({"inputs": program.signature}, indent=1),
        "ids.json": json.dumps(artifact.ids),
    }
    if artifact.report is not None:
        files["report.json"] = artifact.report.to_json()
    save_artifact(
        folder,
        kind=ONNX_KIND,
        config={
            "class": type(model).__name__,
            "model": to_jsonable(model.config),
            "name": artifact.name,
            "by_moment": artifact.by_moment,
            "outputs": list(_outputs(model)),
        },
        tensors={} if ranks else {"vectors": artifact.vectors},
        files=files,
        data_hash=artifact.data_hash,
        seed=artifact.seed,
        parents=artifact.parents,
        overwrite=overwrite,
    )
    return difference


def export_saved(
    source: str | Path, folder: str | Path, *, overwrite: bool = False
) -> tuple[Path, float]:
    """Export a saved ranker or sequential model, whichever the artifact `source` holds; returns
    the ONNX file and the largest difference.

    Raises ArtifactError for an artifact of another kind, and as `export_onnx` and
    `export_sequence`.
    """
    match load_artifact(source).kind:
        case "ranker":
            difference = export_onnx(Ranker.load(source), folder, overwrite=overwrite)
            return Path(folder) / "scorer.onnx", difference
        case "sequence":
            artifact = SequenceArtifact.load(source)
            return Path(folder) / _FILE, export_sequence(artifact, folder, overwrite=overwrite)
        case other:
            raise ArtifactError(
                f"an artifact of kind {other!r} has nothing to export",
                where=str(source),
                hint="pass the folder of a saved ranker or sequence model",
            )


class OnnxSequence:
    """An exported sequence model in memory, run by onnxruntime; needs the extra `export`.

    ids: what the item codes 1 to N stand for. vectors: float32 [N + 1, D] of a retriever's items,
    None of a ranker. outputs: their names. signature: of the inputs.
    """

    def __init__(
        self,
        data: bytes,
        ids: Sequence[str],
        outputs: Sequence[str],
        vectors: NDArray[np.float32] | None = None,
    ) -> None:
        self.ids, self.outputs, self.vectors = tuple(ids), tuple(outputs), vectors
        self._program = OnnxProgram(data, _RANKER if vectors is None else _RETRIEVER)
        self.signature = self._program.signature

    @classmethod
    def load(cls, folder: str | Path) -> OnnxSequence:
        """Load what `export_sequence` wrote, after checking its bytes."""
        artifact = load_artifact(folder, kind=ONNX_KIND)
        if _FILE not in artifact.files:
            raise ArtifactError(
                f"the artifact holds no {_FILE}", where=str(folder), hint="export it again"
            )
        ids = json.loads(artifact.text("ids.json"))
        data, outputs = artifact.files[_FILE], artifact.config["outputs"]
        return cls(data, ids, outputs, artifact.tensors.get("vectors"))

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """The outputs by name: `query` and perhaps `own` for `retriever_inputs`, `logit` for
        `ranker_inputs`."""
        return dict(zip(self.outputs, self._program(inputs), strict=True))


def _outputs(model: SequenceNetwork) -> tuple[str, ...]:
    if isinstance(model, HSTURanker):
        return ("logit",)
    return ("query",) if model.repeats is None else ("query", "own")


def _words(model: SequenceNetwork) -> Mapping[str, tuple[str, ...]]:
    return _RANKER if isinstance(model, HSTURanker) else _RETRIEVER


def _person(model: SequenceNetwork, events: int) -> SequenceBatch:
    """An example user with so many events, 1e6 seconds apart; items repeat."""
    items = min(model.input.item.num_embeddings - 1, 50)
    actions = model.config.actions if isinstance(model, HSTURanker) else 1
    place = torch.arange(events)
    return SequenceBatch.serving(
        Jagged(1 + place % items, torch.tensor([0, events])),
        time=_NOW - 10**6 * (events - place),
        request_time=torch.tensor([_NOW]),
        action=place % actions,
        context=torch.zeros(1, len(model.input.context), dtype=torch.int64),
    )


def _example(model: SequenceNetwork, events: int, timed: bool) -> Arrays:
    """Inputs of the right types; a trace does not depend on their values."""
    person = _person(model, events)
    if isinstance(model, HSTURanker):
        codes = np.arange(3) % model.input.item.num_embeddings
        return ranker_inputs(model, person, codes, request_time=_NOW)
    found = retriever_inputs(model, person, timed=timed)
    return {name: np.concatenate([value, value]) for name, value in found.items()}


def _largest_difference(model: SequenceNetwork, program: OnnxProgram, timed: bool) -> float:
    """Largest difference of the outputs after histories of several lengths."""
    longest = min(model.config.max_length, _LONG)
    largest = 0.0
    for events in (0, 1, 2, longest - 1, longest):
        if isinstance(model, HSTURanker) and events == model.config.max_length:
            continue
        found = program(_example(model, events, timed))
        for one, other in zip(found, _expected(model, events, timed), strict=True):
            # An empty array differs by 0.
            largest = max(largest, float(np.abs(_level(model, one) - other).max(initial=0)))
    return largest


def _expected(model: SequenceNetwork, events: int, timed: bool) -> list[NDArray[np.float32]]:
    """The outputs of the model itself for the users of `_example`."""
    person = _person(model, events)
    if isinstance(model, HSTURanker):
        codes = torch.from_numpy(_example(model, events, timed)["candidates"])
        logits = Falcon(model, capacity=0).score(person, codes, request_time=_NOW)
        return [_level(model, logits.numpy())]
    if not timed:
        person = replace(person, time=None, next_time=None)
    with torch.inference_mode():
        queries = model.queries(person)
        found = [queries]
        if model.repeats is not None:
            _, codes, terms = model.own_terms(person, queries)
            # An item's term stands at its last place.
            place = torch.zeros(model.input.item.num_embeddings, dtype=torch.int64)
            place.scatter_reduce_(0, person.items.values, torch.arange(events), "amax")
            found.append(torch.zeros(max(events, 1)).index_put((place[codes],), terms))
    return [_level(model, one.numpy()) for one in found]


def _level(model: SequenceNetwork, found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale outputs to about 1: probabilities, or vectors of length 1."""
    if isinstance(model, HSTURanker):
        return np.asarray(1 / (1 + np.exp(-found)), np.float32)
    return found * np.float32(model.config.loss.temperature)


def _there(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise ValueInvalidError(
            "the model reads what the sequences do not have", column=name, hint=f"pass {name}"
        )
    return value
