"""Lives of creatives or ads out of a delivery record, as units at their landmark day.

A life is the days from the first to the last with impressions; up to `gap` days without are bridged
(a pause over a weekend ends nothing), a longer one ends it, and what comes back begins anew. Its
end is seen where more than `gap` days without impressions follow in the record of its account;
else the life is censored at its last day. Why it ended:

    a stop cause of the record that is one of `ends`    that cause
    another one (budget, flight, account, refused)      censored: nobody judged the ad
    none, and its flight had come to its end            censored
    none                                                the first of `ends`

A unit is a life that has impressions on its landmark day; one that pauses there is none, since only
the days after it tell whether it comes back. A record of weeks (`period_days` 7) is counted in
weeks. All features are sums over periods up to the landmark, in whole numbers, so that nothing
later changes a bit of them. To train as of a past day, pass the rows before it: an end is known
only after its gap.

Letters: N units, M rows of a unit and a period.
"""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.config import Count, Natural, settings
from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.lifetime.delivery_features import (
    Deliveries,
    categories_at_day,
    numbers_at_day,
    words_at,
)
from adwright.creative.lifetime.spell_runs import Runs, runs_of
from adwright.creative.lifetime.spell_table import CENSORED, LifeUnit, SpellTable
from adwright.data.ranges import ranges

__all__ = ["DeliveryRuns", "DeliverySpellConfig", "DeliverySpells", "delivery_spells"]

Ints = npt.NDArray[np.int64]

_log = logging.getLogger("adwright")
_MICRO = 1_000_000
_NEEDED = ("day", "impressions")
_SUMS = ("impressions", "clicks", "spend", "conversions", "conversion_value")


@settings
class DeliverySpellConfig:
    """What a unit is, and as of when.

    unit_of: what lives, a creative in all of its ads or an ad. landmark: the day (or week) of a
    life, from 1, at whose close its features are taken. gap: days (or weeks) without impressions
    that a life bridges. ends: stop causes that are ends, those that count as one cause together;
    a cause is called by the first.
    """

    unit_of: Literal["creative", "ad"] = "creative"
    landmark: Count = 1
    gap: Natural = 3
    ends: tuple[tuple[str, ...], ...] = (("operator", "automatic"),)

    def __post_init__(self) -> None:
        named = [cause for causes in self.ends for cause in causes]
        if not all(self.ends) or not named or len(set(named)) < len(named):
            raise ConfigError("every end needs its own stop causes", where=f"ends {self.ends}")


class DeliverySpells(NamedTuple):
    """table: the units. units: their ids, unit_id, first and last (dates), row by row."""

    table: SpellTable
    units: pl.DataFrame


def delivery_spells(
    days: pl.DataFrame,
    config: DeliverySpellConfig | None = None,
    *,
    texts: pl.DataFrame | None = None,
) -> DeliverySpells:
    """The units of a record: a row for each ad, creative and day, or for each week.

    days: day (date), impressions, and creative_id or ad_id as `config.unit_of` needs; where there
    are such, clicks, spend, conversions, conversion_value, period_days, account_id, campaign_id,
    stop_cause, ends (the last day of the flight), and text columns as categories (see
    `delivery_features.SEGMENTS`). texts: the unit's id and `text`, of which words are made.
    Raises SchemaError for a missing column, and DataError where days and weeks are mixed or no life
    reaches the landmark.
    """
    config = config or DeliverySpellConfig()
    runs = DeliveryRuns(days, config, texts=texts)
    at = runs.runs.first + config.landmark - 1
    chosen = runs.there(at)
    if len(chosen) == 0:
        raise DataError(
            "no life in the record reaches the landmark",
            column="day",
            value=f"{len(at)} lives, landmark {config.landmark}",
            hint="choose an earlier landmark, or a longer record",
        )
    table = runs.table(chosen, at[chosen], float(config.landmark))
    return DeliverySpells(table, _named(runs.rows, runs.runs, chosen, runs.unit))


