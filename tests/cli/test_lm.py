"""adwright lm generate and models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.lm.lm_server import run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model as a folder."""
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


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
