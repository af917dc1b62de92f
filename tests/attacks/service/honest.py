"""An honest caller in a process of its own: decisions at times fixed before, and /healthz beside.

    python -m tests.attacks.service.honest PORT KEY RATE SECONDS SEED

Each decision is sent at its time whether or not earlier ones were answered, over connections that
are kept, and its latency counts from that time. /healthz is asked over a fresh connection each
time, as a balancer does. Prints one JSON object with the fields of `Honest`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from time import perf_counter

import numpy as np

from benchmarks.common.processes import command
from benchmarks.common.result import ROOT
from benchmarks.service._client import Pool, post

#: Seconds after which an answer does not come any more.
PATIENCE = 20.0
HEALTH_SECONDS = 0.25


@dataclass(frozen=True)
class Honest:
    """What came back: how many were asked, which share was answered 200, their latencies.

    healthz_ms: the 95th percentile of /healthz; unanswered counts as `PATIENCE`.
    statuses: how many of each, 0 for no answer. latencies_ms: of those answered 200.
    """

    requests: int
    share: float
    p50_ms: float
    p99_ms: float
    healthz_ms: float
    statuses: dict[str, int]
    latencies_ms: list[float] = field(repr=False)


def ask(port: int, key: str, *, seconds: float, rate: float, seed: int = 0) -> Honest:
    """What an honest caller gets, who asks for `rate` decisions a second. Blocks."""
    line = command("tests.attacks.service.honest", port, key, rate, seconds, seed)
    limit = seconds + 3 * PATIENCE
    done = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, timeout=limit)
    return Honest(**json.loads(done.stdout))


async def _drive(port: int, key: str, rate: float, seconds: float, seed: int) -> Honest:
    rng = np.random.default_rng(seed)
    arrivals = np.sort(rng.uniform(0, seconds, round(rate * seconds)))  # Poisson, of a known number
    run, pool = os.urandom(4).hex(), Pool("127.0.0.1", port)
    latency, statuses = np.full(len(arrivals), np.inf), Counter[str]()
    began = perf_counter() + 0.2

    async def one(number: int, intended: float) -> None:
        body = json.dumps({"request_id": f"{run}-{number}", "user_id": f"u{number % 50}", "k": 5})
        status = 0
        try:
            async with asyncio.timeout(PATIENCE):
                status = (await pool.send(post("/v1/decide", key, body.encode()))).status
        except TimeoutError:
            pass
        statuses[str(status)] += 1
        if status == 200:
            latency[number] = perf_counter() - intended

    health = asyncio.create_task(_health(port, began + seconds))
    tasks = []
    for number, arrival in enumerate(arrivals):
        intended = began + float(arrival)
        await asyncio.sleep(max(0.0, intended - perf_counter()))
        tasks.append(asyncio.create_task(one(number, intended)))
    await asyncio.gather(*tasks)
    answered = latency[np.isfinite(latency)] * 1e3
    p50, p99 = np.percentile(answered, [50, 99]) if answered.size else (np.inf, np.inf)
    share = answered.size / max(1, len(arrivals))
    healthz = float(np.percentile(await health, 95)) * 1e3
    latencies = [round(float(one), 2) for one in answered]
    return Honest(len(arrivals), share, float(p50), float(p99), healthz, dict(statuses), latencies)


async def _health(port: int, until: float) -> list[float]:
    """Seconds of each /healthz, one after the other."""
    took = list[float]()
    while not took or perf_counter() < until:
        began = perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                took.append(await _one_health(port) - began)
        except (TimeoutError, OSError):
            took.append(PATIENCE)
        await asyncio.sleep(HEALTH_SECONDS)
    return took


async def _one_health(port: int) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        if b" 200 " not in await reader.readline():
            raise OSError("it says no")
        return perf_counter()
    finally:
        writer.close()


def main(port: str, key: str, rate: str, seconds: str, seed: str) -> None:
    """Ask, print."""
    asked = _drive(int(port), key, float(rate), float(seconds), int(seed))
    print(json.dumps(asdict(asyncio.run(asked))))


if __name__ == "__main__":
    main(*sys.argv[1:])
