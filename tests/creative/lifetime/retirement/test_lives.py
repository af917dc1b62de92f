"""A log of lives is refused where its columns do not fit each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.retirement.lives import LifeLog


def log() -> LifeLog:
    """Two lives, of two periods and of one."""
    two, three = np.array([4, 5]), np.ones(3)
    return LifeLog(
        unit="day",
        ids=pl.DataFrame({"unit_id": ["a", "b"]}),
        first=two,
        last=np.array([5, 5]),
        owner=two,
        pool=two,
        period=np.array([4, 5, 5]),
        cost=three,
        value=three,
        shown=three,
        offsets=np.array([0, 2, 3]),
        cost_name="spend",
        value_name="clicks",
        closed=6,
    )


def test_a_log_is_as_long_as_its_lives() -> None:
    assert len(log()) == 2
    assert log().gap == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"offsets": np.array([0, 2, 4])},
        {"offsets": np.array([0, 3])},
        {"value": np.ones(2)},
        {"pool": np.ones(3, np.int64)},
        {"ids": pl.DataFrame({"unit_id": ["a"]})},
    ],
)
def test_columns_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="do not fit each other"):
        replace(log(), **wrong)


def test_periods_are_days_or_weeks() -> None:
    with pytest.raises(ConfigError, match="unit"):
        replace(log(), unit="month")  # type: ignore[arg-type]
