"""Turns of the loop in a world: decide, log, retrain, gate, publish; and what each version is
worth, measured by what the gate does not see.

A real log is cut by time: a service is asked by those who come, in the order in which they came,
and told all that they took; a version is worth what it finds of what came in the next turn. In the
simulator people take what they are shown and what they would have taken anyway, and a version is
worth what people who come next would take of its first ten items, by the simulator's own chances.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import polars as pl
from typer.testing import CliRunner

from adwright.campaigns.simulation.population import Population, PopulationConfig
from adwright.campaigns.store.store import Store
from adwright.cli import app
from adwright.core.clock import SystemClock
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import Log, save_log
from adwright.delivery.recommend.models import Wanted, open_model
from adwright.delivery.recommend.people import people_of_log
from adwright.delivery.recommend.run import newest_visits, ranks_of
from adwright.delivery.retraining.retrain import MARGIN, taken_of
from adwright.delivery.training_log import HistoryLog
from adwright.metrics.ranking import ndcg
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.publishing import load_deployed, stored_events
from adwright.service.registry.registry import FolderModels
from adwright.web.server import on_loopback
from tests.support.service.small_shop import wait_until

TURNS, PLACES, TENANT = 5, 5, "shop"
_STORE = "sqlite:///adwright.db"
_BATCH = 200
#: Which turn has the planted bad model, and the planted broken feeds.
_BAD_MODEL, _BROKEN_FEED = 2, 3


class World(Protocol):
    """Whose people come. name: of it. log: what there is before the first turn."""

    name: str
    log: Log

    def visits(self, turn: int) -> Iterator[tuple[str, datetime]]:
        """Who comes when, of those whom the service is asked for."""

    def answered(self, user: str, time: datetime, shown: Sequence[str]) -> list[dict[str, Any]]:
        """What follows a slate, as events."""

    def rest(self, turn: int) -> list[dict[str, Any]]:
        """What else happened in a turn."""

    def worth(self, turn: int, models: Sequence[Path]) -> list[float]:
        """What some models are worth after a turn."""


@dataclass(frozen=True)
class Turn:
    """What became of a turn. decision, verdict: of the gate. published: whether. old, new: what the
    version that decided and the new model are worth."""

    turn: int
    decision: str
    verdict: str
    published: bool
    old: float
    new: float

    @property
    def lead(self) -> float:
        """New over old, minus 1."""
        return self.new / self.old - 1


@dataclass(eq=False)
class CutLog:
    """A real log. events: user_id, item_id, time. before, each: shares of the events that are known
    at first, and that come in a turn. asked: of the visits of a turn, at most."""

    name: str
    events: pl.DataFrame
    before: float = 0.5
    each: float = 0.07
    asked: int = 500
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.events = self.events.sort("time", "user_id", "item_id")
        self.log = _log(self.events.head(self._place(0)))

    def _place(self, turn: int) -> int:
        return int((self.before + turn * self.each) * self.events.height)

    def _turn(self, turn: int) -> pl.DataFrame:
        return self.events.slice(self._place(turn - 1), self._place(turn) - self._place(turn - 1))

    def visits(self, turn: int) -> Iterator[tuple[str, datetime]]:
        """Who comes first in an hour, some of them drawn."""
        came = self._turn(turn).unique(["user_id", pl.col("time").dt.truncate("1h")], keep="first")
        came = came.sample(min(self.asked, came.height), seed=turn).sort("time")
        yield from came.select("user_id", "time").iter_rows()

    def answered(self, user: str, time: datetime, shown: Sequence[str]) -> list[dict[str, Any]]:
        """Nothing that is not in the log."""
        return []

    def rest(self, turn: int) -> list[dict[str, Any]]:
        """All that happened."""
        rows = self._turn(turn).iter_rows(named=True)
        return [_event(f"{turn}-{n}", **row) for n, row in enumerate(rows)]

    def worth(self, turn: int, models: Sequence[Path]) -> list[float]:
        """NDCG@10 on all that came in the next turn, of the whole catalogue."""
        whole = _log(self.events)
        if not Path("whole").exists():
            save_log("whole", whole)
        taken, ids = taken_of(whole)
        end, then = (self._turn(n)["time"].dt.epoch("us").to_list()[-1] for n in (turn, turn + 1))
        found = []
        for model in models:
            opened = open_model(model, Wanted(log="whole"))
            visits = newest_visits(taken, ids, end, until=then, most=20_000)
            found.append(ndcg(ranks_of(opened.top, visits), 10))
        return found


class Simulated:
    """Households of Complete Journey, as the simulator fits them, for eight weeks: a sixth of the
    visits is a turn, the last sixth says what the last version is worth. people: share of them."""

    def __init__(self, people: float = 0.15, seed: int = 0) -> None:
        self.name, self._rng = "simulator", np.random.default_rng(seed)
        journey = CompleteJourney.open(offline=False)
        events, items = journey.events().collect(), journey.catalogue().items
        users = events["user_id"].unique().sort()
        chosen = users.sample(int(people * len(users)), seed=seed)
        events = events.filter(pl.col("user_id").is_in(chosen.implode()), kind="purchase")
        last = events["time"].sort().to_list()[-1]
        start: datetime = (last - timedelta(weeks=8)).replace(microsecond=0)
        self.people = Population.fit(events, items, PopulationConfig(start=start))
        past = events.filter(pl.col("time") < start)
        self.log = Log(
            past.lazy(), Catalogue.checked(past.select(pl.col("item_id").unique().sort()))
        )
        user, time = self.people.visits(56)
        self._visits = list(zip(user.tolist(), time.tolist(), strict=True))
        self.asked = len(self._visits) // (TURNS + 1)
        self._code = {name: n for n, name in enumerate(self.people.users)}
        self._told: list[pl.DataFrame] = [past.select("user_id", "item_id", "time")]
        self._popular = self.people.codes(
            past["item_id"].value_counts(sort=True)["item_id"].to_list()[:50]
        )
        self._pasts = dict(past.group_by("user_id").agg("item_id").iter_rows())
        self._number = 0

    def _some(self, turn: int) -> list[tuple[int, int]]:
        return self._visits[(turn - 1) * self.asked : turn * self.asked]

    def visits(self, turn: int) -> Iterator[tuple[str, datetime]]:
        """Households, when the simulator lets them come."""
        for user, time in self._some(turn):
            yield self.people.users[user], datetime.fromtimestamp(time, UTC)

    def answered(self, user: str, time: datetime, shown: Sequence[str]) -> list[dict[str, Any]]:
        """What is taken of the slate, and of 100 other items that are popular or the user's own."""
        who, when = self._code[user], int(time.timestamp())
        slate = self.people.codes(shown)
        answer = self.people.respond(np.array([who]), slate[None], np.array([when]), self._rng)
        mine = self._rng.permutation(self.people.codes(sorted(set(self._pasts.get(user, [])))))[:50]
        others = np.setdiff1d(np.union1d(mine, self._popular), slate)
        many = len(others)
        chance = self.people.chance(np.full(many, who), others, np.full(many, when))
        taken = [*slate[answer.taken[0]], *others[self._rng.random(many) < chance]]
        self.people.remember(
            np.full(len(taken), who), np.array(taken, np.int64), np.full(len(taken), when)
        )
        names = [self.people.items[code] for code in taken]
        self._told.append(
            pl.DataFrame(
                {"user_id": [user] * len(names), "item_id": names, "time": [time] * len(names)},
                schema=self._told[0].schema,
            )
        )
        found = []
        for name in names:
            self._number += 1
            found.append(_event(f"s{self._number}", user_id=user, item_id=name, time=time))
        return found

    def rest(self, turn: int) -> list[dict[str, Any]]:
        """Nothing."""
        return []

    def worth(self, turn: int, models: Sequence[Path]) -> list[float]:
        """What those who come in the next turn would take of the first ten items, on average."""
        history = HistoryLog(pl.concat(self._told), None)
        coming = self._some(turn + 1)
        user, time = (np.array(one) for one in zip(*coming, strict=True))
        found = []
        for model in models:
            top = open_model(model, Wanted(log=str(self._saved(history)))).top
            names = [self.people.users[code] for code in sorted(set(user.tolist()))]
            people = people_of_log(history, top.items, users=names)
            codes = top.best(people, 10).codes
            row = np.searchsorted(np.array(sorted(set(user.tolist()))), user)
            slate = np.array([-1, *self.people.codes(top.items.ids)])[codes[row]]
            looked, shown = self.people.looked_at(10), slate >= 0
            chance = np.zeros(slate.shape)
            at, _ = np.nonzero(shown)
            chance[shown] = self.people.chance(user[at], slate[shown], time[at])
            found.append(float((chance * looked).sum(1).mean()))
        return found

    def _saved(self, history: HistoryLog) -> Path:
        rows = [
            _event(f"w{n}", **row) for n, row in enumerate(history.events.iter_rows(named=True))
        ]
        path = Path("told.parquet")
        validate_events(pl.DataFrame(rows)).write_parquet(path)
        return path


