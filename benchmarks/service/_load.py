"""The load for service.py, in a process of its own: requests at times fixed before.

Arrivals are a Poisson process, drawn from a seed. Each request is sent at its time whether or not
earlier ones were answered, and its latency counts from that time, so that a server that stalls
cannot hide what waits in front of it.

    python -m benchmarks.service._load PORT KEY REQUESTS.jsonl RATE SECONDS SEED PREFIX

REQUESTS.jsonl holds bodies for /v1/decide without their request_id. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.service._client import Pool, post

PATIENCE = 30.0


async def drive(
    port: int, key: str, bodies: list[dict[str, Any]], arrivals: np.ndarray, prefix: str
) -> dict[str, Any]:
    """Send bodies at `arrivals`, in seconds from now; what came back."""
    pool = Pool("127.0.0.1", port)
    requests = [
        post("/v1/decide", key, json.dumps({**body, "request_id": f"{prefix}-{n}"}).encode())
        for n, body in zip(range(len(arrivals)), _cycle(bodies), strict=False)
    ]
    latency = np.zeros(len(requests))
    lag = np.zeros(len(requests))
    status = np.zeros(len(requests), dtype=int)
    stages: Counter[str] = Counter()

    async def one(number: int, intended: float) -> None:
        lag[number] = perf_counter() - intended
        answer = await pool.send(requests[number])
        latency[number] = perf_counter() - intended
        status[number] = answer.status
        if answer.status == 200:
            stages[json.loads(answer.body)["stage"]] += 1

    began = perf_counter() + 0.2
    tasks = []
    for number, arrival in enumerate(arrivals):
        intended = began + float(arrival)
        wait = intended - perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(number, intended)))
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
    took = perf_counter() - began
    pool.close()
    answered = latency[status == 200]
    return {
        "requests": len(requests),
        "seconds": took,
        "statuses": {str(code): int(n) for code, n in Counter(status.tolist()).items()},
        "stages": dict(stages),
        "connections": pool.opened,
        "p50_ms": _percentile(answered, 50),
        "p99_ms": _percentile(answered, 99),
        "max_ms": _percentile(answered, 100),
        "shed_p99_ms": _percentile(latency[status == 429], 99),
        "sender_p99_ms": _percentile(lag, 99),
    }


def _cycle(bodies: list[dict[str, Any]]) -> Any:
    while True:
        yield from bodies


def _percentile(seconds: np.ndarray, q: float) -> float | None:
    return round(float(np.percentile(seconds, q)) * 1e3, 3) if seconds.size else None


def main(port: str, key: str, file: str, rate: str, seconds: str, seed: str, prefix: str) -> None:
    """Read the bodies, draw the arrivals, drive, print."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    bodies = [json.loads(line) for line in lines]
    rng = np.random.default_rng(int(seed))
    rng.shuffle(bodies)
    # As many gaps as cover the time but with a vanishing probability.
    gaps = rng.exponential(1 / float(rate), int(float(rate) * float(seconds) * 1.5) + 50)
    arrivals = np.cumsum(gaps)
    arrivals = arrivals[arrivals < float(seconds)]
    print(json.dumps(asyncio.run(drive(int(port), key, bodies, arrivals, prefix))))


if __name__ == "__main__":
    main(*sys.argv[1:])
