from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.clock import FixedClock
from adwright.lm.serving.adapter_folder import AdapterFolder
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.routes import Adapters
from tests.support.lm.adapter_engine import alone, models_of, saved_parts
from tests.support.lm.tuning_methods import SOURCE
from tests.support.service.scripted_models import Recorded, app_of
from tests.support.service.small_shop import Client, running

METHODS = {"shop-1": SOURCE, "shop-2": SOURCE}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    saved_parts(tmp_path, METHODS)
    return tmp_path


@pytest.fixture
def models(top: Path) -> Iterator[AdapterModels]:
    models = models_of({}, config=ServingConfig(drive="thread"))
    yield models
    models.close()


@pytest.fixture
def client(models: AdapterModels, top: Path) -> Iterator[Client]:
    folder = AdapterFolder(models, top)
    folder.rescan()
    app = create_lm_app(
        LmServiceConfig(key="k"), models, adapters=Adapters(models, folder), clock=FixedClock()
    )
    with running(app) as client:
        client.headers["authorization"] = "Bearer k"
        yield client


def completed(client: Client, model: str, status: int = 200) -> Any:
    body = {"model": model, "prompt": "the best", "max_tokens": 6, "temperature": 0}
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_each_part_is_a_model(client: Client, top: Path) -> None:
    names = [one["id"] for one in client.get("/v1/models").json()["data"]]
    assert names == ["base", "shop-1", "shop-2"]
    for name in names:
        wanted = alone(name, {name: top / name}).generate(["the best"]).texts[0]
        found = completed(client, name)["choices"][0]["text"]
        assert found
        assert wanted.startswith(found)
    completed(client, "shop-3", 404)


def test_a_token_that_the_model_lacks_ends_its_own_request_alone(client: Client) -> None:
    wanted = completed(client, "shop-1")["choices"]
    body = {"model": "shop-1", "max_tokens": 6, "temperature": 0}
    prompts: list[Any] = ["the best", [5, 10**8], "the best"]
    with ThreadPoolExecutor(3) as pool:
        sent = [{**body, "prompt": prompt} for prompt in prompts]
        answers = list(pool.map(lambda one: client.post("/v1/completions", json=one), sent))
    assert [answer.status_code for answer in answers] == [200, 400, 200]
    assert "no such token" in answers[1].json()["error"]["message"]
    assert [answers[at].json()["choices"] for at in (0, 2)] == [wanted, wanted]


def test_where_the_parts_are(client: Client) -> None:
    completed(client, "shop-1")
    completed(client, "shop-1")
    found = client.get("/v1/adapters").json()
    first, second = found["data"]
    assert (first["id"], first["where"], first["hits"], first["pins"]) == ("shop-1", "pool", 1, 0)
    assert first["bytes"] > 0
    assert (second["where"], second["bytes"], second["method"]) == ("disk", 0, "LoRA")
    assert (found["totals"]["hits"], found["totals"]["loads_from_disk"]) == (1, 1)
    assert found["pages"]["adapters"] == first["pages"]
    assert found["pages"]["keys"] == 0


def test_measures(client: Client) -> None:
    completed(client, "shop-2")
    text = client.get("/metrics").text
    assert 'adwright_lm_adapter_loads_total{source="disk"} 1.0' in text
    assert "adwright_lm_adapter_hits_total 0.0" in text
    assert 'adwright_lm_pages{use="keys"} 0.0' in text
    assert 'adwright_lm_pages{use="prefixes"}' in text
    assert "adwright_lm_shared_tokens_total" in text
    # Who may scrape sees no tenant.
    assert "shop-2" not in text


def test_looking_again(client: Client, top: Path) -> None:
    saved_parts(top, {"shop-3": SOURCE})
    found = client.post("/v1/adapters/rescan").json()
    assert found == {"added": ["shop-3"], "removed": [], "refused": {}}
    assert completed(client, "shop-3")["choices"]


def test_the_key_is_asked_for(client: Client) -> None:
    del client.headers["authorization"]
    assert client.get("/v1/adapters").status_code == 401
    assert client.post("/v1/adapters/rescan").status_code == 401


def test_services_without_parts() -> None:
    with running(app_of(Recorded())) as client:
        assert client.get("/v1/adapters").status_code == 404
        assert client.post("/v1/adapters/rescan").status_code == 404


def test_fixed_parts(models: AdapterModels) -> None:
    app = create_lm_app(
        LmServiceConfig(allowed_hosts=("test",)),
        models,
        adapters=Adapters(models),
        clock=FixedClock(),
    )
    with running(app) as client:
        assert client.get("/v1/adapters").json()["data"] == []
        assert client.post("/v1/adapters/rescan").status_code == 404
