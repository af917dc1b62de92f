"""Options of `adwright lm` that name adapters, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adwright.lm.native_engines.llamacpp_config import LoraFile


def lora_files(asked: list[str] | None) -> tuple[LoraFile, ...]:
    """What --lora names: files, each with its scale. Raises ConfigError for a scale that is no
    number."""
    from adwright.lm.native_engines.llamacpp_config import LoraFile

    return tuple(LoraFile.of(one) for one in asked or ())
