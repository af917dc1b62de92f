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

import http.client
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.simulation.appeal import Appeal, SeenAd
from adwright.campaigns.simulation.population import Answer, Population
from adwright.campaigns.store.store import Store
from adwright.core.config import Count, Ge, Le, Natural, Positive, settings
from adwright.core.errors import AdwrightError, ConfigError, DataError, ResourceError
from adwright.core.progress import progress
from adwright.data.schema import EventKind, empty_events
from adwright.data.sources.tables import read_events
from adwright.delivery.decision import Request
from adwright.delivery.policy.slate_policy import ABSplit

# --------------------------------------------------------------------------------------------------
# Clients of a service: the two calls that a simulation makes.
#
#     client = HttpClient("http://127.0.0.1:8000", key)
#     shown = client.decide(requests)
#     client.send_events(events)
#
# Everything that is sent has an id, so anything may be sent again: a request that was decided
# gets the same answer, an event counts once. `HttpClient` relies on that. Where the service sheds
# load (429), cannot write (503) or does not answer at all, it waits, as long as the service asks
# for and a little longer each time, and sends the same again, a limited number of times.

T = TypeVar("T")
#: Most events of one call; the service takes a thousand.
_EVENTS = 500
_TRY_AGAIN = (429, 502, 503, 504)
_TIMEOUT = 30.0
#: Requests in flight, and time for a decision: long, since a simulation wants the models' answer
#: rather than an early one.
CONNECTIONS, DEADLINE_MS = 8, 2000.0
#: Of one call, the first included; seconds of the first wait where the service names none, which
#: doubles, and of any at most.
ATTEMPTS, FIRST_WAIT, LONGEST_WAIT = 12, 0.1, 10.0
#: Spreads waits between 0 and 1 without a generator: multiples of the golden ratio.
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Shown:
    """What the service decided for one request: the slate, best place first. ads: of its places,
    or none at all. campaigns: who pays for each."""

    request_id: str
    policy_id: str
    stage: str
    item_ids: tuple[str, ...]
    ads: tuple[SeenAd | None, ...] = ()
    campaigns: tuple[str | None, ...] = ()

    def __len__(self) -> int:
        return len(self.item_ids)


class Client(Protocol):
    """A service that decides and stores."""

    def decide(self, requests: Sequence[Request]) -> list[Shown]:
        """The decisions, in the order of the requests; they and their impressions are stored."""
        ...

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Store events, rows in EVENT_SCHEMA columns; how many of them are new. They are
        durable when this returns."""
        ...


@dataclass(frozen=True)
class SplitClient:
    """Two clients as one: the users of each arm are sent to their own client, for example to two
    tenants of one service that run different models."""

    a: Client
    b: Client
    split: ABSplit

    def decide(self, requests: Sequence[Request]) -> list[Shown]:
        """The decisions, in the order of the requests."""
        found = {
            shown.request_id: shown
            for client, some in self._by_arm(requests, [each.user_id for each in requests])
            for shown in client.decide(some)
        }
        return [found[request.request_id] for request in requests]

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Store events; how many of them are new."""
        parts = self._by_arm(events, [event["user_id"] for event in events])
        return sum(client.send_events(some) for client, some in parts)

    def _by_arm(self, things: Sequence[T], users: Sequence[str]) -> list[tuple[Client, list[T]]]:
        pairs = list(zip(things, map(self.split.arm, users), strict=True))
        parts = [
            (client, [thing for thing, met in pairs if met == arm])
            for client, arm in ((self.a, "A"), (self.b, "B"))
        ]
        return [(client, some) for client, some in parts if some]


