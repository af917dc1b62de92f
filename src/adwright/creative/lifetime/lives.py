"""Lives of a record, period by period: what retirement decides on, and what its replay judges by.

A `LifeRecord` gives a `LifeLog`, what every life cost and brought, and for the close of any period
the units that ran then, as they were known. A rule may look at rows of the log up to that period
and no further; only a replay reads what came after.

Letters: R lives, M rows of a life and a period, N units that run.

Lives of ads or creatives out of a delivery record, day by day or week by week.

    lives = DeliveryLives(open_delivery(Path("record")))
    lives.running(lives.period_of(date(2026, 3, 1)))

A life is as in `adwright.creative.lifetime.delivery_spells`, and one that was there on the first
day of the record counts from that day. A period of it costs its spend, and its value is that of its
conversions; where the record lacks these, the next best is taken, and said:

    cost    spend, impressions
    value   conversion_value, conversions, clicks

`shown` are impressions. An account is the owner, a campaign the pool; the campaign is that of the
first day. Periods are days since 1970, or weeks of it. What came on a day without impressions is of
no life, and is not counted.

Lives of in-store displays in Complete Journey, week by week.

A life is a spell of display, see `adwright.creative.lifetime.spells`. A week of it costs one week
of display, and its value is what the product sold in that store (or in any, of the chain) in
dollars; `shown` are the households that came to the store. Sales beside a display are not its
effect: much of it would have been sold anyway. A product is its own owner and its own pool.

Spells that ran in week 1 are in the log, for they say how well a product does; they are never
among those that run, since nobody knows how old they were.
"""

from __future__ import annotations

