"""Drive a service: users come, the service decides, users respond, and all of it is logged.

    plan = make_plan(people, config)              # who comes when; nothing is sent
    driven = drive(people, client, plan)          # the service decides, events are sent
    log = read_back(stores, plan, driven)         # what data/ reads of what the service wrote

The clock is simulated: each request carries its own time. Users are sent in the order in which
they come, many at once; a user who comes twice is never twice in one batch, so that a second
visit is decided with the first one known.

Every id follows from the plan. A simulation that was cut off is run again under its name: what
was decided is not decided anew and no event counts twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.simulation.client import Client, Shown
from adwright.campaigns.simulation.population import Answer, Population
from adwright.campaigns.store.store import Store
from adwright.core.errors import ConfigError, DataError
from adwright.core.progress import progress
from adwright.data.schema import EventKind, empty_events
from adwright.data.sources.tables import read_events
from adwright.delivery.decision import Request
from adwright.delivery.policy.slate_policy import ABSplit

__all__ = [
    "Driven",
    "Plan",
    "Simulated",
    "SimulationConfig",
    "Source",
    "drive",
    "make_plan",
    "read_back",
]

Ints = NDArray[np.int64]

#: Seconds after the request: a look at each place, and the till.
_LOOK, _TILL = 5, 120


@dataclass(frozen=True)
class SimulationConfig:
    """name: stands before the ids of all requests; another name is another simulation. days:
    after the population's start. places: of each slate. batch: requests sent together. salt,
    share: how users are assigned to A and B, as in `ABSplit`; the salt is the name by default.
    seed: of how users respond.
    """

    name: str = "simulation"
    days: float = 14.0
    places: int = 5
    batch: int = 256
    salt: str = ""
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or len(self.name) > 60:
            raise ConfigError("a name has 1 to 60 printable characters", where=repr(self.name))
        for name in ("days", "places", "batch"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0", where=str(getattr(self, name)))
        if self.seed < 0:
            raise ConfigError("the seed must not be negative", where=str(self.seed))
        _ = self.split

    @property
    def split(self) -> ABSplit:
        """How users are assigned to the arms."""
        return ABSplit(self.salt or self.name, self.share)


@dataclass(frozen=True, eq=False)
class Plan:
    """V visits by time: user (codes of the population) and time (seconds), [V] each; bounds
    [C + 1]: batch c sends the visits bounds[c] to bounds[c + 1]."""

    config: SimulationConfig
    start: datetime
    user: Ints
    time: Ints
    bounds: Ints

    def __len__(self) -> int:
        return len(self.user)

    @property
    def end(self) -> datetime:
        """The first midnight at which all that happened is over."""
        last = self.start + timedelta(days=self.config.days, seconds=2 * _TILL)
        return datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)

    def request_id(self, visit: int) -> str:
        """Of a visit, counted from 0."""
        return f"{self.config.name}-{visit:07d}"

    def requests(self, users: Sequence[str], first: int, end: int) -> list[Request]:
        """Of the visits `first` to before `end`; users: the population's."""
        context = {"simulation": self.config.name}
        return [
            Request(
                self.request_id(visit),
                users[self.user[visit]],
                datetime.fromtimestamp(int(self.time[visit]), UTC),
                k=self.config.places,
                context=context,
            )
            for visit in range(first, end)
        ]


@dataclass(eq=False)
class Driven:
    """What was sent and answered. shown: the decisions, by request. outcomes: clicks and
    purchases, in EVENT_SCHEMA columns. new: how many of them the service did not know before."""

    shown: list[Shown] = field(default_factory=list)
    outcomes: list[Mapping[str, Any]] = field(default_factory=list)
    new: int = 0

    @property
    def event_ids(self) -> pl.Series:
        """Ids of all events that the service acknowledged, impressions included."""
        impressions = [f"{one.request_id}-{n + 1}" for one in self.shown for n in range(len(one))]
        outcomes = [event["event_id"] for event in self.outcomes]
        return pl.Series("event_id", [*impressions, *outcomes], dtype=pl.String)

    def count(self, kind: EventKind) -> int:
        """How many outcomes are of a kind."""
        return sum(event["kind"] == kind for event in self.outcomes)


@dataclass(frozen=True)
class Source:
    """Where the service keeps a tenant's events, and the folder that they are compacted into."""

    store: Store
    tenant: str
    folder: Path


@dataclass(frozen=True, eq=False)
class Simulated:
    """events: of this simulation, out of the Parquet log, in EVENT_SCHEMA. others: events of
    the same tenants that were in the log beside them. files: Parquet files written."""

    events: pl.DataFrame
    others: int
    files: int