def play_turns(
    world: World, train: Sequence[str], turns: int = TURNS
) -> tuple[list[Turn], dict[str, bool]]:
    """Play them in the working folder, which is empty.

    train: what follows `adwright train`, for the log in "log". Returns the turns, and whether each
    of the planted was published.
    """
    save_log("log", world.log)
    _adwright("train", *train, "--out", "runs/a")
    _adwright("publish", "runs/a", "--tenant", TENANT)
    scopes = (f"--scope={name}" for name in ("events", "decide", "read"))
    key = _adwright("key", TENANT, *scopes).split()[-1]
    played, planted = list[Turn](), dict[str, bool]()
    config = ServiceConfig(deadline_ms=2000, poll_seconds=0.1)
    with Store.open(_STORE) as store:
        stored = stored_events(store)
        models = FolderModels("models", load_deployed, SystemClock(), stored=stored, seconds=0.1)
        with (
            on_loopback(create_app(config, store, models)) as url,
            httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client,
        ):
            for turn in range(1, turns + 1):
                _serve(client, world, turn)
                if turn == _BAD_MODEL:
                    planted["bad model"] = _bad_model(world, turn)
                if turn == _BROKEN_FEED:
                    planted |= _broken_feeds(store.events(TENANT), world.log)
                before, _ = _current(), _retrain(f"runs/{turn}")
                gate = json.loads(Path(f"runs/{turn}/gate.json").read_text("utf-8"))
                after = _current()
                wait_until(lambda: _serving(client) == _current(), 60)
                old, new = world.worth(turn, [Path("models", TENANT, before), Path(f"runs/{turn}")])
                played.append(
                    Turn(turn, gate["decision"], gate["verdict"], after != before, old, new)
                )
                print(world.name, train[0], played[-1], flush=True)
            decided = _current()
            if decided != "v1":
                _adwright("publish", "--back", "--tenant", TENANT)
                wait_until(lambda: _serving(client) == _current() != decided, 60)
    return played, planted


