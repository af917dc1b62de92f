"""Chains and engines for tests of the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from adwright.programs.program import LATENCY, THROUGHPUT, Objective
from adwright.programs.scheduling.engine import EngineCapabilities, LatencyCurve, ReadyChain
from adwright.programs.scheduling.engine_state import EngineState
from adwright.programs.scheduling.scheduler import Fill, ProgramScheduler, Start
from benchmarks.programs.simulation import Segment, SimCall, SimProgram

#: As measured of OpenVINO with SmolLM2-135M.
CURVE = LatencyCurve((1, 4, 8, 16, 32), (118, 413, 595, 813, 1045), 1590)
CAN = EngineCapabilities(("model",), kv_tokens=20_000)


def fixed(key: str, tokens: int) -> Segment:
    """A text that all programs of the tenant share."""
    return Segment(key, tokens, public=True)


def chain_of(
    name: str = "a",
    *,
    tokens: Sequence[int] = (100,),
    prefix: Sequence[int] | None = None,
    new: int = 50,
    objective: Objective = LATENCY,
    program: str | None = None,
    tenant: str = "t",
    group: str | None = None,
    depth: int = 1,
    critical: int | None = None,
    arrived: float = 0.0,
    model: str = "model",
    adapter: str | None = None,
) -> ReadyChain:
    """A chain; where no prefix is given, one that nobody shares."""
    own = tuple(hash((name, at)) for at in range(len(tokens)))
    return ReadyChain(
        chain_id=name,
        program_id=program or f"program of {name}",
        tenant=tenant,
        model=model,
        adapter=adapter,
        prefix=own if prefix is None else tuple(prefix),
        prefix_tokens=tuple(tokens),
        new_tokens=new,
        objective=objective,
        group=group,
        depth=depth,
        critical_tokens=new if critical is None else critical,
        arrived=arrived,
    )


def state_of(name: str = "e", *, quota: int | None = None, **changes: object) -> EngineState:
    """An engine's state. changes: of its capabilities."""
    return EngineState(name, replace(CAN, **changes), CURVE, quota=quota)  # type: ignore[arg-type]


def started(scheduler: ProgramScheduler, now: float) -> list[tuple[str, str]]:
    """Decide; returns the chains that start or are filled, with their engines."""
    return [
        (each.chain.chain_id, each.engine_id)
        for each in scheduler.decide(now)
        if isinstance(each, Start | Fill)
    ]


def random_programs(seed: int, number: int = 12, tenants: int = 3) -> list[SimProgram]:
    """Graphs of one to eight calls that read some of those before them."""
    draw = Random(seed)
    found = []
    for at in range(number):
        calls: list[SimCall] = []
        objective = THROUGHPUT if draw.random() < 0.3 else LATENCY
        for call in range(draw.randint(1, 8)):
            read = [each for each in calls if draw.random() < 0.4]
            text = [fixed(f"role{draw.randrange(3)}", draw.randint(50, 600))]
            text += [Segment(each.name, each.new_tokens) for each in read]
            text.append(Segment(f"own{call}", draw.randint(1, 400)))
            calls.append(SimCall(f"c{call}", tuple(text), draw.randint(1, 120), objective))
        tenant = f"t{draw.randrange(tenants)}"
        found.append(SimProgram(f"p{at}", tenant, draw.uniform(0, 5), tuple(calls)))
    return found
