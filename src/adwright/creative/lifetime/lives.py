"""Lives of a record, period by period: what retirement decides on, and what its replay judges by.

A `LifeRecord` gives a `LifeLog`, what every life cost and brought, and for the close of any period
the units that ran then, as they were known. A rule may look at rows of the log up to that period
and no further; only a replay reads what came after.

Letters: R lives, M rows of a life and a period, N units that run.

Lives of ads or creatives out of a delivery record, day by day or week by week.

    lives = DeliveryLives(open_delivery(Path("record")))
    lives.running(lives.period_of(date(2026, 3, 1)))

A life that was there on the first day of the record counts from that day. A period of it costs its
spend, and its value is that of its conversions; where the record lacks these, the next best is
taken, and said:

    cost    spend, impressions
    value   conversion_value, conversions, clicks

`shown` are impressions. An account is the owner, a campaign the pool; the campaign is that of the
first day. Periods are days since 1970, or weeks of it. What came on a day without impressions is of
no life, and is not counted.

Lives of in-store displays in Complete Journey, week by week: a life is a spell of display. A week
of it costs one week of display, and its value is what the product sold in that store (or in any, of
the chain) in dollars; `shown` are the households that came to the store. Sales beside a display are
not its effect: much of it would have been sold anyway. A product is its own owner and its own pool.

Spells that ran in week 1 are in the log, for they say how well a product does; they are never
among those that run, since nobody knows how old they were.
"""

from __future__ import annotations

import logging
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.config import Count, Natural, settings
from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.lifetime.spell_table import (
    CENSORED,
    LifeUnit,
    SpellTable,
    draw_ids,
    runs_of,
    word_ids,
)
from adwright.creative.lifetime.spells import DisplayRecord, Where
from adwright.creative.records.delivery import DeliveryRecord
from adwright.data.creatives import SLOTS
from adwright.data.ranges import ranges
from adwright.data.sources.complete_journey import WEEKS, CompleteJourney

