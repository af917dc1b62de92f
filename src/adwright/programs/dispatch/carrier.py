"""Decide, and carry out what is decided: the scheduler on one side, engines on the other.

What happens (a chain is ready, read, over, cancelled; an engine dies, is back) is told to the
scheduler, which is then asked once what to do, however much happened at that moment; as it is when
its own timer is over. Times are those of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

from adwright.core.errors import AdwrightError, ConfigError, ProgramError, ResourceError
from adwright.programs.dispatch.keeper import EngineKeeper, why_rest
from adwright.programs.dispatch.ready import (
    ChainJob,
    ChainReader,
    ChainRequest,
    PrefixTexts,
    StreamConsumerError,
)
from adwright.programs.dispatch.terms import (
    CacheCanary,
    CheckedAnswer,
    DispatchTerms,
    ProgramEngine,
)
from adwright.programs.scheduling.engine import (
    EngineCapabilities,
    ExecutionEngine,
    LatencyCurve,
    ReadyChain,
)
from adwright.programs.scheduling.engine_state import EngineRest, EngineState, KeepDecision
from adwright.programs.scheduling.order import class_of
from adwright.programs.scheduling.scheduler import (
    Aside,
    Dropped,
    Fill,
    ProgramScheduler,
    SchedulingDecision,
    Start,
    Stop,
    Wait,
    program_policy,
)

# --------------------------------------------------------------------------------------------------
# What runs on the engines: a task for each start and fill, and how each of them ends.
#
# An attempt is over in one of five ways, and whoever dispatches is told of each once: it has ended,
# it failed for good, it failed and may be tried again, its engine is gone, or it was stopped, which
# nobody need be told.

_log = logging.getLogger("adwright.programs")


@dataclass(eq=False)
class Attempt:
    """A chain on an engine. job: who waits for it; None: it is read for others, without an answer.
    cached: tokens of the prompt that the engine had held; tokens: of the answer; None: it does not
    say. number: of the attempts of all chains. since: when it began."""

    chain: ReadyChain
    engine_id: str
    number: str
    job: ChainJob | None
    prompt: str
    salt: str
    cached: int | None = None
    tokens: int | None = None
    since: float = 0.0
    task: asyncio.Task[None] | None = None


class Attempts:
    """All that runs on the engines. call_seconds, stop_seconds: see `DispatchTerms`. heard: when
    each engine last wrote something."""

    def __init__(
        self,
        engines: Mapping[str, ExecutionEngine],
        events: DecisionCarrier,
        *,
        count: Callable[[str], int],
        call_seconds: float,
        stop_seconds: float,
    ) -> None:
        self._engines, self._events, self._count = engines, events, count
        self._call_seconds, self._stop_seconds = call_seconds, stop_seconds
        self.heard: dict[str, float] = {}
        self._running: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    @property
    def tasks(self) -> int:
        """Tasks that are not over, those that end or free something among them."""
        return len(self._tasks)

    def start(self, attempt: Attempt, can: EngineCapabilities) -> None:
        """Begin an attempt, on an engine that can do so much."""
        attempt.since = asyncio.get_running_loop().time()
        self._running[attempt.chain.chain_id] = attempt
        if attempt.job is None:
            work = self._fill(attempt)
        else:
            request = attempt.job.begin(can, self._count)
            work = self._write(attempt, attempt.job, request, can)
        attempt.task = self.spawn(work)

    def quiet(self, since: float) -> set[str]:
        """Engines that have had something to do since then, and have written nothing."""
        old = {one.engine_id for one in self._running.values() if one.since < since}
        return {one for one in old if self.heard.get(one, 0.0) < since}

    def stop(self, chain_id: str) -> list[asyncio.Task[None]]:
        """Stop the attempt of a chain, if there is one; returns what is to be waited for until the
        engine has let go of it."""
        attempt = self._running.pop(chain_id, None)
        if attempt is None:
            return []
        ending = [self.spawn(self._cancel(attempt))]
        if attempt.task is not None and attempt.task is not asyncio.current_task():
            attempt.task.cancel()
            ending.append(attempt.task)
        return ending

    def lost(self, engine_id: str) -> None:
        """The engine is gone: nothing that ran there will be heard of."""
        for chain_id, attempt in list(self._running.items()):
            if attempt.engine_id == engine_id:
                del self._running[chain_id]
                if attempt.task is not None and attempt.task is not asyncio.current_task():
                    attempt.task.cancel()

    def free(self, engine_id: str, prompt: str, salt: str) -> None:
        """Tell an engine that nobody will begin with this any more."""
        self.spawn(self._free(engine_id, prompt, salt))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that `close` ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop everything, and wait until the engines have let go of it, within the bound."""
        for chain_id in list(self._running):
            self.stop(chain_id)
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=2 * self._stop_seconds)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _write(
        self, attempt: Attempt, job: ChainJob, request: ChainRequest | None, can: EngineCapabilities
    ) -> None:
        try:
            if request is not None:
                async with asyncio.timeout(self._call_seconds):
                    await self._read(attempt, job, request, can)
        except StreamConsumerError as error:
            cause = error.__cause__
            if self._drop(attempt):
                self.spawn(self._cancel(attempt))
                told = cause if isinstance(cause, Exception) else error
                self._events.failed(attempt, told, final=True)
        except BaseException as error:
            self._break_off(attempt, error)
        else:
            if self._drop(attempt):
                self._events.ended(attempt)

    async def _read(
        self, attempt: Attempt, job: ChainJob, request: ChainRequest, can: EngineCapabilities
    ) -> None:
        further = {} if request.settings is None else {"settings": request.settings}
        reports = self._engines[attempt.engine_id].generate(
            attempt.number,
            request.prompt,
            max_tokens=request.max_tokens,
            adapter=attempt.chain.adapter,
            schema=request.schema,
            priority=class_of(attempt.chain) if can.priority else 0,
            salt=attempt.salt,
            **further,
        )
        is_first, is_over = True, False
        now = asyncio.get_running_loop().time
        try:
            async for report in reports:
                self.heard[attempt.engine_id] = now()
                if report.cached_tokens is not None:
                    attempt.cached = report.cached_tokens
                if is_first:
                    is_first = False
                    self._events.began(attempt)
                job.add(report.text)
                attempt.tokens, is_over = report.tokens, report.over
        finally:
            if isinstance(reports, AsyncGenerator):
                await reports.aclose()
        if not is_over:
            raise ConnectionError(f"the answer of engine {attempt.engine_id} broke off")

    async def _fill(self, attempt: Attempt) -> None:
        try:
            async with asyncio.timeout(self._call_seconds):
                engine = self._engines[attempt.engine_id]
                attempt.cached = await engine.fill(
                    attempt.number,
                    attempt.prompt,
                    salt=attempt.salt,
                    adapter=attempt.chain.adapter,
                )
        except BaseException as error:
            self._break_off(attempt, error)
        else:
            if self._drop(attempt):
                self._events.ended(attempt)

    def _break_off(self, attempt: Attempt, error: BaseException) -> None:
        """An attempt has ended in an error: say which."""
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError):
            if task is not None and task.cancelling():
                raise error
            error = ConnectionError("the engine cancelled it")
        if not isinstance(error, Exception):
            raise error
        if self._running.get(attempt.chain.chain_id) is not attempt:
            return
        if isinstance(error, ResourceError):
            self._drop(attempt)
            self._events.gone(attempt.engine_id, str(error))
            return
        final = isinstance(error, AdwrightError)
        if isinstance(error, TimeoutError):
            self.spawn(self._cancel(attempt))
            self._events.silent(attempt.engine_id)
        if self._drop(attempt):
            self._events.failed(attempt, error, final=final)

    def _drop(self, attempt: Attempt) -> bool:
        """It is over; whether anybody still wanted to hear of it."""
        if self._running.get(attempt.chain.chain_id) is not attempt:
            return False
        del self._running[attempt.chain.chain_id]
        return True

    async def _cancel(self, attempt: Attempt) -> None:
        await self._say(attempt.engine_id, self._engines[attempt.engine_id].cancel(attempt.number))

    async def _free(self, engine_id: str, prompt: str, salt: str) -> None:
        await self._say(engine_id, self._engines[engine_id].free(prompt, salt=salt))

    async def _say(self, engine_id: str, call: Coroutine[Any, Any, None]) -> None:
        """Tell an engine something that has no answer."""
        try:
            async with asyncio.timeout(self._stop_seconds):
                await call
        except ResourceError as error:
            self._events.gone(engine_id, str(error))
        except TimeoutError:
            self._events.silent(engine_id)
        except Exception as error:  # it goes on with what it was to end, and no more
            _log.warning("engine %s did not do as it was told: %r", engine_id, error)


