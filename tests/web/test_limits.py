"""Tests of the gate's limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.web.limits import GateLimits, is_positive, require


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_in_flight": 0},
        {"max_body_bytes": 0},
        {"max_arriving": 0},
        {"max_connections": 0},
        {"connections_per_address": -1},
        {"head_seconds": 0.0},
        {"tenant_share": 0.0},
        {"tenant_share": 1.1},
        {"tenant_share": math.nan},
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


@dataclass(frozen=True)
class Door:
    """Settings of which one must not be shown."""

    width: float
    code: str = field(repr=False)


def test_the_defaults_and_the_least_limits_are_taken() -> None:
    assert GateLimits() == GateLimits(512, 1 << 20, 10.0, "")
    least = GateLimits(1, 1, 1e-9, "pod-7 (a)")
    assert (least.max_in_flight, least.max_body_bytes, least.replica) == (1, 1, "pod-7 (a)")


@pytest.mark.parametrize("seconds", [-1.0, math.inf, -math.inf])
def test_a_body_may_take_neither_less_than_nothing_nor_for_ever(seconds: float) -> None:
    with pytest.raises(ConfigError, match="body_seconds must be above 0") as caught:
        GateLimits(body_seconds=seconds)
    assert caught.value.where == f"body_seconds {seconds!r}"


def test_a_setting_that_holds_is_let_through_and_another_is_shown() -> None:
    door = Door(-1.0, "hunter2")
    assert require(door, "width", True, "must be above 0") is None
    with pytest.raises(ConfigError, match="width must be above 0") as caught:
        require(door, "width", False, "must be above 0")
    assert (caught.value.where, caught.value.hint) == ("width -1.0", "correct it")


def test_a_secret_is_named_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="code is too short") as caught:
        require(Door(1.0, "hunter2"), "code", False, "is too short")
    assert caught.value.where == "code"
    assert "hunter2" not in str(caught.value)


def test_a_share_is_at_least_one() -> None:
    limits = GateLimits(tenant_share=0.5)
    assert [limits.share_of(most) for most in (1, 2, 3, 512)] == [1, 1, 1, 256]
    assert GateLimits(tenant_share=1.0).share_of(7) == 7
