from __future__ import annotations

import time

import pytest

from adwright.delivery.cascade.cascade import Meter
from adwright.delivery.stages.protocols import CallCost


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_and_work_are_a_request() -> None:
    meter = Meter()
    for _ in range(2):
        with meter.stage("coarse"):
            spin(0.01)
        meter.work("coarse", 5, 500, CallCost(1000, 200))
    with meter.stage("fine"):
        pass
    coarse, fine = meter.report()
    assert (coarse.stage, coarse.requests, coarse.items) == ("coarse", 10, 100)
    assert (coarse.flops, coarse.bytes) == (200, 40)
    assert 2 <= coarse.cpu_ms < 20
    assert (fine.stage, fine.requests, fine.flops) == ("fine", 0, 0)


def test_stages_are_told_in_the_order_in_which_they_ran() -> None:
    meter = Meter()
    for name in ("retrieve", "coarse", "retrieve", "fine"):
        with meter.stage(name):
            pass
    assert [line.stage for line in meter.report()] == ["retrieve", "coarse", "fine"]
    assert Meter().report() == []


def test_work_is_divided_by_the_requests() -> None:
    meter = Meter()
    meter.work("fine", 3, 30, CallCost(300.0, 90.0))
    meter.work("fine", 1, 2, CallCost(20.0, 10.0))
    (line,) = meter.report()
    assert (line.requests, line.flops, line.bytes, line.items) == (4, 80.0, 25.0, 8.0)
    assert line.cpu_ms == 0.0


def test_a_stage_that_fails_is_measured_too() -> None:
    meter = Meter()

    def fail() -> None:
        with meter.stage("coarse"):
            raise ValueError(sum(range(200_000)))

    with pytest.raises(ValueError, match="19999900000"):
        fail()
    (line,) = meter.report()
    assert line.cpu_ms > 0
    # Time without any work noted is of one request.
    assert line.requests == 0
