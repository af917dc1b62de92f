from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("llguidance", reason="the extra lm is not installed")

from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.native_engines.llamacpp_config import (
    LoraFile,
    XllamacppConfig,
    check_scales,
    located,
    sampling_fields,
)


@pytest.mark.parametrize("name", ["threads", "cache_tokens", "max_running"])
def test_wrong_settings_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        XllamacppConfig(**{name: -1})  # type: ignore[arg-type]


def test_scales_are_finite() -> None:
    check_scales([0.0, -1.0])
    with pytest.raises(ConfigError, match="finite"):
        XllamacppConfig(loras=(LoraFile("a.gguf", math.nan),))


def test_where_models_are(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    for wrong in ("nowhere", str(tmp_path), str(model)):
        with pytest.raises(AssetError, match="no such model"):
            located(XllamacppConfig(wrong))
    model.write_bytes(b"something")
    path, note = located(XllamacppConfig(str(model)))
    assert path == model
    assert note == "model"
    adapter = LoraFile(str(tmp_path / "a.gguf"))
    with pytest.raises(AssetError, match="no such adapter"):
        located(XllamacppConfig(str(model), loras=(adapter,)))
    Path(adapter.path).write_bytes(b"something")
    assert "with 1 adapters" in located(XllamacppConfig(str(model), loras=(adapter,)))[1]


def test_greedy_needs_nothing_else() -> None:
    fields = sampling_fields(GenerationConfig(seed=7), 2)
    assert fields["samplers"] == ["top_k"]
    assert fields["top_k"] == 1
    assert fields["seed"] == 9


def test_draws_are_cut_in_the_order_of_the_other_engines() -> None:
    config = GenerationConfig(temperature=0.5, top_k=9, top_p=0.9, repetition_penalty=1.2)
    fields = sampling_fields(config, 0)
    assert fields["samplers"] == ["penalties", "temperature", "top_k", "top_p"]
    assert (fields["top_k"], fields["top_p"], fields["repeat_penalty"]) == (9, 0.9, 1.2)
    assert sampling_fields(GenerationConfig(temperature=1.0), 0)["samplers"] == ["temperature"]
    # The largest number means another thing to llama.cpp.
    assert sampling_fields(GenerationConfig(seed=2**32 - 1), 0)["seed"] == 0


def test_constraints() -> None:
    schema = {"type": "integer"}
    grammar = sampling_fields(GenerationConfig(json_schema=schema), 0)["grammar"]
    assert grammar.startswith("%llguidance {}\nstart: %json {")
    assert '"whitespace_flexible": false' in grammar
    assert "x-guidance" not in schema
    word = 'root ::= "a"'
    assert sampling_fields(GenerationConfig(grammar=word), 0)["grammar"] == word
    with pytest.raises(ConfigError, match="schema or grammar"):
        sampling_fields(GenerationConfig(json_schema={"type": "nothing"}), 0)
    own = sampling_fields(GenerationConfig(lark='start: "a"'), 0)["grammar"]
    assert own == '%llguidance {}\nstart: "a"'


def test_further_settings() -> None:
    config = GenerationConfig(temperature=0.5, min_p=0.1, top_k=9, logit_bias=((5, -3.0),))
    fields = sampling_fields(config, 0)
    assert fields["samplers"] == ["temperature", "min_p", "top_k"]
    assert (fields["min_p"], fields["logit_bias"]) == (0.1, [[5, -3.0]])
    assert "ignore_eos" not in fields
    assert sampling_fields(GenerationConfig(ignore_eos=True), 0)["ignore_eos"]
