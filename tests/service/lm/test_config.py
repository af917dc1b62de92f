from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.service.lm.config import LmServiceConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_running": 0},
        {"max_queue": -1},
        {"max_in_flight": 0},
        {"max_tokens": 0},
        {"max_texts": 0},
        {"max_body_bytes": 0},
        {"body_seconds": 0.0},
        {"drain_seconds": -1.0},
        {"key": "a\nb"},
        {"keys": {"a": "k k"}},
        {"max_seconds": 0.0},
        {"tenant_queue": 0},
        {"tenant_tokens": 0},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LmServiceConfig(**wrong)


def test_the_key_is_never_shown() -> None:
    assert "s3cret" not in repr(LmServiceConfig(key="s3cret", keys={"a": "s3cret-2"}))
    with pytest.raises(ConfigError) as caught:
        LmServiceConfig(key="s3cret\n")
    assert "s3cret" not in str(caught.value)


def test_the_gate_has_the_same_limits() -> None:
    gate = LmServiceConfig(max_in_flight=7, max_body_bytes=9, body_seconds=3.0).gate()
    assert (gate.max_in_flight, gate.max_body_bytes, gate.body_seconds) == (7, 9, 3.0)


def test_without_a_key_only_local_names_call_it() -> None:
    assert LmServiceConfig().gate().allowed_hosts == ("localhost", "127.0.0.1", "::1")
    assert LmServiceConfig(key="k").gate().allowed_hosts == ()
    assert LmServiceConfig(key="k", allowed_hosts=("a",)).gate().allowed_hosts == ("a",)


@pytest.mark.parametrize("name", ["head_seconds", "max_connections", "max_arriving"])
def test_the_settings_of_the_door_are_those_of_the_gate(name: str) -> None:
    assert getattr(LmServiceConfig(**{name: 7}).gate(), name) == 7
    with pytest.raises(ConfigError, match=name):
        LmServiceConfig(**{name: 0})
