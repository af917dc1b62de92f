from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.writer.engine.opened import WriterModel, open_writer
from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import saved_parts
from tests.support.lm.tiny_llama import save_tiny


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"url": "http://x/v1", "adapter": "a"}, "its own engine"),
        ({"url": "http://x/v1", "engine": "paged"}, "its own engine"),
        ({"engine": "openvino", "adapter": "a"}, "no adapters of ours"),
        ({"concurrency": -1}, "concurrency"),
        ({"engine": "fast"}, "engine"),
    ],
)
def test_what_goes_not_together_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        WriterModel(**fields)


def test_a_server_is_asked_over_http() -> None:
    with open_writer(WriterModel("served", url="http://127.0.0.1:9/v1")) as opened:
        assert (opened.engine, opened.name, opened.adapter_hash) == ("http", "served", "")
        assert opened.model.info.engine == "http"


def test_a_folder_without_an_adapter_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(AssetError, match="no adapter in this folder"),
        open_writer(WriterModel(adapter=str(tmp_path))),
    ):
        pass


def test_a_model_here_is_paged_with_its_adapter(tmp_path: Path) -> None:
    base = str(save_tiny(tmp_path / "base"))
    adapter = saved_parts(tmp_path / "parts", {"shop": LoRA(rank=3)})["shop"]
    config, prompts = GenerationConfig(max_tokens=6), ["the best tea", "the best cup"]
    with open_writer(WriterModel(base)) as opened:
        assert (opened.engine, opened.adapter_hash) == ("paged", "")
        plain = opened.model.generate(prompts, config).texts
    with open_writer(WriterModel(base, adapter=str(adapter))) as opened:
        assert opened.engine == "paged"
        assert len(opened.adapter_hash) == 64
        tuned = opened.model.generate(prompts, config).texts
    with open_writer(WriterModel(base, engine="torch")) as opened:
        assert opened.engine == "torch"
        assert len(opened.model.generate(prompts, config)) == 2
    assert tuned != plain
