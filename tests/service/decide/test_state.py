from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from adwright.campaigns.store.store import Store
from adwright.core.clock import FixedClock
from adwright.core.errors import ResourceError
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide.state import ServiceState
from adwright.service.registry.registry import FixedModels, ModelStatus
from tests.support.service.small_shop import deployed, running


class Statuses(FixedModels):
    def statuses(self) -> Mapping[str, ModelStatus]:
        return {
            "a": ModelStatus(deployed()),
            "b": ModelStatus(deployed(), refused="v2", reason="broken"),
            "c": ModelStatus(refused="v1", reason="broken"),
        }


def state_of(app: Any) -> ServiceState:
    state: ServiceState = app.state.service
    return state


def test_models_are_counted(store: Store, clock: FixedClock) -> None:
    app = create_app(ServiceConfig(), store, Statuses({}, clock), clock=clock)
    assert state_of(app).counts() == (2, 2)
    text = state_of(app).metrics.text().decode()
    assert "adwright_models_loaded 2.0" in text
    assert "adwright_models_refused 2.0" in text


def test_the_store_is_asked_at_most_twice_a_second(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    up = [True]

    def ping() -> None:
        asked.append(up[0])
        if not up[0]:
            raise ResourceError("the store is down")

    monkeypatch.setattr(store, "ping", ping)
    state = state_of(create_app(ServiceConfig(), store, FixedModels({}, clock), clock=clock))

    async def main() -> None:
        assert await state.store_answers()
        up[0] = False
        assert await state.store_answers()
        clock.advance(0.6)
        assert not await state.store_answers()
        assert asked == [True, False]

    asyncio.run(main())


def test_ready_says_what_is_missing(store: Store, clock: FixedClock) -> None:
    app = create_app(ServiceConfig(), store, FixedModels({}, clock), clock=clock)
    with running(app) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
        assert answer.json()["models"] == 0
        assert client.get("/healthz").json() == {"status": "ok"}
    app = create_app(ServiceConfig(), store, FixedModels({"acme": deployed()}, clock), clock=clock)
    with running(app) as client:
        assert client.get("/readyz").status_code == 200
        state_of(app).draining = True
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["draining"]) == (503, True)
