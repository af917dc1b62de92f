"""Which items want another ad: those with few ads, and those whose ads people are tired of.

    for one in wanted_items(store, "acme", least=3, now=now):
        one.item_id, one.why                        # "bread", "2 of 3" or "tired: bread-1"

An ad is tired when its share of responses has fallen by more than chance and season explain. Its
days are cut where half of its impressions were made, n of them before and after. Let R be its
responses, and season the share at which all other ads stood on a day, against what each of them
usually has:

    e_h = sum over the days of half h of impressions * season
    q   = e_late / (e_early + e_late)
    z   = (R_late + 1/2 - R q) / sqrt(R q (1 - q) + (R q (1 - q))^2 v)

where v is how uncertain the seasons are, as variance of log(e_late / e_early). It is tired where
the normal chance of such a z is below `level`, and its late share is below `drop` of what it would
be. So a season tires no ad; and where all ads tire alike, none stands out. The seasons fit
responses ~ Poisson(impressions * rate of the ad * season of the day), without the ad in question.
Days without another ad do not count; of an ad that was always alone all do, and the season is 1,
give or take what days differ by.

Letters: N ads, D days.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import NormalDist
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.store.store import Store
from adwright.core.config import Count, Gt, Le, Lt, NotNegative, settings
from adwright.data.creatives import Creative
from adwright.data.schema import EventKind
from adwright.data.stops import Stops

Floats = NDArray[np.float64]
#: Rounds of the fit, and what is added to each day.
_ROUNDS, _HALF = 30, 0.5
#: How far the days of a tenant may differ, as the spread of the season's factor.
_LEAST_SPREAD, _MOST_SPREAD = 0.05, 1.0


@settings
class TiredRule:
    """When an ad is tired.

    response: the kind of event that counts. level: the chance to call an ad tired that is not, each
    time that one looks. drop: its late share of responses is at most so much of what it would be.
    shown: impressions that each half has at least. responses: that the late half would have at
    least, were it not tired. frequency: an ad that those who saw it have seen so often, on average,
    is tired whatever it gets; 0 does not ask.
    """

    response: EventKind = "click"
    level: Annotated[float, Gt(0), Lt(0.5)] = 0.01
    drop: Annotated[float, Gt(0), Le(1)] = 0.9
    shown: Count = 200
    responses: Count = 10
    frequency: NotNegative = 0.0


@dataclass(frozen=True, eq=False)
class AdDays:
    """Impressions and responses of ads by day, of one tenant.

    ads: by id. shown, responses: [N, D], of the days in UTC that have any. items: item_id -> how
    often it was shown, with an ad or without. people: [N], who saw each.
    """

    ads: tuple[str, ...]
    shown: Floats
    responses: Floats
    items: Counter[str]
    people: Floats | None = None

    def often(self, times: float) -> frozenset[str]:
        """The ads that those who saw one have seen so often, on average; none for 0."""
        if not times or self.people is None:
            return frozenset()
        seen = self.shown.sum(1) >= times * np.maximum(self.people, 1)
        return frozenset(self.ads[at] for at in np.flatnonzero(seen).tolist())


@dataclass(frozen=True)
class Tired:
    """An ad whose responses have fallen. early, late: its share of responses in each half of its
    impressions; expected: what the late one would be. chance: of such a fall by chance."""

    creative_id: str
    early: float
    late: float
    expected: float
    chance: float


@dataclass(frozen=True)
class WantedItem:
    """An item that wants ads. live: that it has and that people are not tired of. waiting: that are
    on their way, from draft to approved. tired: ids of those that are. why: in a few words."""

    item_id: str
    live: int
    waiting: int
    tired: tuple[str, ...]
    why: str


def wanted_items(
    store: Store,
    tenant: str,
    *,
    least: int = 3,
    item_ids: Sequence[str] | None = None,
    now: datetime,
    rule: TiredRule | None = None,
    folder: Path | None = None,
    campaign_id: str = "",
) -> list[WantedItem]:
    """Items that have fewer than `least` ads that are live and fresh, or on their way there; what
    is shown most comes first.

    Of an ad that was sent back as a draft nobody expects that it comes. item_ids: these alone; None
    is those of which there is an ad, or that were shown. now: what came later is not looked at.
    folder: as of `ad_days`. campaign_id: count the ads of this campaign alone.
    """
    standing = _standing(store, tenant, now, rule, folder, campaign_id)
    known = item_ids
    if known is None:
        known = sorted({ad.item_id for ad in standing.ads} | standing.days.items.keys())
    found = []
    for item in dict.fromkeys(known):
        fresh, worn = standing.of(item)
        waiting = standing.waiting[item]
        if item not in standing.stops.items and len(fresh) + waiting < least:
            why = _why(len(fresh), waiting, least, worn)
            found.append(WantedItem(item, len(fresh), waiting, worn, why))
    return sorted(found, key=lambda one: -standing.days.items[one.item_id])


def replaced_ads(
    store: Store,
    tenant: str,
    *,
    least: int = 3,
    now: datetime,
    rule: TiredRule | None = None,
    folder: Path | None = None,
) -> list[str]:
    """Tired ads that are still live, of items that have `least` others or more that are live and
    fresh. What is given is as of `wanted_items`."""
    standing = _standing(store, tenant, now, rule, folder)
    found = list[str]()
    for item in sorted(standing.live):
        fresh, worn = standing.of(item)
        found += worn if len(fresh) >= least else ()
    return found


@dataclass(frozen=True, eq=False)
class _Standing:
    """How items stand with ads. live: item -> its live ads that are not stopped. waiting: item ->
    how many are on their way."""

    ads: Sequence[Creative]
    days: AdDays
    stops: Stops
    tired: frozenset[str]
    live: Mapping[str, Sequence[str]]
    waiting: Counter[str]

    def of(self, item: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The fresh live ads of an item, and the tired ones."""
        mine = self.live.get(item, ())
        fresh = tuple(one for one in mine if one not in self.tired)
        return fresh, tuple(one for one in mine if one in self.tired)


