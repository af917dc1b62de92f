r"""From a request to a recorded decision, in time.

    decide() -> shed? -> queue -> model and policy, in batches -> group commit -> answer
                              \-> late or failed: rescue from the fallback -/

Beside the event loop, threads run models, one rescues, one writes; each serves the tenants in
turn. What is late is decided from the fallback instead; what cannot even be rescued in time is
not let in; nothing waits without end.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from adwright.campaigns.store.store import Events, StoredDecision
from adwright.campaigns.store.tables import Recorded
from adwright.core.clock import Clock
from adwright.core.tenant_queue import TenantCounts
from adwright.delivery.decision import Candidates, Deadline, Decision, Request
from adwright.service.config import ServiceConfig
from adwright.service.decide.writer import (
    Answers,
    Batcher,
    DecisionJob,
    Ledger,
    Lines,
    Write,
    Writer,
    unavailable,
)
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.registry import Models
from adwright.web.errors import ApiError, Busy
from adwright.web.gate import Refusals, ServiceMetrics

# --------------------------------------------------------------------------------------------------
# Which models are set aside, because a call to them does not end.
#
# Nothing can end a call of somebody's code. It is left alone on its thread, and its tenant is
# served from the fallback: until the call returns and a while has passed, or until another model is
# put in place. A model is never entered by two threads at once.

#: A model that hangs again and again waits up to so many times as long for its next try.
_LONGEST = 32
_log = logging.getLogger("adwright.service")


@dataclass(eq=False)
class _ModelCall:
    deployed: Deployed
    due: float


@dataclass(eq=False)
class _Aside:
    deployed: Deployed
    retry: float
    times: int = 1
    returned: bool = False

    def lasts(self, now: float) -> bool:
        return not self.returned or now < self.retry


class HungModels:
    """Watches the calls to models, one a tenant at a time, and remembers who is set aside.

    seconds: a call that is so late after its deadline counts as hung. retry: seconds until a
    model whose call returned is tried again; twice as many each time that it hangs again.
    """

    def __init__(self, clock: Clock, *, seconds: float, retry: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._retry = retry
        self._calls: dict[str, _ModelCall] = {}
        self._aside: dict[str, _Aside] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many models are set aside."""
        now = self._clock.monotonic()
        return sum(one.lasts(now) for one in list(self._aside.values()))

    def aside(self, tenant: str, deployed: Deployed) -> bool:
        """Whether this model must not be called now."""
        found = self._aside.get(tenant)
        if found is None or found.deployed is not deployed:
            return False
        return found.lasts(self._clock.monotonic())

    @contextmanager
    def call(self, tenant: str, deployed: Deployed, deadline: Deadline) -> Iterator[None]:
        """Around a call to the model that is to end by `deadline`."""
        due = max(self._clock.monotonic(), deadline.at) + self._seconds
        call = _ModelCall(deployed, due)
        with self._lock:
            self._calls[tenant] = call
        try:
            yield
        finally:
            with self._lock:
                self._ended(tenant, call)

    def look(self) -> list[str]:
        """Set aside the models whose calls are late by now; their tenants."""
        now, late = self._clock.monotonic(), []
        if not any(now > call.due for call in list(self._calls.values())):
            return []
        with self._lock:
            for tenant, call in list(self._calls.items()):
                if now > call.due:
                    del self._calls[tenant]
                    self._set_aside(tenant, call.deployed, now)
                    late.append(tenant)
        return late

    def _set_aside(self, tenant: str, deployed: Deployed, now: float) -> None:
        before = self._aside.get(tenant)
        again = before is not None and before.deployed is deployed
        times = min(_LONGEST, 2 * before.times) if before is not None and again else 1
        self._aside[tenant] = _Aside(deployed, now + self._retry * times, times)
        _log.error("the model %s of tenant %s hangs and is set aside", deployed.name, tenant)

    def _ended(self, tenant: str, call: _ModelCall) -> None:
        found = self._aside.get(tenant)
        if self._calls.get(tenant) is call:
            del self._calls[tenant]
            self._aside.pop(tenant, None)  # it is well, or another one took its place
        elif found is not None and found.deployed is call.deployed:
            found.returned = True


# --------------------------------------------------------------------------------------------------
# Measure how late the event loop is: the time a request waits before the service sees it.
#
# When there is more to do than one processor can, requests queue where no counter of ours sees
# them: in the sockets and in the loop. A callback that should come every few milliseconds, and
# comes late, shows how long that queue is.

_SECONDS = 0.01
#: Of the lag that was seen, so much is believed a beat later; half of it in 70 ms.
_KEPT = 0.9


