"""A cluster in simulated time: programs arrive, a scheduler decides, engines do as they are told.

A loop over what happens next. What a client does is an argument: hand the whole graph in and wait
for the outputs, or send call after call itself, each of which takes a round trip.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from adwright.core.config import settings
from adwright.core.errors import ResourceError
from adwright.programs.scheduling.scheduler import Dropped, Fill, ProgramScheduler, Start, Stop
from adwright.programs.simulation.sim_program import SimProgram
from adwright.programs.simulation.simulated import SimulatedEngine

__all__ = ["CallTimes", "ClientKind", "Outage", "ProgramOutcome", "SimulatedRun", "simulate"]


@settings
class ClientKind:
    """How programs reach the engines. graph: handed in as a whole; parallel, sequential: the client
    sends what is ready, or one call at a time. round_trip: seconds."""

    sends: Literal["graph", "parallel", "sequential"] = "graph"
    round_trip: float = 0.0


class Outage(NamedTuple):
    """An engine dies, and is back later."""

    engine_id: str
    dies: float
    back: float


@dataclass
class CallTimes:
    """Seconds on the clock. tokens: of its answer."""

    tokens: int
    ready: float
    started: float = 0.0
    first: float = 0.0
    done: float = 0.0
    engine_id: str = ""


@dataclass
class ProgramOutcome:
    """finished: when the client has all of it; None: never. answers: how often each call ended."""

    program: SimProgram
    finished: float | None = None
    calls: dict[str, CallTimes] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From its arrival to its end. Raises ResourceError where it has none."""
        if self.finished is None:
            raise ResourceError(f"program {self.program.program_id} was not finished")
        return self.finished - self.program.arrived


class SimulatedRun(NamedTuple):
    """What came of it. decisions: how many were made; dropped: reasons of chains that were."""

    outcomes: list[ProgramOutcome]
    decisions: int
    dropped: list[str]
    end: float


def simulate(
    programs: Iterable[SimProgram],
    engines: Sequence[SimulatedEngine],
    scheduler: ProgramScheduler,
    *,
    client: ClientKind | None = None,
    outages: Iterable[Outage] = (),
    cancels: Iterable[tuple[float, str]] = (),
    until: float = 1e7,
) -> SimulatedRun:
    """Run the programs to their ends. cancels: moments and program ids. until: seconds on the clock
    after which nothing is looked at any more."""
    loop = _Loop(engines, scheduler, client or ClientKind())
    for program in programs:
        loop.at(program.arrived, ("arrives", program.program_id))
        loop.outcomes[program.program_id] = ProgramOutcome(program)
    for outage in outages:
        loop.at(outage.dies, ("dies", outage.engine_id))
        loop.at(outage.back, ("back", outage.engine_id))
    for moment, program_id in cancels:
        loop.at(moment, ("cancel", program_id))
    loop.run(until)
    return SimulatedRun(list(loop.outcomes.values()), loop.decisions, loop.dropped, loop.end)