def _standing(
    store: Store,
    tenant: str,
    now: datetime,
    rule: TiredRule | None,
    folder: Path | None,
    campaign_id: str = "",
) -> _Standing:
    rule = rule or TiredRule()
    stops = store.stops_at(tenant, now)
    days = ad_days(store, tenant, response=rule.response, until=now, folder=folder)
    ads = store.creatives_full(tenant)
    if campaign_id:
        ads = [one for one in ads if one.campaign_id == campaign_id]
    moves = Counter(one.creative_id for one in store.creative_moves(tenant))
    live: dict[str, list[str]] = {}
    waiting = Counter[str]()
    for ad in ads:
        new = ad.state == "draft" and moves[ad.creative_id] == 1
        waiting[ad.item_id] += new or ad.state in ("in review", "approved")
        if ad.state == "live" and ad.creative_id not in stops.creatives:
            live.setdefault(ad.item_id, []).append(ad.creative_id)
    tired = frozenset(one.creative_id for one in tired_creatives(days, rule=rule))
    tired |= days.often(rule.frequency)
    return _Standing(ads, days, stops, tired, live, waiting)


def _why(fresh: int, waiting: int, least: int, worn: tuple[str, ...]) -> str:
    said = f"{fresh + waiting} of {least}" if fresh + waiting else "no ad"
    if waiting:
        said += f", {waiting} of them on their way"
    return f"{said}; tired: {', '.join(worn)}" if worn else said


