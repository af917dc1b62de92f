"""Kinds of events, returns, future dates and refusals on a log of one's own, before and after.

PYTHONPATH=TREE/src python -m benchmarks.mended.ownlog --state before      (3 minutes)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

from adwright.web.gate import Refusals
from benchmarks.mended import run

_START = datetime(2025, 1, 1, tzinfo=UTC)
_ROWS, _RETURNS, _ALONE = 38_352, 702, 68


def measure() -> Mapping[str, float | int | str]:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="mended-ownlog-") as scratch:
        os.chdir(scratch)
        found: dict[str, float | int | str] = {}
        bought = _purchases()
        found["events of returned goods that count as purchases, of 1,472"] = _returned(bought)
        found["events of 2031 that an import takes without a word, of 404"] = _future(bought)
        _typed("data", "import", "shop.csv", "shop")
        _typed("train", "item-item", "shop")
        found["verbs of hstu, sasrec and din that take the log as their argument, of 3"] = sum(
            _typed("train", verb, "shop", "--dry-run", "--out", "x").returncode == 0
            for verb in ("hstu", "sasrec", "din")
        )
        _typed("publish", "runs/item-item", "--tenant", "shop")
        key = _typed("key", "shop").stdout.split()[-1]
        with _served(key) as client:
            found |= _asked(client, str(bought["sku"].mode().sort()[0]))
        found["seconds that the median 429 is held back, at 177 a second"] = _held_back()
    found["brothers found, and mended, in logs, service and recommend alone"] = (
        "8, of which 8: the popular answer of item-item showed what was bought; /v1/events and "
        "/v1/decide took dates of 2031; a store's returns in retrain; a return in CSV by kind; a "
        "negative value; recommend and publish went by all kinds; two bounds of 1% of their own"
    )
    return found


def _purchases() -> pl.DataFrame:
    """A shop in which nobody buys a thing twice; shop.csv holds it."""
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, 3_000 * 2_000, 2 * _ROWS))
    pairs = rng.permutation(pairs)[:_ROWS]
    days = rng.integers(0, 500 * 86_400, _ROWS)
    table = pl.DataFrame(
        {
            "customer_id": [f"c{n // 2_000}" for n in pairs],
            "sku": [f"i{n % 2_000}" for n in pairs],
            "date": [(_START + timedelta(seconds=int(s))).isoformat() for s in days],
            "Quantity": np.ones(_ROWS, np.int64),
        }
    )
    table.write_csv("shop.csv")
    return table


def _returned(bought: pl.DataFrame) -> int:
    """Events that are left of what came back: 702 purchases, their returns, and 68 of nothing."""
    back = bought.head(_RETURNS).with_columns(
        date=pl.lit("2026-09-01"), Quantity=pl.lit(-1, pl.Int64)
    )
    alone = back.head(_ALONE).with_columns(customer_id=pl.lit("nobody"))
    pl.concat([bought, back, alone]).write_csv("returns.csv")
    _typed("data", "import", "returns.csv", "returns")
    events = pl.read_parquet("returns/events.parquet")
    pairs = pl.concat([back, alone]).select(user_id="customer_id", item_id="sku").unique()
    return events.join(pairs, on=["user_id", "item_id"], how="semi").height


def _future(bought: pl.DataFrame) -> int:
    late = pl.int_range(pl.len()) % 95 == 0
    date = pl.when(late).then(pl.lit("2031-05-05")).otherwise("date")
    bought.with_columns(date=date).write_csv("future.csv")
    done = _typed("data", "import", "future.csv", "future")
    said = done.stdout + done.stderr
    return 0 if "after now" in said else bought.filter(late).height


def _asked(client: httpx.Client, item: str) -> Mapping[str, float | int | str]:
    """What events of the most popular item do to the lists of new users, over HTTP."""
    kept = {}
    for kind in ("view", "click", "cart", "purchase"):
        user = f"new-{kind}"
        _happens(client, user, "view" if kind == "purchase" else kind, item, 0)
        if kind == "purchase":
            _happens(client, user, kind, item, 1)
        time.sleep(1.5)
        body = {"request_id": f"r-{kind}", "user_id": user, "k": 100, "deadline_ms": 2000}
        answer = client.post("/v1/decide", json=body).json()
        kept[kind] = any(place["item_id"] == item for place in answer["items"])
    future = {"time": "2031-05-05T00:00:00Z"}
    return {
        "kinds of view, click and cart that leave the item among a new user's 100 places, of 3": (
            sum(kept[kind] for kind in ("view", "click", "cart"))
        ),
        "a purchase leaves it there": "yes" if kept["purchase"] else "no",
        "status of an event of 2031 over HTTP": _happens(
            client, "late", "click", item, 0, **future
        ),
    }


def _happens(client: httpx.Client, user: str, kind: str, item: str, n: int, **more: Any) -> int:
    row = {
        "event_id": f"{user}-{kind}-{n}",
        "time": (datetime.now(UTC) - timedelta(minutes=9 - n)).isoformat(),
        "request_id": f"visit-{user}",
        "user_id": user,
        "kind": kind,
        "item_id": item,
        **more,
    }
    return client.post("/v1/events", json={"events": [row]}).status_code


def _held_back() -> float:
    """The median seconds that a shop's refusals are held back, at 59 of 100 of 300 a second."""
    refusals = Refusals(256) if signature(Refusals).parameters else Refusals()
    return round(float(np.median([refusals.wait("shop", n / 177) for n in range(177 * 20)])), 3)


@contextmanager
def _served(key: str, port: int = 8791) -> Iterator[httpx.Client]:
    """The service in a process of its own."""
    command = [sys.executable, "-m", "adwright", "serve", "--port", str(port)]
    with Path("serve.log").open("w") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told)
    address = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=30) as client:
            for _ in range(600):
                try:
                    if client.get("/readyz").status_code == httpx.codes.OK:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
            time.sleep(2)
            yield client
    finally:
        process.terminate()
        process.wait()


def _typed(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adwright", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    run("ownlog", measure)
