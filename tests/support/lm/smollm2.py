"""The real small model for tests; they are skipped, with the reason, where it cannot be had."""

from __future__ import annotations

import pytest

from adwright.core.errors import AssetError
from adwright.lm.engine.generation import Message
from adwright.lm.engine.weights import SMOLLM2, smollm2_gguf

CAPITAL = (Message("user", "What is the capital of France?"),)


def smollm2() -> str:
    """Its name, once its file is in the cache."""
    for package in ("transformers", "gguf"):
        pytest.importorskip(package, reason="the extra lm is not installed")
    try:
        smollm2_gguf()
    except AssetError as error:
        pytest.skip(f"SmolLM2-135M-Instruct cannot be had: {error}")
    return SMOLLM2
