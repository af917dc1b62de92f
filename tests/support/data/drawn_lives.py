"""Drawn lives of two kinds: good ones that sell and go on, bad ones that do neither."""

from __future__ import annotations

import numpy as np
import polars as pl

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.retirement.lives import LifeLog, Running
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.data.ranges import ranges

__all__ = ["DrawnLives"]


class DrawnLives:
    """So many lives within weeks 1 to 20. A life has no feature but whether it is good, as a hint
    that is right in four of five cases."""

    def __init__(self, lives: int = 400, seed: int = 0, closed: int = 20) -> None:
        rng = np.random.default_rng(seed)
        pool = rng.integers(0, max(lives // 8, 1), lives)
        good = rng.random(pool.max() + 1)[pool] < 0.4
        first = rng.integers(1, closed + 1, lives)
        length = np.minimum(rng.geometric(np.where(good, 0.15, 0.4)), closed + 1 - first)
        row, offsets = ranges(first, length)
        whose = np.repeat(np.arange(lives), length)
        sold = rng.poisson(np.where(good, 2.0, 0.3)[whose]).astype(np.float64)
        self.hint = np.where(rng.random(lives) < 0.8, good, ~good).astype(np.float32)
        self.log = LifeLog(
            unit="week",
            ids=pl.DataFrame({"unit_id": [f"life {at}" for at in range(lives)]}),
            first=first,
            last=first + length - 1,
            owner=100 + pool // 2,
            pool=pool,
            period=row,
            cost=np.ones(len(row)),
            value=sold,
            shown=rng.integers(0, 4, len(row)) * 10.0,
            offsets=offsets,
            cost_name="display weeks",
            value_name="sales",
            closed=closed,
        )

    def running(self, period: int) -> Running:
        """Those that had delivery then."""
        log = self.log
        if not 1 <= period <= log.closed:
            raise ConfigError("the period lies outside of the record", where=f"{period}")
        life = np.flatnonzero((log.first <= period) & (period <= log.last))
        if len(life) == 0:
            raise DataError("nothing ran", value=period)
        return Running(life, self._table(life, period))

    def starts(self) -> SpellTable:
        """All lives at the close of their first week, for training."""
        return self._table(np.arange(len(self.log)), self.log.first)

    def _table(self, life: np.ndarray, period: int | np.ndarray) -> SpellTable:
        log = self.log
        age = (period - log.first[life] + 1).astype(np.float32)
        return SpellTable(
            entry=age - 1,
            time=(log.last - log.first + 1)[life].astype(np.float32),
            cause=(log.last < log.closed)[life].astype(np.int8),
            causes=("ended",),
            unit="week",
            numbers=np.stack([age, self.hint[life]], 1),
            number_names=("weeks_so_far", "hint"),
            categories=np.empty((len(life), 0), np.int32),
            category_names=(),
            category_values=(),
            words=np.empty(0, np.int32),
            offsets=np.zeros(len(life) + 1, np.int64),
            vocabulary=(),
            clicks=None,
            shown=None,
            owner=log.owner[life].astype(np.int32),
            group=log.pool[life].astype(np.int32),
            start=log.first[life].astype(np.int32),
            landmark=0.0,
        ).check()
