from __future__ import annotations

import pytest

from adwright.training.search import Defaults, near_power_of_two, within


@pytest.mark.parametrize(("value", "found"), [(0, 2), (2.0, 2), (2.1, 3), (9, 8), (1e12, 8)])
def test_within_rounds_up_and_keeps_the_bounds(value: float, found: int) -> None:
    assert within(value, 2, 8) == found


@pytest.mark.parametrize(("value", "found"), [(1, 16), (16, 16), (17, 32), (100, 128), (999, 512)])
def test_powers_of_two(value: float, found: int) -> None:
    assert near_power_of_two(value, 16, 512) == found


def test_defaults_carry_their_reasons() -> None:
    assert Defaults("model", 3, ("because",)).why == ("because",)
