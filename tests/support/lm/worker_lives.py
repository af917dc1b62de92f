"""A worker process on the smallest model: llama.cpp's on the tiny GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.lm.tiny_gguf import save_tiny_gguf

WORKER = "adwright.lm.native_engines.llamacpp_worker"


def worker_settings(folder: Path) -> dict[str, Any]:
    """What it is started with."""
    told = {"model": str(save_tiny_gguf(folder / "tiny.gguf")), "threads": 1, "context": 256}
    return told | {"running": 1, "loras": [], "embedding": False}
