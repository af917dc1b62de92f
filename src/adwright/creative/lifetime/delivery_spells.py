"""What a delivery record knows of a creative or an ad at the close of its landmark day.

"so_far" is from the first day of the life to the landmark, "now" the landmark day, "peak_so_far"
the best day until then. Of the campaign, all of its units on the days of that life so far. Earlier
lives count only where their end was seen by then: more than the gap before the landmark.

Letters: N units at their landmark, M rows of a unit and a period, I ids.

Lives of creatives or ads out of a delivery record, as units at their landmark day.

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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.config import Count, Natural, settings
from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.lifetime.spell_table import (
    CENSORED,
    LifeUnit,
    Runs,
    SpellTable,
    runs_of,
    word_ids,
)
from adwright.data.ranges import ranges

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[Any]

#: Text columns that become categories where the record has them: the value on the first day, of
#: several the one with most impressions.
SEGMENTS = (
    *("account_id", "campaign_id", "currency", "platform", "placement", "device", "country"),
    *("region", "age", "gender", "audience", "objective", "format"),
)
_MICRO = 1_000_000
_NEVER = 2**40
_YEAR = 365.25


class _OfCampaigns(NamedTuple):
    """key: int64 [M], campaign and period in one number, ascending. upto: [M + 1, 2], sums of
    impressions and clicks of the rows before."""

    key: Ints
    upto: Ints


@dataclass(frozen=True, eq=False)
class Deliveries:
    """Rows of a unit and a period with impressions, sorted by both.

    ids: I texts, of the units. unit, period, account, campaign: int64; unit [M], period [M],
    campaign [M] (a code), account [I] (a code). sums: int64 [M, 5], impressions, clicks, and in
    millionths spend, conversions and their value. segments: M rows of text columns.
    closed: int64 [I], the last period of the account's record. flight_end: int64 [I], the last of
    the flight, or a number beyond all. stop_cause: [I] texts or None. weekly: whether periods are
    weeks, and not days.
    """

    ids: tuple[str, ...]
    unit: Ints
    period: Ints
    account: Ints
    campaign: Ints
    sums: Ints
    segments: pl.DataFrame
    closed: Ints
    flight_end: Ints
    stop_cause: tuple[str | None, ...]

    weekly: bool

    @classmethod
    def of(cls, rows: pl.DataFrame, sums: tuple[str, ...], *, weekly: bool) -> Deliveries:
        """rows: unit_id, period, the columns `sums` as whole numbers, and others of the record."""
        there = [name for name in SEGMENTS if name in rows.columns]
        rows = rows.with_columns(
            *(pl.col(name).cast(pl.String) for name in there),
            account=_text(rows, "account_id"),
            cause=_text(rows, "stop_cause"),
            flight=_flight_end(rows, weekly),
        ).with_columns(closed=pl.col("period").max().over("account"))
        down = [False, False, True, *(False for _ in there)]
        rows = rows.sort("unit_id", "period", "impressions", *there, descending=down)
        by_period = rows.group_by("unit_id", "period", maintain_order=True)
        summed = by_period.agg(pl.col(sums).sum(), pl.col(there).drop_nulls().first())
        summed = summed.filter(pl.col("impressions") > 0)
        units = rows.join(summed, on="unit_id", how="semi", maintain_order="left")
        units = units.group_by("unit_id", maintain_order=True).agg(
            pl.col("account").first().fill_null(""),
            pl.col("closed", "flight").max(),
            pl.col("cause").drop_nulls().last(),
        )
        campaign = summed["campaign_id"] if "campaign_id" in there else summed["unit_id"]
        return cls(
            ids=tuple(units["unit_id"].to_list()),
            unit=_codes(summed["unit_id"]),
            period=summed["period"].to_numpy(),
            account=_codes(units["account"]),
            campaign=_codes(campaign.fill_null("")),
            sums=summed.select(sums).to_numpy(),
            segments=summed.select(there),
            closed=units["closed"].to_numpy(),
            flight_end=units["flight"].fill_null(_NEVER).to_numpy(),
            stop_cause=tuple(units["cause"].to_list()),
            weekly=weekly,
        )

    @cached_property
    def base(self) -> int:
        """The first period."""
        return int(self.period.min())

    @cached_property
    def span(self) -> int:
        """More periods than there are."""
        return int(self.period.max()) - self.base + 2

    @cached_property
    def upto(self) -> Ints:
        """[M + 1, 5]: sums of the rows before."""
        return _running(self.sums)

    @cached_property
    def campaigns(self) -> _OfCampaigns:
        """Rows by campaign and period."""
        key = self.campaign * self.span + self.period - self.base
        order = np.argsort(key, kind="stable")
        return _OfCampaigns(key[order], _running(self.sums[order][:, :2]))

    @cached_property
    def coded(self) -> tuple[tuple[str, npt.NDArray[np.int32], tuple[str, ...]], ...]:
        """(name, codes [M], values) of the segments that say something."""
        found = []
        for column in self.segments:
            values = column.unique().drop_nulls().sort()
            if len(values):
                codes = column.replace_strict(
                    values, range(len(values)), default=-1, return_dtype=pl.Int32
                )
                found.append((column.name, codes.to_numpy(), tuple(values.to_list())))
        return tuple(found)

    def has(self, unit: Ints, period: Ints) -> npt.NDArray[np.bool_]:
        """Whether the units [N] have impressions in the periods [N]."""
        span = int(max(self.period.max(), period.max(initial=0))) + 1
        there: npt.NDArray[np.bool_] = np.isin(unit * span + period, self.unit * span + self.period)
        return there


def numbers_at_day(
    rows: Deliveries, runs: Runs, chosen: Ints, at: Ints, gap: int
) -> dict[str, Values]:
    """Columns [N] by name, of the runs `chosen` [N] at their landmarks `at` [N]."""
    first = runs.row[chosen]
    base, span = rows.base, rows.span
    here = np.searchsorted(
        rows.unit * span + rows.period - base, runs.unit[chosen] * span + at - base, "right"
    )
    so_far = rows.upto[here] - rows.upto[first]
    now = np.where((rows.period[here - 1] == at)[:, None], rows.sums[here - 1], 0)
    numbers: dict[str, Values] = {
        "periods_so_far": at - runs.first[chosen] + 1,
        "periods_shown_so_far": here - first,
    }
    for name, sums in (("so_far", so_far), ("now", now)):
        numbers |= _rates(name, sums)
    peak = _peaks(rows, runs.row, here - 1)
    numbers["impressions_to_peak_so_far"] = _ratio(now[:, 0], peak)
    campaign = _campaign(rows, runs, chosen, at)
    numbers["campaign_impressions_so_far"] = campaign[:, 0]
    numbers["campaign_click_rate_so_far"] = _ratio(campaign[:, 1], campaign[:, 0])
    numbers["share_of_campaign_so_far"] = _ratio(so_far[:, 0], campaign[:, 0])
    season = 2 * np.pi * runs.first[chosen] / (_YEAR / 7 if rows.weekly else _YEAR)
    numbers["season_sine"], numbers["season_cosine"] = np.sin(season), np.cos(season)
    numbers["lives_before"] = runs.before()[chosen]
    return numbers | _ended_in_account(rows, runs, chosen, at, gap)


def categories_at_day(
    rows: Deliveries, runs: Runs, chosen: Ints
) -> Iterator[tuple[str, npt.NDArray[np.int32], tuple[str, ...]]]:
    """(name, codes [N], values) of the segments that the record has, on the first day."""
    for name, codes, values in rows.coded:
        yield name, codes[runs.row[chosen]], values


def words_at(
    rows: Deliveries, unit: Ints, texts: pl.DataFrame | None
) -> tuple[npt.NDArray[np.int32], Ints, tuple[str, ...]]:
    """(word ids, offsets [N + 1], vocabulary) of the units [N]; empty without `texts`."""
    if texts is None:
        return np.empty(0, np.int32), np.zeros(len(unit) + 1, np.int64), ()
    key = next((name for name in ("creative_id", "ad_id") if name in texts.columns), "")
    if not key or "text" not in texts.columns:
        raise SchemaError("texts need an id and a text", column="text", value=texts.columns)
    said = texts.select(pl.col(key).cast(pl.String).alias("id"), "text").unique("id", keep="first")
    texts_of = pl.DataFrame({"id": rows.ids}).join(
        said, on="id", how="left", maintain_order="left"
    )["text"]
    found = texts_of.fill_null("").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
    return word_ids(found, unit)


def _text(rows: pl.DataFrame, name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String) if name in rows.columns else pl.lit(None, pl.String)


def _flight_end(rows: pl.DataFrame, weekly: bool) -> pl.Expr:
    if "ends" not in rows.columns:
        return pl.lit(None, pl.Int64)
    day = pl.col("ends").to_physical().cast(pl.Int64)
    return (day + 3) // 7 if weekly else day


def _codes(texts: pl.Series) -> Ints:
    return (texts.rank("dense").to_numpy() - 1).astype(np.int64)


def _rates(name: str, sums: Ints) -> dict[str, Values]:
    shown, clicks, spend, conversions, value = sums.T
    return {
        f"impressions_{name}": shown,
        f"clicks_{name}": clicks,
        f"spend_{name}": spend / _MICRO,
        f"conversions_{name}": conversions / _MICRO,
        f"conversion_value_{name}": value / _MICRO,
        f"click_rate_{name}": _ratio(clicks, shown),
        f"cost_per_click_{name}": _ratio(spend, clicks * _MICRO),
        f"conversion_rate_{name}": _ratio(conversions, clicks * _MICRO),
    }


def _peaks(rows: Deliveries, begins: Ints, here: Ints) -> Ints:
    """The most impressions of a period from the begin of the run to the row `here` [N]."""
    run = np.cumsum(np.bincount(begins, minlength=len(rows.unit))) - 1
    shown = rows.sums[:, 0]
    lift = int(shown.max(initial=0)) + 1
    # Lifted run by run, the running maximum of all rows begins anew with each.
    peak: Ints = np.maximum.accumulate(shown + run * lift)[here] - run[here] * lift
    return peak


def _campaign(rows: Deliveries, runs: Runs, chosen: Ints, at: Ints) -> Ints:
    """[N, 2] impressions and clicks of the campaign from the first day of the life to `at`."""
    key, upto = rows.campaigns
    whose = rows.campaign[runs.row[chosen]] * rows.span - rows.base
    begin = np.searchsorted(key, whose + runs.first[chosen], "left")
    found: Ints = upto[np.searchsorted(key, whose + at, "right")] - upto[begin]
    return found


def _ended_in_account(
    rows: Deliveries, runs: Runs, chosen: Ints, at: Ints, gap: int
) -> dict[str, Values]:
    """Lives of the account whose end was seen by the landmark, and their mean length."""
    base, span = rows.base, rows.span
    owner = rows.account[runs.unit]
    wide = span + gap + 2
    key = owner * wide + runs.last + gap + 1 - base
    order = np.argsort(key, kind="stable")
    upto = _running(np.stack((np.ones(len(runs), np.int64), runs.length), axis=1)[order])
    whose = owner[chosen] * wide
    begin = np.searchsorted(key[order], whose, "left")
    found = upto[np.searchsorted(key[order], whose + at - base, "right")] - upto[begin]
    return {
        "ended_of_account_before": found[:, 0],
        "mean_periods_of_account_before": _ratio(found[:, 1], found[:, 0]),
    }


def _running(values: Ints) -> Ints:
    """Sums of the first 0, 1, 2 ... rows [M, S]: [M + 1, S]."""
    return np.concatenate((np.zeros((1, values.shape[1]), np.int64), np.cumsum(values, axis=0)))


def _ratio(top: Values, bottom: Values) -> npt.NDArray[np.float64]:
    """NaN where the bottom is 0."""
    low = np.asarray(bottom, np.float64)
    return np.where(low > 0, np.asarray(top, np.float64) / np.where(low > 0, low, 1), np.nan)


_log = logging.getLogger("adwright")
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
