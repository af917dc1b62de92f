from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.artifacts import load_artifact
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    MissingExtraError,
    ResourceError,
    ValueInvalidError,
)
from adwright.data.tasks.task import Task
from adwright.models.calibration import PlattCalibrator
from adwright.training.ranking import ranker as export
from adwright.training.ranking.ranker import (
    OnnxScorer,
    Ranker,
    export_onnx,
    export_program,
    scorer_inputs,
)
from tests.support.data.ranking_task import HSTU, ITEMS, MODEL, shop_task, untrained
from tests.training.conftest import build_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    return shop_task(folder / "task", users=8)


@pytest.fixture(scope="module")
def ranker(task: Task) -> Ranker:
    torch.manual_seed(1)
    model = untrained(task, replace(MODEL, attention_activation="dice"))
    return Ranker(
        model, task.spec, task.items, calibrator=PlattCalibrator(0.8, 0.1), negative_rate=0.2
    )


@pytest.fixture(scope="module")
def visit(task: Task) -> pl.DataFrame:
    rows = task.rows("test").collect()
    return rows.filter(request_id=rows["request_id"][-1])


@pytest.fixture(scope="module")
def events(task: Task) -> pl.DataFrame:
    return pl.read_parquet(task.events_path("test"))


@pytest.fixture(scope="module")
def scorer(ranker: Ranker, folder: Path) -> OnnxScorer:
    assert export_onnx(ranker, folder / "scorer") < 1e-5
    return OnnxScorer.load(folder / "scorer")


def test_the_mean_of_din_and_its_base_model_is_one_network(
    task: Task, folder: Path, visit: pl.DataFrame, events: pl.DataFrame
) -> None:
    """For export, new items and explanations, too; with softmax, as small tasks have it."""
    torch.manual_seed(1)
    model = untrained(task, replace(MODEL, base_share=0.5, weight="softmax"))
    ranker = Ranker(model, task.spec, task.items)
    assert export_onnx(ranker, folder / "both") < 1e-5
    scorer = OnnxScorer.load(folder / "both")
    for ads in (1, len(visit)):
        found = scorer(scorer_inputs(ranker, visit[:ads], events))[1]
        expected = ranker.score_rows(visit[:ads], events)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    new = ITEMS.head(1).with_columns(item_id=pl.lit("new"))
    wider = ranker.with_items(new)
    assert np.array_equal(wider.score_rows(visit, events), expected)
    assert wider.explain(events.filter(user_id=events["user_id"][0]), "new").height > 0


def of_length(visit: pl.DataFrame, events: pl.DataFrame, length: int) -> pl.DataFrame:
    """The most recent past events of the visit's person."""
    mine = events.filter(
        pl.col("user_id") == visit["user_id"][0], pl.col("time") < visit["time"][0]
    )
    return mine.sort("time").tail(length)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("ads", [1, 8])
def test_onnx_gives_the_rankers_numbers(
    ranker: Ranker,
    scorer: OnnxScorer,
    visit: pl.DataFrame,
    events: pl.DataFrame,
    length: int,
    ads: int,
) -> None:
    past, rows = of_length(visit, events, length), visit[:ads]
    logits, probability = scorer(scorer_inputs(ranker, rows, past))
    np.testing.assert_allclose(probability, ranker.score_rows(rows, past), atol=1e-5)
    np.testing.assert_allclose(ranker.calibrated(logits), probability, atol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 7])
def test_torch_export_gives_the_rankers_numbers(
    ranker: Ranker, visit: pl.DataFrame, events: pl.DataFrame, length: int
) -> None:
    module = export_program(ranker).module()
    past = of_length(visit, events, length)
    inputs = scorer_inputs(ranker, visit, past)
    with torch.no_grad():
        _, probability = module(*(torch.from_numpy(part) for part in inputs.values()))
    np.testing.assert_allclose(probability.numpy(), ranker.score_rows(visit, past), atol=1e-5)


