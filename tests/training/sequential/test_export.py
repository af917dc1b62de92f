"""An exported sequential model says what the eager one says, at every length."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ConfigError,
    ResourceError,
    ValueInvalidError,
)
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.report import EvaluationProtocol, Report
from adwright.models.sequential.hstu import HSTU, HSTUConfig, SASRec, SASRecConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.union import SequenceNetwork
from adwright.training.sequential import artifact as module
from adwright.training.sequential.artifact import (
    KIND,
    OnnxSequence,
    SequenceArtifact,
    export_saved,
    export_sequence,
    fit_task_retriever,
    ranker_inputs,
    retriever_inputs,
    sequence_program,
)
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.ranks import visit_validation
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
from tests.support.data.small_next_basket import small_task
from tests.support.models.sequence_checks import DATA, LONGEST, batch_of, shake

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
        *("items", "actions", "candidates")
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


SIZES: dict[str, Any] = {"width": 8, "max_length": LONGEST, "heads": 2, "context": True}
OWN: dict[str, Any] = {"popularity": True, "repeats": True}
WIDTHS: dict[str, Any] = {"qk_width": 3, "v_width": 4, "kernel": "bucketed"}
REPORT = Report(
    metrics={"ndcg@10": Interval(0.2, 0.1, 0.3)},
    protocol=EvaluationProtocol(split="last", k=(10,)),
    data_hash="x",
    seed=1,
    users=3,
    rows=3,
    draws=10,
)
NAMES = ["hstu", "sasrec", "hstu_ranker"]


def made(name: str) -> SequenceNetwork:
    torch.manual_seed(0)
    sizes = DATA.context_sizes
    model: SequenceNetwork
    if name == "hstu":
        config = HSTUConfig(**SIZES, **WIDTHS)
        model = HSTU(config, DATA.items, count=DATA.count, context_sizes=sizes)
    elif name == "sasrec":
        model = SASRec(
            SASRecConfig(**SIZES, **OWN), DATA.items, count=DATA.count, context_sizes=sizes
        )
    else:
        tasks = (("followed", (2,)), ("known", (1, 2)))
        ranker = HSTURankerConfig(**SIZES, **WIDTHS, actions=3, tasks=tasks)
        model = HSTURanker(ranker, DATA.items, context_sizes=sizes)
    shake(model)
    return model.eval()


def artifact_artifact_of(name: str) -> SequenceArtifact:
    return SequenceArtifact.of(
        made(name),
        DATA,
        seed=7,
        parents=("a", "b"),
        report=REPORT,
        files={"comparison.json": b"{}"},
    )


def said(model: SequenceNetwork) -> torch.Tensor:
    batch = batch_of([0, 1, 2])
    with torch.no_grad():
        if isinstance(model, HSTURanker):
            return model.logits(batch)[0]
        queries = model.queries(batch)
        return torch.cat([queries.flatten(), model.own_terms(batch, queries)[2]])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_comes_back(name: str, tmp_path: Path, clock: FixedClock) -> None:
    artifact = artifact_artifact_of(name)
    identity = artifact.save(tmp_path / "one", clock=clock)
    state = torch.get_rng_state()
    again = SequenceArtifact.load(tmp_path / "one")
    assert torch.equal(state, torch.get_rng_state())
    assert load_artifact(tmp_path / "one", kind=KIND).id == identity
    assert type(again.model) is type(artifact.model)
    assert again.model.config == artifact.model.config
    assert not again.model.training
    assert all(p.requires_grad for p in again.model.parameters())
    assert torch.equal(said(again.model), said(artifact.model))
    assert np.array_equal(again.count, DATA.count)
    assert (again.ids, again.name, again.data_hash) == (DATA.ids, DATA.name, DATA.data_hash)
    assert (again.seed, again.parents, again.report) == (7, ("a", "b"), REPORT)
    assert again.files == {"comparison.json": b"{}"}
    assert again.context_sizes == DATA.context_sizes
    assert not again.by_moment
    # What was loaded can be saved again, byte for byte.
    again.save(tmp_path / "two", clock=clock)
    assert load_artifact(tmp_path / "two").id == identity


@pytest.mark.parametrize("name", ["hstu", "sasrec"])
def test_vectors_are_those_of_the_model(name: str) -> None:
    artifact = artifact_artifact_of(name)
    with torch.no_grad():
        wanted = artifact.model.item_vectors(torch.arange(1, DATA.items + 1)).numpy()  # type: ignore[operator, union-attr]
    assert artifact.vectors.dtype == np.float32
    assert np.array_equal(artifact.vectors[1:], wanted)
    assert not artifact.vectors[0].any()
    np.testing.assert_allclose(np.linalg.norm(artifact.vectors[1:, :8], axis=1), 1, rtol=1e-5)
    assert artifact.vectors.shape[1] == (9 if name == "sasrec" else 8)


def test_a_ranker_has_no_vectors() -> None:
    with pytest.raises(ConfigError, match="no item vectors"):
        _ = artifact_artifact_of("hstu_ranker").vectors


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    artifact = artifact_artifact_of("sasrec")
    artifact.save(tmp_path / "one")
    with pytest.raises(ResourceError):
        artifact.save(tmp_path / "one")
    replace(artifact, seed=8, report=None).save(tmp_path / "one", overwrite=True)
    again = SequenceArtifact.load(tmp_path / "one")
    assert (again.seed, again.report) == (8, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ids": DATA.ids[:-1]},
        {"ids": (*DATA.ids[:-1], DATA.ids[0])},
        {"count": DATA.count[:-1]},
        {"count": DATA.count[None]},
    ],
)
def test_ids_and_counts_are_those_of_the_model(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueInvalidError):
        replace(artifact_artifact_of("hstu"), **wrong)


def test_what_is_no_sequential_model_is_refused(tmp_path: Path) -> None:
    artifact_artifact_of("hstu").save(tmp_path / "one")
    good = load_artifact(tmp_path / "one")
    with (tmp_path / "one" / "ids.json").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ArtifactCorruptError):
        SequenceArtifact.load(tmp_path / "one")
    save_artifact(tmp_path / "other", kind="ranker", config={})
    with pytest.raises(ArtifactError, match="ranker"):
        SequenceArtifact.load(tmp_path / "other")
    with pytest.raises(ArtifactError, match="no artifact"):
        SequenceArtifact.load(tmp_path / "nowhere")
    refused(tmp_path / "a", good, config=good.config | {"model": "gru4rec"})
    refused(tmp_path / "b", good, config=good.config | {"model": "sasrec"})
    refused(tmp_path / "c", good, config=good.config | {"context_sizes": [4]})
    refused(tmp_path / "d", good, config={k: v for k, v in good.config.items() if k != "name"})
    refused(tmp_path / "e", good, config=good.config | {"config": {"widht": 8}})
    refused(tmp_path / "f", good, files={})
    refused(tmp_path / "g", good, files={"ids.json": b'["a", "b"]'})
    refused(tmp_path / "h", good, files=good.files | {"report.json": b"{}"})
    refused(tmp_path / "i", good, tensors={"count": good.tensors["count"]})
    odd = np.zeros(3, np.float32)
    refused(tmp_path / "j", good, tensors=good.tensors | {"model.odd": odd})
    refused(tmp_path / "k", good, tensors=good.tensors | {"count": odd})


def refused(folder: Path, good: Artifact, **other: Any) -> None:
    """An artifact with right hashes that another version may have written."""
    parts: dict[str, Any] = {"config": good.config, "tensors": good.tensors, "files": good.files}
    save_artifact(folder, kind=KIND, **(parts | other))
    with pytest.raises(ArtifactError) as found:
        SequenceArtifact.load(folder)
    assert str(folder) in str(found.value)


TASK = small_task(people=16, days=12)
FIT = SequentialConfig(epochs=2, batch=8, learning_rate=0.01)
RETRIEVER = HSTUConfig(width=8, max_length=40, qk_width=4, v_width=4, kernel="bucketed")


def records(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_a_retriever_of_the_task(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    found = fit_task_retriever(TASK, RETRIEVER, FIT, tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert isinstance(found.model, HSTU)
    assert found.by_moment
    assert found.ids == TASK.items.ids
    assert np.array_equal(found.count, TASK.count)
    line = records(tmp_path / "run")
    assert [one["epoch"] for one in line] == [1, 2]
    measure = visit_validation(found.model, TASK, TASK.visits("valid"), depth=12)
    assert measure()[0] == max(one["valid_recall@12"] for one in line)
    again = fit_task_retriever(TASK, RETRIEVER, FIT, tmp_path / "run")
    assert np.array_equal(again.vectors, found.vectors)
    other = fit_task_retriever(TASK, RETRIEVER, replace(FIT, seed=1), tmp_path / "other")
    assert not np.array_equal(other.vectors, found.vectors)
    assert other.seed == 1
