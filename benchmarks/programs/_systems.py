"""Ours and the baselines on the same engine.

A client's loop is our session in all of them, and they differ in who sends what, and when.

    ours      the dispatcher, which has the graph
    B0        a client that sends one call at a time
    B1        one that sends what is ready, to a server with four requests at a time, as Parrot's
              latency class ("latency-tuned"); B1 two: two
    B2        the same, with as many as the engine takes ("throughput-tuned")
    B3        B2 with the engine's prefix cache
    B3 eight  the same in the order of arrival, eight at a time
    B4        B3 behind a router that prefers the longest beginning it has sent to an engine before

B0 to B2 share no prefix, as when Parrot was measured: each prompt begins with a number of its own.
With "cached" they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import accumulate, count
from typing import NamedTuple

from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.runner import AskedChain, ChainEngine, Saying, Session
from adwright.programs.scheduling.engine import ExecutionEngine, LatencyCurve
from benchmarks.programs._engine_clock import EngineClock
from benchmarks.programs._workloads import BenchProgram, ToolWait


@dataclass(frozen=True)
class System:
    """in_flight: of the server. sequential: one call of a program at a time. cached: whether
    prompts share prefixes."""

    ours: bool = False
    in_flight: int = 1_000
    sequential: bool = False
    cached: bool = True


SYSTEMS: Mapping[str, System] = {
    "ours": System(ours=True),
    "B0": System(sequential=True, cached=False),
    "B0 cached": System(sequential=True),
    "B1": System(in_flight=4, cached=False),
    "B1 cached": System(in_flight=4),
    "B1 two": System(in_flight=2),
    "B2": System(cached=False),
    "B3": System(),
    "B3 eight": System(in_flight=8),
    "B4": System(),
}


class ProgramTime(NamedTuple):
    """name, kind: of the program. seconds: from its arrival until its client has all of it."""

    name: str
    kind: str
    seconds: float


class ClientEngine:
    """What a client without us has for an engine: servers to which it sends each chain."""

    def __init__(
        self,
        engines: Sequence[ExecutionEngine],
        system: System,
        clock: EngineClock,
        round_trip: float,
    ) -> None:
        self._engines, self._system = tuple(engines), system
        self._clock, self._round_trip = clock, round_trip
        self._places = [asyncio.Semaphore(system.in_flight) for _ in engines]
        self._sent: list[set[str]] = [set() for _ in engines]
        self._running = [0 for _ in engines]
        self._numbers = count(100_000)

    async def generate(self, asked: AskedChain, say: Saying) -> str:
        """Send it, and wait for all of the answer."""
        await self._clock.sleep(self._round_trip)
        number = next(self._numbers)
        prompt = asked.prompt if self._system.cached else f"{number} {asked.prompt}"
        at = self._chosen(asked)
        self._running[at] += 1
        try:
            async with self._places[at]:
                settings = asked.chain.settings
                reports = self._engines[at].generate(
                    f"client {number}",
                    prompt,
                    max_tokens=settings.max_tokens,
                    settings=settings,
                )
                return "".join([report.text async for report in reports])
        finally:
            self._running[at] -= 1

    def _chosen(self, asked: AskedChain) -> int:
        begins = list(accumulate(asked.segments))
        fewest = min(self._running)
        near = [at for at, running in enumerate(self._running) if running <= 2 * fewest + 4]

        def held(at: int) -> int:
            return max((len(each) for each in begins if each in self._sent[at]), default=0)

        found = max(near, key=lambda at: (held(at), -self._running[at]))
        self._sent[found].update(begins)
        return found


async def run_programs(
    programs: Sequence[BenchProgram],
    name: str,
    engines: Mapping[str, ExecutionEngine],
    clock: EngineClock,
    *,
    tokens: Callable[[str], int],
    curve: LatencyCurve | None,
    round_trip: float = 0.0,
) -> list[ProgramTime]:
    """Run programs under one system. engines: that tell the clock. tokens: of a text."""
    system = SYSTEMS[name]
    async with AsyncExitStack() as stack:
        dispatcher = None
        if system.ours:
            known = {} if curve is None else dict.fromkeys(engines, curve)
            terms = DispatchTerms(one_domain=True)
            made = ChainDispatcher(engines, tokens, curves=known, terms=terms)
            dispatcher = await stack.enter_async_context(made)
        client = ClientEngine(list(engines.values()), system, clock, round_trip)
        begun = clock.now()

        async def one(each: BenchProgram) -> ProgramTime:
            await clock.sleep(begun + each.arrived - clock.now())
            arrived = clock.now()
            if dispatcher is None:
                await _run(each, client, clock, 1 if system.sequential else None, round_trip)
            else:
                with dispatcher.for_program(each.name, "shop") as engine:
                    await clock.sleep(round_trip)
                    await _run(each, engine, clock, None, round_trip, watch=engine.watch)
            return ProgramTime(each.name, each.kind, clock.now() - arrived)

        return list(await asyncio.gather(*map(one, programs)))


async def _run(
    each: BenchProgram,
    engine: ChainEngine,
    clock: EngineClock,
    in_flight: int | None,
    round_trip: float,
    watch: Callable[[Session], None] | None = None,
) -> None:
    async def use(tool: ToolWait) -> None:
        await session.variable(tool.after).get()
        # With the graph in the service, what a tool said has to travel there.
        await clock.sleep(tool.seconds + (round_trip if watch else 0.0))
        session.set(tool.sets, tool.text)

    async with Session(engine, in_flight=in_flight) as session:
        if watch is not None:
            watch(session)
        session.submit(each.program)
        outputs = [session.variable(one.variable).get() for one in each.program.outputs]
        await asyncio.gather(*outputs, *map(use, each.tools))
