"""One order for everybody, as a source."""

from __future__ import annotations

import numpy as np

from adwright.delivery.stages.sources import RankedSource
from tests.support.delivery.cascade_parts import histories, request


def test_the_highest_come_first_and_code_0_never() -> None:
    batch = histories().batch([request("u1"), request("nobody")])
    source = RankedSource(np.array([99.0, 1.0, 3.0, 3.0, 2.0]))
    assert [one.tolist() for one in source.find(batch, 3).lists()] == [[2, 3, 4]] * 2
    assert [one.tolist() for one in source.find(batch, 9).lists()] == [[2, 3, 4, 1]] * 2
    assert source.cost(batch, 3).bytes == 48
