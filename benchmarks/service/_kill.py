"""kill -9 of the service under load: is every acknowledged event in the log, exactly once?

Workers send batches of events and ask for decisions without a pause. The service is killed at
random moments and started again. A worker that got no answer sends the same again (half of the
time) or gives up on it, as callers do: what was not acknowledged may be in the log or not. In the
end the events are compacted into Parquet files, half of them before the last kills, and the log
is read as training would read it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from adwright.campaigns.store.store import Store
from benchmarks.service._client import Pool, post
from benchmarks.service._process import Service

TENANT = "shop"
WORKERS = 12
PAUSE = (0.1, 1.5)  # seconds under load before a kill
START = datetime(2024, 5, 1, tzinfo=UTC)


@dataclass
class Killed:
    """What was found. statuses: of all answers; 0 stands for none."""

    kills: int = 0
    acknowledged: int = 0
    found_once: int = 0
    found_more: int = 0
    lost: int = 0
    unacknowledged_found: int = 0
    decisions: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


def kill_repeatedly(
    url: str, models: Path, bodies: list[dict[str, Any]], *, kills: int, seed: int, folder: Path
) -> Killed:
    """Run the trial on the store at `url`.

    bodies: for /v1/decide, without request_id. folder: where the events are compacted to.
    """
    found = Killed()
    with Store.open(url) as store:
        key = store.create_key(TENANT)
        service = Service(url, models, settings={"deadline_ms": 2000, "max_deadline_ms": 2000})
        acknowledged: list[str] = []
        try:
            service.start()
            asyncio.run(_trial(service, key, bodies, kills, seed, acknowledged, found))
            service.stop()
        finally:
            service.close()
        _count(store, acknowledged, folder, found)
    return found


async def _trial(
    service: Service,
    key: str,
    bodies: list[dict[str, Any]],
    kills: int,
    seed: int,
    acknowledged: list[str],
    found: Killed,
) -> None:
    rng = np.random.default_rng(seed)
    stop = asyncio.Event()
    pool = Pool("127.0.0.1", service.port)
    workers = [
        asyncio.create_task(
            _Worker(number, pool, key, bodies, rng.spawn(1)[0], acknowledged, found).run(stop)
        )
        for number in range(WORKERS)
    ]
    for number in range(kills):
        await asyncio.sleep(float(rng.uniform(*PAUSE)))
        before = len(acknowledged)
        await asyncio.to_thread(service.kill)
        found.kills += 1
        await asyncio.to_thread(service.start)
        while len(acknowledged) <= before + WORKERS:  # it acknowledges again
            await asyncio.sleep(0.01)
        print(f"kill {number + 1} of {kills}: {len(acknowledged):,} events acknowledged")
    stop.set()
    await asyncio.wait_for(asyncio.gather(*workers), 60)
    pool.close()


class _Worker:
    """One caller."""

    def __init__(
        self,
        number: int,
        pool: Pool,
        key: str,
        bodies: list[dict[str, Any]],
        rng: np.random.Generator,
        acknowledged: list[str],
        found: Killed,
    ) -> None:
        self._number, self._pool, self._key, self._rng = number, pool, key, rng
        self._bodies = bodies
        self._acknowledged, self._found = acknowledged, found

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop."""
        for turn in self._turns(stop):
            if self._rng.random() < 0.5:
                await self._events(turn)
            else:
                await self._decision(turn)

    def _turns(self, stop: asyncio.Event) -> Iterator[str]:
        number = 0
        while not stop.is_set():
            yield f"{self._number}-{number}"
            number += 1

    async def _events(self, turn: str) -> None:
        ids = [f"e{turn}-{n}" for n in range(int(self._rng.integers(1, 20)))]
        time = START + timedelta(minutes=int(self._rng.integers(0, 3 * 24 * 60)))
        events = [
            {
                "event_id": one,
                "time": time.isoformat(),
                "request_id": f"v{turn}",
                "user_id": f"u{self._number}",
                "kind": "click",
                "item_id": f"i{n}",
                "value": 1.5,
            }
            for n, one in enumerate(ids)
        ]
        if await self._until_answered("/v1/events", {"events": events}) is not None:
            self._acknowledged.extend(ids)

    async def _decision(self, turn: str) -> None:
        body = self._bodies[int(self._rng.integers(len(self._bodies)))]
        answer = await self._until_answered("/v1/decide", {**body, "request_id": f"d{turn}"})
        if answer is not None:
            self._found.decisions += 1
            positions = [place["position"] for place in answer["items"]]
            self._acknowledged.extend(f"d{turn}-{position}" for position in positions)

    async def _until_answered(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None where it gave up."""
        request = post(path, self._key, json.dumps(body).encode())
        while True:
            answer = await self._pool.send(request)
            self._found.statuses[answer.status] += 1
            if answer.status == 200:
                decoded: dict[str, Any] = json.loads(answer.body)
                return decoded
            if self._rng.random() < 0.5:
                return None
            await asyncio.sleep(0.02)


def _count(store: Store, acknowledged: list[str], folder: Path, found: Killed) -> None:
    store.compact(TENANT, folder, before=START + timedelta(days=2))
    counts = Counter(store.log(TENANT, folder).collect()["event_id"].to_list())
    found.acknowledged = len(acknowledged)
    if len(set(acknowledged)) != len(acknowledged):
        raise RuntimeError("the trial used an event_id twice")
    found.found_once = sum(counts[one] == 1 for one in acknowledged)
    found.lost = sum(counts[one] == 0 for one in acknowledged)
    # Nothing may be there twice, acknowledged or not.
    found.found_more = sum(count > 1 for count in counts.values())
    found.unacknowledged_found = len(counts.keys() - set(acknowledged))
