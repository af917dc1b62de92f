"""?"""

from __future__ import annotations

import builtins
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from adwright.core.artifacts import load_artifact
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    MissingExtraError,
    ResourceError,
    ValueInvalidError,
)
from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.calibration import PlattCalibrator
from adwright.models.ranking.din import DIN
from adwright.training.loop.distributed import row_sums
from adwright.training.ranking import ranker as export
from adwright.training.ranking.fit import open_stream
from adwright.training.ranking.frames import Occurrence, training_counts
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


def brute_force_events(
    task: Task, rate: float, max_history: int
) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """Weighted occurrences of each value of each row feature, and of each item, by loops."""
    rows = task.rows("train").collect().to_dicts()
    histories: dict[str, list[str]] = defaultdict(list)
    for event in pl.read_parquet(task.events_path("train")).iter_rows(named=True):
        histories[event["user_id"]].append(event["item_id"])
    seen: dict[str, set[int]] = defaultdict(set)
    values: dict[str, Counter[str]] = defaultdict(Counter)
    items: Counter[str] = Counter()
    for row in rows:
        weight = 1.0 if row["label"] == 1 else rate
        items[row["item_id"]] += weight
        for name in ("user_id", "store"):
            values[name][row[name]] += weight
        for value in row["shelves"]:
            values["shelves"][value] += weight
        first = max(row["visible"] - max_history, 0) if max_history else 0
        seen[row["user_id"]] |= set(range(first, row["visible"]))
    for user, places in seen.items():
        # From the first to the last that a row sees.
        for place in range(min(places, default=0), max(places, default=-1) + 1):
            items[histories[user][place]] += 1
    return values, items


@pytest.mark.parametrize(("rate", "max_history"), [(1.0, 0), (0.25, 0), (1.0, 3)])
def test_counts_of_events_equal_brute_force(
    task: Task, make_din: Callable[..., DIN], rate: float, max_history: int
) -> None:
    model = make_din(task)
    counts = training_counts(model, task, rate, max_history=max_history, occurrence="events")
    values, items = brute_force_events(task, rate, max_history)
    features = {feature.name: feature for feature in task.spec.features}
    for name, part in zip(model.row.names, model.row.tables, strict=True):
        expected = [0.0, *(values[name][v] for v in features[name].vocabulary)]
        assert isinstance(part, nn.Embedding)
        assert torch.allclose(counts[part.weight], torch.tensor(expected))
    catalogue = {row["item_id"]: row for row in task.items.to_dicts()}
    names = [*model.item.names, *model.item.multi_names]
    for name, part in zip(names, model.item.tables, strict=True):
        tally: Counter[str] = Counter()
        for item, number in items.items():
            value = catalogue[item][name]
            for one in value if isinstance(value, list) else [value]:
                tally[one] += number
        expected = [0.0, *(tally[v] for v in features[name].vocabulary)]
        assert isinstance(part, nn.Embedding)
        assert torch.allclose(counts[part.weight], torch.tensor(expected)), name


def brute_force_rows(task: Task, rate: float, max_history: int) -> dict[str, Counter[str]]:
    """Equation 4 by loops: per feature and value, the weight of the rows that have the value."""
    catalogue = {row["item_id"]: row for row in task.items.to_dicts()}
    histories: dict[str, list[str]] = defaultdict(list)
    for event in pl.read_parquet(task.events_path("train")).iter_rows(named=True):
        histories[event["user_id"]].append(event["item_id"])
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for row in task.rows("train").collect().to_dicts():
        weight = 1.0 if row["label"] == 1 else rate
        first = max(row["visible"] - max_history, 0) if max_history else 0
        seen = histories[row["user_id"]][first : row["visible"]]
        has: dict[str, set[str]] = {name: {row[name]} for name in ("user_id", "store")}
        has["shelves"] = set(row["shelves"])
        for name in ("item_id", "type"):
            has[name] = {catalogue[item][name] for item in (row["item_id"], *seen)}
        tags = (catalogue[item]["tags"] for item in (row["item_id"], *seen))
        has["tags"] = {tag for some in tags for tag in some}
        for name, some in has.items():
            values[name].update(dict.fromkeys(some, weight))
    return values


@pytest.mark.parametrize(("rate", "max_history"), [(1.0, 0), (0.25, 0), (1.0, 3), (0.5, 1)])
def test_counts_of_rows_equal_brute_force(
    task: Task, make_din: Callable[..., DIN], rate: float, max_history: int
) -> None:
    model = make_din(task)
    counts = training_counts(model, task, rate, max_history=max_history)
    values = brute_force_rows(task, rate, max_history)
    features = {feature.name: feature for feature in task.spec.features}
    names = [*model.item.names, *model.item.multi_names, *model.row.names]
    assert set(names) == set(values)
    for name, part in zip(names, [*model.item.tables, *model.row.tables], strict=True):
        expected = [0.0, *(values[name][v] for v in features[name].vocabulary)]
        assert isinstance(part, nn.Embedding)
        assert torch.allclose(counts[part.weight], torch.tensor(expected)), name


def test_an_epoch_decays_a_row_by_lambda_at_most_where_rows_are_counted(
    task: Task, make_din: Callable[..., DIN]
) -> None:
    """The sum of alpha_mj / n_j over the batches m of an epoch; small batches of many users."""
    model = make_din(task)
    table = model.item.tables[0].weight
    kinds: tuple[Occurrence, ...] = ("rows", "events")
    counts = [training_counts(model, task, occurrence=kind)[table] for kind in kinds]  # type: ignore[index]
    by_rows, by_events = decays = [torch.zeros(len(each)) for each in counts]
    stream = StreamConfig(groups_per_batch=3, rows_per_group=2)
    for batch, _ in open_stream(task, "train", stream).epoch():
        model.zero_grad()
        model.loss(batch).backward()
        rows = row_sums(table.grad)[0]  # type: ignore[arg-type]
        for decay, number in zip(decays, counts, strict=True):
            decay[rows] += 1 / number[rows].clamp(min=1)
    assert 0.1 < float(by_rows.max()) <= 1 + 1e-5
    assert float(by_events.max()) > 2


def test_events_after_the_training_period_do_not_count(
    task: Task, make_din: Callable[..., DIN]
) -> None:
    model = make_din(task)
    all_events = pl.read_parquet(task.events_path("train")).height
    counts = training_counts(model, task, occurrence="events")
    number = counts[model.item.tables[0].weight]
    events = float(number.sum()) - task.n_rows("train")
    assert 0 < events < 0.9 * all_events
