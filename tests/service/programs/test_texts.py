from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import AssetError
from adwright.lm.engine.generation import Message
from adwright.service.programs.engine_room import guessed_text, text_of_model


def test_the_tokeniser_of_a_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    text = text_of_model(str(save_tiny(tmp_path / "tiny")), engine="paged")
    assert text.count("the best tea") > 1
    assert text.chat is not None
    told = text.chat((Message("user", "tea"),), {})
    assert "tea" in told
    with pytest.raises(AssetError):
        text_of_model(str(tmp_path / "none"), engine="paged")


def test_a_model_elsewhere() -> None:
    text = guessed_text(engine="http")
    assert (text.count("a" * 10), text.chat, text.engine) == (3, None, "http")
