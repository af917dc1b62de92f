"""An exported sequential model says what the eager one says, at every length."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ConfigError, ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.training.sequential import artifact as module
from adwright.training.sequential.artifact import (
    OnnxSequence,
    SequenceArtifact,
    export_saved,
    export_sequence,
    ranker_inputs,
    retriever_inputs,
    sequence_program,
)
from tests.models.sequential.test_dense import (
    CODES,
    LATE,
    RANKER,
    RANKERS,
    RETRIEVERS,
    one_by_one,
    person,
    ranker,
    retriever,
)
from tests.support.models.sequence_checks import DATA, LONGEST

pytest.importorskip("onnxruntime")

# The padded networks of all options are compared with the eager ones in the tests of
# `models.dense_sequence`. A trace takes seconds, so few of them are traced here.
ALL = replace(RETRIEVERS["all and own"], blocks=2)
JUDGE = replace(RANKERS["all"], blocks=2)
LENGTHS = ([1], [2], [LONGEST], [3, 0, LONGEST, 1, 2])


def several(lengths: list[int]) -> SequenceBatch:
    """People with so many events each."""
    people = [person(length) for length in lengths]

    def joined(name: str) -> torch.Tensor:
        return torch.cat([getattr(one, name) for one in people])

    offsets = torch.tensor([0, *np.cumsum(lengths).tolist()])
    items = Jagged(torch.cat([one.items.values for one in people]), offsets)
    return SequenceBatch(
        items, *(joined(n) for n in ("target", "time", "next_time", "action", "context"))
    )


def tensors(inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def artifact_of(model: Any) -> SequenceArtifact:
    files = {"comparison.json": b"{}"}
    return SequenceArtifact(
        model,
        DATA.ids,
        DATA.count,
        name="walks",
        by_moment=True,
        data_hash="hash",
        seed=3,
        parents=("p",),
        files=files,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever and a ranker, exported to ONNX."""
    made = tmp_path_factory.mktemp("onnx")
    assert export_sequence(artifact_of(retriever(ALL)), made / "retriever") < 1e-5
    assert export_sequence(artifact_of(ranker(JUDGE)), made / "ranker") < 1e-5
    return made