import logging
from datetime import date, timedelta
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.lifetime.delivery_spells import DeliveryRuns, DeliverySpellConfig
from adwright.creative.lifetime.spell_table import LifeUnit, SpellTable, draw_ids
from adwright.creative.lifetime.spells import DisplayRecord, Where
from adwright.creative.records.delivery import DeliveryRecord
from adwright.data.creatives import SLOTS
from adwright.data.sources.complete_journey import WEEKS, CompleteJourney

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

    @cached_property
    def whose(self) -> Ints:
        """[M]: the life of each row."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def require_inside(self, period: int) -> None:
        """Raise ConfigError for a period outside of the record."""
        first = int(self.period.min())
        if not first <= period <= self.closed:
            raise ConfigError(
                f"the {self.unit} is outside of the record",
                where=self.period_name(period),
                hint=f"from {self.period_name(first)} to {self.period_name(self.closed)}",
            )

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


ValueColumn = Literal["conversion_value", "conversions", "clicks"]

_log = logging.getLogger("adwright")
_MICRO = 1e6
_EPOCH = date(1970, 1, 1)
#: Columns of `Deliveries.sums`, and how many of a unit they count.
_SUMS = {
    "impressions": (0, 1.0),
    "clicks": (1, 1.0),
    "spend": (2, _MICRO),
    "conversions": (3, _MICRO),
    "conversion_value": (4, _MICRO),
}
_VALUES: tuple[ValueColumn, ...] = ("conversion_value", "conversions", "clicks")
_NAMES = {"conversion_value": "conversion value"}


class DeliveryLives:
    """All lives of a record; its tables are read once, here."""

    def __init__(
        self,
        record: DeliveryRecord | pl.DataFrame,
        config: DeliverySpellConfig | None = None,
        *,
        value: ValueColumn | None = None,
        currency: str | None = None,
        texts: pl.DataFrame | None = None,
        creatives: pl.DataFrame | None = None,
    ) -> None:
        """record: or its days, see `delivery_spells`. value: what a life is worth; None takes the
        first that is not zero throughout. currency: that of the rows that are read; None where the
        record has one. texts: the unit's id and `text`; None takes those of the record's creatives.
        creatives: creative_id and item_id, as of a catalogue; None takes the record's.

        Raises ConfigError for a landmark in `config`, a value that is zero throughout, and a
        currency that is not there; DataError for several currencies, and where nothing tells what
        the lives were worth; and as `delivery_spells`.
        """
        self._config = config or DeliverySpellConfig()
        if self._config.landmark != 1:
            raise ConfigError(
                "retirement looks at all that runs, not at a landmark",
                where=f"landmark {self._config.landmark}",
            )
        if isinstance(record, DeliveryRecord):
            days = record.days
            creatives = record.creatives if creatives is None else creatives
            if texts is None and self._config.unit_of == "creative":
                text = pl.concat_str(*SLOTS, separator="\n", ignore_nulls=True).alias("text")
                said = record.creatives.select("creative_id", text).filter(pl.col("text") != "")
                texts = said if said.height else None
        else:
            days = record
        days = _one_currency(days, currency)
        self._runs = DeliveryRuns(days, self._config, texts=texts)
        self._log = self._read(value, _unit_ids(days, self._config.unit_of, creatives))

    @property
    def log(self) -> LifeLog:
        """Lives by id and first period. An id that came back after more than the gap has several
        lives."""
        return self._log

    def running(self, period: int) -> RunningUnits:
        """The units with impressions in `period`, as known at its close.

        Raises ConfigError for a period outside of the record, DataError where nothing ran.
        """
        self._log.require_inside(period)
        at = np.full(len(self._log), period)
        life = self._runs.there(at)
        if not len(life):
            raise DataError("nothing ran then", value=self._log.period_name(period))
        return RunningUnits(life, self._runs.table(life, at[life], 0.0))

    def period_of(self, day: date) -> int:
        """The period of the log in which `day` lies."""
        days = (day - _EPOCH).days
        return (days + 3) // 7 if self._runs.unit == "week" else days

    def day_of(self, period: int) -> date:
        """The first day of a period of the log."""
        days = period * 7 - 3 if self._runs.unit == "week" else period
        return _EPOCH + timedelta(days=days)

    def _read(self, value: ValueColumn | None, units: pl.DataFrame) -> LifeLog:
        seen, rows, runs = self._runs, self._runs.rows, self._runs.runs
        columns = {name: seen.sums[:, at] / one for name, (at, one) in _SUMS.items()}
        cost = "spend" if columns["spend"].any() else "impressions"
        if cost != "spend":
            _log.warning("the record has no spend: impressions are taken for the cost")
        worth = _worth(columns, value)
        ids = pl.DataFrame({"unit_id": pl.Series(seen.ids, dtype=pl.String)[runs.unit]})
        return LifeLog(
            unit=seen.unit,
            ids=ids.join(units, on="unit_id", how="left", maintain_order="left"),
            first=runs.first,
            last=runs.last,
            owner=seen.account[runs.unit],
            pool=rows.campaign[runs.row],
            period=rows.period,
            cost=columns[cost],
            value=columns[worth],
            shown=columns["impressions"],
            offsets=np.append(runs.row, len(rows.period)),
            cost_name=cost,
            value_name=_NAMES.get(worth, worth),
            closed=int(seen.closed.max()),
            gap=self._config.gap,
            dated=True,
        )


def _worth(columns: dict[str, Floats], value: ValueColumn | None) -> ValueColumn:
    """Which of the columns [M] is the value."""
    there = [name for name in _VALUES if columns[name].any()]
    if value is not None:
        if value not in there:
            raise ConfigError(
                "the record has none of this value",
                where=f"value {value}",
                hint=f"it has {', '.join(there) or 'nothing else'}",
            )
        return value
    if not there:
        raise DataError(
            "nothing in the record tells what the ads were worth",
            column="clicks",
            value="0 throughout",
            hint=f"export one of {', '.join(_VALUES)} too",
        )
    if there[0] != _VALUES[0]:
        _log.warning("the record has no value of conversions: %s are taken for it", there[0])
    return there[0]


def _one_currency(days: pl.DataFrame, currency: str | None) -> pl.DataFrame:
    """The rows of one currency; those that name none are of any."""
    if "currency" not in days.columns:
        if currency is not None:
            raise SchemaError("the delivery record lacks a column", column="currency")
        return days
    text = pl.col("currency").cast(pl.String)
    there = sorted(days.select(text)["currency"].drop_nulls().unique().to_list())
    if currency is None:
        if len(there) > 1:
            raise DataError(
                "the record has several currencies, whose amounts do not add up",
                column="currency",
                value=", ".join(there),
                hint="choose one: currency=..., or convert the amounts",
            )
        return days
    if currency not in there:
        raise ConfigError(
            "the record has none of this currency",
            where=f"currency {currency}",
            hint=f"it has {', '.join(there)}",
        )
    kept = days.filter(text.is_null() | (text == currency))
    if kept.height < days.height:
        _log.warning("%s rows in other currencies are left out", f"{days.height - kept.height:,}")
    return kept


def _unit_ids(
    days: pl.DataFrame, unit_of: Literal["creative", "ad"], creatives: pl.DataFrame | None
) -> pl.DataFrame:
    """By unit_id: item_id, creative_id and name; null where not known, or where an ad had several
    of them."""
    key = f"{unit_of}_id"
    if key not in days.columns:
        raise SchemaError("the delivery record lacks a column", column=key)
    rows = days.select(
        pl.col(key).cast(pl.String).alias("unit_id"),
        *(
            (pl.col(name) if name in days.columns else pl.lit(None)).cast(pl.String).alias(name)
            for name in ("creative_id", "ad_name")
        ),
    )
    items = pl.DataFrame(schema={"creative_id": pl.String, "item_id": pl.String})
    if creatives is not None and "item_id" in creatives.columns:
        items = creatives.select(pl.col("creative_id", "item_id").cast(pl.String))
        items = items.unique("creative_id", keep="first", maintain_order=True)
    rows = rows.join(items, on="creative_id", how="left", maintain_order="left")
    only = [
        pl.when(pl.col(name).drop_nulls().n_unique() == 1).then(pl.col(name).drop_nulls().first())
        for name in ("item_id", "creative_id")
    ]
    return rows.group_by("unit_id", maintain_order=True).agg(
        *only, name=pl.col("ad_name").drop_nulls().last()
    )


class JourneyLives:
    """All spells of display; the tables of the data are read once, here."""

    def __init__(
        self, source: CompleteJourney, where: Where = "store", *, share: float | None = None
    ) -> None:
        """where: "store", a life is of a product in a store; "chain", of a product in any. share:
        of the products, in (0, 1), drawn by a hash of their ids; features count all.

        Raises ConfigError for a wrong setting.
        """
        self._record = record = DisplayRecord(source, where)
        self._products: Ints | None = None
        self._spell: Ints = np.arange(len(record.runs))
        if share is not None:
            ids = record.displays.products
            self._products = np.searchsorted(ids, draw_ids(ids, share, 0))
            self._spell = np.flatnonzero(np.isin(record.product, self._products))
        self._log = self._read()

    @property
    def log(self) -> LifeLog:
        """Lives by product, store and first week."""
        return self._log

    def running(self, period: int) -> RunningUnits:
        """The spells that run in week `period`, and their places in the log.

        Raises ConfigError for a week outside of the year, DataError where nothing ran.
        """
        self._log.require_inside(period)
        units = self._record.units(period, self._products)
        life = np.searchsorted(self._spell, units.spell)
        return RunningUnits(life, self._record.table(units))

    def _read(self) -> LifeLog:
        record, spell = self._record, self._spell
        pool, weeks = record.product[spell], record.weeks(spell)
        return LifeLog(
            unit="week",
            ids=self._ids(),
            first=record.runs.first[spell],
            last=record.runs.last[spell],
            owner=record.displays.products[pool],
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
        record, spell = self._record, self._spell
        words = pl.concat_str("type", "size", separator=", ", ignore_nulls=True)
        named = record.products.select(item_id=pl.col("product_id").cast(pl.String), name=words)
        store = record.displays.stores[record.store[spell]].astype(str)
        if record.where == "chain":
            store = np.full(len(spell), "all")
        lives = named[record.product[spell]].with_columns(
            store=pl.Series(store), first=pl.Series(record.runs.first[spell])
        )
        return lives.select(
            unit_id=pl.concat_str("item_id", "store", "first", separator="/"),
            item_id="item_id",
            creative_id=pl.lit(None, pl.String),
            name=pl.when(pl.col("name") != "").then("name"),
        )
