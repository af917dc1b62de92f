from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.defences.guard.guard import Calibration, PValue, require_alpha
from adwright.core.errors import ConfigError, DataError


def test_p_is_the_share_at_least_as_suspicious() -> None:
    some = Calibration.of([1.0, 2.0, 2.0, 3.0], [("m", "f")] * 4)
    values = {s: some.p_value(s, ("m", "f"), alpha=0.2).value for s in (0.0, 2.0, 3.0, 9.0)}
    assert values == {0.0: 1.0, 2.0: 0.8, 3.0: 0.4, 9.0: 0.2}


def test_the_narrowest_group_that_reaches_alpha_is_taken() -> None:
    groups = [("big", "f")] * 19 + [("small", "f")] * 3 + [("big", "g")]
    some = Calibration.of(np.arange(23.0), groups)
    assert some.p_value(99, ("big", "f"), alpha=0.05) == PValue(1 / 20, "merchant and field", 19)
    assert some.p_value(99, ("small", "f"), alpha=0.05) == PValue(1 / 23, "field", 22)
    assert some.p_value(99, ("small", "f"), alpha=0.25).group == "merchant and field"
    assert some.p_value(99, ("big", "g"), alpha=0.05) == PValue(1 / 24, "all", 23)
    assert some.p_value(99, ("new", "new"), alpha=0.05).group == "all"
    # None can reach so little: the largest is the best there is.
    assert some.p_value(99, ("big", "f"), alpha=0.001) == PValue(1 / 24, "all", 23)


def test_false_alarms_are_within_alpha() -> None:
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(300):
        scores = rng.standard_t(2, size=80)
        some = Calibration.of(scores[:60], [("m", "f")] * 60)
        p = [some.p_value(s, ("m", "f"), alpha=0.05).value for s in scores[60:]]
        alarms += [one <= 0.05 for one in p]
    # 3 of 61 ranks are at most 0.05; the spread is of 300 calibrations.
    assert np.mean(alarms) == pytest.approx(3 / 61, abs=0.012)


def test_without_calibration_nothing_is_rare() -> None:
    found = Calibration({}).p_value(9, ("m", "f"), alpha=0.1)
    assert (found.value, found.rows) == (1.0, 0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="1 scores and 2 groups"):
        Calibration.of([1.0], [("m", "f")] * 2)
    with pytest.raises(DataError, match="row 1"):
        Calibration.of([1.0, np.nan], [("m", "f")] * 2)
    for alpha in (0, 1, -0.1):
        with pytest.raises(ConfigError, match="alpha"):
            require_alpha(alpha)
