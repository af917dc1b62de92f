"""Stops, undoings and keys, before and after: two processes, asked as a caller would.

PYTHONPATH=TREE/src python -m benchmarks.mended.stops --state before|after
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.campaigns.store.store import Store
from adwright.creative.lifetime.stop_events import stop_events
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import publish
from benchmarks.mended import run
from benchmarks.service._history import CLOCK, ITEMS, TENANT, Trial, key_of
from benchmarks.service._process import Service
from tests.support.data.small_stop_list import small_stop_list

BROTHERS = (
    "8 found, 5 mended: requests and impressions dated ahead (budgets, caps, flights), caps blind "
    "to what other clocks date later, ties of a joined log by id, recommend's own now; left: "
    "requests dated back draw on that day's budget, evidence and decisions are cut by event time"
)
_SETTINGS = {"deadline_ms": 2000, "max_deadline_ms": 2000}
_PATIENCE = 20.0
_SECONDS = 60.0


class _Shop:
    """Two processes on one store."""

    def __init__(self, folder: Path, store: Store, url: str) -> None:
        models = folder / "models"
        save_popularity(models / TENANT / "v1", list(ITEMS), np.arange(1.0, len(ITEMS) + 1))
        publish(models, TENANT, "v1")
        self.key, self.weak = key_of(store), store.create_key(TENANT)
        self.clocks, self.services = [folder / "clock-0", folder / "clock-1"], list[Service]()
        for clock in self.clocks:
            clock.write_text("0")
            os.environ[CLOCK] = str(clock)
            module = "benchmarks.service._history"
            self.services.append(Service(url, models, settings=_SETTINGS, module=module))
            self.services[-1].start()

    def post(self, path: str, body: Any, *, at: int = 0, key: str = "") -> tuple[int, Any]:
        headers = {"X-API-Key": key or self.key, "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.services[at].port}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None

    def shows(self, item: str, *, at: int = 0) -> bool:
        body = {"request_id": secrets.token_hex(8), "user_id": "u", "k": 100}
        return any(
            one["item_id"] == item for one in self.post("/v1/decide", body, at=at)[1]["items"]
        )

    def stop(
        self, item: str, *, ahead: float = 0, undo: bool = False, key: str = "", **more: Any
    ) -> tuple[int, Any]:
        then = (datetime.now(UTC) + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")
        event: dict[str, Any] = {
            "event_id": secrets.token_hex(6),
            "time": then,
            "request_id": "s",
            "kind": "stop",
        }
        event |= {"user_id": "me", "item_id": item, **({"value": 0} if undo else {}), **more}
        return self.post(
            f"/v1/events{'?wait=10' if ahead == 0 else ''}", {"events": [event]}, key=key
        )

    def until(self, item: str, shown: bool, *, at: int = 0) -> float:
        began = time.monotonic()
        while self.shows(item, at=at) is not shown:
            if time.monotonic() > began + _PATIENCE:
                return float("inf")
            time.sleep(0.05)
        return time.monotonic() - began


def measure() -> Mapping[str, float | int | str]:
    """What the services do."""
    found: dict[str, float | int | str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'shop.db'}"
        with Store.open(url) as store:
            shop = _Shop(folder, store, url)
            try:
                _ask(shop, store, found)
            finally:
                for service in shop.services:
                    service.close()
        trial = Trial(f"sqlite:///{folder / 'history.db'}", _SECONDS, named=False)
        said = trial.run()
        asked = sum(call.kind == "decide" for call in trial.calls)
        found["history checker, 60 s: violations for 100 decisions"] = round(
            100 * len(said) / max(1, asked), 1
        )
    found["brothers: order or truth by a caller's clock or id"] = BROTHERS
    return found


def _ask(shop: _Shop, store: Store, found: dict[str, float | int | str]) -> None:
    a, b, c, d, e, f, g, *_ = ITEMS
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for event_id, undo in (("m", False), ("z", True), ("a", False)):
        shop.stop(a, undo=undo, event_id=event_id, time=now)
    found["stop, undo and stop in one second: an accepted stop is shown"] = _word(shop.shows(a))
    shop.stop(b, ahead=8)
    late = shop.until(b, False)
    found["stop by a clock 8 s ahead: seconds until it is obeyed"] = round(late, 1)
    shop.stop(c, time="2100-01-01T00:00:00Z")
    found["stop dated 2100: obeyed"] = _word(not shop.shows(c))
    shop.stop(d)
    shop.stop(d, ahead=-60, undo=True)
    found["undo by a clock a minute behind: the item is shown again"] = _word(shop.shows(d))
    shop.stop(e)
    shop.clocks[0].write_text("-3600")
    shop.stop(f, ahead=-7200)  # so that the process reads anew
    found["the service's clock steps back by an hour: a stop is lifted"] = _word(shop.shows(e))
    shop.clocks[0].write_text("0")
    _, answer = shop.stop(g)
    other = shop.until(g, False, at=1)
    told = (answer.get("stops") or {}).get("in_force", "not said")
    found["answer to a stop with ?wait=10: in force in both processes"] = str(told)
    found["seconds after that answer until the other process obeys"] = round(other, 1)
    plan, moment = small_stop_list([("u1", g, None, "stop")]), datetime.now(UTC)
    court = {"event_id": "court", "time": moment, "request_id": "r", "user_id": "legal"}
    shop.stop(g, undo=True)
    store.record_events(TENANT, stop_events(plan, "retire", moment))
    store.record_events(TENANT, [{**court, "kind": "stop", "item_id": g}])
    store.record_events(
        TENANT, stop_events(plan, "retire", moment + timedelta(seconds=1), undo=True)
    )
    left = store.stops_at(TENANT, moment + timedelta(seconds=2)).table
    gone = left.filter(pl.col("event_id") == "court").is_empty()
    found["retire undo lifts what the legal department stopped"] = _word(gone)
    status, _ = shop.stop(g, key=shop.weak)
    found["the key that a web shop gets by default stops an ad: status"] = status


def _word(holds: bool) -> str:
    return "yes" if holds else "no"


if __name__ == "__main__":
    run("stops", measure)
