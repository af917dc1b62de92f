from __future__ import annotations

from collections import UserDict
from collections.abc import Iterator

import pytest

from adwright.core.clock import FixedClock
from adwright.lm.engine.language_model import LanguageModel
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.routes import LmState, router
from adwright.service.lm.work import LmWork
from adwright.web.errors import ApiError
from adwright.web.metrics import ServiceMetrics
from tests.support.service.scripted_models import Recorded, app_of
from tests.support.service.small_shop import running


def test_every_path_is_there() -> None:
    paths = {route.path for route in router.routes}  # type: ignore[attr-defined]
    assert paths == {
        "/v1/models",
        "/v1/adapters",
        "/v1/adapters/rescan",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/healthz",
        "/readyz",
        "/metrics",
    }


def test_state() -> None:
    clock = FixedClock()
    work = LmWork(running=1, waiting=0, clock=clock)
    model = ScriptedModel(ScriptedConfig())
    state = LmState(LmServiceConfig(), {"m": model}, work, ServiceMetrics(), clock)
    assert state.model("m") is model
    assert state.now() == int(clock.now().timestamp())
    with pytest.raises(ApiError, match="no model of this name"):
        state.model("x")
    work.close()


def test_not_ready_without_a_model_or_while_it_drains() -> None:
    app = app_of(Recorded())
    with running(app) as client:
        app.state.service.draining = True
        assert client.get("/readyz").status_code == 503
        app.state.service.draining = False
        app.state.service.models.clear()
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200


def test_a_model_that_goes_while_they_are_listed() -> None:
    class Going(UserDict[str, LanguageModel]):
        """Another thread removes one after the names were read."""

        def __iter__(self) -> Iterator[str]:
            return iter(["gone", *self.data])

    app = app_of(Recorded())
    with running(app) as client:
        names = [one["id"] for one in client.get("/v1/models").json()["data"]]
        app.state.service.models = Going(app.state.service.models)
        found = client.get("/v1/models")
    assert found.status_code == 200
    assert [one["id"] for one in found.json()["data"]] == names


def test_the_openapi_is_made() -> None:
    with running(app_of(Recorded())) as client:
        assert "/v1/chat/completions" in client.get("/openapi.json").json()["paths"]