def test_another_network_is_refused(task: Task, tmp_path: Path) -> None:
    hstu = Ranker(untrained(task, HSTU), task.spec, task.items)
    with pytest.raises(ConfigError, match="only DIN"):
        export_program(hstu)
    with pytest.raises(ConfigError, match="only DIN"):
        export_onnx(hstu, tmp_path / "scorer")
    assert not (tmp_path / "scorer").exists()


def test_inputs_follow_the_rows(ranker: Ranker, visit: pl.DataFrame, events: pl.DataFrame) -> None:
    inputs = scorer_inputs(ranker, visit, events)
    turned = scorer_inputs(ranker, visit.reverse(), events)
    assert np.array_equal(inputs["item"], ranker.items.rows(visit.to_arrow()["item_id"]))
    for name in ("item", "codes", "numeric", "lists"):
        assert np.array_equal(turned[name], inputs[name][::-1])
    seen = visit["visible"][0]
    assert inputs["count"].sum() == seen
    short = replace(ranker, max_history=2)
    assert scorer_inputs(short, visit, events)["count"].sum() == 2
    with pytest.raises(ValueInvalidError, match="one user"):
        scorer_inputs(ranker, pl.concat([visit, visit.with_columns(user_id=pl.lit("u0"))]), events)


def test_the_artifact_says_what_a_server_needs(
    ranker: Ranker, scorer: OnnxScorer, folder: Path
) -> None:
    saved = load_artifact(folder / "scorer", kind="scorer")
    assert set(saved.files) == {"scorer.onnx", "signature.json", "items.parquet"}
    told = json.loads(saved.text("signature.json"))["inputs"]
    assert {one["name"]: one["dimensions"] for one in told} == {
        "item": ["ads"],
        "history": ["past"],
        "count": ["past"],
        "codes": ["ads", 2],
        "lists": ["ads", 0, 1],
        "numeric": ["ads", 3],
    }
    assert saved.feature_spec is not None


def test_what_is_there_is_not_replaced_and_that_is_said_before_any_work(
    ranker: Ranker, scorer: OnnxScorer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(export, "export_program")
    with pytest.raises(ResourceError, match="exists"):
        export_onnx(ranker, folder / "scorer")


def test_lists_of_codes_are_exported_too(tmp_path: Path) -> None:
    task = build_task(tmp_path / "task")
    assert task.spec.multi_rows
    torch.manual_seed(2)
    ranker = Ranker(untrained(task), task.spec, task.items)
    assert export_onnx(ranker, tmp_path / "scorer") < 1e-5
    scorer = OnnxScorer.load(tmp_path / "scorer")
    assert ["ads", 1, "longest"] in [one["dimensions"] for one in scorer.signature]
    events = pl.read_parquet(task.events_path("test"))
    rows = task.rows("test").collect()
    for user in rows["user_id"].unique().sort()[:4]:
        mine = rows.filter(user_id=user).drop("time")
        _, probability = scorer(scorer_inputs(ranker, mine, events))
        np.testing.assert_allclose(probability, ranker.score_rows(mine, events), atol=1e-5)


def test_a_wrong_export_is_not_written(
    ranker: Ranker,
    scorer: OnnxScorer,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = load_artifact(folder / "scorer").files["scorer.onnx"]
    monkeypatch.setattr(export, "export_program", lambda _: None)
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: right)
    with pytest.raises(ArtifactError, match="differs from the model"):
        export_onnx(replace(ranker, negative_rate=0.3), tmp_path / "scorer")
    assert not (tmp_path / "scorer").exists()


def test_missing_packages_are_named(
    ranker: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name in ("onnx", "onnxruntime"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"adwright\[export\]"):
        export_onnx(ranker, tmp_path / "scorer")
    with pytest.raises(MissingExtraError, match=r"adwright\[export\]"):
        OnnxScorer(b"")
