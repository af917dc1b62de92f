from __future__ import annotations

import dataclasses
from contextlib import ExitStack, suppress

import pytest

from adwright.service.decide.decider import Load, Shares, commit_reserve, missed, shed

LOAD = Load(own=3, decisions=4, per_rescue=0.002, store=0.005, per_commit=0.005)


def test_the_wait_is_to_rescue_all_before_and_the_transactions() -> None:
    assert LOAD.wait() == pytest.approx(5 * 0.002 + 2 * 0.005)
    assert dataclasses.replace(LOAD, store=0).wait() == pytest.approx(5 * 0.002 + 0.005)
    assert dataclasses.replace(LOAD, decisions=0).wait() == pytest.approx(0.002 + 0.010)


def test_whoever_has_hardly_anything_in_work_is_let_in_whatever_others_do() -> None:
    load = Load(own=2, decisions=80, per_rescue=100, store=100, per_commit=100)
    assert shed(load, 0.001) is None
    assert shed(load, 0) is None
    assert shed(dataclasses.replace(load, own=3), 0.001) is not None


def test_only_what_can_be_answered_in_time_is_let_in() -> None:
    assert shed(LOAD, 0.021) is None
    refusal = shed(LOAD, 0.019)
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.code) == (429, "deadline", "too_busy")
    assert refusal.headers == {"Retry-After": "1"}
    idle = Load(own=0, decisions=0, per_rescue=0, store=0, per_commit=0)
    assert shed(idle, 0.001) is None
    busy = dataclasses.replace(idle, own=3)
    assert shed(busy, 0.001) is None
    over = shed(busy, 0.0)
    assert over is not None
    assert over.reason == "deadline"


def test_the_time_to_come_back_grows_with_the_wait_within_bounds() -> None:
    later = shed(dataclasses.replace(LOAD, per_rescue=1.0), 0.02)
    assert later is not None
    assert 5 <= int(later.headers["Retry-After"]) <= 6
    never = shed(dataclasses.replace(LOAD, per_rescue=1e6), 0.02)
    assert never is not None
    assert never.headers["Retry-After"] == "60"


def test_a_tenant_may_hold_as_much_as_is_still_free() -> None:
    shares = Shares(100)
    with ExitStack() as held:
        for tenant, total in (("a", 50), ("b", 75)):
            for _ in range(100):
                if shares.fits(tenant):
                    held.enter_context(shares.held(tenant))
            assert shares.total == total
        assert shares.fits("c", 25)
        assert not shares.fits("c", 26)
        assert not shares.fits("a")


def test_what_is_held_is_given_back_whatever_happens() -> None:
    shares = Shares(10)
    with suppress(ZeroDivisionError), shares.held("a", 6):
        assert shares.total == 6
        assert not shares.fits("a")
        raise ZeroDivisionError
    assert shares.total == 0
    assert shares.fits("a", 10)


def test_what_stands_before_a_tenant_is_its_own_line_and_turns_of_others() -> None:
    shares = Shares(1000)
    with shares.held("flood", 400), shares.held("some", 3):
        assert shares.before("new", 8) == 8 + 3
        assert shares.before("some", 8) == 3 + 8
        assert shares.before("flood", 8) == 400 + 3
        with shares.held("new", 20):
            assert shares.before("new", 8) == 20 + 24 + 3


def test_the_reserve_for_writing_is_bounded() -> None:
    assert commit_reserve(0.0, 0.04) == 0.004
    assert commit_reserve(0.005, 0.04) == 0.010
    assert commit_reserve(1.0, 0.04) == 0.02


def test_a_missed_deadline_names_what_sets_it() -> None:
    refusal = missed(0.2)
    assert "deadline" in refusal.message
    for words in ("deadline_ms with it", "setting deadline_ms", "come back in 1 s"):
        assert words in refusal.hint
    late = shed(LOAD, 0.019)
    assert late is not None
    assert late.message == refusal.message
