from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.core.errors import ResourceError
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.registry import FixedModels
from adwright.web.server import on_loopback
from tests.support.service.small_shop import NOW, deployed, wait_until


def test_the_service_answers_and_ends(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        key = store.create_key("t")
        models = FixedModels({"t": deployed()}, SystemClock())
        with (
            on_loopback(create_app(ServiceConfig(), store, models)) as url,
            httpx.Client(base_url=url, headers={"X-API-Key": key}) as client,
        ):
            wait_until(lambda: client.get("/readyz").json()["status"] == "ready")
            body = {"request_id": "r", "user_id": "u", "time": NOW.isoformat(), "k": 2}
            body["deadline_ms"] = 2000.0  # the machine may be busy
            assert len(client.post("/v1/decide", json=body).json()["items"]) == 2
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")
        assert store.events("t").height == 2
    assert not [one for one in threading.enumerate() if one.name == "adwright-loopback"]


def test_an_app_that_does_not_start() -> None:
    def fail() -> None:
        raise RuntimeError("no")

    app = FastAPI()
    app.router.on_startup.append(fail)
    with pytest.raises(ResourceError, match="did not start"), on_loopback(app):
        raise AssertionError("it started")
