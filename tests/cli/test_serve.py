"""?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from adwright.campaigns.store.store import Store
from adwright.cli import serve as verbs
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, open_log, save_log
from adwright.delivery.popularity import save_popularity
from adwright.service import on_ray
from adwright.service.registry import registry as models
from adwright.web import server
from tests.support.commands import call, quietly
from tests.support.service.served_loop import PLACES, PlayedLoop, play_loop
from tests.support.store.small_world import ITEMS, events


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a version of a model."""
    monkeypatch.chdir(tmp_path)
    save_popularity(tmp_path / "models" / "acme" / "v1", ["tea", "jam"], np.array([1.0, 2.0]))
    return tmp_path


def test_a_key_is_made_and_revoked(here: Path) -> None:
    made = call("key", "acme").split()[-1]
    with Store.open("sqlite:///adwright.db") as store:
        caller = store.caller_of_key(made)
        assert caller is not None
        assert (caller.tenant, caller.scopes) == ("acme", {"events", "decide"})
        assert "revoked" in call("key", "acme", "--revoke", made)
        assert store.caller_of_key(made) is None
        more = store.caller_of_key(
            call("key", "acme", "--scope", "stops", "--scope", "read").strip()
        )
        assert more is not None
        assert more.scopes == {"stops", "read"}
        assert "read, stops" in call("key", "acme", "--list")
        assert "another key" in call("key", "acme", "--two-keys")
        assert "did you mean 'stops'" in call("key", "acme", "--scope", "stop", code=2)
        assert "when it is made" in call("key", "acme", "--list", "--scope", "stops", code=2)
        said = call("store", "log", "--tenant", "acme")
        assert [said.count(what) for what in ("make key", "revoke key", "two keys")] == [2, 1, 1]
    assert "no such key" in call("key", "acme", "--revoke", made, code=1)
    assert "tenant" in call("key", " ", code=2)


def test_a_version_is_published(here: Path) -> None:
    assert call("publish", "models/acme/v1") == "v1 decides for acme\n"
    assert (here / "models" / "acme" / models.POINTER).read_text() == "v1\n"
    assert "no such version" in call("publish", "models/acme/v9", code=2)
    (here / "models" / "acme" / "v2").mkdir()
    assert "no artifact to publish" in call("publish", "models/acme/v2", code=2)


def test_it_serves_until_it_is_told_to_stop(here: Path) -> None:
    key = call("key", "acme").split()[-1]
    call("publish", "models/acme/v1")
    (here / "service.toml").write_text("deadline_ms = 1000.0\n")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("adwright"), "serve", "service.toml", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("serving on ").strip()
        answer = httpx.post(
            f"{address}/v1/decide",
            json={"request_id": "r1", "user_id": "ann", "k": 2},
            headers={"X-API-Key": key},
            timeout=30,
        )
        assert [place["item_id"] for place in answer.json()["items"]] == ["jam", "tea"]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.communicate()