def written_before(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What is exported next is the file of this folder: tracing and writing it takes seconds."""
    data = load_artifact(folder).files["model.onnx"]
    monkeypatch.setattr(module, "sequence_program", lambda *_, **__: None)
    monkeypatch.setattr(module, "onnx_bytes", lambda *_: data)


@pytest.mark.parametrize("name", ["plain", "sasrec, context, wide"])
def test_an_exported_retriever_says_the_same(name: str) -> None:
    model = retriever(RETRIEVERS[name])
    program = sequence_program(model).module()
    for lengths in LENGTHS:
        batch = several(lengths)
        with torch.no_grad():
            found = program(**tensors(retriever_inputs(model, batch)))
            torch.testing.assert_close(found, model.queries(batch), rtol=0, atol=1e-5)


def test_an_exported_ranker_says_the_same() -> None:
    model = ranker(RANKER)
    program = sequence_program(model).module()
    for events in (0, 1, 2, LONGEST - 1):
        for codes in (CODES, CODES[:1]):
            inputs = ranker_inputs(model, person(events), codes.numpy(), request_time=LATE)
            with torch.no_grad():
                found = program(**tensors(inputs))
            wanted = one_by_one(RANKER, person(events), codes)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_retriever_as_onnx(folder: Path) -> None:
    model, program = retriever(ALL), OnnxSequence.load(folder / "retriever")
    for lengths in LENGTHS:
        batch = several(lengths)
        with torch.no_grad():
            wanted = model.queries(batch)
            person_, codes, terms = model.own_terms(batch, wanted)
        inputs = retriever_inputs(model, batch)
        found = program(inputs)
        # Vectors of length 1, over a temperature of .05.
        np.testing.assert_allclose(found["query"] * 0.05, wanted * 0.05, rtol=0, atol=2e-6)
        added = np.zeros((len(batch), DATA.items + 1))
        np.add.at(added, (np.arange(len(batch))[:, None], inputs["items"]), found["own"])
        rightly = np.zeros_like(added)
        rightly[person_, codes] = terms
        np.testing.assert_allclose(added * 0.05, rightly * 0.05, rtol=0, atol=2e-6)
    assert program.outputs == ("query", "own")
    assert program.ids == DATA.ids
    assert program.vectors is not None
    assert np.array_equal(program.vectors, artifact_of(model).vectors)


def test_a_ranker_as_onnx(folder: Path) -> None:
    model, program = ranker(JUDGE), OnnxSequence.load(folder / "ranker")
    for events in (0, 1, 2, LONGEST - 1):
        for codes in (CODES, CODES[:1]):
            inputs = ranker_inputs(model, person(events), codes.numpy(), request_time=LATE)
            wanted = one_by_one(JUDGE, person(events), codes).numpy()
            np.testing.assert_allclose(program(inputs)["logit"], wanted, rtol=0, atol=1e-5)
    assert program.vectors is None
    assert {one["name"]: one["dimensions"] for one in program.signature} == {
        **{name: ["past"] for name in ("items", "actions", "time")},
        **{"candidates": ["candidates"], "request_time": [1], "context": [2]},
    }


def test_the_artifact_says_what_a_server_needs(folder: Path) -> None:
    saved = load_artifact(folder / "retriever", kind="sequence-onnx")
    assert set(saved.files) == {"model.onnx", "signature.json", "ids.json", "comparison.json"}
    assert (saved.data_hash, saved.seed, saved.parents) == ("hash", 3, ("p",))
    assert (saved.config["class"], saved.config["by_moment"]) == ("HSTU", True)
    told = json.loads(saved.text("signature.json"))["inputs"]
    assert {one["name"]: one["dimensions"] for one in told} == {
        **{name: ["people", "events"] for name in ("items", "time", "next_time")},
        **{"lengths": ["people"], "context": ["people", 2]},
    }


def test_a_wrong_export_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, model in (("retriever", retriever(ALL)), ("ranker", ranker(JUDGE))):
        written_before(monkeypatch, folder / name)
        with torch.no_grad():
            model.stack.layers[1].w1[0, 0] += 1  # type: ignore[index, operator]
        with pytest.raises(ArtifactError, match="differs from the model"):
            export_sequence(artifact_of(model), tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_only_what_the_model_reads_is_asked_for() -> None:
    one = person(4)
    names = {
        name: list(retriever_inputs(retriever(RETRIEVERS[name]), one))
        for name in ("plain", "last event", "no time", "sasrec", "context", "sasrec and own")
    }
    assert names == {
        "plain": ["items", "lengths", "time", "next_time"],
        "last event": ["items", "lengths", "time"],
        "no time": ["items", "lengths"],
        "sasrec": ["items", "lengths"],
        "context": ["items", "lengths", "time", "next_time", "context"],
        "sasrec and own": ["items", "lengths", "time", "next_time"],
    }
    untimed = retriever_inputs(retriever(RETRIEVERS["sasrec and own"]), one, timed=False)
    assert list(untimed) == ["items", "lengths"]
    without = replace(one, time=None, next_time=None, action=None, context=None)
    for name, column in (("plain", "time"), ("context", "context")):
        with pytest.raises(ValueInvalidError, match=column):
            retriever_inputs(
                retriever(RETRIEVERS[name]),
                replace(one, context=None) if name == "context" else without,
            )
    judge = ranker(RANKERS["plain"])
    with pytest.raises(ValueInvalidError, match="action"):
        ranker_inputs(judge, without, CODES.numpy(), request_time=LATE)
    with pytest.raises(ValueInvalidError, match="request_time"):
        ranker_inputs(judge, one, CODES.numpy())
    assert list(ranker_inputs(ranker(RANKERS["no time"]), one, CODES.numpy())) == [
        *("items", "actions", "candidates"),
    ]


def test_what_the_model_cannot_read_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="longer"):
        retriever_inputs(retriever(RETRIEVERS["plain"]), person(LONGEST + 1))
    judge = ranker(RANKERS["plain"])
    with pytest.raises(ValueInvalidError, match="no place"):
        ranker_inputs(judge, person(LONGEST), CODES.numpy(), request_time=LATE)
    with pytest.raises(ValueInvalidError, match="one user"):
        ranker_inputs(judge, several([2, 3]), CODES.numpy(), request_time=LATE)
    with pytest.raises(ConfigError, match="three"):
        sequence_program(retriever(replace(RETRIEVERS["plain"], max_length=2)))


def test_another_artifact_is_no_export(tmp_path: Path) -> None:
    save_artifact(tmp_path / "a", kind="sequence-onnx", config={})
    with pytest.raises(ArtifactError, match=r"no model\.onnx"):
        OnnxSequence.load(tmp_path / "a")
    artifact_of(retriever(RETRIEVERS["plain"])).save(tmp_path / "b")
    with pytest.raises(ArtifactError, match="sequence"):
        OnnxSequence.load(tmp_path / "b")


def test_whatever_was_saved_is_exported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_before(monkeypatch, folder / "retriever")
    artifact_of(retriever(ALL)).save(tmp_path / "model")
    file, difference = export_saved(tmp_path / "model", tmp_path / "out")
    assert file == tmp_path / "out" / "model.onnx"
    assert file.is_file()
    assert difference < 1e-5
    with pytest.raises(ArtifactError, match="nothing to export"):
        export_saved(tmp_path / "out", tmp_path / "again")
    with pytest.raises(ArtifactError, match="no artifact"):
        export_saved(tmp_path / "nowhere", tmp_path / "again")
