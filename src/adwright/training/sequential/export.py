"""Export a sequence model for other runtimes: torch.export and ONNX.

The exported network takes item codes, not ids; the artifact carries what they stand for.

    model.onnx           inputs as in signature.json; outputs `query` [U, D] of a retriever and,
                         with `repeats`, `own` [U, L]; `logit` [m, K] of a ranker
    signature.json       each input's name, type and dimensions
    ids.json             what the item codes 1 to N stand for, in that order
    tensors.safetensors  `vectors` [N + 1, D] of a retriever's items
    ...                  report.json and further files of the model

The score of an item is query times vector, and `own` is added to the scores of the items in the
history, per place. Sequences are oldest first and padded at their end. Times are whole
seconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.atomic import check_free
from adwright.core.config import to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential.dense import inputs_read
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.mfalcon import Falcon
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.models.sequential.union import SequenceNetwork, dense_network
from adwright.training.model_artifacts import OnnxProgram, onnx_bytes, require_close
from adwright.training.ranking.export import export_onnx
from adwright.training.ranking.ranker import Ranker
from adwright.training.sequential.artifact import SequenceArtifact

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
