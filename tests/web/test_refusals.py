from __future__ import annotations

import pytest

from adwright.web.gate import Refusals


def test_a_caller_is_refused_at_once_within_its_share() -> None:
    refusals = Refusals(at_once=4)
    assert [refusals.wait("a", now=1) for _ in range(4)] == [0] * 4
    # Whoever comes back before the second is over comes one after the other.
    assert refusals.wait("a", now=1) == 0
    assert refusals.wait("a", now=1) == pytest.approx(0.01)
    assert refusals.wait("a", now=1.005) == pytest.approx(0.015)
    assert refusals.wait("b", now=1) == 0
    # What it may have comes back bit by bit: so many a second are never held back.
    assert [refusals.wait("a", now=2 + n / 4) for n in range(40)] == [0] * 40
    assert refusals.wait("a", now=50) == 0


def test_none_is_held_back_for_longer_than_a_second() -> None:
    refusals = Refusals()
    assert max(refusals.wait("a", now=1) for _ in range(500)) == pytest.approx(1)


def test_a_rush_hour_is_refused_at_once_and_a_flood_is_not() -> None:
    refusals, flood = Refusals(256), Refusals(256)
    assert not any(refusals.wait("shop", now=n / 200) for n in range(2_000))
    held = [flood.wait("flood", now=n / 5_000) for n in range(10_000)]
    # Its share is gone for ten seconds, and then for as long as it goes on.
    assert sum(wait == 0 for wait in held) < 256 * 1.1
    assert all(flood.wait("flood", now=2 + n / 500) for n in range(1, 10_000))
    # As many as it may have in work, each back after the second that it was told: never held.
    assert not any(refusals.wait("heeds", now=n // 256) for n in range(256 * 20))
    # After ten quieter seconds the share is there again.
    assert not any(flood.wait("flood", now=40 + n / 200) for n in range(2_000))
