"""A simulated population: real people with their real pasts, who come and respond by models
fitted on the log.

    people = Population.fit(log.events, log.catalogue.items, PopulationConfig(start=...))
    user, time = people.visits(days=14)
    answer = people.respond(user, slate, time, rng)

Two models are fitted, `arrivals` (who comes when) and `purchase_model` (who takes
what). The rest is assumed, and `assumptions` says so in sentences that are to be printed beside
every number that comes out of a simulation.

Letters: U users, N items, V visits, k places, R pairs. Codes count from 0, times are seconds
since 1970.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.simulation.purchase_model import (
    Pairs,
    PurchaseModel,
    Season,
    UserItemFeatures,
    Visits,
    draw_pairs,
    fit_purchase_model,
)
from adwright.core.config import Count, Finite, Ge, Gt, Le, NotNegative, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.data.hashing import hash_order
from adwright.data.ranges import run_starts
from adwright.data.time import SECONDS_PER_DAY, SECONDS_PER_WEEK

# --------------------------------------------------------------------------------------------------
# Arrivals: who comes when, at the log's own visit rate and time of day.
#
# User u arrives as a Poisson process of rate
#
#     r_u = (n_u + a) / (w + b)        n_u visits in the last w weeks before the start
#
# with a and b of the gamma distribution that has the mean and variance of the users' rates
# (empirical Bayes): somebody seen once is drawn towards everyone, the sum over all people stays as
# it was. The day of the week and the hour are those of a visit of the log, drawn from the user's
# own visits with probability n_u / (n_u + 5) and else from everyone's; the minute is any. Hours are
# local, so that the evening stays the evening when clocks change.
#
# Letters: U users, V visits. Times are seconds since 1970.

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_OWN = 5.0  # visits at which a user's own hours count as much as everyone's


@dataclass(frozen=True, eq=False)
class Arrivals:
    """rate: [U], visits per week. hour: [V] hours of the local week, 0 (Monday, midnight) to 167,
    of all visits seen; user u's are hour[offsets[u] : offsets[u + 1]]. zone: IANA name."""

    rate: Floats
    hour: Ints
    offsets: Ints
    zone: str

    def draw(
        self, people: Ints, start: datetime, days: float, rng: np.random.Generator
    ) -> tuple[Ints, Ints]:
        """(user, time) of the visits of `people` in the `days` from `start` (in UTC) on, by
        time."""
        since = int(start.timestamp())
        until = since + round(days * SECONDS_PER_DAY)
        weeks = int(np.ceil(days / 7)) + 1
        count = rng.poisson(self.rate[people] * weeks)
        user = np.repeat(people, count)
        seen = np.diff(self.offsets)[user]
        own = rng.random(len(user)) < seen / (seen + _OWN)
        place = rng.random(len(user))
        of_own = self.offsets[user] + (place * seen).astype(np.int64)
        of_all = (place * len(self.hour)).astype(np.int64)
        hour = self.hour[np.where(own, np.minimum(of_own, len(self.hour) - 1), of_all)]
        week = rng.integers(0, weeks, len(user))
        second = rng.integers(0, 3600, len(user))
        midnights = _midnights(start, 7 * weeks, self.zone)
        time = midnights[7 * week + hour // 24] + hour % 24 * 3600 + second
        kept = (time >= since) & (time < until)
        user, time = user[kept], time[kept]
        order = np.lexsort((user, time))
        return user[order], time[order]


def fit_arrivals(
    user: Ints, time: Ints, *, people: int, until: int, weeks: int, zone: str
) -> Arrivals:
    """Rates and hours from visits (user, time) [V], those of the `weeks` before `until` alone.

    people: U. zone: IANA name of where people live. Raises DataError without any visit.
    """
    recent = (time >= until - weeks * SECONDS_PER_WEEK) & (time < until)
    user, time = user[recent], time[recent]
    if not len(user):
        raise DataError(
            f"nobody came in the {weeks} weeks before the start",
            column="time",
            hint="start later, or count more weeks",
        )
    count = np.bincount(user, minlength=people)
    local = pl.from_epoch(pl.Series(time), "s").dt.replace_time_zone("UTC")
    local = local.dt.convert_time_zone(zone)
    hour = ((local.dt.weekday().cast(pl.Int64) - 1) * 24 + local.dt.hour()).to_numpy()
    order = np.argsort(user, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(count)))
    return Arrivals(_rates(count, weeks), hour[order].astype(np.int64), offsets, zone)