# --------------------------------------------------------------------------------------------------
# What a delivery record knows of a creative or an ad at its landmark: "so_far" is from the first
# day of the life to the landmark, "now" the landmark day, "peak_so_far" the best day until then. Of
# the campaign, all of its units on the days of that life so far. Earlier lives count only where
# their end was seen by then: more than the gap before the landmark.
#
# Lives of creatives or ads out of a delivery record, as units at their landmark day.
#
# A life is the days from the first to the last with impressions; up to `gap` days without are
# bridged
# (a pause over a weekend ends nothing), a longer one ends it, and what comes back begins anew. Its
# end is seen where more than `gap` days without impressions follow in the record of its account;
# else the life is censored at its last day. Why it ended:
#
#     a stop cause of the record that is one of `ends`    that cause
#     another one (budget, flight, account, refused)      censored: nobody judged the ad
#     none, and its flight had come to its end            censored
#     none                                                the first of `ends`
#
# A unit is a life that has impressions on its landmark day; one that pauses there is none, since
# only
# the days after it tell whether it comes back. A record of weeks (`period_days` 7) is counted in
# weeks. All features are sums over periods up to the landmark, in whole numbers, so that nothing
# later changes a bit of them. To train as of a past day, pass the rows before it: an end is known
# only after its gap.
#
# Letters: N units, M rows of a unit and a period, I ids.

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
    stop_cause, ends (the last day of the flight), and text columns as categories (see `SEGMENTS`).
    texts: the unit's id and `text`, of which words are made.
    Raises SchemaError for a missing column, and DataError where days and weeks are mixed or no life
    reaches the landmark.
    """
    config = config or DeliverySpellConfig()
    lives = DeliveryRuns(days, config, texts=texts)
    at = lives.runs.first + config.landmark - 1
    chosen = lives.there(at)
    if len(chosen) == 0:
        raise DataError(
            "no life in the record reaches the landmark",
            column="day",
            value=f"{len(at)} lives, landmark {config.landmark}",
            hint="choose an earlier landmark, or a longer record",
        )
    weekly = lives.unit == "week"
    first, last = (
        pl.Series((7 * one[chosen] - 3 if weekly else one[chosen]).astype(np.int32)).cast(pl.Date)
        for one in (lives.runs.first, lives.runs.last)
    )
    ids = pl.Series(lives.ids, dtype=pl.String)[lives.runs.unit[chosen]]
    table = lives.table(chosen, at[chosen], float(config.landmark))
    return DeliverySpells(table, pl.DataFrame({"unit_id": ids, "first": first, "last": last}))


class DeliveryRuns:
    """The lives of a record, read once for tables at any landmarks.

    ids: I texts, of the units. rows: unit, period and campaign (a code) of those with impressions,
    int64 [M], sorted by unit and period. sums: int64 [M, 5], impressions, clicks, and in millionths
    spend, conversions and their value. account: int64 [I] (a code), closed: int64 [I], the last
    period of the account's record. runs: the lives. unit: of their periods. cause: int8 [R], by
    life, 0 where censored, else which of `config.ends`.
    """

    def __init__(
        self, days: pl.DataFrame, config: DeliverySpellConfig, *, texts: pl.DataFrame | None = None
    ) -> None:
        """days, texts: see `delivery_spells`, which says what is raised too."""
        self.config = config
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
        self.unit: LifeUnit = "week" if lengths == [7] else "day"
        if "currency" in days.columns and days["currency"].drop_nulls().n_unique() > 1:
            _log.warning("the record has several currencies: spend is compared as it stands")
        there = [name for name in SEGMENTS if name in days.columns]

        def text(name: str) -> pl.Expr:
            column = pl.col(name) if name in days.columns else pl.lit(None)
            return column.cast(pl.String)

        def period(name: str) -> pl.Expr:
            """Days since 1970, a Thursday; weeks begin on Mondays."""
            if name not in days.columns:
                return pl.lit(None, pl.Int64)
            day = pl.col(name).to_physical().cast(pl.Int64)
            return (day + 3) // 7 if self.unit == "week" else day

        rows = days.with_columns(
            unit_id=text(who),
            period=period("day"),
            account=text("account_id"),
            cause=text("stop_cause"),
            flight=period("ends"),
            **{name: text(name) for name in there},
            **{name: _whole(days, name) for name in _SUMS},
        ).with_columns(closed=pl.col("period").max().over("account"))
        down = [False, False, True, *(False for _ in there)]
        rows = rows.sort("unit_id", "period", "impressions", *there, descending=down)
        by_period = rows.group_by("unit_id", "period", maintain_order=True)
        summed = by_period.agg(pl.col(_SUMS).sum(), pl.col(there).drop_nulls().first())
        summed = summed.filter(pl.col("impressions") > 0)
        units = rows.join(summed, on="unit_id", how="semi", maintain_order="left")
        units = units.group_by("unit_id", maintain_order=True).agg(
            pl.col("account").first().fill_null(""),
            pl.col("closed", "flight").max(),
            pl.col("cause").drop_nulls().last(),
        )
        campaign = summed["campaign_id" if "campaign_id" in there else "unit_id"]
        self.ids = units["unit_id"].to_list()
        self.rows = _ShownRows(
            _codes(summed["unit_id"]), summed["period"].to_numpy(), _codes(campaign.fill_null(""))
        )
        self.sums: Ints = summed.select(_SUMS).to_numpy()
        self.account = _codes(units["account"])
        self.closed: Ints = units["closed"].to_numpy()
        self._segments = summed.select(there)
        # Of all units, once.
        self._words, self._offsets, self._vocabulary = self._read(texts)
        self.runs = runs_of(self.rows.unit, self.rows.period, gap=config.gap)
        self.cause = self._causes(units)
        # Places and sums that features are differences of.
        self._base = int(self.rows.period.min())
        self._span = int(self.rows.period.max()) - self._base + 2
        self._upto = _running(self.sums)

    def there(self, at: Ints) -> Ints:
        """Places of the lives [R] that have impressions in their period `at` [R]."""
        runs, rows = self.runs, self.rows
        alive = np.flatnonzero((runs.first <= at) & (at <= runs.last))
        span = int(max(rows.period.max(), at.max(initial=0))) + 1
        seen = np.isin(runs.unit[alive] * span + at[alive], rows.unit * span + rows.period)
        return alive[seen]

    def table(self, chosen: Ints, at: Ints, landmark: float) -> SpellTable:
        """The lives `chosen` [N] at the close of the periods `at` [N]. landmark: see SpellTable."""
        runs, unit, row = self.runs, self.runs.unit[chosen], self.runs.row[chosen]
        numbers = self._numbers(chosen, at)
        begin = self._offsets[unit]
        place, offsets = ranges(begin, self._offsets[unit + 1] - begin)
        none = np.empty((len(chosen), 0), np.int32)
        codes = [codes[row][:, None] for _, codes, _ in self._coded]
        return SpellTable(
            entry=(at - runs.first[chosen]).astype(np.float32),
            time=(runs.length[chosen] - CENSORED * (self.cause[chosen] == 0)).astype(np.float32),
            cause=self.cause[chosen],
            causes=tuple(causes[0] for causes in self.config.ends),
            unit=self.unit,
            numbers=np.stack([np.asarray(each, np.float32) for each in numbers.values()], axis=1),
            number_names=tuple(numbers),
            categories=np.concatenate([none, *codes], axis=1),
            category_names=tuple(name for name, _, _ in self._coded),
            category_values=tuple(values for _, _, values in self._coded),
            words=self._words[place],
            offsets=offsets,
            vocabulary=self._vocabulary,
            clicks=np.asarray(numbers["clicks_so_far"], np.float32),
            shown=np.asarray(numbers["impressions_so_far"], np.float32),
            owner=self.account[unit].astype(np.int32),
            group=self.rows.campaign[row].astype(np.int32),
            start=runs.first[chosen].astype(np.int32),
            landmark=landmark,
        ).check(leaks=landmark > 0)

    @cached_property
    def _coded(self) -> list[tuple[str, npt.NDArray[np.int32], tuple[str, ...]]]:
        """(name, codes [M], values) of the segments that say something."""
        found = []
        for column in self._segments:
            values = column.unique().drop_nulls().sort()
            if len(values):
                codes = column.replace_strict(
                    values, range(len(values)), default=-1, return_dtype=pl.Int32
                )
                found.append((column.name, codes.to_numpy(), tuple(values.to_list())))
        return found

    @cached_property
    def _by_campaign(self) -> tuple[Ints, Ints]:
        """Campaign and period in one number [M], ascending, and sums of impressions and clicks of
        the rows before [M + 1, 2]."""
        key = self.rows.campaign * self._span + self.rows.period - self._base
        order = np.argsort(key, kind="stable")
        return key[order], _running(self.sums[order][:, :2])

    def _numbers(self, chosen: Ints, at: Ints) -> dict[str, Values]:
        """Columns [N] by name, of the runs `chosen` [N] at their landmarks `at` [N]."""
        rows, runs, base, span = self.rows, self.runs, self._base, self._span
        begun, first = runs.first[chosen], runs.row[chosen]
        keys = rows.unit * span + rows.period - base
        here = np.searchsorted(keys, runs.unit[chosen] * span + at - base, "right")
        so_far = self._upto[here] - self._upto[first]
        now = np.where((rows.period[here - 1] == at)[:, None], self.sums[here - 1], 0)
        key, upto = self._by_campaign
        whose = rows.campaign[first] * span - base
        begin = np.searchsorted(key, whose + begun, "left")
        campaign = upto[np.searchsorted(key, whose + at, "right")] - upto[begin]
        season = 2 * np.pi * begun / (_YEAR / 7 if self.unit == "week" else _YEAR)
        ended, lived = self._ended_in_account(chosen, at)
        return {
            "periods_so_far": at - begun + 1,
            "periods_shown_so_far": here - first,
            **_rates("so_far", so_far),
            **_rates("now", now),
            "impressions_to_peak_so_far": _ratio(now[:, 0], self._peaks(here - 1)),
            "campaign_impressions_so_far": campaign[:, 0],
            "campaign_click_rate_so_far": _ratio(campaign[:, 1], campaign[:, 0]),
            "share_of_campaign_so_far": _ratio(so_far[:, 0], campaign[:, 0]),
            "season_sine": np.sin(season),
            "season_cosine": np.cos(season),
            "lives_before": runs.before()[chosen],
            "ended_of_account_before": ended,
            "mean_periods_of_account_before": _ratio(lived, ended),
        }

    def _peaks(self, here: Ints) -> Ints:
        """The most impressions of a period from the begin of the run to the row `here` [N]."""
        run = np.cumsum(np.bincount(self.runs.row, minlength=len(self.sums))) - 1
        shown = self.sums[:, 0]
        lift = int(shown.max(initial=0)) + 1
        # Lifted run by run, the running maximum of all rows begins anew with each.
        peak: Ints = np.maximum.accumulate(shown + run * lift)[here] - run[here] * lift
        return peak

    def _ended_in_account(self, chosen: Ints, at: Ints) -> Ints:
        """[2, N]: lives of the account whose end was seen by the landmark, and their lengths."""
        runs, gap = self.runs, self.config.gap
        owner, wide = self.account[runs.unit], self._span + gap + 2
        key = owner * wide + runs.last + gap + 1 - self._base
        order = np.argsort(key, kind="stable")
        upto = _running(np.stack((np.ones(len(runs), np.int64), runs.length), axis=1)[order])
        whose = owner[chosen] * wide
        end = np.searchsorted(key[order], whose + at - self._base, "right")
        found: Ints = (upto[end] - upto[np.searchsorted(key[order], whose, "left")]).T
        return found

    def _read(
        self, texts: pl.DataFrame | None
    ) -> tuple[npt.NDArray[np.int32], Ints, tuple[str, ...]]:
        """(word ids, offsets [I + 1], vocabulary) of the units; empty without `texts`."""
        if texts is None:
            return np.empty(0, np.int32), np.zeros(len(self.ids) + 1, np.int64), ()
        key = next((name for name in ("creative_id", "ad_id") if name in texts.columns), "")
        if not key or "text" not in texts.columns:
            raise SchemaError("texts need an id and a text", column="text", value=texts.columns)
        said = texts.select(pl.col(key).cast(pl.String).alias("id"), "text")
        said = said.unique("id", keep="first")
        own = pl.DataFrame({"id": self.ids}).join(said, on="id", how="left", maintain_order="left")
        words = own["text"].fill_null("").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
        return word_ids(words, np.arange(len(self.ids)))

    def _causes(self, units: pl.DataFrame) -> npt.NDArray[np.int8]:
        """By run, 0 where censored, else which of the ends."""
        runs = self.runs
        seen = runs.last + self.config.gap < self.closed[runs.unit]
        final = np.append(runs.unit[1:] != runs.unit[:-1], True)
        code = {cause: n for n, causes in enumerate(self.config.ends, 1) for cause in causes}
        # What the record says of a stop is of the last life of a unit.
        said = np.array([1 if one is None else code.get(one, 0) for one in units["cause"]], np.int8)
        over = units["cause"].is_not_null().to_numpy()
        known = np.where(final, said[runs.unit], 1)
        flight_end = units["flight"].fill_null(_NEVER).to_numpy()[runs.unit]
        flight = final & ~over[runs.unit] & (runs.last >= flight_end)
        return np.where(seen & ~flight, known, 0).astype(np.int8)


class _ShownRows(NamedTuple):
    """See `DeliveryRuns`."""

    unit: Ints
    period: Ints
    campaign: Ints


def _whole(days: pl.DataFrame, name: str) -> pl.Expr:
    if name not in days.columns:
        return pl.lit(0, pl.Int64)
    counted = days.schema[name].is_integer()
    # Millionths: sums of whole numbers do not depend on what comes after.
    value = pl.col(name) if counted else (pl.col(name) * _MICRO).round()
    whole = value.fill_null(0).cast(pl.Int64)
    return whole if name in ("impressions", "clicks") or not counted else whole * _MICRO


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


def _running(values: Ints) -> Ints:
    """Sums of the first 0, 1, 2 ... rows [M, S]: [M + 1, S]."""
    return np.concatenate((np.zeros((1, values.shape[1]), np.int64), np.cumsum(values, axis=0)))


def _ratio(top: Values, bottom: Values) -> npt.NDArray[np.float64]:
    """NaN where the bottom is 0."""
    low = np.asarray(bottom, np.float64)
    return np.where(low > 0, np.asarray(top, np.float64) / np.where(low > 0, low, 1), np.nan)


Floats = npt.NDArray[np.float64]


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
        return f"{self.unit}{' of' * (self.unit == 'week')} {self.day_of(period)}"

    def day_of(self, period: int) -> date:
        """The first day of a period of a log that is dated."""
        return date(1970, 1, 1) + timedelta(days=period * 7 - 3 if self.unit == "week" else period)


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
        days = (day - date(1970, 1, 1)).days
        return (days + 3) // 7 if self._runs.unit == "week" else days

    def day_of(self, period: int) -> date:
        """The first day of a period of the log."""
        return self._log.day_of(period)

    def _read(self, value: ValueColumn | None, units: pl.DataFrame) -> LifeLog:
        seen, rows, runs = self._runs, self._runs.rows, self._runs.runs
        counted = (1, 1, _MICRO, _MICRO, _MICRO)
        columns = {n: seen.sums[:, at] / counted[at] for at, n in enumerate(_SUMS)}
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
    if value in there:
        return value
    if value is not None:
        raise ConfigError(
            "the record has none of this value",
            where=f"value {value}",
            hint=f"it has {', '.join(there) or 'nothing else'}",
        )
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
