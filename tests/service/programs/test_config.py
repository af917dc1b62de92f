from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.service.programs.book import ProgramServiceConfig
from adwright.web.gate import LOCAL_HOSTS


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_programs", 0),
        ("tenant_programs", 0),
        ("queued_tokens", 0),
        ("tenant_queued_tokens", 0),
        ("keep_seconds", 0),
        ("most_seconds", float("inf")),
        ("wait_seconds", -1),
        ("max_tokens", 0),
        ("max_texts", 0),
        ("drain_seconds", -1),
        ("max_in_flight", 0),
        ("key", "a\nb"),
        ("keys", {"a": ""}),
    ],
)
def test_a_setting_that_cannot_be(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError) as told:
        ProgramServiceConfig(**{setting: value})
    assert setting in str(told.value)
    assert "secret" not in repr(ProgramServiceConfig(key="secret", keys={"a": "secrets"}))


def test_who_may_call() -> None:
    assert ProgramServiceConfig().gate().allowed_hosts == LOCAL_HOSTS
    assert ProgramServiceConfig(key="k").gate().allowed_hosts == ()
    assert ProgramServiceConfig(allowed_hosts=("a",)).gate().allowed_hosts == ("a",)
    shares = [ProgramServiceConfig(keys=keys).gate().tenant_share for keys in ({}, {"a": "k"})]
    assert shares == [1.0, 0.5]
