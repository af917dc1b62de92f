from __future__ import annotations

import logging

import pytest

from adwright.core.clock import FixedClock
from adwright.training.loop.stage_timer import Stages


def test_stages_add_up_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = FixedClock()
    stages = Stages(clock)
    with caplog.at_level(logging.INFO, "adwright"):
        for _ in range(2):
            with stages.stage("wait"):
                clock.advance(1.5)
    assert stages.seconds == {"wait": 3.0}
    assert [record.getMessage() for record in caplog.records] == ["wait: 1.5 s"] * 2
