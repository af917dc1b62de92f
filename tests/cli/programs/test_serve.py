"""adwright programs serve."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from adwright.cli.lm import serve as lm_serve
from adwright.cli.lm.serve import KEY_VARIABLE
from tests.support.service.program_apps import events_of
from tests.support.service.program_server import run, serving, workers
from tests.support.service.small_shop import wait_until

SETTINGS = {"max_tokens": 60, "ignore_eos": True}
PROGRAM: dict[str, Any] = {
    "values": {"product": "tea"},
    "calls": [
        {"name": "a", "template": "the best {{product}} {{x:output}}", "settings": {"x": SETTINGS}},
        {"name": "b", "template": "{{x}} is {{y:output}}", "settings": {"y": SETTINGS}},
    ],
    "outputs": [{"variable": "y"}],
}


def test_a_program_outlives_the_process_of_its_engine(tiny: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("shop-1 k1\nshop-2 k2\n")
    options = (tiny, "--name", "tiny", "--threads", "1", "--no-measure", "--key-file", str(keys))
    with serving(*options, "--weight", "shop-1=2") as (url, mark):
        headers = {"Authorization": "Bearer k1"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            assert client.get("/v1/models", headers={"Authorization": "no"}).status_code == 401
            first = client.post("/v1/programs", json={**PROGRAM, "wait": True}).json()
            assert first["state"] == "done"
            program = client.post("/v1/programs", json=PROGRAM).json()["id"]
            (child,) = workers(mark)
            os.kill(child, signal.SIGKILL)
            path = f"/v1/programs/{program}/variables/y"
            found = client.get(f"{path}?wait=60").json()
            assert found["text"] == first["values"]["y"]
            assert events_of(client.get(f"{path}/stream"))[-1][0] == "done"
            assert 'deaths_total{engine="e0"} 1.0' in client.get("/metrics").text
            assert child not in workers(mark)
            other = {"Authorization": "Bearer k2"}
            assert client.get(f"/v1/programs/{program}", headers=other).status_code == 404
            body = {"model": "tiny", "messages": [{"role": "user", "content": "tea"}]}
            chat = client.post("/v1/chat/completions", json={**body, "max_tokens": 4}).json()
            assert chat["usage"]["completion_tokens"] <= 4
            # One that runs while the service is told to end.
            client.post("/v1/programs", json=PROGRAM)
            left = workers(mark)
    assert left
    wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in left))


def test_what_is_refused_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert "without a key" in run("serve", "--host", "0.0.0.0", code=2).output
    assert "there is no such model" in run("serve", str(tmp_path / "none"), code=2).output
    for wrong, words in (("a", "is no weight"), ("a=b", "is no weight"), ("a=2", "no tenant 'a'")):
        assert words in run("serve", "--weight", wrong, code=2).output
    assert "--engine" in run("serve", "--engine", "steam", code=2).output
    (tmp_path / "rules").write_text("Be kind.")
    public = ("serve", "--dry-run", "--public", str(tmp_path / "rules"))
    assert json.loads(run(*public).stdout)["public"] == ["Be kind."]
    assert "only our own engine" in run(*public, "--engine", "openvino", code=2).output
    assert "cannot be read" in run("serve", "--public", str(tmp_path), code=2).output
    monkeypatch.setattr(lm_serve, "find_spec", lambda name: None)
    assert "adwright[service]" in run("serve", code=2).output


def test_a_dry_run(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("shop-1 k1\nshop-2 k2\n")
    told = json.loads(run("serve", "--dry-run", "--engines", "2", "--keys", str(keys)).stdout)
    assert (told["engines"], told["kind"], told["measure"]) == (2, "paged", True)
    assert told["tenants"] == ["shop-1", "shop-2"]


def test_an_engine_that_cannot_be_opened_is_said_plainly(tmp_path: Path) -> None:
    from tests.support.lm.tiny_llama import save_tiny

    broken = save_tiny(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    told = run("serve", str(broken), "--port", "0", "--no-measure", code=2).output
    assert "Error: the model cannot be opened" in told
    assert "Traceback" not in told
