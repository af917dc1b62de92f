from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.campaigns.store.store import Store
from adwright.cli import app
from adwright.core.artifacts import load_artifact
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, open_log, save_log
from adwright.delivery.popularity import save_popularity
from tests.support.service.served_loop import PLACES, PlayedLoop, play_loop
from tests.support.store.small_world import ITEMS, events

RUN = """draws = 20
threads = 1
[model]
width = 16
max_length = 32
blocks = 1
heads = 2
repeats = true
[fit]
epochs = 2
learning_rate = 0.01
"""


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--quiet", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def log() -> Log:
    """The purchases of some villagers."""
    return Log(events(people=40).lazy(), Catalogue.checked(ITEMS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def loop(folder: Path, log: Log) -> PlayedLoop:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        train = ("sasrec", "run.toml", "--events", "log")
        return play_loop(folder, log, train, run_file=RUN, decisions=500)


def test_what_was_answered_is_what_was_written(loop: PlayedLoop) -> None:
    shown = loop.served.filter(kind="impression")
    assert shown.height == loop.shown.height == 500 * PLACES
    keys = ["request_id", "position"]
    both = loop.shown.join(shown, on=keys, suffix="_written", maintain_order="left")
    assert both["item_id"].equals(both["item_id_written"], check_names=False)
    assert both["propensity"].equals(both["propensity_written"], check_names=False)
    assert (loop.shown["propensity"] < 1).mean() > 0.5  # type: ignore[operator]
    assert loop.sent == loop.accepted == loop.served.filter(kind="purchase").height
    assert loop.sent > 150
    assert loop.left == 0


def test_the_new_model_was_trained_on_both_and_decides(
    loop: PlayedLoop, folder: Path, log: Log
) -> None:
    old = log.events.collect()
    joined = open_log(folder / "runs" / "b" / "log").events.collect()
    assert joined.height == old.height + loop.served.height
    assert f"{old.height:,} events of the old log and {loop.served.height:,}" in loop.retrained
    for words in ("ndcg@10", "Saved in runs/b/model", "adwright publish runs/b/model"):
        assert words in loop.retrained
    version, known = loop.decided
    assert version == "v2"
    assert known == joined.filter(kind="purchase").height
    assert (loop.after["model"], loop.back) == ("v2", "v1")
    assert len(loop.after["items"]) == PLACES
    assert load_artifact(folder / "models" / "shop" / "v2").kind == "served"


@pytest.mark.parametrize(
    ("train", "kind"),
    [
        (("item-item", "log"), "item-item"),
        (("popularity", "log"), "popularity"),
        # No model is trained in no minutes: the rules are tried, and the best of them serves.
        (("cascade", "log", "--minutes", "0"), "cascade"),
        (("two-tower", "log", "--epochs", "1"), "served"),
    ],
)
def test_models_of_every_kind_go_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log, train: tuple[str, ...], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    coming = log.events.collect().sample(60, seed=1).select("user_id", "item_id")
    loop = play_loop(tmp_path, log, train, decisions=60, future=coming)
    shown = loop.served.filter(kind="impression")
    assert shown.height == loop.shown.height == 60 * PLACES
    assert loop.sent == loop.accepted == 60
    taken = loop.served.filter(kind="purchase")
    assert taken["item_id"].to_list() == coming["item_id"].to_list()
    own = taken["request_id"].str.starts_with("own-")
    slates = dict(loop.shown.group_by("request_id").agg("item_id").iter_rows())
    for request, item, mine in zip(taken["request_id"], taken["item_id"], own, strict=True):
        assert (item in slates[request.replace("own", "visit")]) is not mine
    assert load_artifact(tmp_path / "models" / "shop" / "v2").kind == kind
    assert "ndcg@10" in loop.retrained
    assert loop.decided[0] == loop.after["model"] == "v2"
    assert loop.back == "v1"
    if kind != "popularity":
        assert loop.decided[1] == log.events.collect().height + 60
    assert load_artifact(tmp_path / "runs" / "b" / loop_folder(kind)).seed == 0
    found = run("recommend", "models/shop/v2", "--out", "recs.parquet", "--events", "runs/b/log")
    assert "40 users" in found


def loop_folder(kind: str) -> str:
    return "deployment" if kind == "cascade" else "model"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log) -> Path:
    """A model that puts the least popular first, and a store with later events."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    save_log(tmp_path / "log", log)
    counts = log.events.collect()["item_id"].value_counts()
    rare = 1 / counts["count"].to_numpy()
    save_popularity(tmp_path / "a" / "model", counts["item_id"].to_list(), rare)
    (tmp_path / "a" / "config.json").write_text('{"log": "log"}')
    late = (
        log.events.collect()
        .sample(600, seed=1)
        .with_columns(
            pl.format("late-{}", "event_id").alias("event_id"),
            pl.col("time") + timedelta(days=200),
        )
    )
    late.write_parquet(tmp_path / "late.parquet")
    with Store.open("sqlite:///adwright.db") as store:
        store.create_tenant("shop")
        store.record_events("shop", late)
    return tmp_path


def test_a_file_and_a_store_are_served_logs_too_and_repeated_events_count_once(here: Path) -> None:
    both = ("--served", "late.parquet", "--served", "sqlite:///adwright.db", "--tenant", "shop")
    text = run("retrain", "a", *both, "--out", "b", "--dry-run")
    assert "600 that the service wrote" in text
    assert "600 events of the service were there already" in text
    assert not (here / "b").exists()
    text = run("retrain", "a", *both, "--out", "b", "--publish")
    assert "the new model is better" in text
    assert "v1 decides for shop" in text
    assert (here / "models" / "shop" / "current").read_text() == "v1\n"
    gate = json.loads((here / "b" / "gate.json").read_text())
    assert (gate["decision"], gate["published"], gate["old"]) == ("better", "v1", "a/model")


def test_what_is_worse_than_what_decides_is_published_with_a_reason_alone(here: Path) -> None:
    run("train", "item-item", "log", "--out", "good")
    run("publish", "good", "--tenant", "shop")
    late = ("--served", "late.parquet", "--tenant", "shop", "--publish")
    text = run("retrain", "a", *late, "--out", "b", "--margin", "0.1")
    assert "The old model is models/shop/v1, which decides for shop" in text
    assert "the new model is worse" in text
    assert text.endswith("Not published\n")
    text = run("retrain", "a", *late, "--out", "c", "--anyway", "for a sale")
    assert text.endswith("v2 decides for shop\nTo go back: adwright publish --back --tenant shop\n")
    assert json.loads((here / "c" / "gate.json").read_text())["anyway"] == "for a sale"
    assert "anyway, as for a sale: " in (here / "models/shop/published.jsonl").read_text()


def test_a_broken_feed_is_neither_learned_from_nor_published(here: Path) -> None:
    late = pl.read_parquet("late.parquet")
    future = pl.col("time") + pl.duration(days=365 * 5)
    odd = pl.when(pl.int_range(pl.len()) % 20 == 0).then(future).otherwise("time").alias("time")
    late.with_columns(odd).write_parquet("odd.parquet")
    asked = ("retrain", "a", "--served", "odd.parquet", "--tenant", "shop", "--out", "b")
    text = run(*asked, "--publish", code=2)
    assert "broken feed: 5.0% of its events are dated later than now" in text
    assert "30 events of the service are dated later than now, and are left out" in text
    assert "--anyway REASON" in text
    assert not (here / "b").exists()
    assert "Saved in b/model" in run(*asked)


def test_publishing_is_left_to_the_user(here: Path) -> None:
    found = run("retrain", "a", "--served", "late.parquet", "--out", "b", "--tenant", "shop")
    assert "publish it: adwright publish b/model --tenant shop" in found
    assert not (here / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (("a", "--served", "late.parquet", "--publish"), "published for a tenant"),
        (("a", "--served", "late.parquet", "--anyway", "x", "--tenant", "shop"), "pass --publish"),
        (("a", "--served", "sqlite:///adwright.db"), "several tenants"),
        (("a", "--served", "sqlite:///adwright.db", "--tenant", "x"), "no such tenant"),
        (("a", "--served", "sqlite:///typo.db", "--tenant", "shop"), "no such store"),
        (("a", "--served", "nowhere"), "there is no such file"),
        (("nowhere", "--served", "late.parquet"), "no model here"),
        (("a", "--served", "late.parquet", "--log", "nowhere"), "no such log"),
        (("a", "--served", "log"), "event_id"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(
    here: Path, arguments: tuple[str, ...], about: str
) -> None:
    before = sorted(path.name for path in here.iterdir() if "-" not in path.name)
    assert about in run("retrain", *arguments, "--out", "b", code=2)
    assert sorted(path.name for path in here.iterdir() if "-" not in path.name) == before
