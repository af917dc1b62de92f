"""Lives of a record, period by period: what retirement decides on, and what its replay judges by.

A `LifeRecord` gives a `LifeLog`, what every life cost and brought, and for the close of any period
the units that ran then, as they were known. A rule may look at rows of the log up to that period
and no further; only a replay reads what came after.

Letters: R lives, M rows of a life and a period, N units that run.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.config import settings
from adwright.core.errors import DataError
from adwright.creative.lifetime.spell_table import LifeUnit, SpellTable

__all__ = ["LifeLog", "LifeRecord", "RunningUnits"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@settings(eq=False)
class LifeLog:
    """All lives of a record. Periods are whole numbers, of `unit`.

    ids: R rows, what a life is called: unit_id, and where they are known item_id, creative_id and
    name. first, last: int64 [R], its first and its last period with delivery. owner: int64 [R],
    product or account. pool: int64 [R], lives that are alike before anything is known of them (of
    one product, or of one campaign).
    period: int64 [M], ascending within a life; rows of life i are offsets[i] to offsets[i + 1].
    cost, value: float64 [M], what a period cost and brought, from 0 on; shown: float64 [M], times
    or people that it was shown. cost_name, value_name: what these are, such as "display weeks" and
    "sales". closed: the last period of the record. gap: periods without delivery that a life
    bridges, so that its end is known only after so many more. dated: periods are days since 1970,
    or weeks of it from Monday on, and not numbers of their own.
    """

    unit: LifeUnit
    ids: pl.DataFrame
    first: Ints
    last: Ints
    owner: Ints
    pool: Ints
    period: Ints
    cost: Floats
    value: Floats
    shown: Floats
    offsets: Ints
    cost_name: str
    value_name: str
    closed: int
    gap: int = 0
    dated: bool = False

    def __post_init__(self) -> None:
        lives, rows = len(self.first), len(self.period)
        by_life = {len(self.ids), len(self.last), len(self.owner), len(self.pool)}
        by_row = {len(self.cost), len(self.value), len(self.shown)}
        ends = self.offsets[[0, -1]].tolist() if len(self.offsets) == lives + 1 else []
        if by_life != {lives} or by_row != {rows} or ends != [0, rows]:
            raise DataError(
                "the columns of a log of lives do not fit each other",
                column="offsets",
                value=f"lives {lives}, {sorted(by_life)}; rows {rows}, {sorted(by_row)}, {ends}",
            )

    def __len__(self) -> int:
        return len(self.first)

    def period_name(self, period: int) -> str:
        """What a period is called: "week 35", "day 2026-03-31" or "week of 2026-03-30"."""
        if not self.dated:
            return f"{self.unit} {period}"
        weekly = self.unit == "week"
        day = date(1970, 1, 1) + timedelta(days=period * 7 - 3 if weekly else period)
        return f"{self.unit} of {day}" if weekly else f"{self.unit} {day}"


class RunningUnits(NamedTuple):
    """life: int64 [N], places in the log, ascending. table: the same units as they were known at
    the close of the period: `entry` is the age less the period itself, so that an end in it is
    still to come; `time` and `cause` say how they went on, for training and replay alone."""

    life: Ints
    table: SpellTable


class LifeRecord(Protocol):
    """A record of lives, of any kind."""

    @property
    def log(self) -> LifeLog:
        """What each life cost and brought."""

    def running(self, period: int) -> RunningUnits:
        """The units that had delivery in `period`, as they were known at its close.

        Raises ConfigError for a period outside of the record, DataError where nothing ran.
        """