def _rates(count: Ints, weeks: int) -> Floats:
    """[U] visits per week, drawn towards the mean as far as the counts differ by chance."""
    mean = float(count.mean())
    # Of counts, what exceeds the mean is variance between users (a negative binomial).
    between = max(float(count.var()) - mean, 1e-9 * mean)
    trust = between / (between + mean)
    rate: Floats = (mean + trust * (count - mean)) / weeks
    return rate


def _midnights(start: datetime, days: int, zone: str) -> Ints:
    """[days] instants at which days begin in the zone, from the last Monday before `start`."""
    local = pl.Series([start]).dt.convert_time_zone(zone)[0]
    monday = (local - timedelta(days=local.weekday())).date()
    dates = pl.Series([monday + timedelta(days=day) for day in range(days)], dtype=pl.Date)
    # Where clocks jump at midnight the day has another beginning; the hour after is near enough.
    starts = dates.cast(pl.Datetime("us")).dt.offset_by("1h")
    instants = starts.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return instants.dt.epoch("s").forward_fill().to_numpy() - 3600


Flags = NDArray[np.bool_]


@settings
class PopulationConfig:
    """How the users are fitted, and what is assumed of them.

    start: pasts are real up to here, in UTC; None: the first midnight after the log.
    people: share of them that come, in (0, 1], chosen by a hash. zone: IANA name of where they
    live. kinds: events that count as taking an item. groups: columns of the items, from wide to
    narrow, to which people have an affinity; those that the catalogue lacks are left out.
    rate_weeks, season_weeks: before the start, counted for visit rates and for popularity.
    fit_weeks: before the start, whose visits the response is fitted on, `fit_visits` of them.
    past_negatives, other_negatives: items not taken that are drawn per visit.
    position_decay: the item at place j (from 1) is looked at with probability j^-decay.
    clicks_per_purchase: an item looked at is clicked so many times as often as taken; 1 or more.
    """

    start: datetime | None = None
    people: Annotated[float, Gt(0), Le(1)] = 1.0
    zone: str = "UTC"
    kinds: tuple[str, ...] = ("purchase",)
    groups: tuple[str, ...] = ("department", "category", "type")
    rate_weeks: Count = 13
    season_weeks: Count = 13
    fit_weeks: Count = 8
    fit_visits: Count = 6_000
    past_negatives: Count = 30
    other_negatives: Count = 40
    position_decay: NotNegative = 0.5
    clicks_per_purchase: Annotated[float, Ge(1), Finite] = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.start is not None and self.start.utcoffset() != timedelta(0):
            raise ConfigError(
                "the start must be a time in UTC", where=f"start {self.start.isoformat()}"
            )
        try:
            pl.Series([datetime(2024, 1, 1)]).dt.replace_time_zone(self.zone)
        except pl.exceptions.PolarsError as error:
            raise ConfigError(
                "there is no such time zone",
                where=f"zone {self.zone}",
                hint="use an IANA name such as America/New_York",
            ) from error


@dataclass(frozen=True, eq=False)
class Answer:
    """What V people did with their slates of k places, each [V, k]: chance of taking the item
    once it is looked at, and whether it was clicked and taken (what was taken was clicked)."""

    chance: Floats
    clicked: Flags
    taken: Flags


