"""Engines, clients and programs in simulated time: nothing here is measured on a machine."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Literal, NamedTuple

from adwright.core.config import settings
from adwright.core.errors import ResourceError, ValueInvalidError
from adwright.programs.program import LATENCY, Objective
from adwright.programs.scheduling.engine import (
    EngineCapabilities,
    LatencyCurve,
    ReadyChain,
    UpcomingPrefix,
)
from adwright.programs.scheduling.engine_state import EngineState, PrefixIndex
from adwright.programs.scheduling.scheduler import Dropped, Fill, ProgramScheduler, Start, Stop

# --------------------------------------------------------------------------------------------------
# A program in terms of tokens: what its prompts consist of, and what waits for what.
#
# Texts are not needed to schedule. A prompt is a row of segments, each with a key, so that prompts
# that begin with the same keys begin with the same text; a segment whose key is the name of a call
# is what that call wrote.


class Segment(NamedTuple):
    """A part of a prompt. public: the same text in every program of the tenant; else it is of this
    program, and where `key` is a call's name what that call wrote."""

    key: str
    tokens: int
    public: bool = False


@dataclass(frozen=True)
class SimCall:
    """One call. new_tokens: of its answer. delay: seconds of a tool that has to run on the answer
    before anybody can read it."""

    name: str
    segments: tuple[Segment, ...]
    new_tokens: int
    objective: Objective = LATENCY
    delay: float = 0.0


