"""Adapters loaded and unloaded by calls, while others are asked."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.adapter_folder import AdapterFolder
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.routes import Adapters
from adwright.tuning.efficient import LadderTuning
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import models_of, saved_parts
from tests.support.service.scripted_models import Recorded, app_of
from tests.support.service.small_shop import Client, running, wait_until

ALONE = LadderTuning(reduction=4)
PLAIN = LoRA(rank=2)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    saved_parts(top, {"shop-1": PLAIN})
    return top


@pytest.fixture
def models(top: Path) -> Iterator[AdapterModels]:
    models = models_of({}, config=ServingConfig(drive="thread"))
    yield models
    models.close()


@contextmanager
def served(models: AdapterModels, top: Path, **settings: Any) -> Iterator[Client]:
    folder = AdapterFolder(models, top)
    folder.rescan()
    limits = LmServiceConfig(**({"key": "k"} | settings))
    app = create_lm_app(limits, models, adapters=Adapters(models, folder))
    with running(app) as client:
        client.headers["authorization"] = "Bearer k"
        yield client


@pytest.fixture
def client(models: AdapterModels, top: Path) -> Iterator[Client]:
    with served(models, top) as client:
        yield client


def load(client: Client, name: str, path: str, status: int = 200) -> str:
    body = {"lora_name": name, "lora_path": path}
    head = {"content-type": "application/json"}
    answer = client.post("/v1/load_lora_adapter", content=json.dumps(body), headers=head)
    assert answer.status_code == status, answer.text
    return str(answer.text if status == 200 else answer.json()["error"]["message"])


def unload(client: Client, name: str, status: int = 200) -> str:
    answer = client.post("/v1/unload_lora_adapter", json={"lora_name": name})
    assert answer.status_code == status, answer.text
    return str(answer.text if status == 200 else answer.json()["error"]["message"])


def names(client: Client) -> list[str]:
    return [one["id"] for one in client.get("/v1/models").json()["data"]]


def asked(client: Client, model: str, tokens: int = 4) -> Any:
    body = {"model": model, "prompt": "the best", "max_tokens": tokens, "ignore_eos": True}
    return client.post("/v1/completions", json=body | {"temperature": 0})


@pytest.mark.parametrize("method", [PLAIN, ALONE], ids=lambda one: type(one).__name__)
def test_one_comes_and_goes(client: Client, top: Path, method: Any) -> None:
    saved_parts(top / "more" / "shop-2", {"tuned": method})
    before = asked(client, "shop-1").json()["choices"]
    assert asked(client, "shop-2").status_code == 404
    assert load(client, "shop-2", "more/shop-2").startswith("Success")
    assert names(client) == ["base", "shop-1", "shop-2"]
    assert asked(client, "shop-2").status_code == 200
    assert unload(client, "shop-2").startswith("Success")
    assert names(client) == ["base", "shop-1"]
    assert asked(client, "shop-2").status_code == 404
    # A path may be whole, and the name another.
    load(client, "again", str(top / "more" / "shop-2"))
    assert asked(client, "again").status_code == 200
    assert asked(client, "shop-1").json()["choices"] == before
    # Scans leave it alone.
    assert client.post("/v1/adapters/rescan").json()["removed"] == []
    assert "again" in names(client)


def test_what_was_unloaded_stays_away(client: Client, top: Path) -> None:
    unload(client, "shop-1")
    assert client.post("/v1/adapters/rescan").json()["added"] == []
    load(client, "shop-1", "shop-1")
    assert client.post("/v1/adapters/rescan").json() == {"added": [], "removed": [], "refused": {}}
    unload(client, "shop-1")
    manifest = top / "shop-1" / "manifest.json"
    os.utime(manifest, ns=(1, 1))
    assert client.post("/v1/adapters/rescan").json()["added"] == ["shop-1"]


def test_refusals(client: Client, top: Path) -> None:
    assert "has this name" in load(client, "shop-1", "shop-1", 409)
    assert "has this name" in load(client, "base", "shop-1", 409)
    assert "no such folder" in load(client, "shop-2", "shop-2", 404)
    assert "other signs" in load(client, "a b", "shop-1", 400)
    (top / "empty").mkdir()
    load(client, "shop-2", "empty", 400)
    os.mkfifo(top / "empty" / "manifest.json")
    assert "no regular file" in load(client, "shop-2", "empty", 400)
    assert "no adapter of this name" in unload(client, "shop-2", 404)
    assert "the base" in unload(client, "base", 400)
    for body in ({}, {"lora_name": "a"}, {"lora_name": "", "lora_path": "a"}, {"name": "a"}):
        assert client.post("/v1/load_lora_adapter", json=body).status_code == 400
    assert names(client) == ["base", "shop-1"]


@pytest.mark.parametrize(
    "path",
    [
        *(".", "..", "/", "../other", "shop-1/..", "shop-1/../..", "shop-1/../../other", "{other}"),
        *("link", "link/tuned", "inner", "ring", "a\0b", "a" * 300, "/proc/self", "//etc", "~"),
    ],
)
def test_nothing_outside_is_loaded(client: Client, top: Path, path: str) -> None:
    """What is outside is one and the same refusal, whether it is there or not."""
    other = top.parent / "other"
    saved_parts(other.parent, {"other": PLAIN})
    saved_parts(other, {"tuned": PLAIN})
    (top / "link").symlink_to(other)
    (top / "inner").mkdir()
    (top / "inner" / "tuned").symlink_to(other)
    (top / "ring").symlink_to(top / "ring")
    (top / "~").symlink_to(Path.home())
    told = load(client, "evil", path.format(other=other), 400)
    assert told == "the path leads out of the folder of adapters (name a folder below it)"
    assert names(client) == ["base", "shop-1"]


@pytest.mark.parametrize("method", [PLAIN, ALONE], ids=lambda one: type(one).__name__)
def test_who_is_being_answered_is_answered_to_the_end(
    models: AdapterModels, top: Path, method: Any
) -> None:
    saved_parts(top, {"slow": method})
    with served(models, top) as client, ThreadPoolExecutor(3) as pool:
        wanted = asked(client, "slow", 80).json()["choices"][0]["text"]
        state = client.app.state.service
        running_now = [pool.submit(asked, client, "slow", 80) for _ in range(2)]
        wait_until(lambda: state.work.asks("slow"))
        gone = pool.submit(unload, client, "slow")
        wait_until(lambda: "slow" in state.leaving or gone.done())
        # Nobody new gets in.
        assert asked(client, "slow").status_code == 404
        assert "slow" not in names(client)
        for one in running_now:
            assert one.result(60).json()["choices"][0]["text"] == wanted
        gone.result(60)
    assert "slow" not in models


def test_one_that_is_used_for_long_stays(top: Path) -> None:
    models = models_of({})  # nobody computes but who takes the stream
    with served(models, top, max_seconds=0.1) as client:
        stream = models["shop-1"].stream("tea", GenerationConfig(max_tokens=50))
        next(stream)
        assert "in use" in unload(client, "shop-1", 409)
        assert "shop-1" in names(client)
        stream.close()
        unload(client, "shop-1")


def test_two_calls_for_one_name(client: Client) -> None:
    unload(client, "shop-1")
    barrier = threading.Barrier(4)

    def call(_: int) -> int:
        barrier.wait(20)
        body = {"lora_name": "shop-1", "lora_path": "shop-1"}
        return int(client.post("/v1/load_lora_adapter", json=body).status_code)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(call, range(4))) == [200, 409, 409, 409]


def test_only_the_operator_may(models: AdapterModels, top: Path) -> None:
    with served(models, top, keys={"tenant": "t"}) as client:
        for key, status in (("t", 403), ("x", 401), ("", 401)):
            client.headers["authorization"] = f"Bearer {key}"
            load(client, "more", "shop-1", status)
            unload(client, "shop-1", status)
        client.headers["authorization"] = "Bearer k"
        unload(client, "shop-1")
    with served(models, top, key="", keys={"tenant": "k"}) as client:
        unload(client, "shop-1", 403)


def test_services_without_a_folder() -> None:
    with running(app_of(Recorded())) as client:
        load(client, "a", "a", 404)
        unload(client, "a", 404)
