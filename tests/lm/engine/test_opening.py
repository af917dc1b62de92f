from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest

from adwright.core.errors import MissingExtraError
from adwright.lm.engine.http_model import HttpConfig
from adwright.lm.engine.opening import EngineConfig, open_model
from adwright.lm.engine.openvino_model import OpenVinoConfig
from adwright.lm.engine.scripted import ScriptedConfig
from adwright.lm.engine.torch_config import TorchConfig


def test_each_config_opens_its_engine(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    pytest.importorskip("openai", reason="the extra lm is not installed")
    from tests.lm.tiny_llama import save_tiny

    configs: list[EngineConfig] = [
        ScriptedConfig(),
        HttpConfig("http://127.0.0.1:9/v1", "m"),
        TorchConfig(str(save_tiny(tmp_path / "tiny")), threads=1),
    ]
    for config, engine in zip(configs, ("scripted", "http", "torch"), strict=True):
        with closing(open_model(config)) as model:
            assert model.info.engine == engine


@pytest.mark.parametrize(
    ("config", "package"),
    [
        (TorchConfig("nowhere"), "transformers"),
        (OpenVinoConfig("nowhere"), "openvino_genai"),
        (HttpConfig("http://127.0.0.1:9/v1", "m"), "openai"),
    ],
)
def test_what_is_missing_is_said(
    config: EngineConfig, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        open_model(config)
    assert caught.value.extra == "lm"
