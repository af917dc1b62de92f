"""Events in, decisions out.

The scheduler is told what happens: a chain is ready, its prompt has been read, it is over, has
failed, is not wanted any more, an engine died or came back. After that `decide` says what to do
until something else happens. It never asks an engine, keeps no time of its own and runs nothing.

A policy is a function of the queue, the engines and the time to the next decision, and changes
nothing; the scheduler applies what it says, and asks again until there is nothing more to do.

A chain that was on an engine when this died waits again, and so does one that failed: everything an
answer is made from is in the chain. It goes on to engines on which it has failed less often than on
others, and is given up after a few errors once it has failed on each that takes it. An engine may
rest, as it fails, refuses or is busy: what runs there goes on, and nothing new begins. A chain that
none of the engines takes that are there is set aside, so that those behind it go on, until one is
back; where all that could take it refuse, it is told so soon. What an engine reports of a chain
that is not there any more is ignored, so that each chain ends exactly once.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

from adwright.core.errors import ValueInvalidError
from adwright.programs.program import LATENCY
from adwright.programs.scheduling.engine import LatencyCurve, ReadyChain, UpcomingPrefix
from adwright.programs.scheduling.engine_state import (
    ChainRun,
    EngineRest,
    EngineState,
    KeepDecision,
    WaitingChain,
    keep_decisions,
)
from adwright.programs.scheduling.order import ChainFailures, ChainQueue, OrderTerms, class_of

# --------------------------------------------------------------------------------------------------
# On which engine a chain runs: the one where it costs the fewest seconds.
#
#     score = prefill       its prompt, but for what the engine holds of it
#           + queue         prompts before it, and where nothing is free the wait for it
#           + interference  its answer's tokens at the step that it causes, and by how much longer
#                           all that runs there takes: its prompt stops each row, its row slows each
#
# All terms are seconds of somebody, so that they add without weights: an engine that holds the
# prefix is passed over only where its queue costs more than reading the prefix elsewhere. Engines
# that tie are taken by room, then by name. A group needs no term of its own: its members share a
# prefix, which prefill counts on every engine it would spread to, and it spreads where the queue
# costs more.
#
# A chain does not always start. It waits at an engine ("park") for a prefix that is just being read
# there, or for a place where the engine is worth it though another is free; then it need not be
# looked at again until the engine has something new. It waits no longer than the free one would
# have cost. Where no engine is free it stays in the queue, whose order may change meanwhile. And
# where other chains that wait begin as it does, and no engine holds that yet, the beginning is read
# once ("fill") while all wait for it, unless the engine finds what is in flight by itself or
# reading takes no longer than a step.


@dataclass(frozen=True)
class PlacementTerms:
    """What the score counts; each can be left out. fill: whether cold prefixes are read once first.
    park: how many chains may wait at an engine, over the rows it can hold; 0: none."""

    prefill: bool = True
    queue: bool = True
    interference: bool = True
    fill: bool = True
    park: float = 0.5


class PlacementScore(NamedTuple):
    """Seconds, by term; the total is their sum."""

    prefill: float
    queue: float
    interference: float

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self)


class Placement(NamedTuple):
    """What to do with a chain.

    start: now. park: wait there, at most until `until`, for a place or for the prefix `border`,
    with `unread` tokens of the prompt to read then. fill: read the first `borders` borders first;
    the chain stays where it is.
    """

    engine_id: str
    action: Literal["start", "park", "fill"]
    score: PlacementScore
    until: float = 0.0
    border: int | None = None
    unread: int = 0
    borders: int = 0


def place(
    chain: ReadyChain,
    engines: Iterable[EngineState],
    now: float,
    *,
    sharing: Callable[[int], int],
    backlog: tuple[float, float],
    terms: PlacementTerms,
) -> Placement | None:
    """Choose for one chain; None where it can go nowhere now. sharing: how many chains that wait
    begin with a prefix. backlog: chains and programs that wait and are wanted soon, for each
    engine."""
    rank = class_of(chain)
    options: list[tuple[_Option, EngineState]] = []
    full: list[EngineState] = []
    most = 0
    for engine in engines:
        if not engine.alive or engine.rests is not None:  # `takes`, in the innermost loop
            continue
        if engine.refuses(rank, backlog[0]):
            full.append(engine)
        elif engine.capabilities.accepts(chain):
            cached = engine.cached(chain)
            limit = engine.limit(chain, cached, now, backlog)
            if engine.fits(chain, cached, limit, now):
                options.append((_option(chain, engine, cached, now, terms, free=True), engine))
                most = max(most, cached)
            else:
                engine.refuse(rank, backlog[0])
                full.append(engine)
    if not options:
        return None
    free = min(option.score.total for option, _ in options)
    for engine in full:
        # Worth waiting for is only what none of the free ones holds.
        cached = engine.cached(chain)
        coming = engine.filling and not engine.filling.keys().isdisjoint(chain.prefix)
        if (cached > most or coming) and engine.waits(terms.park):
            option = _option(chain, engine, cached, now, terms, free=False)
            if chain.prompt_tokens - option.unread > most and engine.capabilities.accepts(chain):
                options.append((option, engine))
    option, engine = min(options, key=_preference)
    score = option.score
    if not option.starts:
        until = now + max(free, 2 * score.queue + score.prefill)
        where = (until, option.border, option.unread)
        return Placement(engine.engine_id, "park", score, *where)
    borders = _to_fill(chain, engine, sharing) if terms.fill else 0
    action: Literal["start", "fill"] = "fill" if borders else "start"
    return Placement(engine.engine_id, action, score, borders=borders)


class _Option(NamedTuple):
    """What an engine costs, whether the chain starts there at once, the prefix it waits for, and
    the tokens that it reads then."""

    score: PlacementScore
    starts: bool
    border: int | None
    unread: int


def _preference(option: tuple[_Option, EngineState]) -> tuple[float, int, str]:
    """Fewest seconds first, then the emptiest."""
    return option[0].score.total, option[1].held_tokens, option[1].engine_id


def _option(
    chain: ReadyChain,
    engine: EngineState,
    cached: int,
    now: float,
    terms: PlacementTerms,
    *,
    free: bool,
) -> _Option:
    """What there is on this engine, free or not."""
    curve = engine.curve
    wait = curve.prefill_seconds(engine.unread_tokens + engine.expected_unread)
    border, filled = None, 0.0
    if engine.filling:
        border, filled, cached = _in_flight(chain, engine, cached, now)
        wait = max(wait, filled)
    if not free and border is None:
        wait = max(wait, _until_free(engine, curve))
    unread = chain.prompt_tokens - cached
    prefill = curve.prefill_seconds(unread)
    score = PlacementScore(
        prefill if terms.prefill else 0.0,
        wait if terms.queue else 0.0,
        _interference(chain, engine, prefill) if terms.interference else 0.0,
    )
    return _Option(score, free and border is None, border, unread)


def _interference(chain: ReadyChain, engine: EngineState, prefill: float) -> float:
    """Of the answers that run, half is still to come, on average; of those that wait, all."""
    curve = engine.curve
    rows = engine.batch + engine.expected_rows
    cached = chain.prompt_tokens - round(prefill * curve.prefill)
    read = engine.reads() + engine.expected_reads
    most = engine.reads(chain.prompt_tokens + chain.new_tokens, cached) + engine.expected_reads
    more = curve.step_seconds(rows + 1, most)
    own = chain.new_tokens * more
    if not rows:
        return own
    answers = engine.answer_tokens / 2 + engine.expected_answers
    slower = answers * max(0.0, more - curve.step_seconds(rows, read))
    return own + slower + rows * prefill


def _until_free(engine: EngineState, curve: LatencyCurve) -> float:
    """Seconds until the place is free that is left to one who comes now: the next one after half
    the time between two, on average."""
    batch = max(engine.batch, 1)
    every = engine.answer_tokens / batch * curve.step_seconds(batch, engine.reads()) / batch
    return (len(engine.parked) + 0.5) * every


def _in_flight(
    chain: ReadyChain, engine: EngineState, cached: int, now: float
) -> tuple[int | None, float, int]:
    """The prefix to wait for, how long, and the tokens that are held then; none where reading it
    oneself is no slower."""
    for name, total in zip(reversed(chain.prefix), reversed(chain.prefix_tokens), strict=True):
        if total <= cached:
            break
        over = engine.filling.get(name)
        if over is not None and now < over + engine.curve.prefill_seconds(total):
            wait = max(0.0, over - now)
            # Whoever reads it himself has the same prompts before him.
            if wait < engine.curve.prefill_seconds(engine.unread_tokens + total - cached):
                return name, wait, min(total, chain.prompt_tokens - 1)
            break
    return None, 0.0, cached


def _to_fill(chain: ReadyChain, engine: EngineState, sharing: Callable[[int], int]) -> int:
    """How many borders to read before the chain, for it and for others; 0: none."""
    can = engine.capabilities
    if can.in_flight_prefix or not (can.prefix_cache or can.fork):
        return 0
    if any(border in engine.filling for border in chain.prefix):
        return 0  # it is late, and was not worth waiting for
    held = engine.index.hit(chain.prefix)
    for borders in range(len(chain.prefix), held, -1):
        if sharing(chain.prefix[borders - 1]) > 1:
            tokens = chain.prefix_tokens[borders - 1]
            tokens -= chain.prefix_tokens[held - 1] if held else 0
            worth = engine.curve.prefill_seconds(tokens) > engine.curve.step_seconds(1)
            return borders if worth else 0
    return 0


_ERRORS, _DEATHS = 3, 20
#: Seconds for which a chain that failed waits for an engine that may come back, at most.
_PATIENCE = 30.0
#: And where all refuse: until each was asked again.
_REFUSED = 6.0
_NOWHERE = PlacementScore(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Start:
    """Send the chain to the engine."""

    chain: ReadyChain
    engine_id: str
    placement: Placement | None = None


@dataclass(frozen=True)
class Fill:
    """Have the engine read the beginning of a prompt, as the chain `chain` without an answer, which
    ends with `done`."""

    chain: ReadyChain
    engine_id: str


@dataclass(frozen=True)
class Wait:
    """The chain waits at the engine; nothing is to be done."""

    chain: ReadyChain
    engine_id: str
    placement: Placement


@dataclass(frozen=True)
class Stop:
    """Cancel the chain on the engine."""

    chain_id: str
    engine_id: str


@dataclass(frozen=True)
class Aside:
    """None of the engines takes the chain that are there: it waits for one. why: in words."""

    chain: ReadyChain
    why: str = ""


@dataclass(frozen=True)
class Dropped:
    """The chain will not run. reason: in words."""

    chain: ReadyChain
    reason: str


SchedulingDecision = Start | Fill | Wait | Aside | Stop | Dropped | KeepDecision
SchedulingPolicy = Callable[
    [ChainQueue, Mapping[str, EngineState], float], Start | Fill | Wait | Aside | None
]


def program_policy(
    queue: ChainQueue,
    engines: Mapping[str, EngineState],
    now: float,
    *,
    terms: PlacementTerms | None = None,
) -> Start | Fill | Wait | Aside | None:
    """Our policy: whoever waits at an engine and can start there, else the first head that can be
    placed, or that nobody takes. Who could wait, and has waited long enough, is wanted soon from
    then on. A chain that has failed goes where it failed least, and waits for a place there."""
    terms = terms or PlacementTerms()
    chains, programs = queue.soon
    alive = sum(each.alive and each.rests is None for each in engines.values()) or 1
    backlog = chains / alive, programs / alive
    for engine in engines.values():
        if engine.parked and not engine.refuses(-1, backlog[0]):
            chain = engine.parked[0].chain  # those behind it do not overtake it
            cached = engine.cached(chain)
            limit = engine.limit(chain, cached, now, backlog)
            if engine.fits(chain, cached, limit, now):
                return Start(chain, engine.engine_id)
            engine.refuse(-1, backlog[0])
    for chain in queue.heads():
        if class_of(chain) == 2 and queue.waited(chain.chain_id, now) >= queue.terms.patience:
            chain = replace(chain, objective=LATENCY)  # noqa: PLW2901
        own = replace(terms, park=0.0) if chain.chain_id in queue.impatient else terms
        there: Iterable[EngineState] = engines.values()
        failed = queue.failures.get(chain.chain_id)
        if failed is not None:
            there = _least_failed(chain, there, failed)
        placed = place(chain, there, now, sharing=queue.sharing, backlog=backlog, terms=own)
        if placed is None:
            if not any(each.takes and each.capabilities.accepts(chain) for each in there):
                return Aside(chain)
            if failed is not None:
                one = min(there, key=lambda each: (len(each.parked), each.engine_id)).engine_id
                until, unread = now + _PATIENCE, chain.prompt_tokens
                return Wait(chain, one, Placement(one, "park", _NOWHERE, until, unread=unread))
            continue
        if placed.action == "park":
            return Wait(chain, placed.engine_id, placed)
        if placed.action == "fill":
            return Fill(_beginning(chain, placed), placed.engine_id)
        return Start(chain, placed.engine_id, placed)
    return None


def _least_failed(
    chain: ReadyChain, engines: Iterable[EngineState], failures: ChainFailures
) -> list[EngineState]:
    """Those that take the chain and on which it has failed least often."""
    taking = [each for each in engines if each.takes and each.capabilities.accepts(chain)]
    least = min((failures.on[each.engine_id] for each in taking), default=0)
    return [each for each in taking if failures.on[each.engine_id] == least]


def chain_costs(engines: Iterable[EngineState]) -> Callable[[ReadyChain, int], float]:
    """Predicted seconds of a chain's own tokens (critical = 0), or of its prompt and so many
    tokens to come: at the first engine's knee, as orders need no more."""
    curve = next(iter(engines)).curve
    token = curve.step_seconds(curve.knee) / curve.knee
    return lambda chain, critical: (
        chain.prompt_tokens / curve.prefill + max(critical, chain.new_tokens) * token
    )