def test_ray_gets_the_same_settings(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed: list[Any] = []

    def deploy(config: Any, **rest: Any) -> int:
        deployed.append((config, rest))
        return 9001

    monkeypatch.setattr(on_ray, "deploy", deploy)
    monkeypatch.setattr(on_ray, "connected", lambda cpus: nullcontext())
    monkeypatch.setattr(server, "wait_for_signal", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (here / "service.toml").write_text("max_queue = 9\n")
    options = ["--ray", "--replicas", "3", "--port", "9000", "--store", "sqlite:///other.db"]
    output = call("serve", "service.toml", *options)
    assert "9001 from 3 replicas" in output
    ((config, rest),) = deployed
    assert config.max_queue == 9
    assert rest == {
        "store_url": "sqlite:///other.db",
        "models": Path("models"),
        "replicas": 3,
        "host": "127.0.0.1",
        "port": 9000,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.toml"], "the file does not exist"),
        (["--store", "mysql://x/y"], "cannot be kept in"),
        (["--host", "192.0.2.1"], "cannot be listened on"),
    ],
)
def test_a_mistake_is_one_message(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert message in call("serve", *arguments, code=2)


def test_without_the_extra_it_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "find_spec", lambda name: None)
    for arguments in (["serve"], ["publish", "models/acme/v1"], ["key", "acme"]):
        assert "adwright[service]" in call(*arguments, code=2)


def test_waiting_ends_at_a_signal_and_puts_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, threading, time\n"
            "from adwright.web.server import wait_for_signal\n"
            "before = signal.getsignal(signal.SIGTERM)\n"
            "def tell():\n"
            "    while signal.getsignal(signal.SIGTERM) is before:\n"
            "        time.sleep(0.01)\n"
            "    print('waiting', flush=True)\n"
            "threading.Thread(target=tell).start()\n"
            "wait_for_signal()\nprint('done')",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "done\n"
    assert process.returncode == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_back_is_the_version_before_and_then_the_one_before_that(here: Path) -> None:
    save_popularity(here / "runs" / "a" / "model", ["tea", "jam"], np.array([1.0, 2.0]))
    back, pointer = ("publish", "--back", "--tenant", "shop"), here / "models" / "shop" / "current"
    for version in ("v1", "v2", "v3"):
        call("publish", "runs/a", "--tenant", "shop")
        assert pointer.read_text() == f"{version}\n"
    assert call(*back) == "v2 decides for shop again, in place of v3\n"
    call("publish", "runs/a", "--tenant", "shop")
    assert call(*back) == "v2 decides for shop again, in place of v4\n"
    assert call(*back) == "v1 decides for shop again, in place of v2\n"
    assert pointer.read_text() == "v1\n"
    assert "no version is known that decided before" in call(*back, code=2)
    journal = [
        json.loads(line) for line in (pointer.parent / "published.jsonl").read_text().splitlines()
    ]
    assert [one["version"] for one in journal] == ["v1", "v2", "v3", "v2", "v4", "v2", "v1"]
    # What an earlier version of adwright published is known by the pointer.
    (pointer.parent / "published.jsonl").unlink()
    call("publish", "models/shop/v3")
    assert call(*back) == "v1 decides for shop again, in place of v3\n"
    assert "--tenant NAME" in call("publish", "--back", code=2)
    assert "--tenant NAME" in call("publish", "runs/a", "--back", "--tenant", "shop", code=2)
    assert "name what to publish" in call("publish", "--tenant", "shop", code=2)


def test_a_model_is_copied_for_a_tenant_and_says_what_it_did(here: Path) -> None:
    save_popularity(here / "runs" / "a" / "model", ["tea", "jam"], np.array([1.0, 2.0]))
    text = call("publish", "runs/a", "--tenant", "shop")
    assert "copied runs/a/model to models/shop/v1: popularity" in text
    assert text.endswith("v1 decides for shop\n")
    text = call("publish", "runs/a/model", "--tenant", "shop", "--version", "spring")
    assert "spring decides for shop, as v1 did until now" in text
    assert "To go back: adwright publish --back --tenant shop\n" in text
    assert call("publish", "models/shop/v1") == (
        "v1 decides for shop, as spring did until now\n"
        "To go back: adwright publish --back --tenant shop\n"
    )
    assert "another with --version" in call(
        "publish", "runs/a", "--tenant", "shop", "--version", "v1", code=2
    )
    assert "--tenant" in call("publish", "models/shop/v1", "--version", "v3", code=2)


def test_what_cannot_be_served_is_not_published(here: Path) -> None:
    save_artifact(here / "runs" / "a" / "model", kind="adapter", config={})
    text = call("publish", "runs/a", "--tenant", "shop", code=2)
    assert "'adapter' cannot be served" in text
    assert "ranker" in text
    assert not (here / "models" / "shop").exists()
    save_artifact(here / "models" / "acme" / "v2", kind="adapter", config={})
    assert "cannot be served" in call("publish", "models/acme/v2", code=2)
    assert not (here / "models" / "acme" / models.POINTER).exists()


def test_keys_are_listed_without_their_secrets(here: Path) -> None:
    assert "made a new store: sqlite:///adwright.db" in call("key", "acme")
    made = call("key", "acme").split()[-1]
    call("key", "acme", "--revoke", made)
    text = call("key", "acme", "--list")
    _, key_id, secret = made.split("_", 2)  # the secret may hold the separator too
    assert key_id in text
    assert secret not in text
    assert text.count("in use") == text.count("revoked") == 1
    assert "has no key" in call("key", "nobody", "--list")
    assert "there is no such store" in call(
        "key", "acme", "--list", "--store", "sqlite:///x.db", code=2
    )
    assert not (here / "x.db").exists()


def test_it_says_at_the_start_what_is_there_and_what_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "serve", lambda app, door: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    start = ("serve", "--port", "0")
    text = call(*start, "--models", "nosuch")
    assert "made a new store: sqlite:///adwright.db" in text
    assert "there is no folder nosuch yet" in text
    call("publish", "models/acme/v1")
    with Store.open("sqlite:///adwright.db") as store:
        store.create_tenant("umbrella")
    text = call(*start)
    assert "store: sqlite:///adwright.db, 1 tenants" in text
    assert "acme: v1 (popularity) decides" in text
    assert "acme has no key, so nobody can call: `adwright key acme" in text
    assert "umbrella has no model in models" in text
    call("key", "acme")
    assert "has no key" not in call(*start)
    (here / "empty").mkdir()
    assert "holds no tenant yet" in call(*start, "--models", "empty")


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
    found = quietly(
        "recommend", "models/shop/v2", "--out", "recs.parquet", "--events", "runs/b/log"
    )
    assert "40 users" in found


def loop_folder(kind: str) -> str:
    return "deployment" if kind == "cascade" else "model"


@pytest.fixture
def retrain_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log) -> Path:
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
            pl.format("late-{}", "event_id").alias("event_id"), pl.col("time") + timedelta(days=200)
        )
    )
    late.write_parquet(tmp_path / "late.parquet")
    with Store.open("sqlite:///adwright.db") as store:
        store.create_tenant("shop")
        store.record_events("shop", late)
    return tmp_path