def _serve(client: httpx.Client, world: World, turn: int) -> None:
    events = []
    for number, (user, time) in enumerate(world.visits(turn)):
        body = {"request_id": f"t{turn}-{number}", "user_id": user, "time": time.isoformat()}
        answer = client.post("/v1/decide", json={**body, "k": PLACES}).raise_for_status().json()
        events += world.answered(user, time, [one["item_id"] for one in answer["items"]])
    events += world.rest(turn)
    sent = [{**one, "time": one["time"].isoformat()} for one in events]
    for start in range(0, len(sent), _BATCH):
        part = {"events": sent[start : start + _BATCH]}
        client.post("/v1/events", json=part).raise_for_status()


def _retrain(out: str, *, model: str = "runs/a", served: str = _STORE, code: int = 0) -> str:
    asked = ("--served", served, "--tenant", TENANT, "--publish", "--out", out)
    return _adwright("retrain", model, *asked, code=code)


def _bad_model(world: World, turn: int) -> bool:
    """Whether one is published that is bad: popularity on a log whose items are mixed up, as by a
    broken join. Raises RuntimeError where it is not bad."""
    table = pl.read_parquet("log/events.parquet").with_columns(pl.col("item_id").cast(pl.String))
    ids = table["item_id"].unique().sort()
    other = dict(zip(ids, ids.sample(fraction=1, shuffle=True, seed=0), strict=True))
    broken = table.with_columns(pl.col("item_id").replace(other))
    save_log("broken", Log(validate_events(broken).lazy(), Catalogue.checked(ids.to_frame())))
    _adwright("train", "popularity", "broken", "--out", "runs/popular")
    path = Path("runs/popular/config.json")
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "half_life": None}))
    before = _current()
    print(_retrain("runs/bad", model="runs/popular"), flush=True)
    old, bad = world.worth(turn, [Path("models", TENANT, before), Path("runs/bad")])
    if bad > old * (1 - MARGIN):
        raise RuntimeError(f"the bad model is worth {bad}, and what decides {old}")
    return _current() != before


