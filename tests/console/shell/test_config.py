from __future__ import annotations

import pytest

from adwright.console.shell.config import ConsoleConfig
from adwright.core.errors import ConfigError
from adwright.web.gate import LOCAL_HOSTS


def test_without_a_key_only_this_machines_own_names_are_answered() -> None:
    assert ConsoleConfig().gate().allowed_hosts == LOCAL_HOSTS
    assert ConsoleConfig(key="k").gate().allowed_hosts == ()
    assert ConsoleConfig(key="k", allowed_hosts=("a",)).gate().allowed_hosts == ("a",)


def test_the_gate_has_the_limits() -> None:
    gate = ConsoleConfig(max_in_flight=3, max_body_bytes=99).gate()
    assert (gate.max_in_flight, gate.max_body_bytes) == (3, 99)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", 0),
        ("rows", 201),
        ("key", "schlüssel"),
        ("max_body_bytes", 0),
        ("drain_seconds", -1.0),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        ConsoleConfig(**{name: value})  # type: ignore[arg-type]


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(ConsoleConfig(key="secret"))
