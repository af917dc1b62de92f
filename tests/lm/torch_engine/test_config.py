from __future__ import annotations

import subprocess
import sys

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.torch_engine.config import TorchConfig


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        TorchConfig(batch_size=0)
    with pytest.raises(ConfigError, match="threads"):
        TorchConfig(threads=-1)


def test_settings_load_no_engine() -> None:
    code = (
        "import sys, adwright.lm.open_model; "
        "print({'torch', 'transformers', 'openvino_genai', 'openai'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
