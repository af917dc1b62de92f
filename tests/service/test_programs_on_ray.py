from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from adwright.core.errors import ConfigError
from adwright.service.programs.config import ProgramServiceConfig
from adwright.service.programs.engine_room import EngineRoom
from adwright.service.programs.texts import ServedText
from adwright.service.programs_on_ray import MakeRoom, deploy_programs
from adwright.web.origin import LOCAL_HOSTS

#: The second call waits for a file, so that the core dies between two texts.
PROGRAM: dict[str, Any] = {
    "calls": [
        {"name": "a", "template": "tea {{x:output}}"},
        {"name": "b", "template": "{{x}}, {{wait}}{{y:output}}"},
    ],
    "awaited": ["wait"],
    "outputs": [{"variable": "x"}, {"variable": "y"}],
}


def scripted_room(pids: Path) -> MakeRoom:
    """Two scripted engines, each an actor, and the number of the core's process in a file; travels
    by value."""

    def build() -> Any:
        from contextlib import nullcontext
        from dataclasses import replace

        from tests.support.programs.scripted_engine import SALTED, ScriptedEngine

        return nullcontext(ScriptedEngine(can=replace(SALTED, continues=False)))

    def make() -> tuple[EngineRoom, Mapping[str, ServedText]]:
        from adwright.programs.engines.on_ray import RayEngine

        (pids / str(os.getpid())).touch()
        engines = {f"e{at}": RayEngine(build, cpus=0.25) for at in range(2)}
        return EngineRoom(engines, len), {"model": ServedText(len)}

    return make


def until(
    client: httpx.Client, path: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 120
) -> dict[str, Any]:
    """What is there once that holds. While the core is away, its proxy answers otherwise."""
    end, told = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            answer = client.get(path)
            told = answer.text
            if answer.status_code == 200 and holds(answer.json()):
                found: dict[str, Any] = answer.json()
                return found
        except httpx.HTTPError as error:
            told = repr(error)
        time.sleep(0.1)
    raise AssertionError(f"{path}: {told}")


# Ray warns of settings of its own that it will drop, and leaves sockets to the interpreter.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_programs_go_on_where_the_core_dies(serve_port: int, tmp_path: Path) -> None:
    pids, port = tmp_path / "pids", serve_port
    pids.mkdir()
    config = ProgramServiceConfig(keep_folder=tmp_path / "kept", allowed_hosts=LOCAL_HOSTS)
    assert deploy_programs(config, scripted_room(pids), cpus=0.25, port=port) == port
    url, own = f"http://127.0.0.1:{port}", {"Connection": "close"}
    with httpx.Client(base_url=url, headers=own, timeout=30) as client:
        made = client.post("/v1/programs", json=PROGRAM)
        assert made.status_code == 201, made.text
        path = f"/v1/programs/{made.json()['id']}"
        until(client, f"{path}/variables/x", lambda one: one["state"] == "set")
        before = {one.name for one in pids.iterdir()}
        for pid in before:
            os.kill(int(pid), signal.SIGKILL)
        # What was set can be read, and is not written again.
        found = until(client, f"{path}/variables/x", lambda one: one["state"] == "set")
        assert found["text"] == "[tea ]"
        assert {one.name for one in pids.iterdir()} > before
        events = client.get(f"{path}/trace").json()["events"]
        assert "placed" not in {one["kind"] for one in events}
        assert client.put(f"{path}/variables/wait", json={"text": "!"}).status_code == 200
        done = until(client, path, lambda one: one["state"] == "done")
        assert done["values"] == {"x": "[tea ]", "y": "[[tea ], !]"}


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cpus must not be negative"):
        deploy_programs(ProgramServiceConfig(), scripted_room(tmp_path), cpus=-1)
