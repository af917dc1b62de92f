"""From a request to a recorded decision, in time.

    decide() -> shed? -> queue -> model and policy, in batches -> group commit -> answer
                              \\-> late or failed: rescue from the fallback -/

Three threads beside the event loop: one runs models, one rescues, one writes. What is late is
decided from the fallback instead; what cannot even be rescued in time is not let in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.group_commit import Events, StoredDecision
from adwright.core.clock import Clock
from adwright.delivery.deadline import Deadline
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.service.config import ServiceConfig
from adwright.service.decide.batcher import Batcher
from adwright.service.decide.loop_lag import Pulse
from adwright.service.decide.pending import Answers, DecisionJob
from adwright.service.decide.shedding import Load, commit_reserve, shed
from adwright.service.decide.writer import Ledger, Write, Writer
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.registry import Models
from adwright.web.errors import ApiError, Busy
from adwright.web.metrics import ServiceMetrics

__all__ = ["Decider"]

#: The part of a deadline that a model may run over before the rescue decides in its place.
_GRACE = 0.1
_log = logging.getLogger("adwright.service")


class Decider:
    """Decides and records; belongs to one event loop between `start` and `stop`."""

    def __init__(
        self,
        config: ServiceConfig,
        models: Models,
        ledger: Ledger,
        metrics: ServiceMetrics,
        clock: Clock,
    ) -> None:
        self._config = config
        self._models = models
        self._metrics = metrics
        self._clock = clock
        self._answers: Answers | None = None
        self._pulse = Pulse(clock)
        self._writer = Writer(ledger, config, metrics, clock, stored=models.tell)
        self._worker: Batcher[DecisionJob] = Batcher(
            "adwright-models",
            self._run_batch,
            size=config.batch_size,
            wait=config.batch_wait_ms / 1e3,
            clock=clock,
            failed=self._fail,
        )
        self._rescuer: Batcher[tuple[DecisionJob, str]] = Batcher(
            "adwright-rescue",
            self._rescue_batch,
            size=config.batch_size,
            wait=0.0,
            clock=clock,
            failed=lambda batch, error: self._fail([job for job, _ in batch], error),
        )
        metrics.gauge("decisions_waiting", "Decisions not taken yet.", self._worker_pending)
        metrics.gauge("loop_lag_seconds", "How late the event loop is.", lambda: self._pulse.lag)
        metrics.gauge("rows_waiting", "Rows not committed yet.", lambda: self._writer.rows)

    def start(self) -> None:
        """Begin to work; called in the event loop."""
        self._answers = Answers(asyncio.get_running_loop())
        self._writer.start(self._answers)
        self._rescuer.start()
        self._worker.start()
        self._pulse.start()

    def stop(self) -> None:
        """Finish everything that was let in, then end. Blocks: call it on another thread."""
        self._pulse.stop()
        self._worker.stop()
        self._rescuer.stop()
        self._writer.stop()

    async def decide(self, tenant: str, request: Request, seconds: float) -> Decision:
        """The recorded decision of a request that has `seconds` of time.

        Raises Busy where it could not be answered in time, ApiError where the tenant has no
        model or the store cannot be written.
        """
        self._require_model(tenant)
        load = Load(
            self._worker.pending, self._rescuer.seconds, self._writer.rows, self._writer.per_commit
        )
        # Subtract the time the request already spent queued in the event loop.
        seconds = max(0.0, seconds - self._pulse.lag)
        refusal = shed(load, seconds, self._config)
        if refusal is not None:
            raise self._counted(refusal)
        loop = asyncio.get_running_loop()
        reserve = commit_reserve(self._writer.per_commit, seconds)
        soft = Deadline.after((seconds - reserve) * (1 - _GRACE), self._clock)
        job = DecisionJob(tenant, request, soft, loop.create_future())
        self._worker.put(job)
        late = loop.call_later(max(0.0, seconds - reserve), self._rescue, job, "late")
        try:
            stored: StoredDecision = await job.answer
        finally:
            late.cancel()
        if stored.repeated:
            self._metrics.repeats.inc()
        return stored.decision

    async def record(self, tenant: str, events: Events) -> Recorded:
        """Store events; what became of them, once they are committed.

        Raises Busy where too much waits for the store, ApiError where it cannot be written.
        """
        if self._writer.rows + len(events) > self._config.max_pending_rows:
            raise self._counted(Busy("store", self._writer.per_commit))
        answer = asyncio.get_running_loop().create_future()
        self._writer.put(Write(tenant, answer, events))
        recorded: Recorded = await answer
        self._metrics.events.labels("accepted").inc(recorded.accepted)
        self._metrics.events.labels("duplicate").inc(recorded.duplicates)
        return recorded

    def _worker_pending(self) -> float:
        return self._worker.pending

    def _counted(self, busy: Busy) -> Busy:
        self._metrics.shed.labels(busy.reason).inc()
        return busy

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

    def _run_batch(self, jobs: list[DecisionJob]) -> None:
        self._metrics.batch.observe(len(jobs))
        began = self._clock.monotonic()
        by_tenant: dict[str, list[DecisionJob]] = {}
        for job in jobs:
            if not job.claimed:
                by_tenant.setdefault(job.tenant, []).append(job)
        for tenant, group in by_tenant.items():
            deployed = self._require_model(tenant)
            in_time = [job for job in group if not job.soft.passed()]
            late = [job for job in group if job.soft.passed()]
            # Those that waited too long must not hurry the others.
            for part in filter(None, (in_time, late)):
                self._run_part(deployed, part)
        self._metrics.model_seconds.observe(self._clock.monotonic() - began)

    def _run_part(self, deployed: Deployed, jobs: list[DecisionJob]) -> None:
        deadline = min((job.soft for job in jobs), key=lambda soft: soft.at)
        try:
            answers = deployed.recommender.recommend_many([job.request for job in jobs], deadline)
            pairs = list(zip(jobs, answers, strict=True))
        except Exception:
            _log.exception("the model %s failed", deployed.name)
            for job in jobs:
                self._rescue(job, "failed")
            return
        writes = [self._conclude(deployed, job, candidates) for job, candidates in pairs]
        self._writer.put(*filter(None, writes))

    def _rescue(self, job: DecisionJob, reason: str) -> None:
        if not job.claimed:
            self._rescuer.put((job, reason))

    def _rescue_batch(self, batch: list[tuple[DecisionJob, str]]) -> None:
        for job, reason in batch:
            if not job.claimed:
                self._metrics.rescued.labels(reason).inc()
                deployed = self._require_model(job.tenant)
                try:
                    candidates = deployed.fallback.recommend(job.request)
                except Exception as error:
                    self._fail([job], error)
                else:
                    self._writer.put(*filter(None, [self._conclude(deployed, job, candidates)]))

    def _conclude(
        self, deployed: Deployed, job: DecisionJob, candidates: Candidates
    ) -> Write | None:
        """Let the policy choose; what is to be written, or None where it failed or others did."""
        if not job.claim():
            return None
        try:
            decision = deployed.decide(job.tenant, job.request, candidates)
        except Exception as error:
            _log.exception("the policy %s failed", deployed.policy.policy_id)
            self._fail([job], error)
            return None
        self._metrics.decisions.labels(decision.stage).inc()
        settled = partial(deployed.records.settle, job.request.request_id)
        return Write(job.tenant, job.answer, decision, settled)

    def _fail(self, jobs: Sequence[DecisionJob], error: Exception) -> None:
        if self._answers is not None:
            self._answers.deliver([(job.answer, error) for job in jobs])
