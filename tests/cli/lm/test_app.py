"""adwright lm generate and models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.lm.lm_server import run


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


def test_generate_with_an_adapter(tiny: str, tmp_path: Path) -> None:
    from adwright.tuning.methods import apply
    from adwright.tuning.reparameterised.lora import LoRA
    from tests.support.lm.tiny_llama import tiny_llama
    from tests.support.lm.tuning_methods import shake

    tuned = apply(tiny_llama(), LoRA(rank=2), seed=5)
    shake(tuned, 5, 0.3)
    tuned.save(tmp_path / "run" / "tuned")
    run_of = str(tmp_path / "run")
    options = ("--model", tiny, "--threads", "1", "--max-tokens", "8", "--raw")
    adapted = run("generate", "the best", *options, "--adapter", run_of)
    assert adapted != run("generate", "the best", *options)
    assert adapted == run("generate", "the best", *options, "--adapter", f"{run_of}/tuned")
    # Nobody ignores an adapter.
    told = run("generate", "a", *options, "--adapter", run_of, "--engine", "llamacpp", code=2)
    assert "does not take saved adapters" in told
    told = run("generate", "a", *options, "--lora", "a.gguf", "--engine", "torch", code=2)
    assert "does not take LoRAs in GGUF" in told
    told = run("generate", "a", "--url", "http://localhost:1/v1", "--adapter", run_of, code=2)
    assert "an endpoint has its own adapters" in told
    for folder in (run_of, f"{run_of}/tuned"):
        told = run("generate", "a", "--model", folder, code=2)
        assert "this is a tuned adapter, not a model" in told
        assert "--adapter" in told
