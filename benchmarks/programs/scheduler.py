"""What a decision of the scheduler costs: 10,000 calls that wait, 16 engines (3 CPU-minutes).

python -m benchmarks.programs.scheduler
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np

from adwright.core.hashing import content_hash
from adwright.programs.program import LATENCY, THROUGHPUT
from adwright.programs.scheduling.engine import EngineCapabilities, ReadyChain
from adwright.programs.scheduling.scheduler import Fill, ProgramScheduler, Start
from benchmarks.common.result import write_result
from benchmarks.programs._sim_curves import CURVES
from benchmarks.programs.simulation import SimulatedEngine

WAITING, ENGINES, EVENTS, SEEDS, TURNS = 10_000, 16, 3_000, range(5), 3
TENANTS, PREFIXES, BLOCK = 50, 200, 250
PROTOCOL = (
    f"{WAITING:,} chains wait in the queue, of programs of 1 to 8 chains each, of {TENANTS} "
    f"tenants and {PREFIXES} prefixes of 200 to 2,000 tokens, half of them wanted soon; "
    f"{ENGINES} engines, all of whose places are taken. One event at a time: a chain ends, "
    "which frees a place, and another one becomes ready, so that the queue keeps its length. "
    "A decision is what the scheduler says (a start, a wait, the filling of a prefix). "
    "us_per_decision: CPU time of the process in all calls of the scheduler over the number "
    "of decisions, the events included; us_worst_block: an event with its decisions, in the "
    f"slowest {BLOCK} in a row. Engines are not run: a chain's end is drawn. {EVENTS:,} events"
    f" after the places are taken, five seeds; of each {BLOCK} events the least of {TURNS} turns "
    "with the same decisions, since other work on the machine makes CPU-seconds longer."
)
MODEL = EngineCapabilities(("model",), kv_tokens=100_000, max_batch=32)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write benchmarks/results/scheduler.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    chosen = parser.parse_args(argv)
    rows = [measured(seed, chosen.events) for seed in SEEDS]
    each = np.array([row["us_per_decision"] for row in rows])
    half = 2.776 * each.std(ddof=1) / len(each) ** 0.5
    write_result(
        "scheduler",
        protocol=PROTOCOL,
        data=content_hash([WAITING, ENGINES, TENANTS, PREFIXES]),
        seeds=list(SEEDS),
        rows=rows,
        figures={
            "scheduler_us_per_decision_10k": round(float(each.mean()), 1),
            "scheduler_us_per_decision_10k_ci": [
                round(float(each.mean() - half), 1),
                round(float(each.mean() + half), 1),
            ],
            "scheduler_us_worst_block_10k": max(row["us_worst_block"] for row in rows),
        },
    )


def measured(seed: int, events: int) -> dict[str, Any]:
    """One seed."""
    turns = [_turn(seed, events) for _ in range(TURNS)]
    blocks = np.min([each.blocks for each in turns], axis=0)
    decisions = turns[0].decisions
    return {
        "seed": seed,
        "waiting": turns[0].waiting,
        "decisions": decisions,
        "us_per_decision": round(1e6 * blocks.sum() / decisions, 1),
        "us_per_event": round(1e6 * blocks.mean() / BLOCK, 1),
        "us_worst_block": round(1e6 * blocks.max() / BLOCK, 1),
    }


class _Turn(NamedTuple):
    """waiting: chains in the end. blocks: CPU-seconds of each."""

    waiting: int
    decisions: int
    blocks: list[float]


def _turn(seed: int, events: int) -> _Turn:
    """All events once."""
    draw = Random(seed)
    states = [
        SimulatedEngine(f"e{at:02}", MODEL, CURVES["openvino"]).state() for at in range(ENGINES)
    ]
    scheduler = ProgramScheduler(states)
    lengths = [draw.randint(200, 2000) for _ in range(PREFIXES)]
    made = 0

    def chain() -> ReadyChain:
        nonlocal made
        made += 1
        program = made // draw.randint(1, 8)
        prefix = draw.randrange(PREFIXES)
        return ReadyChain(
            chain_id=f"c{made}",
            program_id=f"p{program}",
            tenant=f"t{program % TENANTS}",
            model="model",
            adapter=None,
            prefix=(prefix + 1, 1_000_000 + made),
            prefix_tokens=(lengths[prefix], lengths[prefix] + draw.randint(10, 200)),
            new_tokens=draw.randint(20, 200),
            objective=LATENCY if draw.random() < 0.5 else THROUGHPUT,
            group=f"g{program}" if program % 2 else None,
            depth=draw.randint(1, 5),
            critical_tokens=200 + draw.randint(0, 500),
            arrived=made / 100,
        )

    for _ in range(WAITING):
        scheduler.ready(chain(), 0.0)
    running: list[tuple[str, str]] = []
    fills: list[tuple[str, str]] = []

    def apply(now: float) -> int:
        decisions = scheduler.decide(now)
        for each in decisions:
            if isinstance(each, Start):
                running.append((each.chain.chain_id, each.engine_id))
            elif isinstance(each, Fill):
                fills.append((each.chain.chain_id, each.engine_id))
        return len(decisions)

    now, decisions = 1.0, 0
    apply(now)
    blocks = []
    for _ in range(events // BLOCK):
        fresh = [chain() for _ in range(BLOCK)]
        at = [draw.random() for _ in range(BLOCK)]
        began = time.process_time()
        for ready, place in zip(fresh, at, strict=True):
            now += 0.01
            # What is read for others is over before an answer is.
            ended = fills.pop() if fills else running.pop(int(place * len(running)))
            scheduler.prefilled(*ended, now)
            scheduler.done(*ended, now)
            scheduler.ready(ready, now)
            decisions += apply(now)
        blocks.append(time.process_time() - began)
    return _Turn(len(scheduler.queue), decisions, blocks)


if __name__ == "__main__":
    main()
