from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from adwright.campaigns.store.store import Store
from adwright.core.clock import FixedClock
from adwright.core.errors import ResourceError
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide import state as state_module
from adwright.service.decide.state import ServiceState
from adwright.service.registry.registry import FixedModels, ModelStatus
from adwright.web.errors import ApiError
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


def test_a_store_that_hangs_is_answered_for(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, asked = threading.Event(), list[bool]()

    def ping() -> None:
        asked.append(True)
        assert goes_on.wait(30)

    monkeypatch.setattr(store, "ping", ping)
    monkeypatch.setattr(state_module, "PING_PATIENCE", 0.1)
    state = state_of(create_app(ServiceConfig(), store, FixedModels({}, clock), clock=clock))

    async def main() -> None:
        assert not await state.store_answers()
        clock.advance(5)
        # The first question is open still: no other is asked, and none waits.
        async with asyncio.timeout(20):
            assert not any([await state.store_answers() for _ in range(50)])
        assert asked == [True]
        goes_on.set()
        for _ in range(500):
            if await state.store_answers():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it does not recover")

    asyncio.run(main())


def test_writes_that_hang_hold_no_reads_up_and_are_counted_where_they_are_too_many(
    store: Store, clock: FixedClock
) -> None:
    config = ServiceConfig(store_seconds=0.2)
    state = state_of(create_app(config, store, FixedModels({}, clock), clock=clock))
    goes_on = threading.Event()

    async def main() -> None:
        writes = [
            asyncio.create_task(state.write_store("acme", partial(goes_on.wait, 30)))
            for _ in range(30)
        ]
        await asyncio.sleep(0)
        assert await state.read_store("acme", lambda: "read") == "read"
        assert await state.write_store("umbrella", lambda: "written") == "written"
        errors = await asyncio.gather(*writes, return_exceptions=True)
        goes_on.set()
        statuses = Counter(each.status for each in errors if isinstance(each, ApiError))
        assert statuses == {503: 2 + 16, 429: 12}
        assert 'adwright_shed_total{reason="store_writes"} 12.0' in state.metrics.text().decode()

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