class HttpClient:
    """Sends requests to a running service over kept connections. Close it, or use it in a `with`.

    url: http or https, with the path under which the service lies, if any. key: of the tenant.
    Raises ConfigError for a URL that is none.
    """

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                "this is not the address of a service",
                where=url,
                hint="write http://host:port or https://host",
            )
        if not key.isascii() or not key.isprintable():
            raise ConfigError("the key is not plain text", hint="check what was passed")
        self.url = url
        self.retries = 0
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}
        self._pool = ThreadPoolExecutor(CONNECTIONS, "adwright-client")
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: list[http.client.HTTPConnection] = []

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being sent, drop the rest, close all connections."""
        self._pool.shutdown(cancel_futures=True)
        for connection in self._open:
            connection.close()

    def decide(self, requests: Sequence[Request]) -> list[Shown]:
        """The decisions, in the order of the requests.

        Raises ConfigError where the service refuses a request, ResourceError where it does not
        answer for too long.
        """
        return list(self._pool.map(self._decide, requests))

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Store events; how many of them are new. Raises as `decide`."""
        rows = [_wire(event) for event in events]
        bodies = [{"events": rows[at : at + _EVENTS]} for at in range(0, len(rows), _EVENTS)]
        answers = self._pool.map(lambda body: self._post("/v1/events", body), bodies)
        return sum(int(answer["accepted"]) for answer in answers)

    def _decide(self, request: Request) -> Shown:
        body: dict[str, Any] = {
            "request_id": request.request_id,
            "user_id": request.user_id,
            "time": request.time.isoformat(),
            "k": request.k,
            "context": dict(request.context),
            "exclude": sorted(request.exclude),
            "deadline_ms": DEADLINE_MS,
        }
        if request.candidates is not None:
            body["candidates"] = list(request.candidates)
        answer = self._post("/v1/decide", body)
        places = answer["items"]
        items = tuple(place["item_id"] for place in places)
        shown = request.request_id, answer["policy_id"], answer["stage"], items
        if not any("creative" in place for place in places):
            return Shown(*shown)
        ads = tuple(_seen_ad(place) for place in places)
        return Shown(*shown, ads, tuple(place.get("campaign_id") for place in places))

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        sent = json.dumps(body, allow_nan=False).encode()
        reason = ""
        for attempt in range(ATTEMPTS):
            asked = None
            try:
                status, named, text = self._once(path, sent)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                reason = f"{type(error).__name__}: {error}"
            else:
                if status == 200:
                    return json.loads(text)
                if status not in _TRY_AGAIN:
                    raise _refusal(path, status, text)
                asked, reason = named, f"status {status}"
            if attempt + 1 < ATTEMPTS:
                with self._lock:
                    self.retries += 1
                    spread = self.retries * _GOLDEN % 1
                # Spread, so that callers do not come back together.
                wait = FIRST_WAIT * 2**attempt if asked is None else asked
                sleep(min(LONGEST_WAIT, wait * (1 + spread / 2)))
        raise ResourceError(
            f"the service did not take a request in {ATTEMPTS} attempts: {reason}",
            where=f"{self.url}{path}",
            hint="look at its log; what was sent so far is stored, and may be sent again",
        )

    def _once(self, path: str, body: bytes) -> tuple[int, float | None, bytes]:
        """(status, seconds to wait if the service names them, body)."""
        connection = self._connection()
        connection.request("POST", self._path + path, body, self._headers)
        response = connection.getresponse()
        text = response.read()
        wait = response.headers.get("Retry-After", "")
        return response.status, float(wait) if wait.isdigit() else None, text

    def _connection(self) -> http.client.HTTPConnection:
        """That of this thread."""
        found: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if found is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            found = kind(self._host or "", self._port, timeout=_TIMEOUT)
            self._mine.connection = found
            with self._lock:
                self._open.append(found)
        return found

    def _drop(self) -> None:
        # The object opens a new connection at its next request.
        self._connection().close()


def _seen_ad(place: Mapping[str, Any]) -> SeenAd | None:
    said = place.get("creative")
    if said is None:
        return None
    return SeenAd(place["creative_id"], "\n".join(said["slots"].values()))


