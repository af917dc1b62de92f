from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from tests.support.data.small_life_log import small_life_log


def test_columns_that_do_not_fit_are_refused() -> None:
    log = small_life_log(20)
    assert len(log) == 20
    for changes in (
        {"cost": log.cost[:-1]},
        {"pool": log.pool[:-1]},
        {"offsets": log.offsets[:-1]},
        {"offsets": np.append(log.offsets[:-1], len(log.period) + 1)},
        {"ids": log.ids.head(19)},
    ):
        with pytest.raises(DataError, match="do not fit each other"):
            replace(log, **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unit"):
        replace(log, unit="month")  # type: ignore[arg-type]


def test_periods_have_names() -> None:
    log = small_life_log(20)
    assert log.period_name(7) == "week 7"
    assert replace(log, dated=True).period_name(2939) == "week of 2026-04-27"
    assert replace(log, dated=True, unit="day").period_name(20573) == "day 2026-04-30"
