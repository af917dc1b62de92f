"""The artifact of a sequential model: what is saved comes back, what does not fit is refused."""

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
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.report import EvaluationProtocol, Report
from adwright.models.sequential.hstu import HSTU, HSTUConfig, SASRec, SASRecConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.union import SequenceNetwork
from adwright.training.sequential.artifact import (
    KIND,
    SequenceArtifact,
    fit_task_retriever,
)
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.ranks import visit_validation
from tests.support.data.small_next_basket import small_task
from tests.support.models.sequence_checks import DATA, LONGEST, batch_of, shake

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


def artifact_of(name: str) -> SequenceArtifact:
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
    artifact = artifact_of(name)
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
    artifact = artifact_of(name)
    with torch.no_grad():
        wanted = artifact.model.item_vectors(torch.arange(1, DATA.items + 1)).numpy()  # type: ignore[operator, union-attr]
    assert artifact.vectors.dtype == np.float32
    assert np.array_equal(artifact.vectors[1:], wanted)
    assert not artifact.vectors[0].any()
    np.testing.assert_allclose(np.linalg.norm(artifact.vectors[1:, :8], axis=1), 1, rtol=1e-5)
    assert artifact.vectors.shape[1] == (9 if name == "sasrec" else 8)


def test_a_ranker_has_no_vectors() -> None:
    with pytest.raises(ConfigError, match="no item vectors"):
        _ = artifact_of("hstu_ranker").vectors


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    artifact = artifact_of("sasrec")
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
        replace(artifact_of("hstu"), **wrong)


def test_what_is_no_sequential_model_is_refused(tmp_path: Path) -> None:
    artifact_of("hstu").save(tmp_path / "one")
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
