"""The loop by commands: a log, a model, a service over HTTP, what it wrote, and a new model.

Used by a test and, ten times as long, by a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
from typer.testing import CliRunner

from adwright.campaigns.store.store import Store
from adwright.cli import app
from adwright.core.clock import SystemClock
from adwright.data.sources.log import Log, save_log
from adwright.data.sources.tables import read_events
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.loading import load_deployed, stored_events
from adwright.service.registry.registry import SETTINGS, FolderModels
from adwright.web.loopback import on_loopback
from tests.support.service.small_shop import wait_until

__all__ = ["PlayedLoop", "play_loop"]

POLICY = 'seed = 7\n[policy]\nkind = "softmax"\ntemperature = 1.0\n'
PLACES = 5
_BATCH = 50
_CONFIG = ServiceConfig(deadline_ms=2000, poll_seconds=0.1)


@dataclass(frozen=True, eq=False)
class PlayedLoop:
    """What happened.

    shown: the places that were answered: request_id, item_id, position, propensity. sent: events
    that were sent, and accepted. served: what was compacted, in EVENT_SCHEMA. left: events that
    are still in the store. retrained: what the command said. decided: the version that decides
    at the end, and how many events its histories have. after: an answer of the new model.
    """

    shown: pl.DataFrame
    sent: int
    accepted: int
    served: pl.DataFrame
    left: int
    retrained: str
    decided: tuple[str, int]
    after: dict[str, Any]


def play_loop(
    folder: Path, log: Log, run_file: str, *, decisions: int, verb: str = "sasrec", seed: int = 0
) -> PlayedLoop:
    """Play it in `folder`, which must be the working folder.

    log: of purchases. run_file: TOML for `adwright train VERB`.
    """
    save_log(folder / "log", log)
    (folder / "run.toml").write_text(run_file)
    _adwright("train", verb, "run.toml", "--events", "log", "--out", "runs/a")
    _adwright("publish", "runs/a", "--tenant", "shop")
    (folder / "models" / "shop" / SETTINGS).write_text(POLICY)
    key = _adwright("key", "shop").split()[-1]
    events = log.events.collect()
    with Store.open("sqlite:///adwright.db") as store:
        stored = stored_events(store)
        models = FolderModels("models", load_deployed, SystemClock(), stored=stored, seconds=0.1)
        with (
            on_loopback(create_app(_CONFIG, store, models)) as url,
            httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client,
        ):
            shown, sent, accepted = _served(client, events, decisions, seed)
            _adwright("store", "compact", "--tenant", "shop", "--out", "served")
            said = _adwright("retrain", "runs/a", "--served", "served", "--out", "runs/b")
            _adwright("publish", "runs/b", "--tenant", "shop")
            wait_until(lambda: _model(client)["name"] == "v2", 60)
            last = _moment(events) + timedelta(days=30)
            after = _decide(client, "after", events["user_id"][0], last)
            status = models.status("shop")
            known: Any = status.deployed.recommender if status and status.deployed else None
            decided = _model(client)["name"], known.histories.events
        left = store.events("shop").filter(pl.col("request_id") != "after").height
    served = read_events(folder / "served").collect()
    return PlayedLoop(shown, sent, accepted, served, left, said, decided, after)


def _served(
    client: httpx.Client, events: pl.DataFrame, decisions: int, seed: int
) -> tuple[pl.DataFrame, int, int]:
    """Decide for users of the log, who take the first item every other time."""
    rng, users = np.random.default_rng(seed), events["user_id"].unique().sort().to_list()
    now, places = _moment(events) + timedelta(hours=1), list[dict[str, Any]]()
    taken, sent, accepted = list[dict[str, Any]](), 0, 0
    for number in range(decisions):
        time = now + timedelta(seconds=30 * number)
        user = users[int(rng.integers(len(users)))]
        answer = _decide(client, f"visit-{number}", user, time)
        items = answer["items"]
        places += [{"request_id": f"visit-{number}", **place} for place in items]
        if rng.random() < 0.5:
            taken.append(_purchase(number, user, items[0]["item_id"], time))
        if len(taken) == _BATCH or (number == decisions - 1 and taken):
            stored = client.post("/v1/events", json={"events": taken}).raise_for_status().json()
            sent, accepted = sent + len(taken), accepted + int(stored["accepted"])
            taken = []
    names = ["request_id", "item_id", "position", "propensity"]
    return pl.DataFrame(places).select(names), sent, accepted


def _decide(client: httpx.Client, request_id: str, user: str, time: datetime) -> dict[str, Any]:
    body = {"request_id": request_id, "user_id": user, "time": time.isoformat(), "k": PLACES}
    found: dict[str, Any] = client.post("/v1/decide", json=body).raise_for_status().json()
    return found


def _purchase(number: int, user: str, item: str, time: datetime) -> dict[str, Any]:
    return {
        "event_id": f"bought-{number}",
        "time": (time + timedelta(seconds=5)).isoformat(),
        "request_id": f"visit-{number}",
        "user_id": user,
        "kind": "purchase",
        "item_id": item,
        "value": 1.0,
    }


def _model(client: httpx.Client) -> dict[str, Any]:
    (model,) = client.get("/v1/models").json()["models"]
    found: dict[str, Any] = model
    assert not found["refused"], found["reason"]
    return found


def _moment(events: pl.DataFrame) -> datetime:
    """The time of the latest event."""
    latest = events["time"].max()
    assert isinstance(latest, datetime)
    return latest


def _adwright(*arguments: str) -> str:
    """What a command says; it must not fail."""
    result = CliRunner().invoke(app, _texts(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def _texts(arguments: Sequence[str]) -> list[str]:
    return ["--quiet", *arguments]
