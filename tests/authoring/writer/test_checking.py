from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from adwright.authoring.checks.limits import limit_named
from adwright.authoring.writer.checking import check_configs, limit_name, limit_of, voice_text
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.slots import SLOTS, WriterPlatform, slot_named
from adwright.core.errors import ConfigError


def test_each_slot_has_the_limit_of_its_platform() -> None:
    google = WriteConfig(("headline", "description", "title"), platform="google-rsa")
    found = check_configs(google, brands=("Acme",))
    assert {name: one.limit for name, one in found.items()} == {
        "headline": "google.headline",
        "description": "google.description",
        "title": "",
    }
    assert found["title"].brands == frozenset(("Acme",))
    assert limit_of(google, slot_named("headline")) == 30
    assert limit_of(WriteConfig(("headline",)), slot_named("headline")) == 0
    meta = WriteConfig(("primary_text",), platform="meta")
    assert limit_of(meta, slot_named("primary_text")) == 125


@pytest.mark.parametrize("platform", get_args(WriterPlatform))
def test_all_limits_are_known(platform: WriterPlatform) -> None:
    config = WriteConfig(("headline",), platform=platform)
    names = [limit_name(config, slot_named(slot, platform)) for slot in SLOTS]
    assert any(names)
    assert all(limit_named(name).most for name in names if name)


def test_the_voice_of_a_brand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "voice.toml"
    path.write_text('tone = "calm"\nbanned = ["cheap"]\n')
    config = WriteConfig(("headline",), voice=path)
    assert "calm" in voice_text(config)
    voice = check_configs(config)["headline"].voice
    assert voice is not None
    assert voice.banned == ("cheap",)
    assert voice_text(WriteConfig(("headline",))) == ""
    path.write_text("tune = 1\n")
    with pytest.raises(ConfigError, match="tone"):
        check_configs(config)
