"""The loop by commands: a log, a model, a service over HTTP, what it wrote, and a new model.

Used by a test and, ten times as long, by a benchmark. Users take the first item every other time,
or what they are known to have taken next, whether it was shown or not.
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
from adwright.service.registry.publishing import load_deployed, stored_events
from adwright.service.registry.registry import SETTINGS, FolderModels
from adwright.web.server import on_loopback
from tests.support.service.small_shop import wait_until

POLICY = 'seed = 7\n[policy]\nkind = "softmax"\ntemperature = 1.0\n'
PLACES = 5
_BATCH, _FIRST = 50, "the first"
_CONFIG = ServiceConfig(deadline_ms=2000, poll_seconds=0.1)


@dataclass(frozen=True, eq=False)
class PlayedLoop:
    """What happened.

    shown: the places that were answered: request_id, item_id, position, propensity. sent: events
    that were sent, and accepted. served: what was compacted, in EVENT_SCHEMA. left: events that
    are still in the store. retrained: what the command said. decided: the version that decides
    at the end, and how many events its histories have, if any. after: an answer of the new model.
    back: the version that decides after the way back, in the service that runs.
    """

    shown: pl.DataFrame
    sent: int
    accepted: int
    served: pl.DataFrame
    left: int
    retrained: str
    decided: tuple[str, int]
    after: dict[str, Any]
    back: str


def play_loop(
    folder: Path,
    log: Log,
    train: Sequence[str],
    *,
    decisions: int,
    run_file: str = "",
    future: pl.DataFrame | None = None,
    seed: int = 0,
) -> PlayedLoop:
    """Play it in `folder`, which must be the working folder.

    log: of purchases, in the folder "log". train: what follows `adwright train` to make runs/a.
    run_file: TOML, in "run.toml". future: user_id and item_id, who comes in this order and what
    they take, a row a decision; None for users by chance, who take the first item every other time.
    """
    save_log(folder / "log", log)
    (folder / "run.toml").write_text(run_file)
    _adwright("train", *train, "--out", "runs/a")
    _adwright("publish", "runs/a", "--tenant", "shop")
    (folder / "models" / "shop" / SETTINGS).write_text(POLICY)
    key = _adwright("key", "shop", *(f"--scope={name}" for name in ("events", "decide", "read")))
    key = key.split()[-1]
    events = log.events.collect()
    with Store.open("sqlite:///adwright.db") as store:
        stored = stored_events(store)
        models = FolderModels("models", load_deployed, SystemClock(), stored=stored, seconds=0.1)
        with (
            on_loopback(create_app(_CONFIG, store, models)) as url,
            httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client,
        ):
            coming = _by_chance(events, decisions, seed) if future is None else future
            shown, sent, accepted = _served(client, _moment(events), coming.head(decisions))
            _adwright("store", "compact", "--tenant", "shop", "--out", "served")
            said = _adwright("retrain", "runs/a", "--served", "served", "--out", "runs/b")
            _adwright("publish", "runs/b", "--tenant", "shop")
            wait_until(lambda: _model(client)["name"] == "v2", 60)
            last = _moment(events) + timedelta(days=30)
            after = _decide(client, "after", events["user_id"][0], last)
            status = models.status("shop")
            known: Any = status.deployed.recommender if status and status.deployed else None
            histories = getattr(known, "histories", None)
            decided = _model(client)["name"], 0 if histories is None else histories.events
            _adwright("publish", "--back", "--tenant", "shop")
            wait_until(lambda: _model(client)["name"] == "v1", 60)
            back = _decide(client, "after-back", events["user_id"][0], last)["model"]
        left = store.events("shop").filter(~pl.col("request_id").str.starts_with("after")).height
    served = read_events(folder / "served").collect()
    return PlayedLoop(shown, sent, accepted, served, left, said, decided, after, back)


def _by_chance(events: pl.DataFrame, decisions: int, seed: int) -> pl.DataFrame:
    """Users of the log; what they take is the first item every other time."""
    rng, users = np.random.default_rng(seed), events["user_id"].unique().sort()
    chosen = rng.integers(len(users), size=decisions)
    first = [_FIRST if one else None for one in rng.random(decisions) < 0.5]
    return pl.DataFrame({"user_id": users.gather(chosen), "item_id": first})


def _served(
    client: httpx.Client, latest: datetime, coming: pl.DataFrame
) -> tuple[pl.DataFrame, int, int]:
    """Decide for those who come, one every 30 seconds, and tell what they take."""
    now, places = latest + timedelta(hours=1), list[dict[str, Any]]()
    taken, sent, accepted = list[dict[str, Any]](), 0, 0
    for number, (user, item) in enumerate(coming.select("user_id", "item_id").iter_rows()):
        time = now + timedelta(seconds=30 * number)
        answer = _decide(client, f"visit-{number}", user, time)
        items = answer["items"]
        places += [{"request_id": f"visit-{number}", **place} for place in items]
        if item is not None:
            offered = [place["item_id"] for place in items]
            chosen = offered[0] if item == _FIRST else item
            taken.append(_purchase(number, user, chosen, time, slated=chosen in offered))
        if len(taken) == _BATCH or (number == coming.height - 1 and taken):
            stored = client.post("/v1/events", json={"events": taken}).raise_for_status().json()
            sent, accepted = sent + len(taken), accepted + int(stored["accepted"])
            taken = []
    names = ["request_id", "item_id", "position", "propensity"]
    return pl.DataFrame(places).select(names), sent, accepted


def _decide(client: httpx.Client, request_id: str, user: str, time: datetime) -> dict[str, Any]:
    body = {"request_id": request_id, "user_id": user, "time": time.isoformat(), "k": PLACES}
    found: dict[str, Any] = client.post("/v1/decide", json=body).raise_for_status().json()
    return found


def _purchase(number: int, user: str, item: str, time: datetime, *, slated: bool) -> dict[str, Any]:
    """What was taken; of something that was not offered, under a request of its own."""
    return {
        "event_id": f"bought-{number}",
        "time": (time + timedelta(seconds=5)).isoformat(),
        "request_id": f"visit-{number}" if slated else f"own-{number}",
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