class ProgramScheduler:
    """The one place where chains, engines and the queue come together.

    policy: see `program_policy`. order, weights: of the queue.
    """

    def __init__(
        self,
        engines: Iterable[EngineState],
        *,
        policy: SchedulingPolicy | None = None,
        order: OrderTerms | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.engines = {each.engine_id: each for each in engines}
        if not self.engines:
            raise ValueInvalidError("a scheduler needs an engine", hint="register one first")
        costs = chain_costs(self.engines.values())
        self.queue = ChainQueue(order, cost=costs, weights=weights)
        self._policy = policy or partial(program_policy, terms=PlacementTerms())
        #: Where each chain is that is not in the queue: running, or waiting at an engine.
        self._running: dict[str, str] = {}
        self._waiting: dict[str, tuple[str, WaitingChain]] = {}
        self._programs: dict[str, set[str]] = {}
        #: Those that wait before another attempt, or for an engine that could take them; until
        #: when, and whether they are given up then if there is none.
        self._aside: dict[str, tuple[ReadyChain, float, bool]] = {}
        self._deaths: dict[str, int] = {}
        self._charged: dict[str, float] = {}
        self._timers: list[tuple[float, str]] = []
        self._owed: list[SchedulingDecision] = []
        self._numbers = 0

    def __len__(self) -> int:
        """Chains that are not over."""
        return len(self.queue) + len(self._waiting) + len(self._running) + len(self._aside)

    def ready(self, chain: ReadyChain, now: float) -> None:
        """A chain may run. Raises ValueInvalidError for one that is known already."""
        if self._known(chain.chain_id):
            raise ValueInvalidError("a chain is ready twice", value=chain.chain_id)
        if not any(each.capabilities.accepts(chain) for each in self.engines.values()):
            tokens = chain.prompt_tokens + chain.new_tokens
            what = f"{chain.model}, adapter {chain.adapter}, {tokens} tokens"
            self._owed.append(Dropped(chain, f"no engine takes {what}"))
            return
        self._programs.setdefault(chain.program_id, set()).add(chain.chain_id)
        self.queue.push(chain, now)

    def prefilled(
        self, chain_id: str, engine_id: str, now: float, cached_tokens: int | None = None
    ) -> None:
        """Its prompt has been read. cached_tokens: of it, that the engine had held."""
        if self._running.get(chain_id) == engine_id:
            self.engines[engine_id].prefilled(chain_id, now, cached_tokens)

    def done(
        self, chain_id: str, engine_id: str, now: float, tokens: int | None = None
    ) -> ReadyChain | None:
        """The chain has ended with an answer of so many tokens; returns it, or None where that is
        not news: it had ended, was cancelled, or is elsewhere by now."""
        if self._running.get(chain_id) != engine_id:
            return None
        engine = self.engines[engine_id]
        engine.prefilled(chain_id, now)
        run = self._leave(engine, chain_id, now)
        if run.fill:
            return None
        chain = run.chain
        if tokens is not None and tokens != chain.new_tokens and chain.new_tokens:
            share = tokens / chain.new_tokens - 1
            self.queue.charge(chain, share * self._charged.get(chain_id, 0.0))
        self._over(chain)
        return chain

    def failed(
        self,
        chain_id: str,
        engine_id: str,
        now: float,
        reason: str,
        *,
        rest: EngineRest = "fails",
        wait: float = 0.0,
    ) -> None:
        """The engine could not do it. rest: why it would rest for that. wait: seconds before it is
        tried there again; elsewhere it is at once. The engine and the other chains of the program
        go on."""
        if self._running.get(chain_id) != engine_id:
            return
        run = self._leave(self.engines[engine_id], chain_id, now)
        # Those who waited for a fill look for another way, the first of them elsewhere.
        name = chain_id.rpartition(":")[2] if run.fill else chain_id
        if run.fill and not self._known(name):
            return
        chain, known = run.chain, self.queue.failures.setdefault(name, ChainFailures(now))
        known.on[engine_id] += 1
        if run.fill:
            return
        match rest:
            case "busy":
                known.busy += 1
            case "refuses":
                known.refusals += 1
            case _:
                known.errors += 1
        if self._is_hopeless(chain, known, now):
            times = known.on.total()
            told = f"{reason}; it was tried {times} times" if times > 1 else reason
            self._owed.append(Dropped(chain, told))
            self._over(chain)
            return
        there = _least_failed(chain, self.engines.values(), known)
        if wait and there and known.on[there[0].engine_id]:
            self._set_aside(chain, now + wait, may_end=False)
        else:
            self.queue.push(chain, now)

    def cancel(self, chain_id: str, now: float) -> None:
        """Nobody wants it any more. Does nothing where it is over."""
        if chain_id in self.queue:
            self._over(self.queue.remove(chain_id))
        elif chain_id in self._waiting:
            self._over(self._unpark(chain_id))
        elif chain_id in self._aside:
            self._over(self._aside.pop(chain_id)[0])
        elif chain_id in self._running:
            engine = self.engines[self._running[chain_id]]
            run = self._leave(engine, chain_id, now)
            self._owed.append(Stop(chain_id, engine.engine_id))
            self._over(run.chain)

    def cancel_program(self, program_id: str, now: float) -> None:
        """It is over, or nobody wants anything of it any more."""
        for chain_id in sorted(self._programs.get(program_id, ())):
            self.cancel(chain_id, now)
        self.queue.forget(program_id)

    def engine_died(self, engine_id: str, now: float) -> None:
        """All that was there is lost, and waits again."""
        self._send_on(engine_id, now)
        for run in self.engines[engine_id].died():
            chain = run.chain
            self._running.pop(chain.chain_id)
            if run.fill:
                continue
            deaths = self._deaths[chain.chain_id] = self._deaths.get(chain.chain_id, 0) + 1
            if deaths > _DEATHS:
                why = f"engine {engine_id} died under it; it was tried {deaths} times"
                self._owed.append(Dropped(chain, why))
                self._over(chain)
            else:
                self.queue.push(chain, now)

    def engine_rests(self, engine_id: str, rest: EngineRest, why: str, now: float) -> None:
        """It is given nothing new until it is back; what runs there goes on."""
        engine = self.engines[engine_id]
        engine.rests, engine.why = rest, why
        self._send_on(engine_id, now)

    def engine_back(self, engine_id: str, now: float) -> None:
        """It takes chains again; one that died holds nothing."""
        engine = self.engines[engine_id]
        engine.alive, engine.rests = True, None
        engine.look_again()
        for chain_id, (chain, _, _) in list(self._aside.items()):
            if engine.capabilities.accepts(chain):
                del self._aside[chain_id]
                self.queue.push(chain, now)

    def expect(self, upcoming: Iterable[UpcomingPrefix], now: float) -> None:
        """What the graphs say of prefixes that will be read, or will not be any more."""
        upcoming = list(upcoming)
        for engine in self.engines.values():
            for each in upcoming:
                engine.index.expect(each.program_id, each.prefix, each.steps, now)
        self._owed.extend(keep_decisions(upcoming, self.engines.values()))

    def outlook(self, program_id: str, tenant: str, prompt_tokens: int, new_tokens: int) -> None:
        """By its graph, so many tokens are to be read and written until the program is over."""
        curve = next(iter(self.engines.values())).curve
        seconds = curve.prefill_seconds(prompt_tokens)
        seconds += new_tokens * curve.step_seconds(curve.knee) / curve.knee
        self.queue.outlook(program_id, tenant, seconds)

    def next_timer(self) -> float | None:
        """When `decide` has to be asked again though nothing happens; None: never."""
        while self._timers and (chain_id := self._timers[0][1]):
            if chain_id in self._waiting or chain_id in self._aside:
                break
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def decide(self, now: float) -> list[SchedulingDecision]:
        """What to do now."""
        while (timer := self.next_timer()) is not None and timer <= now:
            _, chain_id = heapq.heappop(self._timers)
            if not chain_id:
                for engine in self.engines.values():
                    engine.look_again()
            if chain_id in self._waiting and self._waiting[chain_id][1].until <= now:
                self.queue.push(self._unpark(chain_id), now)
                self.queue.impatient.add(chain_id)
            if chain_id in self._aside and self._aside[chain_id][1] <= now:
                chain, _, may_end = self._aside.pop(chain_id)
                if not may_end or any(one.takes for one in self._accepting(chain)):
                    self.queue.push(chain, now)
                else:
                    self._owed.append(Dropped(chain, self._why_nobody(chain)))
                    self._over(chain)
        found, self._owed = self._owed, []
        while (decision := self._policy(self.queue, self.engines, now)) is not None:
            if isinstance(decision, Aside):
                found.append(self._put_aside(self.queue.remove(decision.chain.chain_id), now))
            else:
                self._apply(decision, now)
                found.append(decision)
        return found

    def _apply(self, decision: Start | Fill | Wait, now: float) -> None:
        chain, engine = decision.chain, self.engines[decision.engine_id]
        match decision:
            case Start():
                if chain.chain_id in self._waiting:
                    self._unpark(chain.chain_id)
                else:
                    self.queue.remove(chain.chain_id)
                run = engine.start(chain, engine.curve.limit(chain, now), now)
                self._running[chain.chain_id] = engine.engine_id
                if engine.quiet_until > now and class_of(chain) == 2:
                    heapq.heappush(self._timers, (engine.quiet_until, ""))
                batch = engine.batch
                seconds = engine.curve.prefill_seconds(chain.prompt_tokens - run.cached)
                seconds += chain.new_tokens * engine.curve.step_seconds(batch) / batch
                self._charged[chain.chain_id] = seconds
                self.queue.charge(chain, seconds)
            case Fill():
                engine.start(chain, engine.curve.limit(chain, now), now, fill=True)
                self._running[chain.chain_id] = engine.engine_id
                over = now + engine.curve.prefill_seconds(engine.unread_tokens)
                engine.filling[chain.prefix[-1]] = over
            case Wait():
                self.queue.remove(chain.chain_id)
                self._numbers += 1
                until, border = decision.placement.until, decision.placement.border
                unread = decision.placement.unread
                told = (class_of(chain), self._numbers, until, border, unread, chain)
                waiting = WaitingChain(*told)
                engine.park(waiting)
                self._waiting[chain.chain_id] = engine.engine_id, waiting
                heapq.heappush(self._timers, (until, chain.chain_id))

    def _known(self, chain_id: str) -> bool:
        there = chain_id in self.queue or chain_id in self._waiting or chain_id in self._aside
        return there or chain_id in self._running

    def _unpark(self, chain_id: str) -> ReadyChain:
        engine_id, waiting = self._waiting.pop(chain_id)
        self.engines[engine_id].unpark(waiting)
        return waiting.chain

    def _leave(self, engine: EngineState, chain_id: str, now: float) -> ChainRun:
        del self._running[chain_id]
        run = engine.end(chain_id, now)
        if run.fill:
            for waiting in engine.filled(run.chain.prefix[-1]):
                self._waiting[waiting.chain.chain_id] = engine.engine_id, waiting
        return run

    def _accepting(self, chain: ReadyChain) -> list[EngineState]:
        return [each for each in self.engines.values() if each.capabilities.accepts(chain)]

    def _is_hopeless(self, chain: ReadyChain, known: ChainFailures, now: float) -> bool:
        """Whether there is nothing left to try for a chain that has just failed."""
        could = self._accepting(chain)
        if known.refusals > (0 if len(could) == 1 else 2 * len(could)):
            return True
        if known.errors <= _ERRORS and known.busy <= _DEATHS:
            return False
        if now - known.since < _PATIENCE and any(not one.answers for one in could):
            return False
        return all(known.on[one.engine_id] for one in could if one.takes)

    def _put_aside(self, chain: ReadyChain, now: float) -> Aside | Dropped:
        """Nobody takes it now: it waits, for ever where that is an engine that died, since those
        are started again."""
        could, why = self._accepting(chain), self._why_nobody(chain)
        until = now + _PATIENCE
        if all(one.rests == "refuses" for one in could):
            if len(could) == 1:
                self._over(chain)
                return Dropped(chain, why)
            until = now + _REFUSED
        elif any(one.rests == "busy" or not one.alive for one in could):
            until = math.inf
        self._set_aside(chain, until, may_end=True)
        return Aside(chain, why)

    def _set_aside(self, chain: ReadyChain, until: float, *, may_end: bool) -> None:
        self._aside[chain.chain_id] = chain, until, may_end
        if until < math.inf:
            heapq.heappush(self._timers, (until, chain.chain_id))

    def _why_nobody(self, chain: ReadyChain) -> str:
        told = [
            f"{one.engine_id} is gone" if one.rests is None else f"{one.engine_id}: {one.why}"
            for one in self._accepting(chain)
        ]
        return f"no engine takes it now ({'; '.join(told)})"

    def _send_on(self, engine_id: str, now: float) -> None:
        """Who waits at an engine looks for another one."""
        here = [chain_id for chain_id, (at, _) in self._waiting.items() if at == engine_id]
        for chain_id in here:
            self.queue.push(self._unpark(chain_id), now)
        self.engines[engine_id].look_again()

    def _over(self, chain: ReadyChain) -> None:
        self._deaths.pop(chain.chain_id, None)
        self.queue.failures.pop(chain.chain_id, None)
        self._charged.pop(chain.chain_id, None)
        self.queue.impatient.discard(chain.chain_id)
        chains = self._programs[chain.program_id]
        chains.discard(chain.chain_id)
        if not chains:
            del self._programs[chain.program_id]


def _beginning(chain: ReadyChain, placed: Placement) -> ReadyChain:
    """The first borders of a chain, as a chain that answers nothing."""
    borders = placed.borders
    return replace(
        chain,
        chain_id=f"fill:{chain.prefix[borders - 1]:x}:{placed.engine_id}:{chain.chain_id}",
        prefix=chain.prefix[:borders],
        prefix_tokens=chain.prefix_tokens[:borders],
        new_tokens=0,
        group=None,
    )
