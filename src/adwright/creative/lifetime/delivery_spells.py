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
        self,
        days: pl.DataFrame,
        config: DeliverySpellConfig,
        *,
        texts: pl.DataFrame | None = None,
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
