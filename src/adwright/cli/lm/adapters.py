"""Options of `adwright lm` that name adapters, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adwright.lm.native_engines.llamacpp_config import LoraFile

__all__ = ["Adapter", "Loras", "lora_files"]

Adapter = Annotated[
    Path | None,
    typer.Option(
        "--adapter",
        help="Answer with this saved adapter of the model: what `adwright tune run` wrote, or the"
        " `tuned` in it; on torch.",
    ),
]
Loras = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        help="Answer with this LoRA in GGUF, as `adwright tune export` writes it: FILE.gguf, or"
        " FILE.gguf=SCALE; may be repeated, then all act at once; on llama.cpp.",
    ),
]


def lora_files(asked: list[str] | None) -> tuple[LoraFile, ...]:
    """What --lora names: files, each with its scale. Raises ConfigError for a scale that is no
    number."""
    from adwright.lm.native_engines.llamacpp_config import LoraFile

    return tuple(LoraFile.of(one) for one in asked or ())