def _broken_feeds(feed: pl.DataFrame, log: Log) -> dict[str, bool]:
    """Whether anything is published of feeds that are broken in several ways."""
    feed = feed.sort("time")
    done = feed.filter(pl.col("kind") != "impression")
    some = int(0.06 * done.height) + 20
    item = log.events.collect()["item_id"].value_counts(sort=True)["item_id"].to_list()[-1]
    made = done.sample(some, seed=0, with_replacement=True)
    made = made.with_columns(event_id=pl.format("odd{}", pl.int_range(pl.len())))
    future = pl.lit(SystemClock().now() + timedelta(days=1500)).cast(feed.schema["time"])
    feeds = {
        "future": pl.concat([feed, made.with_columns(time=future)]),
        "bots": pl.concat(
            [
                feed,
                made.with_columns(
                    user_id=pl.format("bot{}", pl.int_range(pl.len())), item_id=pl.lit(item)
                ),
            ]
        ),
        "dry": feed.filter(
            (pl.col("kind") == "impression") | (pl.col("time") < feed["time"][feed.height // 2])
        ),
    }
    found = {}
    for name, table in feeds.items():
        table.write_parquet(f"{name}.parquet")
        before = _current()
        print(_retrain(f"runs/{name}", served=f"{name}.parquet", code=2), flush=True)
        found[f"feed: {name}"] = _current() != before
    return found


def _current() -> str:
    return Path("models", TENANT, "current").read_text("utf-8").strip()


def _serving(client: httpx.Client) -> str:
    (model,) = client.get("/v1/models").json()["models"]
    return str(model["name"])


def _log(events: pl.DataFrame) -> Log:
    rows = [_event(f"l{n}", **row) for n, row in enumerate(events.iter_rows(named=True))]
    table = validate_events(pl.DataFrame(rows))
    return Log(table.lazy(), Catalogue.checked(table.select(pl.col("item_id").unique().sort())))


def _event(number: str, *, user_id: str, item_id: str, time: datetime) -> dict[str, Any]:
    return {
        "event_id": number,
        "request_id": f"{user_id}-{time:%Y%m%d%H}",
        "user_id": user_id,
        "item_id": item_id,
        "kind": "purchase",
        "time": time,
    }


def _adwright(*arguments: str, code: int = 0) -> str:
    """What a command says; it must end so."""
    result = CliRunner().invoke(app, ["--quiet", *arguments])
    if result.exit_code != code:
        raise RuntimeError(result.output)
    return result.output
