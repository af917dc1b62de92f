from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from adwright.campaigns.store.store import Store
from adwright.cli import app
from adwright.core.clock import SystemClock
from adwright.data.features import Feature
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, open_log, save_log
from adwright.data.tasks.choice import ChoiceConfig
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import CONTEXT, build_visits
from adwright.delivery.cascade.build import BuildConfig, build_deployment
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.policy.rules import GreedyConfig
from adwright.delivery.policy.slate_policy import build_policy
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.models.calibration import EmbeddingConfig, ListCalibrator
from adwright.models.ranking.din import DINConfig
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.models.retrieval.two_tower import TwoTowerConfig
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.registry import FixedModels
from adwright.training.retrieval.fit import RetrievalConfig
from adwright.web.server import on_loopback
from tests.support.store.small_world import ITEMS, START, events

RUN = """log = "world"
retrain = false
[population]
start = "2024-05-20T00:00:00Z"
fit_visits = 500
[simulation]
days = 3.0
places = 3
[verdict]
draws = 50
"""


def weights() -> NDArray[np.float64]:
    """The last item is the most popular one."""
    return np.arange(40, dtype=np.float64)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    save_log(folder / "world", Log(events().lazy(), Catalogue.checked(ITEMS)))
    (folder / "run.toml").write_text(RUN)
    return folder


