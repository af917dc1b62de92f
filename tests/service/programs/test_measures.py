from __future__ import annotations

from tests.support.service.program_apps import TEAM, ScriptedRouter, program_app
from tests.support.service.small_shop import running, wait_until


def test_programs_and_chains_are_counted_without_a_name() -> None:
    router = ScriptedRouter(held="legal", broken="brand")
    with running(program_app(router, keys={"shop-1": "key"})) as client:
        client.headers = {"Authorization": "Bearer key"}
        program = client.post("/v1/programs", json=TEAM).json()["id"]
        wait_until(lambda: len(router.asked) == 3)
        wait_until(lambda: router.cancelled == ["legal"])
        told = client.get("/metrics").text
        for line in (
            'adwright_programs{state="failed"} 1.0',
            'adwright_programs{state="running"} 0.0',
            "adwright_program_parts_total 1.0",
            'adwright_program_chains{state="done"} 1.0',
            'adwright_program_chains{state="failed"} 2.0',
            "adwright_program_waiting 0.0",
        ):
            assert line in told
        assert 'adwright_programs_ended_total{why="' not in told
        client.send("DELETE", f"/v1/programs/{program}")
        told = client.get("/metrics").text
        assert 'adwright_programs_ended_total{why="deleted"} 1.0' in told
        assert "adwright_program_owed_tokens 0.0" in told
        assert not any(name in told for name in ("shop-1", "legal", program))
