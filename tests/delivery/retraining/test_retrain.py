from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ConfigError, ResourceError
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, open_log, save_log
from adwright.data.tasks.from_log import LogTaskConfig, build_log_task
from adwright.delivery import retrain as again
from adwright.delivery.joined_log import JoinedLog, join_logs
from adwright.delivery.popularity import load_popularity, save_popularity
from adwright.delivery.retrain import RETRAINABLE, RetrainedModel, retrain
from adwright.delivery.served import ServedModel
from adwright.metrics.ranks import Ranks
from adwright.metrics.reports.comparison import Comparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol
from adwright.models.sequential.sasrec import SASRecConfig
from adwright.training.ranking.config import RunConfig, TaskConfig
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.config import SequentialConfig
from adwright.training.sequential.run import run_sequence
from adwright.training.sequential.runfile import SequenceDataConfig, SequenceRun
from tests.support.data.ranking_task import FIT, MODEL, START
from tests.support.data.ranking_task import ITEMS as SHOP
from tests.support.delivery.cascade_parts import deployment
from tests.support.store.small_world import ITEMS, events

SIZES = SASRecConfig(width=8, max_length=16, blocks=1, heads=1, repeats=True)
CATALOGUE = Catalogue.checked(ITEMS)
FIT_SEQUENCES = SequentialConfig(epochs=1, batch=16, all_windows=True)


def world(folder: Path) -> tuple[Log, JoinedLog]:
    """Purchases of villagers, of which the latest tenth was written by a service."""
    every = events(people=40)
    cut = every["time"].sort()[int(0.9 * every.height)]
    save_log(folder / "log", Log(every.filter(pl.col("time") < cut).lazy(), CATALOGUE))
    old = open_log(folder / "log")
    return old, join_logs(old, [every.filter(pl.col("time") >= cut)])


def test_a_sequence_model_is_trained_as_before_and_both_are_asked(tmp_path: Path) -> None:
    _, joined = world(tmp_path)
    data = SequenceDataConfig(kind="events", path=tmp_path / "log")
    asked = SequenceRun(
        data=data, fit=FIT_SEQUENCES, draws=20, seed=5, threads=1, out=tmp_path / "a", model=SIZES
    )
    before = run_sequence(asked)
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    assert (found.kind, found.model) == ("sequence", tmp_path / "b" / "model")
    new = SequenceArtifact.load(found.model)
    assert new.model.config == before.artifact.model.config
    assert (new.seed, new.report is not None) == (5, True)
    assert new.count.sum() > before.artifact.count.sum()
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["fit"]["epochs"] == 1
    assert config["data"]["path"] == str(tmp_path / "b" / "log")
    assert open_log(tmp_path / "b" / "log").events.collect().height == joined.old + joined.served
    assert list(found.comparison.reports) == ["new", "old"]
    saved = (tmp_path / "b" / "retrained.json").read_text()
    assert saved == found.comparison.to_json()
    assert "after" in found.measured
    assert "ndcg@10" in found.verdict()
    with pytest.raises(ResourceError, match="already holds"):
        retrain(tmp_path / "a", joined, tmp_path / "b")


def test_a_published_model_without_its_run_keeps_its_sizes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, joined = world(tmp_path)
    data = SequenceDataConfig(kind="events", path=tmp_path / "log")
    asked = SequenceRun(data=data, fit=FIT_SEQUENCES, draws=20, out=tmp_path / "a", model=SIZES)
    artifact = run_sequence(asked).artifact
    past = joined.log.events.collect()
    ServedModel.of_log(artifact, past).save(tmp_path / "shop" / "v1")
    quick = replace(asked, out=tmp_path / "quick")
    monkeypatch.setattr(again, "default_run", lambda kind, own: quick if own else None)
    found = retrain(tmp_path / "shop" / "v1", joined, tmp_path / "b")
    assert SequenceArtifact.load(found.model).model.config.width == SIZES.width
    assert "trained with the defaults" in caplog.text


