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

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.simulation.arrivals import Arrivals, fit_arrivals
from adwright.campaigns.simulation.features import Season, UserItemFeatures
from adwright.campaigns.simulation.purchase_model import (
    Pairs,
    PurchaseModel,
    Visits,
    draw_pairs,
    fit_purchase_model,
)
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.data.hashing import hash_order
from adwright.data.ranges import run_starts
from adwright.data.time import SECONDS_PER_WEEK

__all__ = ["Answer", "Population", "PopulationConfig", "pair_features", "visits_of"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
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
    people: float = 1.0
    zone: str = "UTC"
    kinds: tuple[str, ...] = ("purchase",)
    groups: tuple[str, ...] = ("department", "category", "type")
    rate_weeks: int = 13
    season_weeks: int = 13
    fit_weeks: int = 8
    fit_visits: int = 6_000
    past_negatives: int = 30
    other_negatives: int = 40
    position_decay: float = 0.5
    clicks_per_purchase: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.start is not None and self.start.utcoffset() != timedelta(0):
            raise ConfigError(
                "the start must be a time in UTC", where=f"start {self.start.isoformat()}"
            )
        counts = ("rate_weeks", "season_weeks", "fit_weeks", "fit_visits", "past_negatives")
        for name in (*counts, "other_negatives"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1", where=str(getattr(self, name)))
        if not 0 < self.people <= 1:
            raise ConfigError("people is a share in (0, 1]", where=f"people {self.people}")
        if not 0 <= self.position_decay < math.inf:
            raise ConfigError("position_decay must not be negative", where=str(self.position_decay))
        if not 1 <= self.clicks_per_purchase < math.inf:
            raise ConfigError(
                "clicks_per_purchase must be at least 1", where=str(self.clicks_per_purchase)
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

    def respond(self, user: Ints, slate: Ints, time: Ints, rng: np.random.Generator) -> Answer:
        """What people do with their slates: user, time [V]; slate [V, k], -1 for no item."""
        shown = slate >= 0
        row, _ = np.nonzero(shown)
        chance = np.zeros(slate.shape)
        chance[shown] = self.chance(user[row], slate[shown], time[row])
        looked = rng.random(slate.shape) < self.looked_at(slate.shape[1])
        click = np.minimum(1.0, chance * self.config.clicks_per_purchase)
        clicked = looked & (rng.random(slate.shape) < click)
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
