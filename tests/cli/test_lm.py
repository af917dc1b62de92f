from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.cli import lm as verbs


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["lm", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model as a folder."""
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


@contextmanager
def serving(*arguments: str, key: str = "") -> Iterator[str]:
    """The endpoint as a process of its own."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("adwright"), "lm", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", verbs.KEY_VARIABLE: key},
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.stdout.readline().removeprefix("serving on ").strip()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert not key or key not in errors
    finally:
        process.kill()
        process.communicate()


def test_models() -> None:
    output = run("models")
    assert "smollm2-135m-instruct" in output
    assert "openvino" in output


def test_generate(tiny: str, tmp_path: Path) -> None:
    options = ("--model", tiny, "--threads", "1", "--max-tokens", "8")
    first = run("generate", "the best", *options)
    assert run("generate", "the best", *options) == first
    assert run("generate", "the best", *options, "--raw") != first
    drawn = [
        run("generate", "the best", *options, "--temperature", "2", "--seed", seed)
        for seed in ("1", "2")
    ]
    assert drawn[0] != drawn[1]
    letter = next(one for one in first if one.isalpha())
    assert letter not in run("generate", "the best", *options, "--stop", letter)


def test_generate_json(tiny: str, tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"enum": ["tea", "coffee"]}))
    options = ("--model", tiny, "--threads", "1", "--json-schema", str(schema))
    assert json.loads(run("generate", "a", *options)) in ("tea", "coffee")
    schema.write_text("[]")
    assert "JSON object" in run("generate", "a", *options, code=2)
    schema.write_text("{")
    assert "cannot be read" in run("generate", "a", *options, code=2)


def test_it_serves_until_it_is_told_to_stop(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    pytest.importorskip("openai", reason="the extra lm is not installed")
    options = ("--model", tiny, "--name", "tiny", "--threads", "1")
    with serving(*options, key="s3cret") as url:
        assert httpx.get(f"{url}/models", timeout=30).status_code == 401
        headers = {"Authorization": "Bearer s3cret"}
        (one,) = httpx.get(f"{url}/models", headers=headers, timeout=30).json()["data"]
        assert (one["id"], one["engine"]) == ("tiny", "torch")
        monkeypatch.setenv(verbs.KEY_VARIABLE, "s3cret")
        asked = ("generate", "the best", "--max-tokens", "8")
        there = run(*asked, "--url", url, "--model", "tiny")
        assert there == run(*asked, "--model", tiny, "--threads", "1")


def test_strangers_need_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(verbs.KEY_VARIABLE, raising=False)
    assert "without a key" in run("serve", "--host", "0.0.0.0", code=2)
    assert "without a key" in run("serve", "--host", "somewhere", code=2)


def test_without_the_packages_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "find_spec", lambda name: None)
    assert "adwright[service]" in run("serve", code=2)


def test_engines_are_known_by_name() -> None:
    for verb in (("generate", "a"), ("serve",)):
        told = run(*verb, "--engine", "steam", code=2)
        assert "unknown engine 'steam'" in told
        assert "auto, openvino, torch, llamacpp" in told


def test_it_serves_tuned_parts(tiny: str, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    from tests.support.lm.adapter_engine import saved_parts
    from tests.support.lm.tuning_methods import SOURCE

    saved_parts(tmp_path, {"shop-1": SOURCE})
    (tmp_path / "empty").mkdir()
    options = ("--model", tiny, "--name", "tiny", "--threads", "1", "--pool-mb", "4")
    with serving(*options, "--adapters", str(tmp_path)) as url:
        data = httpx.get(f"{url}/models", timeout=30).json()["data"]
        assert [one["id"] for one in data] == ["tiny", "shop-1"]
        body = {"model": "shop-1", "prompt": "the best", "max_tokens": 3}
        assert httpx.post(f"{url}/completions", json=body, timeout=30).status_code == 200
        (one,) = httpx.get(f"{url}/adapters", timeout=30).json()["data"]
        assert (one["id"], one["where"]) == ("shop-1", "pool")


def test_tuned_parts_need_torch(tmp_path: Path) -> None:
    for engine in ("openvino", "llamacpp"):
        options = ("--engine", engine, "--adapters", str(tmp_path))
        assert "on torch alone" in run("serve", *options, code=2)