class LoopLagMonitor:
    """Measures the lag of the event loop that it is started in.

    beat: called at each measurement with what it found, in seconds.
    """

    def __init__(self, clock: Clock, beat: Callable[[float], None] = lambda _: None) -> None:
        self._clock = clock
        self._each = beat
        self._lag = 0.0
        self._expected = 0.0
        self._stopped = False

    @property
    def lag(self) -> float:
        """Seconds that callbacks came late lately; the worst of the last moments, fading."""
        return self._lag

    def start(self) -> None:
        """Begin to measure; called in the event loop."""
        self._stopped = False
        self._plan()

    def stop(self) -> None:
        """Stop measuring; from any thread."""
        self._stopped = True

    def _plan(self) -> None:
        self._expected = self._clock.monotonic() + _SECONDS
        asyncio.get_running_loop().call_later(_SECONDS, self._beat)

    def _beat(self) -> None:
        if self._stopped:
            return
        late = max(0.0, self._clock.monotonic() - self._expected)
        self._lag = max(late, _KEPT * self._lag)
        self._each(late)
        self._plan()


# --------------------------------------------------------------------------------------------------
# When to say no: an estimate of the wait, against the time that the caller has, and shares.

_MIN_RESERVE = 0.004
#: Decisions that a tenant may have in work whatever an estimate says.
_FEW = 3


