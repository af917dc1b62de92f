"""Which engines run programs, by the options."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.cli.programs.engines import local_room
from adwright.core.errors import AssetError, ConfigError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model as a folder."""
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


def test_engines_and_their_tokeniser(tiny: str) -> None:
    room, text = local_room("paged", tiny, engines=3)
    assert room.ready() == {"e0": False, "e1": False, "e2": False}
    assert text.count("tea") > 0
    with pytest.raises(ConfigError, match="OpenVINO does not read"):
        local_room("openvino", tiny)
    with pytest.raises(AssetError):
        local_room("paged", str(Path(tiny) / "none"))
