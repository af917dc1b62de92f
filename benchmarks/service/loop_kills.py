"""kill -9 of the service while ads come, are approved, shown, clicked, paused, stopped and paid.

    nice -n 15 python -m benchmarks.service.loop_kills             6 minutes

Editors enter ads over HTTP and move each of them from state to state; viewers ask for decisions and
follow clicks; campaigns run out of money. Who gets no answer sends the same again until there is
one. The service is killed at random moments and started again: first one process, then two on one
store, of which one is killed at a time. In the end the store alone is asked whether all that was
acknowledged is there, and whether anything is there that may not be (`invariants.check_store`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.campaigns.store.store import Store
from adwright.core.hashing import content_hash
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import SETTINGS, publish
from benchmarks.common.result import RESULTS, ROOT, write_result
from benchmarks.service._client import Answer, Pool, post
from benchmarks.service._process import Service
from benchmarks.service.invariants import check_store

TENANT, ITEMS, USERS, PLACES = "shop", 30, 60, 3
EDITORS, VIEWERS = 4, 8
PRICE, CAP, CAMPAIGNS = 0.01, 6, 4
#: Seconds between looks at the store, and within which a stopped ad may still be shown.
POLL, WATCH = 0.5, 1.0
PAUSE = (0.2, 1.5)  # seconds under load before a kill
KILLS, SEED = {1: 30, 2: 20}, 20241201
#: The life of an ad, move by move; it ends where an editor likes.
LIFE = ("approved", "live", "paused", "live", "stopped", "in review", "approved", "live", "retired")
PROTOCOL = (
    f"Ads of {ITEMS} items by {EDITORS} editors over HTTP, each entered for review and moved on, "
    f"{' '.join(LIFE)}; {VIEWERS} viewers of {USERS} users ask for {PLACES} places and follow some "
    f"clicks; {CAMPAIGNS} campaigns at {PRICE:g} an impression, two of which have little money, "
    f"with a cap of {CAP} impressions to a person. SIGKILL at random moments, {KILLS[1]} times of "
    f"one process and {KILLS[2]} times of one of two on one store (SQLite), which look for what "
    f"changed each {POLL:g} s; who gets no answer sends the same again until there is one. Then "
    "the store alone tells. lost: acknowledged ads, moves, impressions and clicks that are not "
    "there, or impressions of another ad than was answered. wrong: what check_store finds: an ad "
    "shown that "
    f"was not live {WATCH:g} s before, or never approved, an event twice, a spend that is not the "
    "price of the impressions, a budget exceeded by more than the decisions in flight. over_cap: "
    "persons who saw a campaign more often than its cap, times the number of processes."
)


@dataclass
class Told:
    """What was acknowledged. moves: (ad, state), in order. places: event -> ad. statuses: of all
    answers; 0 for none."""

    ads: list[str] = field(default_factory=list)
    moves: list[tuple[str, str]] = field(default_factory=list)
    places: dict[str, str | None] = field(default_factory=dict)
    clicks: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    kills: int = 0


class _Caller:
    """Sends until there is an answer, to any of the processes."""

    def __init__(self, pools: list[Pool], key: str, rng: np.random.Generator, told: Told) -> None:
        self.pools, self.key, self.rng, self.told = pools, key, rng, told

    async def send(self, request: bytes, fine: tuple[int, ...] = (200,)) -> Answer:
        while True:
            pool = self.pools[int(self.rng.integers(len(self.pools)))]
            answer = await pool.send(request)
            self.told.statuses[answer.status] += 1
            if answer.status in fine:
                return answer
            if answer.status not in (0, 429, 503):
                raise RuntimeError(f"{answer.status}: {answer.body!r:.300}")
            await asyncio.sleep(0.02)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads((await self.send(post(path, self.key, json.dumps(body).encode()))).body)


async def edit(caller: _Caller, number: int, stop: asyncio.Event) -> None:
    """Enter an ad, and move it on for a while; then the next one."""
    rng, turn = caller.rng, 0
    while not stop.is_set():
        turn += 1
        ad = {
            "creative_id": f"ad-{number}-{turn}",
            "item_id": f"i{int(rng.integers(ITEMS))}",
            "campaign_id": f"c{int(rng.integers(CAMPAIGNS))}",
            "headline": f"Ad {turn} of {number}",
            "landing": "https://shop.example/",
            "maker": "person:ann",
        }
        await caller.post("/v1/creatives", {"creatives": [ad], "submit": True, "author": "ann"})
        caller.told.ads.append(ad["creative_id"])
        for state in LIFE[: int(rng.integers(1, len(LIFE) + 1))]:
            if stop.is_set():
                return
            path = f"/v1/creatives/{ad['creative_id']}/move"
            await caller.post(path, {"state": state, "author": "ben"})
            caller.told.moves.append((ad["creative_id"], state))
            await asyncio.sleep(float(rng.uniform(0, 0.4)))


async def view(caller: _Caller, number: int, stop: asyncio.Event) -> None:
    """Ask for decisions, and follow some clicks."""
    rng, turn = caller.rng, 0
    while not stop.is_set():
        turn += 1
        name = f"d{number}-{turn}"
        body = {"request_id": name, "user_id": f"u{int(rng.integers(USERS))}", "k": PLACES}
        answer = await caller.post("/v1/decide", body)
        for place in answer["items"]:
            event = f"{name}-{place['position']}"
            caller.told.places[event] = place.get("creative_id")
            if "creative" in place and rng.random() < 0.3:
                path = place["creative"]["click"]
                request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                await caller.send(request, (303,))
                caller.told.clicks.append(f"{event}-click")
        await asyncio.sleep(float(rng.uniform(0, 0.05)))


async def trial(services: list[Service], key: str, kills: int, seed: int) -> Told:
    """Kill, start, kill; what was acknowledged meanwhile."""
    told, rng, stop = Told(), np.random.default_rng(seed), asyncio.Event()
    pools = [Pool("127.0.0.1", one.port) for one in services]
    works = [(edit, n) for n in range(EDITORS)] + [(view, n) for n in range(VIEWERS)]
    tasks = [
        asyncio.create_task(work(_Caller(pools, key, rng.spawn(1)[0], told), n, stop))
        for work, n in works
    ]
    for kill in range(kills):
        await asyncio.sleep(float(rng.uniform(*PAUSE)))
        service = services[int(rng.integers(len(services)))]
        await asyncio.to_thread(service.kill)
        told.kills += 1
        before = len(told.places)
        await asyncio.to_thread(service.start)
        while len(told.places) < before + 3 * VIEWERS:  # it answers again
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)
        print(f"kill {kill + 1} of {kills}: {len(told.moves):,} moves, {len(told.places):,} places")
    stop.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 120)
    for pool in pools:
        pool.close()
    return told


def checked(store: Store, told: Told, processes: int) -> dict[str, Any]:
    """What the store says of all this."""
    events = store.events(TENANT)
    seen = dict(zip(events["event_id"], events["creative_id"], strict=True))
    lost = [one for one, ad in told.places.items() if seen.get(one, "") != ad]
    lost += [one for one in told.clicks if one not in seen]
    there = {one.creative_id for one in store.creatives_full(TENANT)}
    lost += [one for one in told.ads if one not in there]
    made = Counter((one.creative_id, one.state) for one in store.creative_moves(TENANT))
    lost += [f"{one}" for one, n in Counter(told.moves).items() if made[one] < n]
    most = VIEWERS * PLACES * PRICE
    wrong = check_store(store, TENANT, watch=WATCH, in_flight=most)
    shown = events.filter((pl.col("kind") == "impression") & pl.col("campaign_id").is_not_null())
    often = shown.group_by("user_id", "campaign_id").len()["len"]
    for line in (lost[:5], wrong):
        if line:
            print(line)
    return {
        "processes": processes,
        "kills": told.kills,
        "ads": len(told.ads),
        "moves": len(told.moves),
        "impressions": len(told.places),
        "of_ads": sum(ad is not None for ad in told.places.values()),
        "clicks": len(told.clicks),
        "lost": len(lost),
        "wrong": len(wrong),
        "over_cap": int((often > CAP * processes).sum()),
        "spent": {row[0]: row[2] for row in store.spend(TENANT).iter_rows()},
        "statuses": {str(code): n for code, n in sorted(told.statuses.items())},
    }


def furnished(folder: Path, url: str) -> tuple[Path, str]:
    """The folder of the models, and a key."""
    models = folder / "models"
    weight = np.linspace(2, 1, ITEMS)
    save_popularity(models / TENANT / "v1", [f"i{n}" for n in range(ITEMS)], weight)
    publish(models, TENANT, "v1")
    text = '[policy]\nkind = "epsilon_greedy"\nepsilon = 0.8\n'
    (models / TENANT / SETTINGS).write_text(text)
    start = datetime.now(UTC) - timedelta(days=1)
    with Store.open(url) as store:
        key = store.create_key(TENANT, ["decide", "events", "read", "creatives"])
        for n in range(CAMPAIGNS):
            # The first two run out of money.
            terms = {"budget": 1.0 + n if n < 2 else 1e6, "price": PRICE, "cap": CAP}
            store.put_campaign(TENANT, {"campaign_id": f"c{n}", "start": start, **terms})
    return models, key


def run(folder: Path, processes: int, kills: int) -> dict[str, Any]:
    """One trial on a new store."""
    url = f"sqlite:///{folder}/loop.db"
    models, key = furnished(folder, url)
    settings = {"deadline_ms": 2000, "max_deadline_ms": 2000, "stops_poll_seconds": POLL}
    with ExitStack() as stack:
        services = [Service(url, models, settings=settings) for _ in range(processes)]
        for service in services:
            stack.callback(service.close)
            service.start()
        told = asyncio.run(trial(services, key, kills, SEED + processes))
        for service in services:
            service.stop()
    with Store.open(url) as store:
        return checked(store, told, processes)


def main() -> None:
    """Run both trials, write benchmarks/results/loop_kills.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, help="in each trial")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="for the result")
    asked = parser.parse_args()
    runs = ROOT / "runs"  # on the disk of this checkout: a folder in memory has nothing to sync
    runs.mkdir(exist_ok=True)
    rows = []
    for processes, kills in KILLS.items():
        with tempfile.TemporaryDirectory(dir=runs, prefix="loop-") as scratch:
            rows.append(run(Path(scratch), processes, asked.kills or kills))
            print(json.dumps(rows[-1]), flush=True)
    names = ("kills", "ads", "moves", "impressions", "of_ads", "clicks", "lost", "wrong")
    figures = {name: sum(row[name] for row in rows) for name in (*names, "over_cap")}
    write_result(
        "loop_kills",
        protocol=PROTOCOL,
        data=content_hash({"seed": SEED, "life": list(LIFE)}),
        seeds=[SEED],
        rows=rows,
        figures=figures,
        folder=asked.folder,
    )


if __name__ == "__main__":
    main()