class Shares:
    """How much of a whole each tenant holds. A tenant may hold as much as is still free.

    So one that floods gets half of the whole, two get a third each, and a last part stays free
    for those who come next. most: the whole. Belongs to one event loop.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = TenantCounts()
        self.total = 0

    def of(self, tenant: str) -> int:
        """What the tenant holds."""
        return self._held[tenant]

    def fits(self, tenant: str, amount: int = 1) -> bool:
        """Whether the tenant may hold so much more."""
        return self._held[tenant] + amount <= self._most - self.total

    def before(self, tenant: str, turn: int) -> int:
        """What is served before something that this tenant adds now, where each tenant gets `turn`
        in a round: all that it holds itself, and of the others no more than in the same rounds."""
        own = self._held[tenant]
        most = (own // turn + 1) * turn
        return own + sum(min(held, most) for other, held in self._held.items() if other != tenant)

    @contextmanager
    def held(self, tenant: str, amount: int = 1) -> Iterator[None]:
        """Hold so much during the block."""
        self._held.add(tenant, amount)
        self.total += amount
        try:
            yield
        finally:
            self.total -= amount
            self._held.add(tenant, -amount)


@dataclass(frozen=True)
class Load:
    """What stands before a request that comes now, where all tenants are served in turn.

    own: decisions of its tenant that are in work. decisions: these and those of others that have
    their turn before it. per_rescue: seconds of one that is taken from the fallback. store:
    seconds until a transaction of its own can begin. per_commit: seconds of one.
    """

    own: int
    decisions: int
    per_rescue: float
    store: float
    per_commit: float

    def wait(self) -> float:
        """The least seconds until a decision that comes now is written.

        All decisions before it and itself taken from the fallback, which is what happens when
        the model is late; then the transactions before its own, and that one.
        """
        return (self.decisions + 1) * self.per_rescue + self.store + self.per_commit


def shed(load: Load, seconds: float) -> Busy | None:
    """The refusal of a decision that has `seconds` of time left; None where it may come in.

    A tenant that has hardly anything in work is always let in: neither what others do may shut the
    door before it, nor an estimate that is wrong, which whoever is let in renews.
    """
    if load.own < _FEW:
        return None
    wait = load.wait()
    if wait > seconds or seconds <= 0:
        return missed(wait - seconds)
    return None


def missed(seconds: float) -> Busy:
    """The refusal of a decision whose time is not enough. seconds: when to come back."""
    return Busy(
        "deadline",
        seconds,
        what="too busy to answer within the deadline of this request",
        hint="send a longer deadline_ms with it, or raise the setting deadline_ms of the service",
    )


def commit_reserve(per_commit: float, seconds: float) -> float:
    """The part of a deadline of `seconds` that is kept for writing the decision.

    The transaction in work and its own, at least 4 ms, at most half of the time.
    """
    return min(max(_MIN_RESERVE, 2 * per_commit), seconds / 2)


#: The part of a deadline that a model may run over before the rescue decides in its place.
_GRACE = 0.1
#: Decisions of one tenant that are rescued in one turn.
_RESCUES = 8
_LOG_SECONDS = 10.0
#: For so long a model may make answers that were cut short, until it is asked again.
_CATCH_UP_SECONDS = 1.0
#: Seconds of lag with which an event loop is in time, and for how long it may not be at first.
_IN_TIME, _CALM_SECONDS = 0.005, 5.0


class Decider:
    """Decides and records; belongs to one event loop between `start` and `stop`.

    late: told each few milliseconds how late the event loop is, in seconds. heed: gives a tenant's
    request with what is stopped among the items that it excludes; asked as late as can be. shown:
    adds to a decision the creatives in which its items are shown. told: events that were stored.
    settled: a request whose decision was written, or was not. decided: a decision that was stored,
    and how many responses its model expects of it.
    """

    def __init__(
        self,
        config: ServiceConfig,
        models: Models,
        ledger: Ledger,
        metrics: ServiceMetrics,
        clock: Clock,
        *,
        late: Callable[[float], None] = lambda _: None,
        heed: Callable[[str, Request], Request] = lambda _, request: request,
        shown: Callable[[str, Deployed, Decision], Decision] = lambda _, __, decision: decision,
        told: Callable[[str, Events], None] = lambda _, __: None,
        settled: Callable[[str, str], None] = lambda _, __: None,
        decided: Callable[[str, Decision, float], None] | None = None,
    ) -> None:
        self._config = config
        self._models = models
        self._metrics = metrics
        self._clock = clock
        self._answers: Answers | None = None
        self._calm, self._started = False, clock.monotonic()
        self._late_by = late
        self._heed, self._shown = heed, shown
        self._tell, self._settled, self._decided = told, settled, decided
        self._pulse = LoopLagMonitor(clock, self._look)
        self._decisions = Shares(config.max_queue)
        self._rows = Shares(config.max_pending_rows)
        self._refusals = Refusals(config.share_of(config.max_in_flight))
        self._hung = HungModels(clock, seconds=config.hung_seconds, retry=config.retry_seconds)
        self._told: dict[str, float] = {}  # when the failure of a tenant's model was last logged
        self._writer = Writer(ledger, config, metrics, clock, stored=self._stored)
        self._worker: Batcher[DecisionJob] = Batcher(
            "adwright-models",
            self._run_batch,
            Lines(lambda: config.batch_size),
            clock=clock,
            enough=config.batch_size,
            wait=config.batch_wait_ms / 1e3,
            threads=config.model_threads,
            spare=config.hung_threads,
            failed=self._fail,
        )
        self._rescuer: Batcher[DecisionJob] = Batcher(
            "adwright-rescue",
            self._rescue_batch,
            Lines(lambda: _RESCUES),
            clock=clock,
            failed=self._fail,
        )
        metrics.gauge("decisions_waiting", "Decisions in work.", lambda: self._decisions.total)
        metrics.gauge("loop_lag_seconds", "How late the event loop is.", lambda: self._pulse.lag)
        metrics.gauge("rows_waiting", "Rows of events not committed yet.", lambda: self._rows.total)
        metrics.gauge("models_hung", "Models set aside.", lambda: len(self._hung))
        metrics.gauge("commit_age_seconds", "Of the one in work.", lambda: self._writer.age)

    @property
    def hung(self) -> int:
        """How many models are set aside because a call to them does not end."""
        return len(self._hung)

    @property
    def stalled(self) -> bool:
        """Whether calls that do not end hold every thread, so that no model runs any more."""
        return self._worker.stalled

    @property
    def calm(self) -> bool:
        """Whether the event loop was in time since the start, or had some seconds to be: until
        then the first deadlines would pay for what starting took."""
        waited = self._clock.monotonic() - self._started
        self._calm |= self._pulse.lag <= _IN_TIME or waited >= _CALM_SECONDS
        return self._calm

    def is_hung(self, tenant: str, deployed: Deployed) -> bool:
        """Whether this model of the tenant is set aside."""
        return self._hung.aside(tenant, deployed)

    def start(self) -> None:
        """Begin to work; called in the event loop."""
        self._answers = Answers(asyncio.get_running_loop())
        self._writer.start(self._answers)
        self._rescuer.start()
        self._worker.start()
        self._started = self._clock.monotonic()
        self._pulse.start()

    def stop(self) -> None:
        """Finish what was let in, then end; within `stop_seconds` where a model or the store
        does not return. Blocks: call it on another thread."""
        ends = self._clock.monotonic() + self._config.stop_seconds
        for part in (self._worker, self._rescuer, self._writer):
            part.stop(max(0.0, ends - self._clock.monotonic()))
        self._pulse.stop()

    async def decide(self, tenant: str, request: Request, seconds: float) -> Decision:
        """The recorded decision of a request that has `seconds` of time.

        Raises Busy where it could not be answered in time, ApiError where the tenant has no
        model or the store cannot be written.
        """
        deployed = self._require_model(tenant)
        self._require_store()
        # Subtract the time the request already spent queued in the event loop.
        seconds = max(0.0, seconds - self._pulse.lag)
        per_commit = self._writer.per_commit
        own, before = self._decisions.of(tenant), self._decisions.before(tenant, _RESCUES)
        load = Load(own, before, self._rescuer.seconds, self._writer.before(tenant), per_commit)
        if not self._decisions.fits(tenant):
            await self._refuse(tenant, Busy("queue", 1.0))
        if (refusal := shed(load, seconds)) is not None:
            await self._refuse(tenant, refusal)
        reserve = commit_reserve(per_commit, seconds)
        with self._decisions.held(tenant):
            stored = await self._answer(deployed, tenant, request, seconds, reserve)
        if stored.repeated:
            self._metrics.repeats.inc()
        return stored.decision

    async def _answer(
        self, deployed: Deployed, tenant: str, request: Request, seconds: float, reserve: float
    ) -> StoredDecision:
        """From the queue to the store's word; `reserve` of the `seconds` is for writing."""
        loop = asyncio.get_running_loop()
        soft = Deadline.after((seconds - reserve) * (1 - _GRACE), self._clock)
        job = DecisionJob(tenant, request, soft, loop.create_future())
        late = seconds - reserve
        patience = reserve + self._config.grace_ms / 1e3
        job.timer = loop.call_later(max(0.0, late), self._late, job, patience)
        if self._hung.aside(tenant, deployed):
            self._rescue(job, "hung")
        else:
            self._worker.put(tenant, job)
        try:
            stored: StoredDecision = await job.answer
        finally:
            job.timer.cancel()
        if self._decided is not None and not stored.repeated:
            self._decided(tenant, stored.decision, job.expected)
        return stored

    async def record(self, tenant: str, events: Events) -> Recorded:
        """Store events; what became of them, once they are committed.

        Raises Busy where too much of the tenant waits for the store, ApiError where it cannot be
        written, or not in time; part of the events may be stored then.
        """
        self._require_store()
        if not self._rows.fits(tenant, len(events)):
            await self._refuse(tenant, Busy("store", self._writer.per_commit))
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        timer = loop.call_later(self._config.events_seconds, _give_up, answer)
        try:
            with self._rows.held(tenant, len(events)):
                self._writer.put(Write(tenant, answer, events))
                recorded: Recorded = await answer
        finally:
            timer.cancel()
        self.count(recorded)
        return recorded

    def count(self, recorded: Recorded) -> None:
        """Count stored events in the metrics."""
        self._metrics.events.labels("accepted").inc(recorded.accepted)
        self._metrics.events.labels("duplicate").inc(recorded.duplicates)
        self._metrics.events.labels("conflicting").inc(recorded.conflicting)

    def _require_store(self) -> None:
        """Whoever comes while a transaction does not end would only wait in vain."""
        if self._writer.age > self._config.late_store_seconds:
            self._metrics.shed.labels("late_store").inc()
            raise unavailable("the store does not answer now")

    def _late(self, job: DecisionJob, patience: float) -> None:
        """The model is late: rescue the decision, and give it up after `patience` seconds."""
        job.timer = asyncio.get_running_loop().call_later(patience, self._give_up, job)
        self._rescue(job, "late")

    def _give_up(self, job: DecisionJob) -> None:
        if not job.answer.done() and job.claim():
            self._metrics.shed.labels("deadline").inc()
            job.answer.set_exception(missed(1.0))
        else:
            _give_up(job.answer)

    def _look(self, late: float) -> None:
        """Set aside the models that hang: another thread goes on, others decide what waits."""
        self._late_by(late)
        for tenant in self._hung.look():
            self._worker.give_up(tenant)
            for job in self._worker.drain(tenant):
                self._rescue(job, "hung")

    async def _refuse(self, tenant: str, busy: Busy) -> None:
        """Raise `busy`: at once, or, of a tenant that comes back too early, in its turn."""
        self._metrics.shed.labels(busy.reason).inc()
        wait = self._refusals.wait(tenant, self._clock.monotonic())
        if wait > 0:
            await asyncio.sleep(wait)
        raise busy

    def _require_model(self, tenant: str) -> Deployed:
        status = self._models.status(tenant)
        if status is None or status.deployed is None:
            raise ApiError(
                409,
                "no model is deployed for this tenant",
                code="no_model",
                hint="publish one; GET /v1/models says whether one was refused",
            )
        return status.deployed

    def _run_batch(self, tenant: str, jobs: list[DecisionJob]) -> None:
        self._metrics.batch.observe(len(jobs))
        began = self._clock.monotonic()
        deployed = self._require_model(tenant)
        in_time = [job for job in jobs if not job.soft.passed()]
        late = [job for job in jobs if job.soft.passed()]
        # Those that waited too long must not hurry the others.
        for part in (in_time, late):
            if part and self._hung.aside(tenant, deployed):
                for job in part:
                    self._rescue(job, "hung")
            elif part:
                self._run_part(deployed, part)
        self._metrics.model_seconds.observe(self._clock.monotonic() - began)
        self._catch_up(tenant, deployed)

    def _catch_up(self, tenant: str, deployed: Deployed) -> None:
        """Let a model that keeps answers make those that were cut short, while nothing waits."""
        catch_up = getattr(deployed.recommender, "catch_up", None)
        if catch_up is None or self._hung.aside(tenant, deployed):
            return
        ends = Deadline.after(_CATCH_UP_SECONDS, self._clock)
        try:
            with self._hung.call(tenant, deployed, ends):
                catch_up(lambda: not (self._worker.waits(tenant) or ends.passed()))
        except Exception:
            self._log_failure(deployed, tenant)

    def _run_part(self, deployed: Deployed, jobs: list[DecisionJob]) -> None:
        deadline = min((job.soft for job in jobs), key=lambda soft: soft.at)
        try:
            requests = [self._heed(job.tenant, job.request) for job in jobs]
        except ApiError as error:
            self._fail(jobs, error)
            return
        try:
            with self._hung.call(jobs[0].tenant, deployed, deadline):
                answers = deployed.recommender.recommend_many(requests, deadline)
            pairs = list(zip(jobs, requests, answers, strict=True))
        except Exception:
            self._log_failure(deployed, jobs[0].tenant)
            for job in jobs:
                self._rescue(job, "failed")
            return
        writes = [self._conclude(deployed, *one) for one in pairs]
        self._writer.put(*filter(None, writes))

    def _log_failure(self, deployed: Deployed, tenant: str) -> None:
        """One in a while: a model that fails at each call must not fill the disk."""
        now = self._clock.monotonic()
        if now - self._told.get(tenant, -math.inf) >= _LOG_SECONDS:
            self._told[tenant] = now
            _log.exception("the model %s of tenant %s failed", deployed.name, tenant)

    def _rescue(self, job: DecisionJob, reason: str) -> None:
        """Have it decided from the fallback, unless it is decided or on its way there already."""
        self._worker.drop(job.tenant, job)
        if not job.claimed and not job.reason:
            job.reason = reason
            self._rescuer.put(job.tenant, job)

    def _rescue_batch(self, tenant: str, batch: list[DecisionJob]) -> None:
        deployed = self._require_model(tenant)
        for job in batch:
            if not job.claimed:
                self._metrics.rescued.labels(job.reason).inc()
                try:
                    request = self._heed(tenant, job.request)
                    candidates = deployed.fallback.recommend(request)
                except Exception as error:
                    self._fail([job], error)
                else:
                    write = self._conclude(deployed, job, request, candidates)
                    self._writer.put(*filter(None, [write]))

    def _conclude(
        self, deployed: Deployed, job: DecisionJob, request: Request, candidates: Candidates
    ) -> Write | None:
        """Let the policy choose; what is to be written, or None where it failed or others did.

        request: that of the job, as `heed` gave it.
        """
        if not job.claim():
            return None
        try:
            decision = deployed.decide(job.tenant, request, candidates)
            decision = self._shown(job.tenant, deployed, decision)
        except Exception as error:
            _log.exception("the policy %s failed", deployed.policy.policy_id)
            self._fail([job], error)
            return None
        if self._decided is not None and candidates.probability:
            job.expected = float(decision.score.sum())
        self._metrics.decisions.labels(decision.stage).inc()
        settled = partial(self._settle, deployed, job.tenant, job.request.request_id)
        return Write(job.tenant, job.answer, decision, settled)

    def _stored(self, tenant: str, events: Events) -> None:
        self._tell(tenant, events)
        self._models.tell(tenant, events)

    def _settle(self, deployed: Deployed, tenant: str, request_id: str) -> None:
        deployed.settle(request_id)
        self._settled(tenant, request_id)

    def _fail(self, jobs: Sequence[DecisionJob], error: Exception) -> None:
        if self._answers is not None:
            self._answers.deliver([(job.answer, error) for job in jobs])


def _give_up(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(unavailable("the store did not confirm it in time"))