def _wire(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as JSON: no nulls, the context as an object."""
    row = {name: value for name, value in event.items() if value is not None}
    row["time"] = row["time"].isoformat()
    if "context" in row:
        row["context"] = json.loads(row["context"])
    return row


def _refusal(path: str, status: int, text: bytes) -> AdwrightError:
    try:
        error = json.loads(text)["error"]
        what, hint = str(error["message"]), str(error.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        what, hint = "an answer that is none of the service's", "check the address"
    return ConfigError(f"the service refused: {what}", where=f"{path}, status {status}", hint=hint)


Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Seconds after the request: a look at each place, and the till.
_LOOK, _TILL = 5, 120


@settings
class SimulationConfig:
    """name: stands before the ids of all requests; another name is another simulation. days:
    after the population's start. places: of each slate. candidates: items that may be shown; all
    where none is named. batch: requests sent together. salt, share: how users are assigned to A
    and B, as in `ABSplit`; the salt is the name by default. seed: of how users respond.
    """

    name: str = "simulation"
    days: Positive = 14.0
    places: Count = 5
    candidates: tuple[str, ...] = ()
    batch: Count = 256
    salt: str = ""
    share: Annotated[float, Ge(0), Le(1)] = 0.5
    seed: Natural = 0

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or len(self.name) > 60:
            raise ConfigError("a name has 1 to 60 printable characters", where=repr(self.name))

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

    def batches(self, since: datetime | None = None, until: datetime | None = None) -> range:
        """The numbers of the batches that begin between two moments."""
        first = self.time[self.bounds[:-1]]
        ends = [
            default if at is None else int(np.searchsorted(first, at.timestamp()))
            for at, default in ((since, 0), (until, len(first)))
        ]
        return range(*ends)

    def request_id(self, visit: int) -> str:
        """Of a visit, counted from 0."""
        return f"{self.config.name}-{visit:07d}"

    def requests(self, users: Sequence[str], first: int, end: int) -> list[Request]:
        """Of the visits `first` to before `end`; users: the population's."""
        context = {"simulation": self.config.name}
        candidates = self.config.candidates or None
        return [
            Request(
                self.request_id(visit),
                users[self.user[visit]],
                datetime.fromtimestamp(int(self.time[visit]), UTC),
                k=self.config.places,
                context=context,
                candidates=candidates,
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


def drive(
    population: Population,
    client: Client,
    plan: Plan,
    appeal: Appeal | None = None,
    batches: range | None = None,
    tell_time: Callable[[datetime], None] | None = None,
) -> Driven:
    """Send all visits of the plan, let people respond, and send what they did.

    appeal: how much they like the ads that they are shown; without it ads do not matter. batches:
    these alone. tell_time: is told when a batch begins. The population remembers what it took.
    Raises ValueInvalidError where the service shows an item that the population does not know, and
    whatever the client raises; what was sent until then is stored.
    """
    driven, numbers = Driven(), plan.batches() if batches is None else batches
    total = int(plan.bounds[numbers.stop] - plan.bounds[numbers.start])
    with progress(total, "simulate", "visits") as bar:
        for number in numbers:
            if tell_time is not None:
                first = int(plan.time[plan.bounds[number]])
                tell_time(datetime.fromtimestamp(first, UTC))
            bar.advance(_batch(population, client, plan, number, driven, appeal))
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


def _batch(
    population: Population,
    client: Client,
    plan: Plan,
    number: int,
    driven: Driven,
    appeal: Appeal | None,
) -> int:
    """Send a batch of requests and what follows from the answers; how many requests it had."""
    first, end = plan.bounds[number : number + 2].tolist()
    requests = plan.requests(population.users, first, end)
    shown = client.decide(requests)
    slate = np.full((len(shown), plan.config.places), -1, np.int64)
    for row, each in enumerate(shown):
        slate[row, : len(each.item_ids)] = population.codes(each.item_ids)
    user, time = plan.user[first:end], plan.time[first:end]
    rng = np.random.default_rng([plan.config.seed, 3, number])
    moved: Floats | None = None
    if appeal is not None:
        nothing = (None,) * slate.shape[1]
        ads = [(*each.ads, *nothing)[: slate.shape[1]] for each in shown]
        moved = appeal.log_odds(user, ads)
        appeal.remember(user, ads)
    answer = population.respond(user, slate, time, rng, moved)
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
        if shown.ads and (ad := shown.ads[place]) is not None:
            common |= {"creative_id": ad.creative_id, "campaign_id": shown.campaigns[place]}
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