#: An engine's memory is short from this share of it on; prefixes that it is told to hold.
_SHORT, _HELD = 0.5, 64
#: The longest wait before another attempt where one failed, in seconds.
_LONGEST = 10.0
#: Seconds for which an engine that has written something is taken to answer.
_LATELY = 10.0


class DecisionCarrier:
    """Runs the jobs it is given. jobs: that are not over, by the id of the chain. read_tokens,
    cached_tokens, written_tokens: of all chains that have ended; decisions: made so far."""

    def __init__(
        self,
        engines: Mapping[str, ExecutionEngine],
        curves: Mapping[str, LatencyCurve],
        reader: ChainReader,
        terms: DispatchTerms,
    ) -> None:
        self._engines, self._reader, self._terms = engines, reader, terms
        quota = terms.cache_quota
        self.scheduler = ProgramScheduler(
            [
                EngineState(one, each.capabilities, curves[one], quota=quota)
                for one, each in engines.items()
            ],
            policy=partial(program_policy, terms=terms.placement),
            order=terms.order,
            weights=terms.weights,
        )
        self.keeper = EngineKeeper(
            engines,
            bounds=terms.keeper,
            died=self._died,
            rests=self._rests,
            back=self._back,
            working=self._working,
            quiet=self._quiet,
        )
        self.attempts = Attempts(
            engines,
            self,
            count=reader.counts.count,
            call_seconds=terms.call_seconds,
            stop_seconds=terms.stop_seconds,
        )
        self.canary: CacheCanary | None = None
        if terms.canary is not None:
            states = self.scheduler.engines
            self.canary = CacheCanary(
                engines,
                terms.canary,
                can=lambda one: states[one].capabilities,
                is_idle=lambda one: states[one].alive and not states[one].batch,
                lied=self.lied,
            )
        self.jobs: dict[str, ChainJob] = {}
        self.read_tokens = self.cached_tokens = self.written_tokens = self.decisions = 0
        self._texts = PrefixTexts(reader)
        self._changed: dict[str, ProgramEngine] = {}
        self._ended: list[str] = []
        #: Engines whose caches have lied.
        self._uncached: set[str] = set()
        self._retired: set[str] = set()
        #: What engines were told to hold until it is freed: texts and salts, by the hash.
        self._filled: dict[str, dict[int, tuple[str, str]]] = {one: {} for one in engines}
        self._checks: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self._is_planned = self._is_open = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the loop that runs."""
        self._loop, self._is_open = asyncio.get_running_loop(), True
        self.keeper.start()

    async def close(self) -> None:
        """End what is left, and wait until the engines have let go of it."""
        self._is_open = False
        for job in list(self.jobs.values()):
            told = ProgramError("the dispatcher was closed", where=job.asked.chain.node_id)
            job.settle(told)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._checks:
            task.cancel()
        await self.attempts.close()
        await self.keeper.close()

    def ready(self, job: ChainJob) -> None:
        """A chain may run."""
        self.jobs[job.chain.chain_id] = job
        self.scheduler.ready(job.chain, self._loop.time())
        self._plan()

    async def ask(self) -> None:
        """Have the models of engines write a token that have not written anything lately."""
        since, asked = self._loop.time() - _LATELY, []
        for engine_id, state in self.scheduler.engines.items():
            if state.takes and self.attempts.heard.get(engine_id, -math.inf) < since:
                self.attempts.heard[engine_id] = self._loop.time()
                asked.append(self.keeper.ask(engine_id))
        await asyncio.gather(*asked)

    def stop(self, job: ChainJob) -> list[asyncio.Task[None]]:
        """Nobody waits for it any more; returns what ends with that on the engines."""
        chain_id = job.chain.chain_id
        if self.jobs.pop(chain_id, None) is None:
            return []
        ending = self.attempts.stop(chain_id)
        self.scheduler.cancel(chain_id, self._loop.time())
        self._plan()
        return ending

    def touch(self, program: ProgramEngine) -> None:
        """Something of a program has changed."""
        if program.outlook is not None and not program.is_closed:
            self._changed[program.seat.program_id] = program
        self._plan()

    def over(self, program: ProgramEngine) -> None:
        """The program is."""
        program_id, now = program.seat.program_id, self._loop.time()
        self.scheduler.cancel_program(program_id, now)
        if program.outlook is not None:
            self.scheduler.expect(program.outlook.over(), now)
        self._changed.pop(program_id, None)
        self._ended.append(program_id)
        self._plan()

    # What the attempts tell, see `Attempts`.

    def began(self, attempt: Attempt) -> None:
        """Its prompt has been read."""
        now, engine_id, cached = self._loop.time(), attempt.engine_id, attempt.cached
        self.scheduler.prefilled(attempt.chain.chain_id, engine_id, now, cached)
        if attempt.job is not None:
            attempt.job.note("first", now, engine=engine_id, tokens=cached)
        self._plan()

    def ended(self, attempt: Attempt) -> None:
        """It is over, and its answer is whole."""
        chain, engine_id, job = attempt.chain, attempt.engine_id, attempt.job
        now = self._loop.time()
        self.keeper.answered(engine_id)
        self._plan()
        if job is None:
            self.scheduler.done(chain.chain_id, engine_id, now)
            self._filled[engine_id][chain.prefix[-1]] = attempt.prompt, attempt.salt
            self._let_go(engine_id)
            return
        text = job.text
        if attempt.tokens is None:
            tokens = self._reader.counts.count(text)
        else:
            tokens = job.before + attempt.tokens
        self.scheduler.done(chain.chain_id, engine_id, now, tokens)
        self._reader.written(job.asked.chain, job.seat, tokens)
        cached = min(attempt.cached or 0, chain.prompt_tokens)
        self.read_tokens += chain.prompt_tokens
        self.cached_tokens += cached
        self.written_tokens += tokens
        job.note("set", now, engine=engine_id, tokens=tokens)
        job.settle(text)
        if self.canary is not None and cached and not job.before:
            told = (job.asked.prompt, text, attempt.salt, chain.adapter)
            self.canary.offer(
                engine_id, CheckedAnswer(*told, job.asked.chain.settings, cached), now
            )

    def failed(self, attempt: Attempt, error: Exception, *, final: bool) -> None:
        """It is over without an answer."""
        job, now = attempt.job, self._loop.time()
        self._plan()
        if job is not None and final:
            job.settle(error)
            return
        chain_id, engine_id, wait = attempt.chain.chain_id, attempt.engine_id, 0.0
        rest = why_rest(error)
        known = self.scheduler.queue.failures.get(chain_id)
        if rest != "fails" or known is None or len(known.on) < 2:
            # What failed on two already may well be the fault of the chain.
            self.keeper.failed(engine_id, error)
        if job is not None:
            job.error = error
            if rest == "refuses":
                what = "see which key and model it is asked with"
                job.error = ConfigError(str(error), where=f"engine {engine_id}", hint=what)
            job.note("again", now, engine=engine_id, why=repr(error))
            wait = min(self._terms.retry_seconds * 2**job.errors, _LONGEST)
            job.errors += 1
        told = str(error) or type(error).__name__
        self.scheduler.failed(chain_id, engine_id, now, told, rest=rest, wait=wait)

    def gone(self, engine_id: str, why: str) -> None:
        """The engine is gone."""
        self.keeper.dead(engine_id, why)

    def silent(self, engine_id: str) -> None:
        """The engine has not answered in time."""
        self.attempts.spawn(self.keeper.look(engine_id))

    # What becomes of engines.

    def _died(self, engine_id: str, why: str) -> None:
        now = self._loop.time()
        self.attempts.lost(engine_id)
        self._filled[engine_id].clear()
        for chain_id in self.scheduler.engines[engine_id].running:
            if (job := self.jobs.get(chain_id)) is not None:
                job.moved += 1
                job.note("again", now, engine=engine_id, why=why)
        self.scheduler.engine_died(engine_id, now)
        self._plan()

    def _back(self, engine_id: str) -> None:
        if engine_id not in self._retired:
            self.scheduler.engine_back(engine_id, self._loop.time())
            self._plan()

    def _rests(self, engine_id: str, rest: EngineRest, why: str) -> None:
        self.scheduler.engine_rests(engine_id, rest, why, self._loop.time())
        self._plan()

    def _working(self) -> list[str]:
        return [one for one, state in self.scheduler.engines.items() if state.batch]

    def _quiet(self) -> list[str]:
        """Engines that have written nothing since the last look, and whose chains others can take.
        An engine may read for long, so that no chain is taken from more than there are for that."""
        states, since = self.scheduler.engines, self._loop.time() - self._terms.keeper.beat
        found = []
        for one in self.attempts.quiet(since):
            models = set(states[one].capabilities.models)
            others = (each for name, each in states.items() if name != one and each.takes)
            jobs = (self.jobs.get(chain_id) for chain_id in states[one].running)
            if any(not models.isdisjoint(each.capabilities.models) for each in others) and any(
                job is not None and job.moved < len(states) for job in jobs
            ):
                found.append(one)
        return found

    def lied(self, engine_id: str, why: str) -> None:
        """Its prefix cache is used no more."""
        state = self.scheduler.engines[engine_id]
        can = state.capabilities
        off = replace(can, prefix_cache=False, in_flight_prefix=False, fork=False)
        state.capabilities = off
        if can.salt:
            self._uncached.add(engine_id)
        elif any(
            {*each.capabilities.models} & {*can.models}
            for each in self.scheduler.engines.values()
            if each is not state and each.alive
        ):
            # Nothing keeps it from using it: others do its work.
            _log.error("engine %s gets no work any more", engine_id)
            self._retired.add(engine_id)
            self._died(engine_id, why)
        else:
            _log.error("engine %s cannot be told: start it again without a cache", engine_id)
        self._plan()

    # Deciding.

    def _plan(self) -> None:
        """Decide at the next turn of the loop."""
        if not self._is_planned and self._is_open:
            self._is_planned = True
            self._loop.call_soon(self._decide)

    def _decide(self) -> None:
        self._is_planned = False
        if not self._is_open:
            return
        now = self._loop.time()
        try:
            self._look_ahead(now)
            for decision in self.scheduler.decide(now):
                self.decisions += 1
                self._carry_out(decision, now)
            for program_id in self._ended:
                self._texts.forget(program_id)
            self._ended.clear()
            self._look_at_caches(now)
        except Exception as error:
            # Else nobody would ever hear of his chain again.
            _log.exception("no decision could be made")
            for job in list(self.jobs.values()):
                job.settle(error)
        self._set_timer()

    def _look_ahead(self, now: float) -> None:
        """Tell the scheduler what is left of programs of which something has changed."""
        informed = any(each.capabilities.fork for each in self.scheduler.engines.values())
        for program_id, program in self._changed.items():
            if program.outlook is None:
                continue
            reads, writes = program.outlook.left()
            self.scheduler.outlook(program_id, program.seat.tenant, reads, writes)
            if informed:
                told = program.outlook.upcoming(program.jobs.values(), self._texts)
                self.scheduler.expect(told, now)
        self._changed.clear()

    def _carry_out(self, decision: SchedulingDecision, now: float) -> None:
        match decision:
            case Start(chain=chain, engine_id=engine_id, placement=placement):
                job = self.jobs[chain.chain_id]
                score = None if placement is None else placement.score
                job.note("placed", now, engine=engine_id, group=chain.group, score=score)
                self._start(job, job.chain, engine_id, "")
            case Fill(chain=chain, engine_id=engine_id):
                job = self.jobs[chain.chain_id.rpartition(":")[2]]
                borders = len(chain.prefix)
                prompt = self._reader.beginning(job.asked.segments, borders, job.seat)
                job.note("fill", now, engine=engine_id, tokens=chain.prompt_tokens)
                self._start(job, chain, engine_id, prompt, fill=True)
            case Wait(chain=chain, engine_id=engine_id, placement=placement):
                job = self.jobs[chain.chain_id]
                job.note("waits", now, engine=engine_id, score=placement.score)
            case Aside(chain=chain, why=why):
                self.jobs[chain.chain_id].note("waits", now, why=why)
            case Stop(chain_id=chain_id):
                self.attempts.stop(chain_id)
            case Dropped(chain=chain, reason=reason):
                if (dropped := self.jobs.get(chain.chain_id)) is not None:
                    dropped.settle(dropped.error or ProgramError(reason))
            case KeepDecision(engine_id=engine_id, prefix=prefix, action="free"):
                self._free(engine_id, prefix)

    def _start(
        self, job: ChainJob, chain: ReadyChain, engine_id: str, prompt: str, *, fill: bool = False
    ) -> None:
        salt = f"alone-{uuid4().hex}" if engine_id in self._uncached else job.seat.salt
        number = f"{job.chain.chain_id}.{next(self._numbers)}"
        attempt = Attempt(chain, engine_id, number, None if fill else job, prompt, salt)
        self.attempts.start(attempt, self.scheduler.engines[engine_id].capabilities)

    def _free(self, engine_id: str, prefix: int) -> None:
        """Tell an engine what nobody of this program will read again, if its memory is short:
        others of the tenant may, and what costs nothing to keep is kept."""
        state = self.scheduler.engines[engine_id]
        found = self._texts.find(prefix)
        if found is not None and state.held_tokens > _SHORT * state.capabilities.kv_tokens:
            self._filled[engine_id].pop(prefix, None)
            self.attempts.free(engine_id, *found)

    def _let_go(self, engine_id: str) -> None:
        """Free what was filled and is not thought to be there any more; and of too many the ones
        that were filled first and that no chain reads."""
        filled, index = self._filled[engine_id], self.scheduler.engines[engine_id].index
        for prefix in list(filled):
            node = index.node(prefix)
            if node is None or (len(filled) > _HELD and not node.holders):
                self.attempts.free(engine_id, *filled.pop(prefix))

    def _look_at_caches(self, now: float) -> None:
        """Make the checks that are due, and forget what a cache that lied was thought to hold."""
        for engine_id in self._uncached:
            self.scheduler.engines[engine_id].index.correct(now)
        if self.canary is not None:
            for engine_id, answer in self.canary.due(now):
                task = self.attempts.spawn(self.canary.check(engine_id, answer))
                self._checks.add(task)
                task.add_done_callback(self._checks.discard)

    def _set_timer(self) -> None:
        """Decide again when the scheduler's timer is over."""
        timer = self.scheduler.next_timer()
        if self._timer is not None and self._timer.when() != timer:
            self._timer.cancel()
            self._timer = None
        if timer is not None and self._timer is None:
            self._timer = self._loop.call_at(timer, self._at_timer)

    def _at_timer(self) -> None:
        self._timer = None
        self._plan()
