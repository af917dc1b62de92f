"""Group commit: write the decisions and events of many requests in one transaction, then answer.

Nothing is acknowledged before the store has committed it. While one transaction waits for the
disk the next gathers, so that the number of commits does not grow with the load.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.group_commit import Events, StoredDecision, new_events
from adwright.core.clock import Clock
from adwright.core.errors import DataError
from adwright.delivery.decision import Decision
from adwright.service.config import ServiceConfig
from adwright.service.decide.batcher import Batcher, MovingAverage
from adwright.service.decide.pending import Answers
from adwright.web.errors import ApiError
from adwright.web.metrics import ServiceMetrics

__all__ = ["Ledger", "Write", "Writer"]

_log = logging.getLogger("adwright.service")


@dataclass(frozen=True)
class Write:
    """One request's part of a transaction.

    answer: gets what the ledger says of the entry, a decision or events. settled: called once it
    is known whether the entry was written, after new events were passed on.
    """

    tenant: str
    answer: asyncio.Future[Any]
    entry: Decision | Events
    settled: Callable[[], None] = lambda: None

    @property
    def rows(self) -> int:
        """Rows that it adds to the transaction."""
        if isinstance(self.entry, Decision):
            return 1 + len(self.entry.item_ids)
        return len(self.entry)


class Ledger(Protocol):
    """The store, as the writer needs it."""

    def record_group(
        self, tenant: str, entries: Sequence[Decision | Events]
    ) -> Sequence[StoredDecision | Recorded]:
        """Write all or nothing, durably; what became of each entry, in order.

        DataError means that a row can never be written, any other error that nothing can be
        written now.
        """
        ...


class Writer:
    """Writes on one thread what it is given, and answers through `answers`.

    stored: called with the tenant and the new events of each transaction that went through.
    """

    def __init__(
        self,
        ledger: Ledger,
        config: ServiceConfig,
        metrics: ServiceMetrics,
        clock: Clock,
        *,
        stored: Callable[[str, Events], None] = lambda _, __: None,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._stored = stored
        self._answers: Answers | None = None
        self._commit = MovingAverage()
        self._batcher: Batcher[Write] = Batcher(
            "adwright-writer",
            self._handle,
            size=config.commit_rows,
            wait=0.0,
            clock=clock,
            weight=lambda write: write.rows,
            failed=lambda batch, error: self._answer([(write.answer, error) for write in batch]),
        )

    @property
    def rows(self) -> int:
        """Rows that are not committed yet."""
        return self._batcher.pending

    @property
    def per_commit(self) -> float:
        """Seconds of a transaction, lately."""
        return self._commit.value

    def start(self, answers: Answers) -> None:
        """Begin to write."""
        self._answers = answers
        self._batcher.start()

    def stop(self) -> None:
        """Write what was put before, then end."""
        self._batcher.stop()

    def put(self, *writes: Write) -> None:
        """Add writes; from any thread, returns at once."""
        self._batcher.put(*writes)

    def _handle(self, batch: list[Write]) -> None:
        by_tenant: dict[str, list[Write]] = {}
        for write in batch:
            by_tenant.setdefault(write.tenant, []).append(write)
        for tenant, writes in by_tenant.items():
            try:
                results = self._results(tenant, writes)
            finally:
                for write in writes:
                    write.settled()
            self._answer(list(zip((w.answer for w in writes), results, strict=True)))

    def _results(self, tenant: str, writes: list[Write]) -> Sequence[Any]:
        """The answer to each write: the ledger's result, or the error."""
        rows = sum(write.rows for write in writes)
        began = self._clock.monotonic()
        try:
            results = self._ledger.record_group(tenant, [write.entry for write in writes])
        except DataError as error:
            if len(writes) == 1:
                self._metrics.commit_failures.inc()
                return [_refused(error, writes[0].entry)]
            # One bad row must not take the others with it.
            return [result for write in writes for result in self._results(tenant, [write])]
        except Exception as error:
            _log.error("the store cannot be written: %s", error)
            self._metrics.commit_failures.inc(len(writes))
            return [_unavailable()] * len(writes)
        took = self._clock.monotonic() - began
        self._commit.add(took)
        self._metrics.commit_seconds.observe(took)
        self._metrics.commit_rows.observe(rows)
        self._tell(tenant, writes, results)
        return results

    def _tell(
        self, tenant: str, writes: Sequence[Write], results: Sequence[StoredDecision | Recorded]
    ) -> None:
        pairs = zip((write.entry for write in writes), results, strict=True)
        events = [event for entry, result in pairs for event in new_events(entry, result)]
        try:
            self._stored(tenant, events)
        except Exception:
            # They are stored: an observer that fails does not undo it.
            _log.exception("stored events could not be passed on")

    def _answer(self, results: Sequence[tuple[Any, Any]]) -> None:
        if self._answers is not None:
            self._answers.deliver(results)


def _refused(error: DataError, entry: Decision | Events) -> ApiError:
    if isinstance(entry, Decision):
        # The request was checked at the door: this is the model's doing.
        _log.error("the decision of model %s cannot be stored: %s", entry.model, error)
        hint = "nothing was stored; let another version decide"
        return ApiError(500, "the model made a decision that cannot be stored", hint=hint)
    where = f"{error.column}: " if error.column else ""
    return ApiError(422, f"{where}{error.what}", hint=error.hint)


def _unavailable() -> ApiError:
    return ApiError(
        503,
        "the store cannot be written now",
        hint="nothing was stored; send it again",
        headers={"Retry-After": "1"},
    )