@dataclass(frozen=True)
class SimProgram:
    """Calls in an order in which they can run. kind: of a workload that mixes several.

    Raises ValueInvalidError where a call reads a later one.
    """

    program_id: str
    tenant: str
    arrived: float
    calls: tuple[SimCall, ...]
    kind: str = ""
    model: str = "model"

    def __post_init__(self) -> None:
        names: set[str] = set()
        every = {call.name for call in self.calls}
        for call in self.calls:
            late = sorted({each.key for each in call.segments} & every - names)
            if late:
                raise ValueInvalidError(f"call {call.name} reads {late[0]}, which comes later")
            names.add(call.name)

    @cached_property
    def producers(self) -> dict[str, tuple[str, ...]]:
        """The calls that each call reads."""
        every = {call.name for call in self.calls}
        return {
            call.name: tuple(dict.fromkeys(s.key for s in call.segments if s.key in every))
            for call in self.calls
        }

    @cached_property
    def consumers(self) -> dict[str, tuple[str, ...]]:
        """The calls that read each call."""
        found: dict[str, list[str]] = {call.name: [] for call in self.calls}
        for name, read in self.producers.items():
            for each in read:
                found[each].append(name)
        return {name: tuple(read) for name, read in found.items()}

    @cached_property
    def chains(self) -> dict[str, ReadyChain]:
        """Each call as the scheduler sees it once it is ready."""
        depth: dict[str, int] = {}
        critical: dict[str, int] = {}
        found: dict[str, ReadyChain] = {}
        for call in reversed(self.calls):
            after = self.consumers[call.name]
            depth[call.name] = 1 + max((depth[each] for each in after), default=0)
            longest = max((critical[each] for each in after), default=0)
            critical[call.name] = call.new_tokens + longest
            # The first consumer that waits for others, too.
            joint = next((each for each in after if len(self.producers[each]) > 1), None)
            prefix, totals = self._borders(call.segments)
            found[call.name] = ReadyChain(
                chain_id=f"{self.program_id}/{call.name}",
                program_id=self.program_id,
                tenant=self.tenant,
                model=self.model,
                adapter=None,
                prefix=prefix,
                prefix_tokens=totals,
                new_tokens=call.new_tokens,
                objective=call.objective,
                group=None if joint is None else f"{self.program_id}/{joint}",
                depth=depth[call.name],
                critical_tokens=critical[call.name],
                arrived=self.arrived,
            )
        return found

    def upcoming(self, over: Iterable[str]) -> list[UpcomingPrefix]:
        """What is known of the prefixes that its calls will begin with, given those that are over:
        of each call the part before the first text that is not known."""
        done = set(over)
        steps: dict[str, int] = {}
        soonest: dict[int, int | None] = {}
        for call in self.calls:
            waiting = [each for each in self.producers[call.name] if each not in done]
            steps[call.name] = 1 + max((steps[each] for each in waiting), default=-1)
            chain = self.chains[call.name]
            for segment, border in zip(call.segments, chain.prefix, strict=True):
                if segment.key in waiting:
                    break
                if call.name in done:
                    soonest.setdefault(border, None)
                else:
                    known = soonest.get(border)
                    new = steps[call.name]
                    soonest[border] = new if known is None else min(known, new)
        return [UpcomingPrefix(self.program_id, *each) for each in soonest.items()]

    def _borders(self, segments: Sequence[Segment]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        name = f"{self.tenant}/{self.model}"
        prefix, totals, total = [], [], 0
        for segment in segments:
            own = segment.key if segment.public else f"{self.program_id}/{segment.key}"
            name = blake2b(f"{name}\n{own}".encode(), digest_size=8).hexdigest()
            total += segment.tokens
            prefix.append(int(name, 16))
            totals.append(total)
        return tuple(prefix), tuple(totals)


# --------------------------------------------------------------------------------------------------
# An engine in simulated time: continuous batching, a prefix cache, limited memory.
#
# A step reads at most `chunk_tokens` of prompts, in the order of arrival, and writes a token of
# each row whose prompt has been read; it takes what the curve says of that batch, and the time of
# the prompts on top. Memory for a prompt and its answer is set aside when a row is admitted; rows
# are admitted first come, first served. Steps that are alike are made at once, so that a simulated
# hour takes a moment. Nothing is random.


class SimulatedEvent(NamedTuple):
    """What happened at `time`. cached: tokens of the prompt that were held."""

    time: float
    kind: Literal["prefilled", "done"]
    chain_id: str
    cached: int


@dataclass
class _Row:
    chain: ReadyChain
    cached: int = 0
    unread: int = 0
    unwritten: int = 0
    own: int = 0
    held: int | None = None
    cancelled: bool = False


class SimulatedEngine:
    """One engine. max_rows: a limit of its own, as a server is started with; None: its max_batch.

    read_tokens: of prompts, computed so far; busy: seconds of steps; peak_tokens: the most that
    rows and the prefixes they read have held.
    """

    #: The steps being made: since when, how many alike, seconds of each.
    _began: float
    _steps: int
    _seconds: float

    def __init__(
        self,
        engine_id: str,
        capabilities: EngineCapabilities,
        curve: LatencyCurve,
        *,
        max_rows: int | None = None,
    ) -> None:
        self.engine_id, self.capabilities, self.curve = engine_id, capabilities, curve
        self._most = min(capabilities.max_batch, max_rows or capabilities.max_batch)
        self.read_tokens = self.peak_tokens = 0
        self.busy = 0.0
        self.alive = True
        self._reset()

    def state(self, quota: int | None = None) -> EngineState:
        """A scheduler's view of it."""
        return EngineState(self.engine_id, self.capabilities, self.curve, quota=quota)

    @property
    def held_tokens(self) -> int:
        """Tokens that rows and the prefixes they read hold now."""
        return self._own + self._index.held_tokens

    @property
    def load(self) -> int:
        """Requests that run or wait here."""
        return len(self._rows) + len(self._queue)

    def submit(self, chain: ReadyChain, now: float) -> None:
        """A request arrives; one without an answer only reads its prompt."""
        row = _Row(chain)
        if self._keeps and not self.capabilities.in_flight_prefix:
            self._look_up(row)
        self._queue.append(row)
        self._interrupt(now)

    def cancel(self, chain_id: str, now: float) -> None:
        """It ends with the step that is being made."""
        for row in (*self._queue, *self._rows):
            if row.chain.chain_id == chain_id:
                row.cancelled = True
        self._interrupt(now)

    def die(self) -> None:
        """Everything is lost, without a word."""
        self.alive = False
        self._reset()

    def revive(self) -> None:
        """It is there again, and empty."""
        self.alive = True

    def next_time(self) -> float | None:
        """When something will have happened; None: nothing will."""
        return self._began + self._steps * self._seconds if self._steps else None

    def advance(self, now: float) -> list[SimulatedEvent]:
        """Let time pass until `now`."""
        found: list[SimulatedEvent] = []
        while (end := self.next_time()) is not None and end <= now:
            self.busy += self._steps * self._seconds
            self._began = end
            self._made(end, found)
            self._plan()
        return found

    def _reset(self) -> None:
        self._queue: deque[_Row] = deque()
        self._rows: list[_Row] = []
        self._own = 0
        self._index = PrefixIndex(self.capabilities.kv_tokens, informed=False)
        self._began, self._steps, self._seconds = 0.0, 0, 0.0
        #: And the tokens that each row reads in one.
        self._reads: list[tuple[_Row, int]] = []

    @property
    def _keeps(self) -> bool:
        return self.capabilities.prefix_cache or self.capabilities.fork

    def _interrupt(self, now: float) -> None:
        """Look again after the step that is being made."""
        if not self._steps:
            self._began = now
            self._sweep()
            self._plan()
            return
        made = math.floor((now - self._began) / self._seconds + 1e-9)
        self._steps = min(self._steps, max(made + (made * self._seconds < now - self._began), 1))

    def _made(self, now: float, found: list[SimulatedEvent]) -> None:
        """Account for the steps that have been made."""
        steps = self._steps
        writers = [row for row in self._rows if not row.unread]
        for row, tokens in self._reads:
            row.unread -= tokens * steps
            self.read_tokens += tokens * steps
            if not row.unread:
                if not self.capabilities.in_flight_prefix:
                    self._enter(row, now)
                found.append(SimulatedEvent(now, "prefilled", row.chain.chain_id, row.cached))
        for row in writers:
            row.unwritten -= steps
        for row in list(self._rows):
            if not row.unread and row.unwritten <= 0:
                self._leave(row)
                found.append(SimulatedEvent(now, "done", row.chain.chain_id, row.cached))
        self._sweep()

    def _sweep(self) -> None:
        for row in [row for row in self._rows if row.cancelled]:
            self._leave(row)
        if any(row.cancelled for row in self._queue):
            for row in self._queue:
                if row.cancelled and row.held is not None:
                    self._index.release(row.held)
            self._queue = deque(row for row in self._queue if not row.cancelled)

    def _plan(self) -> None:
        """Admit who fits, and see how many steps are alike."""
        while self._queue and len(self._rows) < self._most and self._admit(self._queue[0]):
            self._queue.popleft()
        writers = [row for row in self._rows if not row.unread]
        readers = [row for row in self._rows if row.unread]
        self._steps, self._reads = 0, []
        if not self._rows:
            return
        steps = min((row.unwritten for row in writers), default=1 << 40)
        left = self.capabilities.chunk_tokens
        if readers and readers[0].unread >= left:
            self._reads = [(readers[0], left)]
            steps, left = min(steps, readers[0].unread // left), 0
        elif readers:
            steps = 1
            for row in readers:
                tokens = min(left, row.unread)
                if tokens:
                    self._reads.append((row, tokens))
                    left -= tokens
        held = self.held_tokens if self.capabilities.shared_reads else sum(map(_length, writers))
        self._steps = steps
        self._seconds = self.curve.step_seconds(len(writers), held if writers else 0)
        self._seconds += self.curve.prefill_seconds(sum(tokens for _, tokens in self._reads))

    def _admit(self, row: _Row) -> bool:
        chain, index = row.chain, self._index
        if self._keeps and self.capabilities.in_flight_prefix:
            self._look_up(row)
        need = chain.prompt_tokens - row.cached + chain.new_tokens
        if self._rows and self.held_tokens + need > self.capabilities.kv_tokens:
            if self.capabilities.in_flight_prefix and row.held is not None:
                index.release(row.held)
                row.held = None
            return False
        row.unread, row.unwritten = chain.prompt_tokens - row.cached, chain.new_tokens
        row.own = need
        self._own += need
        self._make_room()
        self._rows.append(row)
        if self.capabilities.in_flight_prefix:
            self._enter(row, self._began)
        self.peak_tokens = max(self.peak_tokens, self.held_tokens)
        return True

    def _look_up(self, row: _Row) -> None:
        """What is held of its prompt; the last token is computed in any case."""
        borders = self._index.hit(row.chain.prefix)
        if borders:
            block = self.capabilities.block_size
            most = min(row.chain.prefix_tokens[borders - 1], row.chain.prompt_tokens - 1)
            row.cached = most // block * block
            row.held = row.chain.prefix[borders - 1]
            self._index.hold(row.held)

    def _enter(self, row: _Row, now: float) -> None:
        """Its prompt is a prefix for others from now on."""
        if not self._keeps:
            return
        chain, movable = row.chain, row.chain.prompt_tokens - row.cached
        self._index.capacity = self.capabilities.kv_tokens - self._own + movable
        told = (chain.prefix, chain.prefix_tokens, chain.tenant, chain.program_id, now)
        borders, new = self._index.insert(*told)
        moved = min(new, movable)
        row.own -= moved
        self._own -= moved
        if borders:
            self._index.hold(chain.prefix[borders - 1])
            if row.held is not None:
                self._index.release(row.held)
            row.held = chain.prefix[borders - 1]
        self._make_room()

    def _leave(self, row: _Row) -> None:
        self._rows.remove(row)
        self._own -= row.own
        if row.held is not None:
            self._index.release(row.held)
        self._make_room()

    def _make_room(self) -> None:
        self._index.capacity = self.capabilities.kv_tokens - self._own
        self._index.room(0)


def _length(row: _Row) -> int:
    """Tokens that a step reads for a row, about: half of its answer is there."""
    return row.chain.prompt_tokens + row.chain.new_tokens // 2


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