def shown_log() -> Log:
    """Requests of ten people over twenty days: three things shown, each may be clicked."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(600):
        time = START + timedelta(hours=int(rng.integers(480)), seconds=n)
        for place, item in enumerate(rng.choice(20, 3, replace=False)):
            shown = (f"v{n}", f"u{n % 10}", f"i{item}")
            rows.append((f"e{n}-{place}", time, "impression", *shown))
            if rng.random() < (0.7 if item % 5 == n % 5 else 0.2):
                rows.append((f"c{n}-{place}", time + timedelta(seconds=9), "click", *shown))
    columns = ["event_id", "time", "kind", "request_id", "user_id", "item_id"]
    events = validate_events(pl.DataFrame(rows, schema=columns, orient="row").sort("time"))
    return Log(events.lazy(), Catalogue.checked(SHOP))


def test_a_ranker_is_asked_for_the_newest_impressions(tmp_path: Path) -> None:
    log = shown_log()
    every = log.events.collect()
    cut = START + timedelta(days=15)
    save_log(tmp_path / "log", Log(every.filter(pl.col("time") < cut).lazy(), log.catalogue))
    task = TaskConfig(kind="log", folder=tmp_path / "log", cache=tmp_path / "cache")
    run(RunConfig(task=task, model=MODEL, fit=FIT, draws=20, base=False, out=tmp_path / "a"))
    joined = join_logs(open_log(tmp_path / "log"), [every.filter(pl.col("time") >= cut)])
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    assert (found.kind, found.model) == ("ranker", tmp_path / "b" / "ranker")
    new, old = Ranker.load(found.model), Ranker.load(tmp_path / "a" / "ranker")
    assert new.model.config == old.model.config
    assert [f.name for f in new.spec.features] == [f.name for f in old.spec.features]
    assert {"new", "old"} < set(found.comparison.reports)
    assert "180 impressions from 2024-01-18" in found.measured


def test_a_task_is_told_by_the_features_of_its_ranker(tmp_path: Path) -> None:
    """A ranker whose run names the folder of a task, which says nothing of how it was made."""
    log = shown_log()
    save_log(tmp_path / "log", log)
    made = LogTaskConfig(item_features=("type",), context=("campaign_id",), numbers=("depth",))
    task = build_log_task(log.events, log.catalogue, tmp_path, made)
    folder = TaskConfig(kind="folder", folder=task.folder)
    config = RunConfig(task=folder, model=MODEL, fit=FIT, draws=20, base=False, out=tmp_path / "a")
    before = run(config, task=task).ranker
    late = log.events.collect().with_columns(
        pl.col("time") + timedelta(days=30),
        *(pl.format("late-{}", name).alias(name) for name in ("event_id", "request_id")),
    )
    found = retrain(tmp_path / "a", join_logs(log, [late]), tmp_path / "b")
    after = Ranker.load(found.model)
    assert [f.name for f in after.spec.features] == [f.name for f in before.spec.features]


def test_popularity_is_counted_anew_and_compared_without_what_is_asked(tmp_path: Path) -> None:
    _, joined = world(tmp_path)
    ids = ITEMS["item_id"].to_list()
    save_popularity(tmp_path / "a" / "model", ids, np.arange(len(ids), dtype=float))
    (tmp_path / "a" / "config.json").write_text("{}")
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    popular, _, _ = load_popularity(found.model)
    counts = joined.log.events.collect()["item_id"].value_counts(sort=True)
    assert popular.item_ids[0] == counts["item_id"][0]
    assert popular.weight.sum() == joined.old + joined.served
    assert found.comparison.differences["old"]["ndcg@10"].value > 0


def test_other_kinds_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    _, joined = world(tmp_path)
    deployment().save(tmp_path / "a" / "deployment")
    with pytest.raises(ConfigError, match="'cascade' cannot be trained again") as error:
        retrain(tmp_path / "a", joined, tmp_path / "b")
    assert all(kind in error.value.hint for kind in RETRAINABLE)
    assert not (tmp_path / "b").exists()
    assert load_artifact(tmp_path / "a" / "deployment").kind == "cascade"


def told(new: float, old: float) -> RetrainedModel:
    def ranks(rank: float) -> Ranks:
        number = 60
        return Ranks(np.full(number, rank), np.arange(number + 1), np.zeros(number, bool), "hash")

    comparison: Comparison = compare_rankings(
        {"new": ranks(new), "old": ranks(old)},
        np.arange(60),
        subject="new",
        protocol=EvaluationProtocol(split="made up"),
        data_hash="",
        seed=0,
        draws=20,
    )
    return RetrainedModel("sequence", Path("model"), comparison, "made up")


@pytest.mark.parametrize(
    ("new", "old", "says", "worse"),
    [
        (1.0, 4.0, "the new model is better: ndcg@10 +", False),
        (4.0, 1.0, "the new model is worse", True),
        (2.0, 2.0, "no difference beyond chance", False),
    ],
)
def test_the_verdict_goes_by_the_interval(new: float, old: float, says: str, worse: bool) -> None:
    found = told(new, old)
    assert found.verdict().startswith(says)
    assert found.is_worse is worse