def test_a_file_and_a_store_are_served_logs_too_and_repeated_events_count_once(
    retrain_here: Path,
) -> None:
    both = ("--served", "late.parquet", "--served", "sqlite:///adwright.db", "--tenant", "shop")
    text = quietly("retrain", "a", *both, "--out", "b", "--dry-run")
    assert "600 that the service wrote" in text
    assert "600 events of the service were there already" in text
    assert not (retrain_here / "b").exists()
    text = quietly("retrain", "a", *both, "--out", "b", "--publish")
    assert "the new model is better" in text
    assert "v1 decides for shop" in text
    assert (retrain_here / "models" / "shop" / "current").read_text() == "v1\n"
    gate = json.loads((retrain_here / "b" / "gate.json").read_text())
    assert (gate["decision"], gate["published"], gate["old"]) == ("better", "v1", "a/model")


def test_what_is_worse_than_what_decides_is_published_with_a_reason_alone(
    retrain_here: Path,
) -> None:
    quietly("train", "item-item", "log", "--out", "good")
    quietly("publish", "good", "--tenant", "shop")
    late = ("--served", "late.parquet", "--tenant", "shop", "--publish")
    text = quietly("retrain", "a", *late, "--out", "b", "--margin", "0.1")
    assert "The old model is models/shop/v1, which decides for shop" in text
    assert "the new model is worse" in text
    assert text.endswith("Not published\n")
    text = quietly("retrain", "a", *late, "--out", "c", "--anyway", "for a sale")
    assert text.endswith("v2 decides for shop\nTo go back: adwright publish --back --tenant shop\n")
    assert json.loads((retrain_here / "c" / "gate.json").read_text())["anyway"] == "for a sale"
    assert "anyway, as for a sale: " in (retrain_here / "models/shop/published.jsonl").read_text()


def test_a_broken_feed_is_neither_learned_from_nor_published(retrain_here: Path) -> None:
    late = pl.read_parquet("late.parquet")
    future = pl.col("time") + pl.duration(days=365 * 5)
    odd = pl.when(pl.int_range(pl.len()) % 20 == 0).then(future).otherwise("time").alias("time")
    late.with_columns(odd).write_parquet("odd.parquet")
    asked = ("retrain", "a", "--served", "odd.parquet", "--tenant", "shop", "--out", "b")
    text = quietly(*asked, "--publish", code=2)
    assert "broken feed: 5.0% of its events are dated later than now" in text
    assert "30 events of the service are dated later than now, and are left out" in text
    assert "--anyway REASON" in text
    assert not (retrain_here / "b").exists()
    assert "Saved in b/model" in quietly(*asked)


def test_publishing_is_left_to_the_user(retrain_here: Path) -> None:
    found = quietly("retrain", "a", "--served", "late.parquet", "--out", "b", "--tenant", "shop")
    assert "publish it: adwright publish b/model --tenant shop" in found
    assert not (retrain_here / "models").exists()


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
    retrain_here: Path, arguments: tuple[str, ...], about: str
) -> None:
    before = sorted(path.name for path in retrain_here.iterdir() if "-" not in path.name)
    assert about in quietly("retrain", *arguments, "--out", "b", code=2)
    assert sorted(path.name for path in retrain_here.iterdir() if "-" not in path.name) == before
