"""Tests of the gate's limits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.web.limits import GateLimits, is_positive


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_in_flight": 0},
        {"max_body_bytes": 0},
        {"body_seconds": 0.0},
        {"body_seconds": math.nan},
        {"replica": "café"},
        {"replica": "a\nb"},
    ],
)
def test_a_wrong_limit_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        GateLimits(**wrong)


def test_what_is_positive() -> None:
    assert is_positive(1e-9)
    assert not any(map(is_positive, (0, -1, math.inf, math.nan)))
