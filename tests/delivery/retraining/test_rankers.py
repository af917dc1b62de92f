from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, open_log, save_log
from adwright.data.tasks.from_log import LogTaskConfig, build_log_task
from adwright.delivery.joined_log import join_logs
from adwright.delivery.retraining.retrain import retrain
from adwright.training.ranking.config import RunConfig, TaskConfig
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run
from tests.support.data.ranking_task import FIT, MODEL, START
from tests.support.data.ranking_task import ITEMS as SHOP
from tests.support.delivery.joined import compared


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
    assert {"new", "old"} < set(compared(found).reports)
    assert "180 impressions after 2024-01-" in found.measured


def test_a_task_is_told_by_the_features_of_its_ranker(tmp_path: Path) -> None:
    """A ranker whose run names the folder of a task, which says nothing of how it was made."""
    log = shown_log()
    about = {"campaign_id": pl.lit("spring"), "context": pl.lit('{"depth": 2}')}
    log = replace(log, events=log.events.with_columns(**about))
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


def test_where_the_log_did_not_say_what_was_shown_negatives_are_drawn_again(tmp_path: Path) -> None:
    log = shown_log()
    every = log.events.collect()
    cut = START + timedelta(days=15)
    taken = every.filter(pl.col("time") < cut, kind="click")
    save_log(tmp_path / "log", Log(taken.lazy(), log.catalogue))
    task = TaskConfig(kind="log", folder=tmp_path / "log", cache=tmp_path / "cache")
    run(RunConfig(task=task, model=MODEL, fit=FIT, draws=20, base=False, out=tmp_path / "a"))
    joined = join_logs(open_log(tmp_path / "log"), [every.filter(pl.col("time") >= cut)])
    assert not joined.shown
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    new, old = Ranker.load(found.model), Ranker.load(tmp_path / "a" / "ranker")
    assert [f.name for f in new.spec.features] == [f.name for f in old.spec.features]
    assert {"new", "old"} < set(compared(found).reports)
    assert "rows after" in found.measured
