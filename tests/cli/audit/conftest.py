"""A model of no sense on this machine, with room for a question."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from tests.support.lm.tiny_llama import tiny_llama, tiny_tokenizer


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    folder = tmp_path_factory.mktemp("small")
    network = tiny_llama()
    network.config.max_position_embeddings = 4096
    network.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
