"""Lives of in-store displays in Complete Journey, week by week.

A life is a spell of display, see `adwright.creative.lifetime.spells`. A week of it costs one week
of display, and its value is what the product sold in that store (or in any, of the chain) in
dollars; `shown` are the households that came to the store. Sales beside a display are not its
effect: much of it would have been sold anyway. A product is its own owner and its own pool.

Spells that ran in week 1 are in the log, for they say how well a product does; they are never
among those that run unless `running_age` says how old they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.creative.lifetime.journey_weeks import Where
from adwright.creative.lifetime.retirement.lives import LifeLog, RunningUnits
from adwright.creative.lifetime.spell_table import draw_ids
from adwright.creative.lifetime.spells import DisplayRecord, SpellConfig
from adwright.data.sources.complete_journey import WEEKS, CompleteJourney

__all__ = ["JourneyLives"]

Ints = npt.NDArray[np.int64]


class JourneyLives:
    """All spells of display; the tables of the data are read once, here."""

    def __init__(
        self,
        source: CompleteJourney,
        where: Where = "store",
        *,
        share: float | None = None,
        seed: int = 0,
        running_age: int | None = None,
    ) -> None:
        """where: "store", a life is of a product in a store; "chain", of a product in any. share:
        of the products, in (0, 1), drawn by a hash as `SpellTable.draw_owners` draws them; features
        count all. running_age: see `SpellConfig`.

        Raises ConfigError for a wrong setting.
        """
        self._config = SpellConfig(where=where, as_of=min(WEEKS), running_age=running_age)
        self._record = record = DisplayRecord(source, where)
        ids = record.displays.products
        of = record.displays.product[record.runs.row]
        self._products: Ints | None = None
        self._spell: Ints = np.arange(len(of))
        if share is not None:
            self._products = np.searchsorted(ids, draw_ids(ids, share, seed))
            self._spell = np.flatnonzero(np.isin(of, self._products))
        self._log = self._read()

    @property
    def log(self) -> LifeLog:
        """Lives by product, store and first week."""
        return self._log

    def running(self, period: int) -> RunningUnits:
        """The spells of week `period`: `spells_of` with `as_of`, and their places in the log.

        Raises ConfigError for a week outside of the year, DataError where nothing ran.
        """
        config = SpellConfig(
            where=self._config.where, as_of=period, running_age=self._config.running_age
        )
        units = self._record.units(config, self._products)
        life = np.searchsorted(self._spell, units.spell)
        return RunningUnits(life, self._record.table(units, config))

    def _read(self) -> LifeLog:
        record, spell = self._record, self._spell
        runs, displays = record.runs, record.displays
        row = runs.row[spell]
        pool = displays.product[row].astype(np.int64)
        weeks = record.weeks(spell)
        return LifeLog(
            unit="week",
            ids=self._ids(),
            first=runs.first[spell],
            last=runs.last[spell],
            owner=displays.products[pool],
            pool=pool,
            period=weeks.week,
            cost=np.ones(len(weeks.week)),
            value=weeks.cents / 100,
            shown=weeks.came.astype(np.float64),
            offsets=weeks.offsets,
            cost_name="display weeks",
            value_name="sales in dollars",
            closed=max(WEEKS),
        )

    def _ids(self) -> pl.DataFrame:
        record, runs = self._record, self._record.runs
        displays, row = record.displays, runs.row[self._spell]
        words = pl.concat_str("type", "size", separator=", ", ignore_nulls=True)
        named = record.products.select(item_id=pl.col("product_id").cast(pl.String), name=words)
        store = displays.stores[displays.store[row]].astype(str)
        if self._config.where == "chain":
            store = np.full(len(row), "all")
        lives = named[displays.product[row]].with_columns(
            store=pl.Series(store), first=pl.Series(runs.first[self._spell])
        )
        return lives.select(
            unit_id=pl.concat_str("item_id", "store", "first", separator="/"),
            item_id="item_id",
            creative_id=pl.lit(None, pl.String),
            name=pl.when(pl.col("name") != "").then("name"),
        )