def ad_days(
    store: Store,
    tenant: str,
    *,
    response: EventKind = "click",
    until: datetime,
    folder: Path | None = None,
) -> AdDays:
    """What came of the tenant's ads, day by day; a response counts on the day of what it is of,
    which its request and item tell.

    folder: of compacted events; None is that which the store names. Raises FileUnreadableError
    where a file of them is missing.
    """
    known = store.totals(tenant).folders if folder is None else (str(folder),)
    log = store.log(tenant, known[-1]) if known else store.events(tenant).lazy()
    key = ["request_id", "item_id"]
    log = log.filter(pl.col("time") < pl.lit(until, pl.Datetime("us", "UTC")))
    took = log.filter(pl.col("kind") == response).select(key).unique()
    took = took.with_columns(took=pl.lit(1.0))
    rows = (
        log.filter(pl.col("kind") == "impression")
        .join(took, on=key, how="left")
        .group_by("item_id", "creative_id", day=pl.col("time").dt.date())
        .agg(shown=pl.len().cast(pl.Float64), took=pl.col("took").sum())
        .collect()
    )
    items = Counter[str]()
    for item, count in rows.select("item_id", "shown").iter_rows():
        items[item] += int(count)
    rows = rows.drop_nulls("creative_id")
    ads, days = (sorted(set(rows[name])) for name in ("creative_id", "day"))
    found = np.zeros((2, len(ads), len(days)))
    at = (
        {one: place for place, one in enumerate(ads)},
        {one: place for place, one in enumerate(days)},
    )
    for ad, day, count, responses in rows.select("creative_id", "day", "shown", "took").iter_rows():
        found[:, at[0][ad], at[1][day]] += count, responses
    shown = log.filter(pl.col("kind") == "impression", pl.col("creative_id").is_not_null())
    seen = shown.group_by("creative_id").agg(pl.col("user_id").n_unique()).collect()
    people = dict(seen.iter_rows())
    saw = np.array([people[one] for one in ads], np.float64)
    return AdDays(tuple(ads), found[0], found[1], items, saw)


def tired_creatives(days: AdDays, *, rule: TiredRule | None = None) -> list[Tired]:
    """The ads that are tired, by id."""
    rule = rule or TiredRule()
    n, r = days.shown, days.responses
    if not r.any():
        return []
    season, doubt = _seasons(n, r)
    alone = n.sum(0) - n < 1
    told = ~alone | (alone | (n < 1)).all(1, keepdims=True)  # days that others tell of, or none do
    n, r = n * told, r * told
    late = np.cumsum(n, 1) - n >= n.sum(1, keepdims=True) / 2  # days begun past half of it
    halves = np.stack([~late, late]).astype(np.float64)
    e = (halves * n * season).sum(2)  # [2, N]
    shown, took = (halves * n).sum(2), (halves * r).sum(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        v = ((halves * (n * season) ** 2 * doubt).sum(2) / e**2).sum(0)
        q = e[1] / e.sum(0)
        expected = took.sum(0) * q
        spread = expected * (1 - q)
        z = (took[1] + 0.5 - expected) / np.sqrt(spread + spread**2 * v)
        enough = (shown.min(0) >= rule.shown) & (expected >= rule.responses)
        fallen = took[1] * e[0] <= rule.drop * took[0] * e[1]
    bound = NormalDist().inv_cdf(rule.level)
    return [
        Tired(
            days.ads[at],
            float(took[0, at] / shown[0, at]),
            float(took[1, at] / shown[1, at]),
            float(took[0, at] / e[0, at] * e[1, at] / shown[1, at]),
            NormalDist().cdf(float(z[at])),
        )
        for at in np.flatnonzero(enough & fallen & (z < bound)).tolist()
    ]


def _seasons(n: Floats, r: Floats) -> tuple[Floats, Floats]:
    """For each ad and day the season of the others, and its variance against its square [N, D]."""
    rate = r.sum(1) / np.maximum(n.sum(1), 1)
    usual = rate @ n  # [D], responses without a season
    spread = float(((r.sum(0) - usual) ** 2 - usual).sum() / max((usual**2).sum(), 1e-9))
    spread = min(max(spread, _LEAST_SPREAD**2), _MOST_SPREAD**2)
    for _ in range(_ROUNDS):
        season = (r.sum(0) + _HALF) / (rate @ n + _HALF)
        rate = r.sum(1) / np.maximum(n @ season, 1e-9)
    others = np.maximum(rate @ n - rate[:, None] * n, 0.0)
    took = r.sum(0) - r
    alone = n.sum(0) - n < 1
    found = np.where(alone, 1.0, (took + _HALF) / (others + _HALF))
    return found, np.where(alone, spread, 1 / (took + _HALF))
