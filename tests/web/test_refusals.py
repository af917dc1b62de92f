from __future__ import annotations

import pytest

from adwright.web.refusals import Refusals


def test_refusals_of_one_tenant_come_one_after_the_other() -> None:
    refusals = Refusals()
    assert refusals.wait("a", now=1) == 0
    assert refusals.wait("a", now=1) == pytest.approx(0.01)
    assert refusals.wait("a", now=1.005) == pytest.approx(0.015)
    assert refusals.wait("b", now=1) == 0
    assert refusals.wait("a", now=5) == 0


def test_none_is_held_back_for_longer_than_a_second() -> None:
    refusals = Refusals()
    assert max(refusals.wait("a", now=1) for _ in range(500)) == pytest.approx(1)