@pytest.fixture(autouse=True)
def _inside(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(here)
    monkeypatch.delenv("ADWRIGHT_KEY", raising=False)
    monkeypatch.delenv("ADWRIGHT_KEY_B", raising=False)
    yield
    # They write to a stream of the runner, which is closed by now.
    logging.getLogger("adwright").handlers.clear()


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_dry_run_says_what_would_be_sent(here: Path) -> None:
    text = run("run.toml", "--dry-run", "--a", "greedy", "--days", "2", "--out", "dry")
    assert "A greedy" in text
    assert "B softmax:0.5" in text
    assert "simulation-0000000" in text
    assert "started here" in text
    assert "What all of this rests on" in text
    assert not (here / "dry").exists()
    other = run("run.toml", "--dry-run", "--people", "0.3", "--seed", "4")
    assert other != text


def test_the_loop_over_http(here: Path) -> None:
    (here / "learn.toml").write_text(RUN.replace("false", "true"))
    text = run("learn.toml", "--out", "out")
    assert "What all of this rests on" in text
    assert "150 simulated people" in text
    assert "exactly once" in text
    assert "recall@" in text
    report = json.loads((here / "out" / "report.json").read_text())
    assert report["model"] == "favourites"
    log = open_log(here / "out" / "log").events.collect()
    assert log.height == report["logged"]["acknowledged"] > 0
    assert set(log["kind"]) == {"impression", "click", "purchase"}
    assert report["off_policy"]["recomputed"] == 1.0
    assert "<svg" in (here / "out" / "report.html").read_text()
    run("run.toml", "--out", "out", code=2)
    again = run("run.toml", "--out", "out", "--force", "--a", "greedy", "--b", "greedy")
    assert "B greedy against A greedy" in again
    assert "recall@" not in again


def test_a_saved_model_orders_the_items(here: Path) -> None:
    calibration = {"popularity": ListCalibrator(-3.0, 0.5, 0.0)}
    folder, ids = here / "models" / "t" / "v1", ITEMS["item_id"].to_list()
    save_popularity(folder, ids, weights(), calibration=calibration)
    run("run.toml", "--out", "popular", "--model", "models/t/v1", "--b", "greedy")
    report = json.loads((here / "popular" / "report.json").read_text())
    assert report["model"] == "v1"
    assert report["verdict"]["b"]["stages"] == {"popularity": 1.0}
    log = open_log(here / "popular" / "log").events.filter(pl.col("kind") == "impression")
    shown = log.filter(pl.col("policy_id") == "B greedy").collect()
    assert set(shown["item_id"]) == {"i37", "i38", "i39"}


def test_a_saved_cascade_decides(here: Path) -> None:
    # Its histories go beyond the start of the simulation, which is said.
    time = pl.col("time")
    valid = pl.when(time < START).then(pl.lit("valid")).otherwise(pl.lit("test"))
    early = pl.when(time < START - timedelta(weeks=2)).then(pl.lit("train"))
    task = build_visits(
        events().with_columns(
            split=early.otherwise(valid),
            weekday=time.dt.weekday().cast(pl.String),
            hour=time.dt.hour().cast(pl.String),
        ),
        ITEMS,
        name="world",
        protocol="of an invented world",
        data_hash="world",
        features=(Feature("item_id", "categorical", "item"), *CONTEXT),
    )
    embedding = EmbeddingConfig(width=4)
    retrieval = RetrievalConfig(epochs=1, validation_visits=0, visits_per_epoch=200)
    config = BuildConfig(
        retriever=TwoTowerConfig(width=8, hidden=8, views="none", embedding=embedding),
        retriever_fit=retrieval,
        coarse=HCNConfig(width=8, hidden=8, interests=2, events=20, embedding=embedding),
        coarse_fit=retrieval,
        choice=ChoiceConfig(train=200, valid=50, test=50, min_count=1, draws=Draws(number=6)),
        fine=DINConfig(attention_hidden=6, mlp_hidden=(8,), embedding=embedding),
        blend=0,
        cascade=CascadeConfig(retrieve=20, past=10, coarse=12),
    )
    build_deployment(task, here / "built", config, cache=here)
    text = run("run.toml", "--out", "cascade", "--model", "built/deployment")
    assert "later than the start" in text
    report = json.loads((here / "cascade" / "report.json").read_text())
    assert report["model"] == "deployment"
    assert report["logged"]["purchases"] > 0
    log = open_log(here / "cascade" / "log").events.collect()
    assert log.height == report["logged"]["acknowledged"]


def test_a_service_that_runs_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    popular = Popularity(ITEMS["item_id"].to_list(), weights())
    url = f"sqlite:///{here / 'elsewhere.db'}"
    models = {}
    out = here / "remote"
    with Store.open(url) as store:
        for tenant in ("one", "two"):
            policy = build_policy(GreedyConfig(), policy_id=f"greedy of {tenant}")
            models[tenant] = Deployed(tenant, "x", "popularity", popular, policy, popular)
        monkeypatch.setenv("ADWRIGHT_KEY", store.create_key("one"))
        monkeypatch.setenv("ADWRIGHT_KEY_B", store.create_key("two"))
        app_ = create_app(ServiceConfig(), store, FixedModels(models, SystemClock()))
        (here / "remote.toml").write_text(f'store = "{url}"\n{RUN}')
        with on_loopback(app_) as address:
            run("remote.toml", "--url", address, "--out", "remote")
            first = json.loads((out / "report.json").read_text())
            # Again: nothing is counted twice, and the only copy of the log is not thrown away.
            run("remote.toml", "--url", address, "--out", "remote", "--force")
        monkeypatch.setenv("ADWRIGHT_KEY", "adw_nobody_knows")
        assert "does not know a key" in run("remote.toml", "--url", address, "--out", "x", code=2)
    report = json.loads((out / "report.json").read_text())
    assert report["logged"]["acknowledged"] == first["logged"]["acknowledged"]
    assert report["verdict"] == first["verdict"]
    assert report["verdict"]["a"]["policy_id"] == "greedy of one"
    assert report["verdict"]["b"]["policy_id"] == "greedy of two"
    assert report["off_policy"] is None
    assert (out / "log-b").is_dir()
    text = run("run.toml", "--out", "remote", "--force", code=2)
    assert "the log of a service elsewhere" in text
    assert (out / "log").is_dir()


def test_what_is_missing_is_said(here: Path) -> None:
    text = run("run.toml", "--url", "http://127.0.0.1:1", "--out", "none", code=2)
    assert "ADWRIGHT_KEY" in text
    assert "this is not a policy" in run("run.toml", "--a", "best", code=2)
    (here / "bad.toml").write_text("dayz = 3\n")
    assert "bad.toml, key dayz" in run("bad.toml", code=2)