class Population:
    """Simulated users, made by `fit`; only `remember` changes them.

    users, items: ids, in the order of their codes. value: [N], mean value of a purchase, NaN
    where the log tells none. start: until which pasts are real.
    """

    def __init__(
        self,
        config: PopulationConfig,
        users: Sequence[str],
        items: Sequence[str],
        *,
        start: datetime,
        value: Floats,
        history_features: UserItemFeatures,
        season: Season,
        arrivals: Arrivals,
        purchase_model: PurchaseModel,
    ) -> None:
        self.config, self.start = config, start
        self.users, self.items, self.value = tuple(users), tuple(items), value
        self.history_features, self.season = history_features, season
        self.arrivals, self.purchase_model = arrivals, purchase_model

    @classmethod
    def fit(
        cls,
        events: pl.LazyFrame | pl.DataFrame,
        items: pl.DataFrame,
        config: PopulationConfig | None = None,
    ) -> Population:
        """Fit on an EventLog and the items of its catalogue; what happened from the start on is
        not looked at.

        Raises DataError for a log that tells nothing of the weeks before the start.
        """
        config = config or PopulationConfig()
        lazy = events.lazy().filter(pl.col("kind").is_in(config.kinds))
        start = config.start or _end_of(lazy)
        past = lazy.filter(pl.col("time") < start).select("user_id", "item_id", "time", "value")
        table = past.collect()
        if not table.height:
            raise DataError(
                "the log holds nothing before the start",
                column="time",
                value=start.isoformat(),
                hint=f"it needs events of the kinds {', '.join(config.kinds)}",
            )
        known = pl.concat([items["item_id"], table["item_id"]]).unique(maintain_order=True)
        users = table["user_id"].unique().sort()
        visits = visits_of(table, users, known)
        history_features = _history_features(visits, known, items, config)
        at, weeks = int(start.timestamp()), config.rate_weeks
        arrivals = fit_arrivals(
            visits.user, visits.time, people=len(users), until=at, weeks=weeks, zone=config.zone
        )
        return cls(
            config,
            users.to_list(),
            known.to_list(),
            start=start,
            value=_values(table, known),
            history_features=history_features,
            season=history_features.season(at - config.season_weeks * SECONDS_PER_WEEK, at),
            arrivals=arrivals,
            purchase_model=_purchase_model(history_features, visits, at, config),
        )

    @cached_property
    def present(self) -> Ints:
        """Codes of the people who come: the share that the config asks for."""
        frame = pl.DataFrame({"user_id": self.users})
        order = hash_order(frame, ["user_id"], self.config.seed).to_numpy()
        return np.flatnonzero(order <= np.uint64(min(int(self.config.people * 2**64), 2**64 - 1)))

    def visits(self, days: float) -> tuple[Ints, Ints]:
        """(user, time) of the visits in the `days` after the start, by time."""
        rng = np.random.default_rng([self.config.seed, 1])
        return self.arrivals.draw(self.present, self.start, days, rng)

    def codes(self, item_ids: Sequence[str]) -> Ints:
        """Codes of items. Raises ValueInvalidError for one that the people do not know."""
        try:
            return np.array([self._code[item_id] for item_id in item_ids], np.int64)
        except KeyError as error:
            raise ValueInvalidError(
                "an item was shown that neither the log nor the catalogue has",
                column="item_id",
                value=error.args[0],
                hint="fit the population on the catalogue that the service shows",
            ) from error

    def chance(self, user: Ints, item: Ints, time: Ints) -> Floats:
        """[R]: the probability that each user takes the item at a visit at that time."""
        return self.purchase_model.chance(
            self.history_features.features(user, item, time, self.season)
        )

    def respond(
        self,
        user: Ints,
        slate: Ints,
        time: Ints,
        rng: np.random.Generator,
        moved: Floats | None = None,
    ) -> Answer:
        """What people do with their slates: user, time [V]; slate [V, k], -1 for no item. moved:
        [V, k], what the ads of the places add to the log-odds of a click; None: there are none."""
        shown = slate >= 0
        row, _ = np.nonzero(shown)
        chance = np.zeros(slate.shape)
        chance[shown] = self.chance(user[row], slate[shown], time[row])
        looks, draws = self.looked_at(slate.shape[1]), rng.random(slate.shape)
        click = np.minimum(1.0, chance * self.config.clicks_per_purchase)
        if moved is None:
            clicked = (draws < looks) & (rng.random(slate.shape) < click)
        else:  # an ad makes people look, too
            plain, odds = looks * click, np.exp(moved)
            clicked = draws < plain * odds / (1 + plain * (odds - 1))
        follows = np.divide(chance, click, out=np.zeros_like(chance), where=click > 0)
        return Answer(chance, clicked, clicked & (rng.random(slate.shape) < follows))

    def looked_at(self, places: int) -> Floats:
        """[places]: with which probability each place is looked at."""
        looked: Floats = np.arange(1.0, places + 1) ** -self.config.position_decay
        return looked

    def remember(self, user: Ints, item: Ints, time: Ints) -> None:
        """Add purchases [R] to the pasts."""
        self.history_features.add(user, item, time)

    def assumptions(self) -> tuple[str, ...]:
        """What every number of a simulation rests on, in sentences."""
        config, first = self.config, self.start
        kinds = " and ".join(config.kinds)
        weekly = float(self.arrivals.rate[self.present].sum())
        known = ", ".join(self.history_features.group_names)
        return (
            f"These numbers are of {len(self.present):,} simulated people, not of shoppers: they "
            "tell how policies do where the following holds, and that the machinery works.",
            f"The people are those of the log with their real pasts up to {first:%Y-%m-%d %H:%M} "
            "UTC; nothing that they did later is used.",
            f"Each comes at random at the own visit rate of the {config.rate_weeks} weeks before "
            f"(together {weekly:,.0f} visits a week) and at hours of the log; what is shown "
            "changes neither.",
            "Who looks at an item takes it with the probability of having taken it at that visit "
            "unasked: being shown creates no wish and spoils none.",
            f"That probability is a logistic model of {kinds} events, fitted on "
            f"{self.purchase_model.visits:,} visits of the {config.fit_weeks} weeks before: how "
            "often and how long ago the person took the item, its popularity, the size of the "
            f"person's baskets, and the affinity to the item's {known or 'group (none known)'}.",
            f"The item at place j is looked at with probability j^-{config.position_decay:g}, "
            "and the items of a slate are taken independently of each other: both are assumed, "
            "the log has no slates.",
            f"An item looked at is clicked {config.clicks_per_purchase:g} times as often as "
            "taken, which is assumed too.",
            "Nothing but what is shown is taken, so pasts age during the simulation; prices, "
            "promotions and seasons after the start have no influence.",
        )

    @cached_property
    def _code(self) -> dict[str, int]:
        return {item_id: code for code, item_id in enumerate(self.items)}


