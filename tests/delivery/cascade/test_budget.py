from __future__ import annotations

import time

from adwright.delivery.cascade.budget import Meter
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
