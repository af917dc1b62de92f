"""What is there without us, over the same engines: five clients and routers.

    B0  a client that sends one call at a time                       any engine
    B1  a client that sends what is ready; servers keep few rows,
        so that each answer is quick ("latency-tuned")               fewest requests
    B2  the same; servers keep as many rows as they can
        ("throughput-tuned")                                         fewest requests
    B3  B2 on engines with a prefix cache                            fewest requests
    B4  B3 behind a router that prefers the longest prefix it has
        sent to an engine before, unless that has much more to do    prefix affinity

"Old" engines have no prefix cache, as when Parrot was measured: B0 to B2 on these are its baseline.
B0, B1 and B3 are today's: on the very engines that we run on.
A router sends a request at once, in the order of arrival, and the engine's own queue does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from typing import Literal
from zlib import crc32

from adwright.core.config import settings
from adwright.programs.scheduling.engine import EngineCapabilities, LatencyCurve
from adwright.programs.scheduling.engine_state import EngineState
from adwright.programs.scheduling.order import ChainQueue, OrderTerms
from adwright.programs.scheduling.scheduler import (
    Fill,
    PlacementTerms,
    ProgramScheduler,
    SchedulingPolicy,
    Start,
    Wait,
    program_policy,
)
from benchmarks.programs.simulation import (
    ClientKind,
    SimProgram,
    SimulatedEngine,
    SimulatedRun,
    simulate,
)


@settings
class ServedBy:
    """One system: who decides, and on which servers. rows: the limit that servers are started with.
    cache: of prefixes. terms, order: of ours."""

    route: Literal["ours", "any", "load", "affinity"]
    sends: Literal["graph", "parallel", "sequential"]
    rows: Literal["few", "all"] = "all"
    cache: bool = True
    terms: PlacementTerms = field(default_factory=PlacementTerms)
    order: OrderTerms = field(default_factory=OrderTerms)


SYSTEMS: Mapping[str, ServedBy] = {
    "ours": ServedBy("ours", "graph"),
    "B0": ServedBy("any", "sequential"),
    "B1": ServedBy("load", "parallel", rows="few"),
    "B3": ServedBy("load", "parallel"),
    "B4": ServedBy("affinity", "parallel"),
    "B0 old": ServedBy("any", "sequential", cache=False),
    "B1 old": ServedBy("load", "parallel", rows="few", cache=False),
    "B2 old": ServedBy("load", "parallel", cache=False),
}


def router(route: Literal["any", "load", "affinity"]) -> SchedulingPolicy:
    """A policy that sends each request on as it comes, however much the engine has to do."""

    def choose(
        queue: ChainQueue, engines: Mapping[str, EngineState], now: float
    ) -> Start | Fill | Wait | None:
        del now
        for chain in queue.heads():
            able = [e for e in engines.values() if e.alive and e.capabilities.accepts(chain)]
            if not able:
                continue
            match route:
                case "any":
                    found = able[crc32(chain.chain_id.encode()) % len(able)]
                case "load":
                    found = min(able, key=lambda each: (each.batch, each.engine_id))
                case "affinity":
                    fewest = min(each.batch for each in able)
                    near = [e for e in able if e.batch <= 2 * fewest + 4]
                    found = max(near, key=lambda each: (each.cached(chain), -each.batch))
            return Start(chain, found.engine_id)
        return None

    return choose


def compare(
    programs: Sequence[SimProgram],
    system: ServedBy,
    *,
    engines: int,
    capabilities: EngineCapabilities,
    curve: LatencyCurve,
    round_trip: float = 0.0,
    weights: Mapping[str, float] | None = None,
) -> tuple[SimulatedRun, list[SimulatedEngine]]:
    """Run the programs on so many engines under one system."""
    can = capabilities
    if not system.cache:
        can = replace(
            can, prefix_cache=False, in_flight_prefix=False, fork=False, shared_reads=False
        )
    rows = curve.knee if system.rows == "few" else None
    made = [SimulatedEngine(f"e{at:02}", can, curve, max_rows=rows) for at in range(engines)]
    states = [each.state() for each in made]
    policy: SchedulingPolicy
    order = system.order
    if system.route == "ours":
        policy = partial(program_policy, terms=system.terms)
    else:
        policy = router(system.route)
        order = OrderTerms("arrival", critical=False, fair=False)
    scheduler = ProgramScheduler(states, policy=policy, order=order, weights=weights)
    client = ClientKind(system.sends, round_trip)
    return simulate(programs, made, scheduler, client=client), made
