from __future__ import annotations

from adwright.authoring.writer.checking import check_configs
from adwright.authoring.writer.config import WriteConfig


def test_each_slot_is_checked() -> None:
    assert set(check_configs(WriteConfig(("headline", "title")))) == {"headline", "title"}
