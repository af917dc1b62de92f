"""How the texts of a job are checked: limits of the platform, voice and brands."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from adwright.authoring.checks.limits import BrandVoice, CheckConfig, limit_named
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.slots import WriterSlot, slot_named
from adwright.core.config import load_toml

#: platform -> slot -> name of a limit. Of "" are those that hold wherever the text stands.
_LIMITS: Mapping[str, Mapping[str, str]] = {
    "": {"meta_description": "web.meta_description"},
    "google-rsa": {"headline": "google.headline", "description": "google.description"},
    "google-shopping": {
        "title": "google.shopping_title",
        "description": "google.shopping_description",
    },
    "meta": {
        "headline": "meta.headline",
        "description": "meta.description",
        "primary_text": "meta.primary",
    },
    "amazon": {"title": "amazon.title", "headline": "amazon.sponsored_headline"},
}


def check_configs(config: WriteConfig, *, brands: Collection[str] = ()) -> dict[str, CheckConfig]:
    """slot -> how its texts are checked. brands: of the catalogue, so that another brand's name is
    found. Raises ConfigError where the voice cannot be read."""
    voice = voice_of(config)
    return {
        name: CheckConfig(
            limit=limit_name(config, slot_named(name, config.platform)),
            voice=voice,
            brands=frozenset(brands),
        )
        for name in config.slots
    }


def limit_name(config: WriteConfig, slot: WriterSlot) -> str:
    """The limit of the platform for a slot; "" where it says nothing."""
    own = _LIMITS[config.platform].get(slot.name)
    return own or _LIMITS[""].get(slot.name, "")


def limit_of(config: WriteConfig, slot: WriterSlot) -> int:
    """Characters that a text is asked to have at most: what the platform shows of it; 0 where it
    says nothing."""
    name = limit_name(config, slot)
    if not name:
        return 0
    limit = limit_named(name)
    return limit.visible or limit.most


def voice_of(config: WriteConfig) -> BrandVoice | None:
    """The voice of the brand, where there is one. Raises ConfigError where it cannot be read."""
    return None if config.voice is None else load_toml(config.voice, BrandVoice)


def voice_text(config: WriteConfig) -> str:
    """What the system turn says of the voice; errors as `voice_of`."""
    voice = voice_of(config)
    return "" if voice is None else voice.prompt()
