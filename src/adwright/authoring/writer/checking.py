"""How the texts of a job are checked: limits of the platform, voice and brands."""

from __future__ import annotations

from adwright.authoring.checks.verdict import CheckConfig
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.slots import WriterSlot, slot_named

__all__ = ["check_configs", "limit_of", "voice_text"]


def check_configs(config: WriteConfig) -> dict[str, CheckConfig]:
    """slot -> how its texts are checked."""
    return {
        name: CheckConfig(config.platform, slot_named(name, config.platform).name)
        for name in config.slots
    }


def limit_of(config: WriteConfig, slot: WriterSlot) -> int:
    """Characters that the platform allows in a slot; 0 where it says nothing."""
    return 0


def voice_text(config: WriteConfig) -> str:
    """What the system turn says of the voice of the brand."""
    return ""