def make_plan(population: Population, config: SimulationConfig) -> Plan:
    """Who comes when. Raises DataError where nobody comes."""
    user, time = population.visits(config.days)
    if not len(user):
        raise DataError(
            "nobody comes in these days",
            column="days",
            value=config.days,
            hint="simulate more days or more people",
        )
    return Plan(config, population.start, user, time, _batches(user, config.batch))


def drive(population: Population, client: Client, plan: Plan) -> Driven:
    """Send all visits of the plan, let people respond, and send what they did.

    The population remembers what it took. Raises ValueInvalidError where the service shows an
    item that the population does not know, and whatever the client raises; what was sent until
    then is stored.
    """
    driven = Driven()
    with progress(len(plan), "simulate", "visits") as bar:
        for number in range(len(plan.bounds) - 1):
            bar.advance(_batch(population, client, plan, number, driven))
    return driven


def read_back(sources: Sequence[Source], plan: Plan, driven: Driven) -> Simulated:
    """Compact what the stores hold, and read it from the folders as any log is read.

    Every event that was acknowledged must be there exactly once, or DataError is raised. Raises
    what `Store.compact` and `read_events` raise.
    """
    parts, files = [empty_events().lazy()], 0
    for source in sources:
        files += len(source.store.compact(source.tenant, source.folder, before=plan.end))
        if source.store.parts(source.tenant, source.folder):
            parts.append(read_events(source.folder))
    mine = pl.col("request_id").str.starts_with(f"{plan.config.name}-")
    log = pl.concat(parts)
    events = log.filter(mine).collect()
    sent = driven.event_ids
    missing = sent.filter(~sent.is_in(events["event_id"].implode()))
    if len(missing):
        raise DataError(
            f"{len(missing):,} events that the service acknowledged are not in its log",
            column="event_id",
            value=missing[0],
            hint="does the service write into the store that was named?",
        )
    again = events.filter(pl.col("event_id").is_duplicated())
    if again.height:
        raise DataError(
            f"{again['event_id'].n_unique():,} events are in the log twice",
            column="event_id",
            value=again["event_id"][0],
        )
    others = int(log.filter(~mine).select(pl.len()).collect().item())
    return Simulated(events.sort("time", "event_id"), others, files)


def _batches(user: Ints, size: int) -> Ints:
    bounds, here = [0], set[int]()
    for visit, one in enumerate(user.tolist()):
        if one in here or len(here) == size:
            bounds.append(visit)
            here.clear()
        here.add(one)
    return np.array([*bounds, len(user)], np.int64)


def _batch(population: Population, client: Client, plan: Plan, number: int, driven: Driven) -> int:
    """Send a batch of requests and what follows from the answers; how many requests it had."""
    first, end = plan.bounds[number : number + 2].tolist()
    requests = plan.requests(population.users, first, end)
    shown = client.decide(requests)
    slate = np.full((len(shown), plan.config.places), -1, np.int64)
    for row, each in enumerate(shown):
        slate[row, : len(each.item_ids)] = population.codes(each.item_ids)
    user, time = plan.user[first:end], plan.time[first:end]
    rng = np.random.default_rng([plan.config.seed, 3, number])
    answer = population.respond(user, slate, time, rng)
    events = [
        event
        for row, (request, each) in enumerate(zip(requests, shown, strict=True))
        for event in _outcomes(request, each, answer, row, population, slate[row])
    ]
    if events:
        driven.new += client.send_events(events)
    taker, place = np.nonzero(answer.taken)
    population.remember(user[taker], slate[taker, place], time[taker] + _TILL)
    driven.shown += shown
    driven.outcomes += events
    return len(requests)


def _outcomes(
    request: Request, shown: Shown, answer: Answer, row: int, population: Population, slate: Ints
) -> list[dict[str, Any]]:
    """Clicks and purchases of one visit."""
    events = []
    for place in np.flatnonzero(answer.clicked[row]).tolist():
        position = place + 1
        common = {
            "request_id": request.request_id,
            "user_id": request.user_id,
            "item_id": shown.item_ids[place],
            "position": position,
            "policy_id": shown.policy_id,
            "context": json.dumps(dict(request.context)),
        }
        impression = f"{request.request_id}-{position}"
        click = request.time + timedelta(seconds=_LOOK * position)
        events.append({"event_id": f"{impression}-click", "time": click, "kind": "click", **common})
        if answer.taken[row, place]:
            value = float(population.value[slate[place]])
            events.append(
                {
                    "event_id": f"{impression}-purchase",
                    "time": request.time + timedelta(seconds=_TILL),
                    "kind": "purchase",
                    "value": value if np.isfinite(value) else None,
                    **common,
                }
            )
    return events
