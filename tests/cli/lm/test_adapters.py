"""What --lora names."""

from __future__ import annotations

import pytest

from adwright.cli.lm.serve import lora_files
from adwright.core.errors import ConfigError
from adwright.lm.native_engines.llamacpp_config import LoraFile
from tests.support.lm.lm_server import run


def test_files_and_scales() -> None:
    assert lora_files(None) == ()
    found = lora_files(["a.gguf", "b.gguf=0.5", "odd=name.gguf=2"])
    assert found == (LoraFile("a.gguf"), LoraFile("b.gguf", 0.5), LoraFile("odd=name.gguf", 2.0))
    with pytest.raises(ConfigError, match="is not a number"):
        lora_files(["a.gguf=much"])


def test_a_lora_is_not_served_beside_adapters(tmp_path: object) -> None:
    told = run("serve", "--lora", "a.gguf", "--adapters", str(tmp_path), code=2)
    assert "act on llama.cpp" in told