def pair_features(
    history: UserItemFeatures,
    season: Season,
    visits: Visits,
    rng: np.random.Generator,
    config: PopulationConfig,
) -> tuple[Pairs, Floats]:
    """Draw R pairs of the visits and their items, and compute their features [R, F]."""
    past, others = config.past_negatives, config.other_negatives
    pairs = draw_pairs(history, season, visits, rng, past=past, others=others)
    user, time = visits.user[pairs.visit], visits.time[pairs.visit]
    return pairs, history.features(user, pairs.item, time, season)


def visits_of(table: pl.DataFrame, users: pl.Series, items: pl.Series) -> Visits:
    """The visits in a table of events: all of one user at one instant (to the second) are one.

    table: user_id, item_id, time. users, items: all ids, in the order of their codes.
    """
    coded = table.select(
        user=pl.col("user_id").cast(pl.Enum(users)).to_physical().cast(pl.Int64),
        time=pl.col("time").dt.epoch("s"),
        item=pl.col("item_id").cast(pl.Enum(items)).to_physical().cast(pl.Int64),
    )
    coded = coded.unique().sort("user", "time", "item")
    user, time, item = (coded[name].to_numpy() for name in ("user", "time", "item"))
    bounds = run_starts(user, time)
    return Visits(user[bounds[:-1]], time[bounds[:-1]], item, bounds)


def _end_of(events: pl.LazyFrame) -> datetime:
    """The first midnight (UTC) after the last event."""
    last = events.select(pl.col("time").max()).collect().item()
    if last is None:
        raise DataError("the log holds no event of these kinds", hint="name others")
    day = datetime(last.year, last.month, last.day, tzinfo=UTC)
    return day + timedelta(days=1)


def _history_features(
    visits: Visits, known: pl.Series, items: pl.DataFrame, config: PopulationConfig
) -> UserItemFeatures:
    described = pl.DataFrame({"item_id": known}).join(
        items, on="item_id", how="left", maintain_order="left"
    )
    groups = {
        name: described[name].cast(pl.String).fill_null("").rank("dense").to_numpy() - 1
        for name in config.groups
        if name in described.columns
    }
    codes = {name: values.astype(np.int64) for name, values in groups.items()}
    return UserItemFeatures(*visits.events(), items=len(known), groups=codes)


def _values(table: pl.DataFrame, known: pl.Series) -> Floats:
    # In the order of the rows: polars adds up in an order that differs from run to run.
    priced = table.filter(pl.col("value").is_not_null())
    item = priced["item_id"].cast(pl.Enum(known)).to_physical().to_numpy()
    total = np.bincount(item, priced["value"].to_numpy(), minlength=len(known))
    count = np.bincount(item, minlength=len(known))
    value: Floats = np.full(len(known), math.nan)
    return np.divide(total, count, out=value, where=count > 0)


def _purchase_model(
    history_features: UserItemFeatures, visits: Visits, at: int, config: PopulationConfig
) -> PurchaseModel:
    since = at - config.fit_weeks * SECONDS_PER_WEEK
    season = history_features.season(since - config.season_weeks * SECONDS_PER_WEEK, since)
    rng = np.random.default_rng([config.seed, 0])
    some = visits.sample(np.flatnonzero(visits.time >= since), config.fit_visits, rng)
    pairs, features = pair_features(history_features, season, some, rng, config)
    return fit_purchase_model(features, pairs, history_features.names, visits=len(some))
