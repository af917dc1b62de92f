from __future__ import annotations

from dataclasses import astuple, dataclass

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Capabilities, check_least
from adwright.lm.open_model import ENGINES


def test_each_engine_has_a_column_of_its_own() -> None:
    told = [kind.capabilities for kind in ENGINES.values()]
    assert len({one.title for one in told}) == len(told)
    # They stand in a table of the documentation.
    assert not any("|" in text or "\n" in text for one in told for text in astuple(one))


def test_nothing_is_claimed_by_default() -> None:
    bare = Capabilities("a", "b")
    assert (bare.score, bare.embed, bare.constraint) == ("no", "no", "no")
    assert ENGINES["openvino"].capabilities.embed == "no"
    assert ENGINES["torch"].capabilities.embed == "yes"


@dataclass
class Settings:
    threads: int = 2
    seconds: float = 0.5


def test_settings_below_their_least_value_are_named() -> None:
    check_least(Settings(), {"threads": 2, "seconds": 0.5})
    with pytest.raises(ConfigError, match="seconds must be at least") as told:
        check_least(Settings(), {"threads": 0, "seconds": 0.6})
    assert told.value.where == "seconds 0.5"
