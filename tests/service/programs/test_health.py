from __future__ import annotations

from adwright.service.programs.app import create_programs_app
from adwright.service.programs.book import ProgramServiceConfig
from tests.support.service.program_apps import ScriptedRouter, program_app
from tests.support.service.small_shop import running


def test_how_the_service_is() -> None:
    with running(program_app(ScriptedRouter())) as client:
        models = client.get("/v1/models").json()["data"]
        assert [one["id"] for one in models] == ["m", "other"]
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"ready": True, "engines": {"engine": True}}
        assert "adwright_requests_total" in client.get("/metrics").text


def test_it_is_ready_while_one_engine_is() -> None:
    alive = {"e0": False, "e1": True}
    config = ProgramServiceConfig(allowed_hosts=("test",))

    async def ready() -> dict[str, bool]:
        return alive

    app = create_programs_app(config, ScriptedRouter(), {}, ready=ready)
    with running(app) as client:
        assert client.get("/readyz").status_code == 200
        alive["e1"] = False
        told = client.get("/readyz")
        assert (told.status_code, told.json()) == (503, {"ready": False, "engines": alive})