class DeliveryRuns:
    """The lives of a record, read once for tables at any landmarks.

    rows: of those with impressions. runs: the lives. unit: of their periods. cause: int8 [R], by
    life.
    """

    def __init__(
        self,
        days: pl.DataFrame,
        config: DeliverySpellConfig,
        *,
        texts: pl.DataFrame | None = None,
    ) -> None:
        """days, texts: see `delivery_spells`, which says what is raised too."""
        self.config = config
        self.rows, self.unit = _rows(days, config)
        # Of all units, once.
        self._words, self._offsets, self._vocabulary = words_at(
            self.rows, np.arange(len(self.rows.ids)), texts
        )
        self.runs = runs_of(self.rows.unit, self.rows.period, gap=config.gap)
        self.cause = _causes(self.runs, self.rows, config)

    def there(self, at: Ints) -> Ints:
        """Places of the lives [R] that have impressions in their period `at` [R]."""
        runs = self.runs
        alive = np.flatnonzero((runs.first <= at) & (at <= runs.last))
        return alive[self.rows.has(runs.unit[alive], at[alive])]

    def table(self, chosen: Ints, at: Ints, landmark: float) -> SpellTable:
        """The lives `chosen` [N] at the close of the periods `at` [N]. landmark: see SpellTable."""
        rows, runs = self.rows, self.runs
        numbers = numbers_at_day(rows, runs, chosen, at, self.config.gap)
        categories = list(categories_at_day(rows, runs, chosen))
        unit = runs.unit[chosen]
        begin = self._offsets[unit]
        place, offsets = ranges(begin, self._offsets[unit + 1] - begin)
        shown, clicks = numbers["impressions_so_far"], numbers["clicks_so_far"]
        return SpellTable(
            entry=(at - runs.first[chosen]).astype(np.float32),
            time=(runs.length[chosen] - CENSORED * (self.cause[chosen] == 0)).astype(np.float32),
            cause=self.cause[chosen],
            causes=tuple(causes[0] for causes in self.config.ends),
            unit=self.unit,
            numbers=np.stack([np.asarray(each, np.float32) for each in numbers.values()], axis=1),
            number_names=tuple(numbers),
            categories=np.stack([codes for _, codes, _ in categories], axis=1)
            if categories
            else np.empty((len(chosen), 0), np.int32),
            category_names=tuple(name for name, _, _ in categories),
            category_values=tuple(values for _, _, values in categories),
            words=self._words[place],
            offsets=offsets,
            vocabulary=self._vocabulary,
            clicks=np.asarray(clicks, np.float32),
            shown=np.asarray(shown, np.float32),
            owner=rows.account[unit].astype(np.int32),
            group=rows.campaign[runs.row[chosen]].astype(np.int32),
            start=runs.first[chosen].astype(np.int32),
            landmark=landmark,
        ).check(leaks=landmark > 0)


def _rows(days: pl.DataFrame, config: DeliverySpellConfig) -> tuple[Deliveries, LifeUnit]:
    """Sums by unit and period, sorted by both, of those with impressions."""
    who = f"{config.unit_of}_id"
    for name in (who, *_NEEDED):
        if name not in days.columns:
            raise SchemaError("the delivery record lacks a column", column=name)
    lengths = days["period_days"].unique().to_list() if "period_days" in days.columns else [1]
    if lengths not in ([1], [7]):
        raise DataError(
            "lives are counted in days or in weeks, not in both",
            column="period_days",
            value=lengths,
            hint="keep the rows of one length",
        )
    weekly = lengths == [7]
    # Days since 1970, a Thursday; weeks begin on Mondays.
    period = pl.col("day").to_physical().cast(pl.Int64)
    rows = days.with_columns(
        unit_id=pl.col(who).cast(pl.String),
        period=(period + 3) // 7 if weekly else period,
        **{name: _whole(days, name) for name in _SUMS},
    )
    if "currency" in days.columns and days["currency"].drop_nulls().n_unique() > 1:
        _log.warning("the record has several currencies: spend is compared as it stands")
    return Deliveries.of(rows, _SUMS, weekly=weekly), "week" if weekly else "day"


def _whole(days: pl.DataFrame, name: str) -> pl.Expr:
    if name not in days.columns:
        return pl.lit(0, pl.Int64)
    counted = days.schema[name].is_integer()
    # Millionths: sums of whole numbers do not depend on what comes after.
    value = pl.col(name) if counted else (pl.col(name) * _MICRO).round()
    whole = value.fill_null(0).cast(pl.Int64)
    return whole if name in ("impressions", "clicks") or not counted else whole * _MICRO


def _causes(runs: Runs, rows: Deliveries, config: DeliverySpellConfig) -> npt.NDArray[np.int8]:
    """By run, 0 where censored, else which of `config.ends`."""
    seen = runs.last + config.gap < rows.closed[runs.unit]
    final = np.append(runs.unit[1:] != runs.unit[:-1], True)
    code = {cause: n for n, causes in enumerate(config.ends, 1) for cause in causes}
    # What the record says of a stop is of the last life of a unit.
    said = [1 if each is None else code.get(each, 0) for each in rows.stop_cause]
    over = np.array([each is not None for each in rows.stop_cause])
    known = np.where(final, np.array(said, np.int8)[runs.unit], 1)
    flight = final & ~over[runs.unit] & (runs.last >= rows.flight_end[runs.unit])
    return np.where(seen & ~flight, known, 0).astype(np.int8)


def _named(rows: Deliveries, runs: Runs, chosen: Ints, unit: LifeUnit) -> pl.DataFrame:
    def date(periods: Ints) -> pl.Series:
        days = periods * 7 - 3 if unit == "week" else periods
        return pl.Series(days.astype(np.int32)).cast(pl.Date)

    return pl.DataFrame(
        {
            "unit_id": pl.Series(rows.ids)[runs.unit[chosen]],
            "first": date(runs.first[chosen]),
            "last": date(runs.last[chosen]),
        }
    )
