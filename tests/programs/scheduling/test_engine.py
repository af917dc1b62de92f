"""What engines declare."""

from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.scheduling.engine import EngineCapabilities
from tests.support.chains import CAN, chain_of


def test_what_an_engine_accepts() -> None:
    assert CAN.accepts(chain_of())
    assert not CAN.accepts(chain_of(model="another"))
    assert not CAN.accepts(chain_of(adapter="a"))
    assert EngineCapabilities(("model",), adapters=True).accepts(chain_of(adapter="a"))


def test_a_chain_beyond_context_or_memory_is_not_accepted() -> None:
    assert CAN.accepts(chain_of(tokens=(8_000,), new=192))
    assert not CAN.accepts(chain_of(tokens=(8_000,), new=193))
    small = EngineCapabilities(("model",), kv_tokens=100)
    assert not small.accepts(chain_of(tokens=(80,), new=21))


def test_numbers_and_flags_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_batch"):
        EngineCapabilities(("model",), max_batch=0)
    with pytest.raises(ConfigError, match="in flight"):
        EngineCapabilities(("model",), prefix_cache=False, in_flight_prefix=True)
