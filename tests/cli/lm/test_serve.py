"""adwright lm serve."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.cli.lm import serve as verbs
from adwright.cli.lm.serve import KEY_VARIABLE, lora_files
from adwright.core.errors import ConfigError
from adwright.lm.native_engines.llamacpp_config import LoraFile
from tests.support.lm.lm_server import run, serving


def test_it_serves_until_it_is_told_to_stop(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    pytest.importorskip("openai", reason="the extra lm is not installed")
    options = ("--model", tiny, "--name", "tiny", "--threads", "1")
    with serving(*options, key="s3cret") as (url, _):
        assert httpx.get(f"{url}/models", timeout=30).status_code == 401
        headers = {"Authorization": "Bearer s3cret"}
        (one,) = httpx.get(f"{url}/models", headers=headers, timeout=30).json()["data"]
        assert (one["id"], one["engine"]) == ("tiny", "torch")
        monkeypatch.setenv(KEY_VARIABLE, "s3cret")
        asked = ("generate", "the best", "--max-tokens", "8")
        there = run(*asked, "--url", url, "--model", "tiny")
        assert there == run(*asked, "--model", tiny, "--threads", "1")


def test_strangers_need_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert "without a key" in run("serve", "--host", "0.0.0.0", code=2)
    assert "without a key" in run("serve", "--host", "somewhere", code=2)


def test_a_file_of_keys_lets_tenants_in(tiny: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("shop-1 k1\nshop-2 k2\n")
    options = ("--model", tiny, "--engine", "torch", "--keys", str(file), "--max-seconds", "20")
    with serving(*options) as (url, _):
        codes = [
            httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}).status_code
            for key in ("k1", "k2", "k3")
        ]
    assert codes == [200, 200, 401]
    file.write_text("shop-1 k1\nshop-1 k2\n")
    assert "line 2" in run("serve", "--model", tiny, "--keys", str(file), code=2)


def test_the_help_names_every_path() -> None:
    from adwright.service.lm.app import create_lm_app
    from adwright.service.lm.config import LmServiceConfig

    told = " ".join((verbs.serve.__doc__ or "").split())
    paths = create_lm_app(LmServiceConfig(), {}).openapi()["paths"]
    for path in paths:
        assert path.replace("{name}", "NAME") in told, path


def test_without_the_packages_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "find_spec", lambda name: None)
    assert "adwright[service]" in run("serve", code=2)


def test_it_serves_adapters(tiny: str, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    from tests.support.lm.adapter_engine import saved_parts
    from tests.support.lm.tuning_methods import SOURCE

    saved_parts(tmp_path, {"shop-1": SOURCE})
    (tmp_path / "empty").mkdir()
    options = ("--model", tiny, "--name", "tiny", "--threads", "1", "--pool-mb", "4")
    with serving(*options, "--adapters", str(tmp_path)) as (url, _):
        data = httpx.get(f"{url}/models", timeout=30).json()["data"]
        assert [one["id"] for one in data] == ["tiny", "shop-1"]
        body = {"model": "shop-1", "prompt": "the best", "max_tokens": 3}
        assert httpx.post(f"{url}/completions", json=body, timeout=30).status_code == 200
        (one,) = httpx.get(f"{url}/adapters", timeout=30).json()["data"]
        assert (one["id"], one["where"]) == ("shop-1", "pool")


def test_what_the_base_has_read_is_not_read_again_for_an_activated_lora(
    tiny: str, tmp_path: Path
) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    data, top = tmp_path / "pairs.jsonl", tmp_path / "adapters"
    rows = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(12)]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    for name in ("one", "two"):
        asked = ["tune", "--data", str(data), "--model", tiny, "--out", str(top / name)]
        asked += ["--method", "aLoRA", "--set", "rank=2", "--steps", "2"]
        assert CliRunner().invoke(app, asked).exit_code == 0
    said = "the best tea in the world is a cup of tea with a friend, fresh bread and ripe cheese"
    talk = {"messages": [{"role": "user", "content": said}], "max_tokens": 3, "temperature": 0}
    options = ("--model", tiny, "--name", "tiny", "--threads", "1", "--pool-mb", "4")
    with serving(*options, "--adapters", str(top)) as (url, told):
        cached = []
        for model in ("tiny", "one", "two"):
            body = httpx.post(f"{url}/chat/completions", json={"model": model, **talk}, timeout=30)
            usage = body.json()["usage"]
            cached.append(usage["prompt_tokens_details"]["cached_tokens"])
        # All but what opens the answer, from where on the adapters act.
        opening = json.loads((top / "one" / "report.json").read_text("utf-8"))["settings"]
        common = usage["prompt_tokens"] - len(opening["invocation"])
        assert cached == [0, common, common]
        plain = {"model": "one", "prompt": said, "max_tokens": 3}
        assert httpx.post(f"{url}/completions", json=plain, timeout=30).status_code == 200
    assert any("lacks the invocation of the adapter one" in line for line in told)


JOB = """[[jobs]]
name = "{name}"
data = {{ path = "{data}", valid = 0.25 }}
method = {{ kind = "LoRA", rank = 2 }}
tune = {{ steps = {steps}, batch = 3, learning_rate = 0.02 }}
"""


@pytest.fixture
def jobs(tiny: str, tmp_path: Path) -> Path:
    """A short job, and one that does not end by itself."""
    data = tmp_path / "shop.jsonl"
    rows = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(12)]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    file = tmp_path / "jobs.toml"
    file.write_text(
        f'model = "{tiny}"\nout = "{tmp_path / "run"}"\n'
        + JOB.format(name="shop-1", data=data, steps=6)
        + JOB.format(name="shop-2", data=data, steps=1_000_000),
        "utf-8",
    )
    return file


def test_jobs_are_tuned_while_it_serves(jobs: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    options = ("--tune", str(jobs), "--name", "tiny", "--threads", "1", "--pool-mb", "4")
    with serving(*options, "--progress", "0.2", number=signal.SIGINT) as (url, told):

        def answer(model: str) -> str:
            body = {"model": model, "prompt": "the best", "max_tokens": 8, "temperature": 0}
            found = httpx.post(f"{url}/completions", json=body, timeout=30)
            return str(found.raise_for_status().json()["choices"][0]["text"])

        base = answer("tiny")
        names: list[str] = []
        until = time.monotonic() + 60
        while "shop-1" not in names and time.monotonic() < until:
            time.sleep(0.05)
            assert answer("tiny") == base
            data = httpx.get(f"{url}/models", timeout=30).json()["data"]
            names = [one["id"] for one in data]
        assert names == ["tiny", "shop-1"]
        answer("shop-1")
        (one,) = httpx.get(f"{url}/adapters", timeout=30).json()["data"]
        assert (one["id"], one["where"]) == ("shop-1", "pool")
    assert any("shop-1: tuned in 6 steps" in line for line in told)
    assert any("% of the time" in line for line in told)
    assert "1 jobs are not done; --resume goes on" in told[-1]
    report = json.loads((tmp_path / "run" / "shop-1" / "report.json").read_text("utf-8"))
    assert report["steps"] == 6
    assert not (tmp_path / "run" / "shop-2").exists()
    again = run("serve", *options[:2], "--resume", "--dry-run")
    assert json.loads(again)["tune"]["jobs"][1]["name"] == "shop-2"


def test_a_dry_run_checks_the_jobs(jobs: Path, tiny: str, tmp_path: Path) -> None:
    options = ("serve", "--tune", str(jobs), "--dry-run")
    told = json.loads(run(*options, "--token-bound", "0.4", "--out", str(tmp_path / "other")))
    assert told["model"] == tiny
    assert told["bounds"]["token_bound"] == 0.4
    assert told["tune"]["out"] == str(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert "--model names else" in run(*options, "--model", "else", code=2)
    assert "no run to resume" in run(*options, "--resume", code=2)
    assert "token_bound must be above 0" in run(*options, "--token-bound", "0", code=2)
    assert "share must be above 0 and below 1" in run(*options, "--tuning-share", "1", code=2)
    adapters = tmp_path / "adapters"
    assert "no such folder" in run(*options, "--adapters", str(adapters), code=2)
    (adapters / "shop-2").mkdir(parents=True)
    told = run(*options, "--adapters", str(adapters), code=2)
    assert "'shop-2' is served already" in told
    assert "jobs[1].name" in told


def test_a_file_of_jobs_that_is_wrong_is_explained(jobs: Path) -> None:
    options = ("serve", "--tune", str(jobs), "--dry-run")
    text = jobs.read_text("utf-8")
    jobs.write_text(text.replace("steps = 6", "step = 6"), "utf-8")
    told = run(*options, code=2)
    assert "jobs.toml" in told.replace("\n", "")
    assert "step" in told
    jobs.write_text(text.replace("shop.jsonl", "none.jsonl", 1), "utf-8")
    assert "jobs[0].data.path" in run(*options, code=2)


def test_options_of_a_run_need_jobs(jobs: Path, tmp_path: Path) -> None:
    assert "--resume" in run("serve", "--resume", code=2)
    assert "--out" in run("serve", "--out", str(tmp_path), code=2)
    assert "on torch alone" in run("serve", "--tune", str(jobs), "--engine", "openvino", code=2)


def test_files_and_scales() -> None:
    assert lora_files(None) == ()
    found = lora_files(["a.gguf", "b.gguf=0.5", "odd=name.gguf=2"])
    assert found == (LoraFile("a.gguf"), LoraFile("b.gguf", 0.5), LoraFile("odd=name.gguf", 2.0))
    with pytest.raises(ConfigError, match="is not a number"):
        lora_files(["a.gguf=much"])


def test_a_lora_is_not_served_beside_adapters(tmp_path: object) -> None:
    told = run("serve", "--lora", "a.gguf", "--adapters", str(tmp_path), code=2)
    assert "act on llama.cpp" in told


def test_engines_are_known_by_name() -> None:
    for verb in (("generate", "a"), ("serve",)):
        told = run(*verb, "--engine", "steam", code=2)
        assert "unknown engine 'steam'" in told
        assert "auto, openvino, torch, llamacpp" in told


def test_adapters_need_torch(tmp_path: Path) -> None:
    for engine in ("openvino", "llamacpp"):
        options = ("--engine", engine, "--adapters", str(tmp_path))
        assert "on torch alone" in run("serve", *options, code=2)


def test_a_device_is_torchs(tmp_path: Path) -> None:
    told = run("serve", "--device", "cuda", "--engine", "openvino", code=2)
    assert "openvino does not compute on cuda" in told
    assert "torch cannot compute there" in run("serve", "--device", "meta:x", code=2)
    told = run("serve", "--device", "cuda", "--adapters", str(tmp_path), code=2)
    assert "on the processor alone" in told


def test_a_lora_in_gguf_needs_llamacpp(tmp_path: Path) -> None:
    asked = ("serve", "--lora", "some.gguf", "--adapters", str(tmp_path))
    assert "LoRAs in GGUF act on llama.cpp" in run(*asked, code=2)
    asked = ("serve", "--lora", "some.gguf", "--device", "cuda")
    assert "a file of --lora does not compute on cuda" in run(*asked, code=2)
