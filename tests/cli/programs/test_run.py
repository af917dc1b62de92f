"""adwright programs run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adwright.web.server import on_loopback
from tests.support.service.program_apps import TEAM, ScriptedRouter, program_app
from tests.support.service.program_server import run

TWO: dict[str, Any] = {**TEAM, "outputs": [{"variable": "ad"}, {"variable": "final"}]}


def written(tmp_path: Path, program: dict[str, Any]) -> str:
    file = tmp_path / "program.json"
    file.write_text(json.dumps(program))
    return str(file)


def test_a_dry_run_says_what_it_is(tmp_path: Path) -> None:
    told = run("run", "creative-team", "--dry-run")
    assert "editor.draft" in told.stdout
    assert "9 calls. Nothing was run." in told.stderr
    waits = written(tmp_path, {**TEAM, "values": {}, "awaited": ["product"]})
    assert "--value product=TEXT" in run("run", waits, "--dry-run", code=2).output
    run("run", waits, "--dry-run", "--value", "product=tea")
    idle = written(tmp_path, {**TEAM, "outputs": []})
    assert "nothing is asked for" in run("run", idle, "--dry-run", code=2).output


def test_in_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADWRIGHT_LM_KEY", "key")
    router = ScriptedRouter()
    file = written(tmp_path, TWO)
    with on_loopback(program_app(router, key="key")) as url:
        told = run("run", file, "--url", url, "--value", "product=cups")
        # Each result is shown as it comes.
        assert "== ad\n[An ad for cups: ]\n" in told.stdout
        assert "== final\n[[An ad for cups: ] " in told.stdout
        assert "4 calls" in told.stderr
        router.broken.append("legal")
        told = run("run", file, "--url", url, code=2)
        assert "== ad\n" in told.stdout
        assert "legal is broken" in told.stderr
        assert "from legal.legal_view" in told.stderr
        monkeypatch.setenv("ADWRIGHT_LM_KEY", "other")
        assert "the key is missing" in run("run", file, "--url", url, code=2).output
    # Nothing of it is left there.
    assert router.closed == len(router.tenants) == 2


def test_on_an_engine_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    tiny = str(save_tiny(tmp_path / "tiny"))
    calls = [
        {"name": "a", "template": "the best {{x:output}}", "settings": {"x": {"max_tokens": 4}}},
        {"name": "b", "template": "{{x}} tea {{y:output}}", "settings": {"y": {"max_tokens": 4}}},
    ]
    file = written(tmp_path, {"calls": calls, "outputs": [{"variable": "y"}]})
    first = run("run", file, "--model", tiny, "--threads", "1")
    assert "2 calls" in first.stderr
    assert first.stdout
    assert run("run", file, "--model", tiny, "--threads", "1").stdout == first.stdout
