from __future__ import annotations

import pytest

from adwright.authoring.writer.slots import SLOTS, slot_named
from adwright.core.errors import ConfigError


def test_each_slot_has_its_task_and_its_words() -> None:
    for name, slot in SLOTS.items():
        assert slot.name == name
        assert slot.task.name == slot.task_name
        if slot.characters:
            assert f"at most {slot.characters} characters" in slot.instruction()
            assert "at most 17 characters" in slot.instruction(17)


def test_a_description_is_an_ad_on_a_platform() -> None:
    assert slot_named("description").task_name == "descriptions"
    assert slot_named("description", "google-rsa").task_name == "ads"
    assert slot_named("headline", "google-rsa") is slot_named("headline")


def test_an_unknown_slot_is_told_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="did you mean headline"):
        slot_named("headlines")
