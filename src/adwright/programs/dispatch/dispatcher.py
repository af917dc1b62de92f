"""Run the programs of many tenants on real engines: the live service without its HTTP face.

    engines = {"gpu0": engine, "gpu1": other}
    async with ChainDispatcher(engines, count_tokens) as dispatcher:
        with dispatcher.for_program("p1", "shop") as engine:
            async with Session(engine) as session:
                engine.watch(session)
                session.submit(program)
                text = await session.get("ad")

Whatever befalls an engine, each chain comes to one text or one error: what ran there waits again,
see `chain_job` for what becomes of a text that was begun. An error of one chain is its own: what is
wrong with a request (any AdwrightError but ResourceError, which is the death of the engine) fails
at once, anything else goes on to other engines and fails after a few attempts. Whoever does not
wait for a chain any more ends it, on the engine, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import NamedTuple, Self
from uuid import uuid4

from adwright.core.errors import ConfigError, ProgramError
from adwright.core.tenant_queue import TenantQueue
from adwright.programs.dispatch.carrier import DecisionCarrier
from adwright.programs.dispatch.ready import (
    ChainJob,
    ChainReader,
    ProgramSeat,
    TokenCounts,
    TraceEvent,
    TraceStore,
    emit_spans,
)
from adwright.programs.dispatch.terms import Admission, DispatchTerms, ProgramEngine
from adwright.programs.runner import AskedChain, Saying
from adwright.programs.scheduling.engine import ExecutionEngine, LatencyCurve, ReadyChain

_TERMS = DispatchTerms()
_NO_CURVES: Mapping[str, LatencyCurve] = {}
#: Of an engine that nobody measured: OpenVINO GenAI with SmolLM2-135M on one thread, tokens per
#: second. Orders and placements go by what engines and chains cost in proportion.
_UNMEASURED = LatencyCurve((1, 4, 8, 16, 32), (118, 413, 595, 813, 1045), 1590)


class DispatchStats(NamedTuple):
    """programs: that are not closed. chains: asked for and not over. running, alive, deaths: by
    engine; alive: it answers. waiting_tokens: that were let in and are not done. read_tokens,
    cached_tokens, written_tokens: of all chains that have ended; those that the engines had held
    are among those read. decisions: of the scheduler. cache_checks, cache_lies: of the canary, see
    there."""

    programs: int
    chains: int
    running: Mapping[str, int]
    alive: Mapping[str, bool]
    waiting_tokens: int
    read_tokens: int
    cached_tokens: int
    written_tokens: int
    decisions: int
    deaths: Mapping[str, int]
    cache_checks: int
    cache_lies: Mapping[str, str]


class ChainDispatcher:
    """Runs chains on engines, which it does not close.

    engines: by id. tokens: how many a text has. model: the one that calls mean which name none; ""
    for the first of the first engine. version: of the tokenizer. curves: measured, by the id of
    the engine. traces: where traces are kept.
    Raises ConfigError where there is no engine; or one that keeps prefixes of all tenants together,
    unless `terms` say that there is only one domain.
    """

    def __init__(
        self,
        engines: Mapping[str, ExecutionEngine],
        tokens: Callable[[str], int],
        *,
        model: str = "",
        version: str = "",
        curves: Mapping[str, LatencyCurve] = _NO_CURVES,
        terms: DispatchTerms = _TERMS,
        traces: TraceStore | None = None,
    ) -> None:
        _check_engines(engines, terms)
        self._engines, self._terms = dict(engines), terms
        model = model or next(iter(self._engines.values())).capabilities.models[0]
        self.reader = ChainReader(TokenCounts(tokens), model=model, version=version)
        self.traces = traces or TraceStore()
        self.admission = Admission(terms.admission, self.seconds_of)
        known = {one: curves.get(one, _UNMEASURED) for one in self._engines}
        self.carrier = DecisionCarrier(self._engines, known, self.reader, terms)
        self._programs: dict[str, ProgramEngine] = {}
        #: Chains of tenants who have as many tokens on the engines as they may.
        self._held: TenantQueue[ChainJob] = TenantQueue()
        self._numbers, self._name = count(1), uuid4().hex[:8]
        self._domain: tuple[str, bool] | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        self.carrier.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def programs(self) -> Mapping[str, ProgramEngine]:
        """Those that are not closed, by id."""
        return self._programs

    @property
    def stats(self) -> DispatchStats:
        """What there is to do now, and what was done."""
        carrier, canary = self.carrier, self.carrier.canary
        return DispatchStats(
            programs=len(self._programs),
            chains=len(carrier.jobs) + len(self._held),
            running={one: each.batch for one, each in carrier.scheduler.engines.items()},
            alive={one: each.answers for one, each in carrier.scheduler.engines.items()},
            waiting_tokens=self.admission.tokens,
            read_tokens=carrier.read_tokens,
            cached_tokens=carrier.cached_tokens,
            written_tokens=carrier.written_tokens,
            decisions=carrier.decisions,
            deaths=dict(carrier.keeper.deaths),
            cache_checks=canary.checks if canary else 0,
            cache_lies=dict(canary.lies) if canary else {},
        )

    def for_program(
        self,
        program_id: str,
        tenant: str = "",
        *,
        domain: str | None = None,
        public: bool = False,
        tokens: int = 0,
    ) -> ProgramEngine:
        """What a session of this program runs its chains on; to be closed once it is over.

        domain: who shares prefixes with it; None: what else is of its tenant. public: the domain is
        one of several tenants. tokens: that it may read and write, to be let in now; 0: each chain
        is let in by itself.
        Raises OverloadedError where that is too much for now; ConfigError where a program of that
        id is there; ProgramError where the dispatcher is not open.
        """
        self._require_open()
        if program_id in self._programs:
            raise ConfigError(
                "a program of that id is there",
                where=f"program {program_id[:64]}",
                hint="close it first, or choose another id",
            )
        arrived = asyncio.get_running_loop().time()
        own = tenant if domain is None else domain
        seat = ProgramSeat(program_id, tenant, own, public, arrived)
        self._check_domain(seat)
        if tokens:
            self.admission.let_in(tenant, tokens)
        trace = self.traces.begin(program_id, tenant, time.time())
        told = (seat, trace, self.admission, self.reader)
        engine = ProgramEngine(*told, run=self._generate, over=self._over)
        engine.reserved = tokens
        self._programs[program_id] = engine
        trace.note(TraceEvent(arrived, "submit"))
        return engine

    def seconds_of(self, tokens: int) -> float:
        """Seconds that so many tokens will take, about, on the engines that are there, if as many
        of them are read and written as so far."""
        carrier, states = self.carrier, self.carrier.scheduler.engines.values()
        read, written = carrier.read_tokens + 1, carrier.written_tokens + 1
        each = [
            (read / state.curve.prefill + written / state.curve.rates[-1]) / (read + written)
            for state in states
            if state.alive
        ] or [1.0]
        return tokens * sum(each) / len(each) ** 2

    async def close(self) -> None:
        """Cancel what is not over, and wait until the engines have let go of it."""
        self._is_open = False
        for engine in list(self._programs.values()):
            engine.close()
        await self.carrier.close()
        # Whoever waited for a chain hears of it before this returns.
        await asyncio.sleep(0)

    async def _generate(self, program: ProgramEngine, asked: AskedChain, say: Saying) -> str:
        """Run one chain of a program."""
        seat, reader = program.seat, self.reader
        await reader.counts.prepare(asked.segments, seat.domain)
        self._require_open()
        if program.is_closed:
            raise ProgramError("the program is closed", where=f"program {seat.program_id}")
        chain = reader.ready(asked, seat, f"{self._name}-{next(self._numbers)}")
        self._check_fits(chain, asked.chain.settings.max_tokens)
        tokens = chain.prompt_tokens + chain.new_tokens
        if not program.use(tokens):
            self.admission.let_in(seat.tenant, tokens)
        loop = asyncio.get_running_loop()
        job = ChainJob(chain, asked, seat, say, program.trace, loop.create_future(), tokens)
        program.jobs[chain.chain_id] = job
        job.note("ready", loop.time(), tokens=chain.prompt_tokens, group=chain.group)
        self._offer(program, job)
        ending: list[asyncio.Task[None]] = []
        try:
            return await job.answer
        except asyncio.CancelledError:
            job.note("cancelled", loop.time())
            raise
        except Exception as error:
            job.note("failed", loop.time(), why=str(error) or type(error).__name__)
            raise
        finally:
            ending = self._finish(program, job)
            if ending:
                await asyncio.wait(ending, timeout=self._terms.stop_seconds)

    def _offer(self, program: ProgramEngine, job: ChainJob) -> None:
        """Give a chain to the scheduler, unless its tenant has too many tokens there."""
        tenant = job.seat.tenant
        if self._held.waits(tenant) or not self.admission.has_room(tenant, job.tokens):
            self._held.put(tenant, job)
        else:
            self._begin(job)
            self.carrier.touch(program)

    def _begin(self, job: ChainJob) -> None:
        job.is_begun = True
        self.admission.begin(job.seat.tenant, job.tokens)
        self.carrier.ready(job)

    def _finish(self, program: ProgramEngine, job: ChainJob) -> list[asyncio.Task[None]]:
        """Nobody waits for it any more, whatever came of it; returns what ends with that."""
        tenant, ending = job.seat.tenant, self.carrier.stop(job)
        del program.jobs[job.chain.chain_id]
        self.admission.let_go(tenant, job.tokens)
        held = self._held
        if job.is_begun:
            self.admission.end(tenant, job.tokens)
        else:
            held.drop(tenant, job)
        while self._is_open and held.waits(tenant):
            if not self.admission.has_room(tenant, held.head(tenant).tokens):
                break
            self._begin(held.pop(tenant))
        self.carrier.touch(program)
        return ending

    def _over(self, program: ProgramEngine) -> None:
        """A program is closed."""
        program_id = program.seat.program_id
        del self._programs[program_id]
        for job in program.jobs.values():
            job.settle(ProgramError("the program was closed", where=job.asked.chain.node_id))
        self.carrier.over(program)
        program.trace.note(TraceEvent(asyncio.get_running_loop().time(), "over"))
        emit_spans(program.trace)

    def _require_open(self) -> None:
        if not self._is_open:
            raise ProgramError(
                "the dispatcher is closed", where="dispatcher", hint="open it with `async with`"
            )

    def _check_domain(self, seat: ProgramSeat) -> None:
        """Raise ConfigError for another domain than the one that there is."""
        own = seat.domain, seat.public
        if self._terms.one_domain and self._domain not in (None, own):
            raise ConfigError(
                "there is only one domain of prefixes here, and this is another one",
                where=f"program {seat.program_id[:64]}",
                hint="leave out one_domain, with engines that keep domains apart",
            )
        self._domain = own

    def _check_fits(self, chain: ReadyChain, most: int) -> None:
        """Raise ConfigError where no engine takes a chain if its answer is as long as it may be."""
        states = self.carrier.scheduler.engines.values()
        tokens = chain.prompt_tokens + most
        fitting = [
            state.capabilities
            for state in states
            if tokens <= min(state.capabilities.context_length, state.capabilities.kv_tokens)
        ]
        if not any(chain.model in can.models for can in fitting):
            models = sorted({one for state in states for one in state.capabilities.models})
            what = f"no engine has the model {chain.model!r}"
            hint = f"there are {', '.join(models)}"
            if chain.model in models:
                what = f"it has {tokens:,} tokens to read and write, more than an engine takes"
                hint = "make the prompt shorter, or max_tokens smaller"
            raise ConfigError(what, where=f"chain {chain.program_id}", hint=hint)
        if not any(can.accepts(chain) for can in fitting):
            raise ConfigError(
                f"no engine takes adapters, and it asks for {chain.adapter!r}",
                where=f"chain {chain.program_id}",
                hint="leave it out",
            )


def _check_engines(engines: Mapping[str, ExecutionEngine], terms: DispatchTerms) -> None:
    if not engines:
        raise ConfigError("there is no engine", where="engines", hint="give at least one")
    for engine_id, engine in engines.items():
        can = engine.capabilities
        if (can.prefix_cache or can.fork) and not can.salt and not terms.one_domain:
            raise ConfigError(
                "the engine keeps prefixes of all tenants together, so that one could find out by "
                "the time it takes what another has asked",
                where=f"engine {engine_id}",
                hint="switch its prefix cache off, or say one_domain where there is one tenant",
            )
