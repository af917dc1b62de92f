from __future__ import annotations

import dataclasses

import pytest

from adwright.service.config import ServiceConfig
from adwright.service.decide.shedding import Load, commit_reserve, shed

CONFIG = ServiceConfig(max_queue=10, max_pending_rows=100)
LOAD = Load(waiting=4, per_rescue=0.002, rows=20, per_commit=0.005)


def test_the_wait_is_to_rescue_all_before_and_two_transactions() -> None:
    assert LOAD.wait() == pytest.approx(5 * 0.002 + 2 * 0.005)
    assert dataclasses.replace(LOAD, rows=0).wait() == pytest.approx(5 * 0.002 + 0.005)
    assert dataclasses.replace(LOAD, waiting=0).wait() == pytest.approx(0.002 + 0.010)


def test_whoever_is_alone_is_let_in_whatever_was_measured() -> None:
    assert Load(waiting=0, per_rescue=100, rows=0, per_commit=100).wait() == 0


def test_only_what_can_be_answered_in_time_is_let_in() -> None:
    assert shed(LOAD, 0.021, CONFIG) is None
    refusal = shed(LOAD, 0.019, CONFIG)
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.code) == (429, "deadline", "too_busy")
    assert refusal.headers == {"Retry-After": "1"}
    idle = Load(waiting=0, per_rescue=0, rows=0, per_commit=0)
    assert shed(idle, 0.001, CONFIG) is None
    over = shed(idle, 0.0, CONFIG)
    assert over is not None
    assert over.reason == "deadline"


def test_full_queues_refuse() -> None:
    full = shed(dataclasses.replace(LOAD, waiting=10), 10, CONFIG)
    assert full is not None
    assert full.reason == "queue"
    rows = shed(dataclasses.replace(LOAD, rows=100), 10, CONFIG)
    assert rows is not None
    assert rows.reason == "store"


def test_the_time_to_come_back_grows_with_the_wait_within_bounds() -> None:
    slow = dataclasses.replace(LOAD, per_rescue=1.0)
    later = shed(slow, 0.02, CONFIG)
    assert later is not None
    assert 5 <= int(later.headers["Retry-After"]) <= 6
    never = shed(dataclasses.replace(LOAD, per_rescue=1e6), 0.02, CONFIG)
    assert never is not None
    assert never.headers["Retry-After"] == "60"


def test_the_reserve_for_writing_is_bounded() -> None:
    assert commit_reserve(0.0, 0.04) == 0.004
    assert commit_reserve(0.005, 0.04) == 0.010
    assert commit_reserve(1.0, 0.04) == 0.02