class _Loop:
    def __init__(
        self, engines: Sequence[SimulatedEngine], scheduler: ProgramScheduler, client: ClientKind
    ) -> None:
        self.engines = {each.engine_id: each for each in engines}
        self.scheduler, self.client = scheduler, client
        self.outcomes: dict[str, ProgramOutcome] = {}
        self.decisions, self.now, self.end = 0, 0.0, 0.0
        self.dropped: list[str] = []
        self._events: list[tuple[float, int, tuple[str, str]]] = []
        self._numbers = 0
        self._over: dict[str, set[str]] = {}
        self._sent: dict[str, set[str]] = {}
        self._planned: dict[str, float] = {}
        self._informs = any(each.capabilities.fork for each in engines)

    def at(self, time: float, event: tuple[str, str]) -> None:
        """Something happens later."""
        self._numbers += 1
        heapq.heappush(self._events, (time, self._numbers, event))

    def run(self, until: float) -> None:
        """All that happens, in turn; what happens at one moment is decided about once."""
        while self._events and self._events[0][0] <= until:
            self.now = self._events[0][0]
            together = self.now + 1e-9
            while self._events and self._events[0][0] <= together:
                self.now, _, event = heapq.heappop(self._events)
                self._happens(*event)
            self._decide()

    def _happens(self, kind: str, name: str) -> None:
        match kind:
            case "arrives":
                self._over[name], self._sent[name] = set(), set()
                self._outlook(name)
                self._send(name, self.client.round_trip / 2)
            case "ready":
                program_id, _, call = name.rpartition("/")
                if program_id not in self._over:
                    return  # it was cancelled on the way
                program = self.outcomes[program_id].program
                chain = program.chains[call]
                self.outcomes[program_id].calls[call] = CallTimes(chain.new_tokens, self.now)
                if self._informs:
                    self.scheduler.expect(program.upcoming(self._over[program_id]), self.now)
                self.scheduler.ready(chain, self.now)
            case "steps":
                self._engine_steps(self.engines[name])
            case "read":
                program_id, _, call = name.rpartition("/")
                self._read(program_id, call)
            case "dies":
                self.engines[name].die()
                self.scheduler.engine_died(name, self.now)
            case "back":
                self.engines[name].revive()
                self.scheduler.engine_back(name, self.now)
            case "cancel":
                self.scheduler.cancel_program(name, self.now)
                self._over.pop(name, None)

    def _engine_steps(self, engine: SimulatedEngine) -> None:
        if self._planned.get(engine.engine_id) != self.now:
            return  # it was interrupted since
        del self._planned[engine.engine_id]
        for event in engine.advance(self.now + 1e-9):
            program_id, _, call = event.chain_id.rpartition("/")
            if event.kind == "prefilled":
                told = (event.chain_id, engine.engine_id, self.now, event.cached)
                self.scheduler.prefilled(*told)
                if program_id in self.outcomes and call in self.outcomes[program_id].calls:
                    self.outcomes[program_id].calls[call].first = self.now
                continue
            chain = self.scheduler.done(event.chain_id, engine.engine_id, self.now)
            if chain is None:
                continue
            outcome = self.outcomes[program_id]
            outcome.calls[call].done = self.end = self.now
            outcome.answers[call] = outcome.answers.get(call, 0) + 1
            delay = next(each.delay for each in outcome.program.calls if each.name == call)
            back = 0.0 if self.client.sends == "graph" else self.client.round_trip / 2
            self.at(self.now + delay + back, ("read", event.chain_id))

    def _read(self, program_id: str, call: str) -> None:
        """Whoever holds the graph has the answer."""
        if program_id not in self._over:
            return
        over = self._over[program_id]
        over.add(call)
        outcome = self.outcomes[program_id]
        if len(over) < len(outcome.program.calls):
            self._outlook(program_id)
            self._send(program_id, 0.0 if self.client.sends == "graph" else self._half)
            return
        if self._informs:
            self.scheduler.expect(outcome.program.upcoming(over), self.now)
        self.scheduler.cancel_program(program_id, self.now)
        outcome.finished = self.now + (self._half if self.client.sends == "graph" else 0.0)

    def _outlook(self, program_id: str) -> None:
        """Whoever is given the graph knows what is left."""
        if self.client.sends != "graph":
            return
        program, over = self.outcomes[program_id].program, self._over[program_id]
        left = [chain for name, chain in program.chains.items() if name not in over]
        reads, writes = (sum(c.prompt_tokens for c in left), sum(c.new_tokens for c in left))
        self.scheduler.outlook(program_id, program.tenant, reads, writes)

    @property
    def _half(self) -> float:
        return self.client.round_trip / 2

    def _send(self, program_id: str, later: float) -> None:
        """Send the calls that can run by now; of a sequential client, one at a time."""
        program, over = self.outcomes[program_id].program, self._over[program_id]
        sent = self._sent[program_id]
        for call in program.calls:
            if self.client.sends == "sequential" and len(sent) > len(over):
                return
            if call.name not in sent and over.issuperset(program.producers[call.name]):
                sent.add(call.name)
                self.at(self.now + later, ("ready", f"{program_id}/{call.name}"))

    def _decide(self) -> None:
        for decision in self.scheduler.decide(self.now):
            self.decisions += 1
            match decision:
                case Start(chain=chain, engine_id=engine_id):
                    program_id, _, call = chain.chain_id.rpartition("/")
                    times = self.outcomes[program_id].calls[call]
                    times.started, times.engine_id = self.now, engine_id
                    self.engines[engine_id].submit(chain, self.now)
                case Fill(chain=chain, engine_id=engine_id):
                    self.engines[engine_id].submit(chain, self.now)
                case Stop(chain_id=chain_id, engine_id=engine_id):
                    self.engines[engine_id].cancel(chain_id, self.now)
                case Dropped(reason=reason):
                    self.dropped.append(reason)
        for name, engine in self.engines.items():
            due = engine.next_time()
            if due is not None and self._planned.get(name) != due:
                self._planned[name] = due
                self.at(due, ("steps", name))
        timer = self.scheduler.next_timer()
        if timer is not None and self._planned.get("") != timer:
            self._planned[""] = timer
            self.at(max(timer, self.now), ("timer", ""))
