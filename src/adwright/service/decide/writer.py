"""Group commit: write the decisions and events of many requests in one transaction, then answer.

Nothing is acknowledged before the store has committed it. While one transaction waits for the
disk the next gathers, so that the number of commits does not grow with the load. Each transaction
is of one tenant and short; tenants take turns.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.group_commit import Events, StoredDecision, new_events
from adwright.core.clock import Clock
from adwright.core.errors import DataError
from adwright.delivery.decision import Decision
from adwright.service.config import ServiceConfig
from adwright.service.decide.batcher import Batcher, MovingAverage
from adwright.service.decide.pending import Answers, unavailable
from adwright.service.decide.write_queue import (
    TransactionSize,
    Write,
    WritePiece,
    WriteQueue,
    pieces_of,
)
from adwright.web.errors import ApiError
from adwright.web.metrics import ServiceMetrics

__all__ = ["Ledger", "Writer", "refused"]

_log = logging.getLogger("adwright.service")


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
    """Writes on one thread what it is given, tenants in turn, and answers through `answers`.

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
        self._size = TransactionSize(config.commit_rows, config.commit_ms / 1e3)
        self._queue = WriteQueue(lambda: self._size.rows)
        self._batcher: Batcher[WritePiece] = Batcher(
            "adwright-writer", self._handle, self._queue, clock=clock, failed=self._failed
        )
        self._began: float | None = None

    @property
    def per_commit(self) -> float:
        """Seconds of a transaction, lately."""
        return self._commit.value

    @property
    def age(self) -> float:
        """For how many seconds the transaction in work is under way; 0 where there is none."""
        began = self._began
        return 0.0 if began is None else self._clock.monotonic() - began

    def before(self, tenant: str) -> float:
        """Seconds until a transaction with decisions of this tenant can begin: the rest of the
        one in work, and the turns of others."""
        began, usual = self._began, self._commit.value
        rest = 0.0 if began is None else max(0.0, began + usual - self._clock.monotonic())
        return rest + self._queue.deciding(tenant) * usual

    def start(self, answers: Answers) -> None:
        """Begin to write."""
        self._answers = answers
        self._batcher.start()

    def stop(self, seconds: float = math.inf) -> None:
        """Write what was put before, then end; returns after `seconds` in any case."""
        self._batcher.stop(seconds)

    def put(self, *writes: Write) -> None:
        """Add writes; from any thread, returns at once."""
        for write in writes:
            self._batcher.put(write.tenant, *pieces_of(write))

    def _handle(self, tenant: str, pieces: list[WritePiece]) -> None:
        try:
            results = self._results(tenant, pieces)
        finally:
            for piece in pieces:
                piece.write.settled()
        answers = [(p.write.answer, p.result(r)) for p, r in zip(pieces, results, strict=True)]
        self._answer([(answer, result) for answer, result in answers if result is not None])

    def _results(self, tenant: str, pieces: list[WritePiece]) -> Sequence[Any]:
        """What the ledger says of each piece: its result, or the error."""
        rows = sum(piece.rows for piece in pieces)
        self._began = began = self._clock.monotonic()
        try:
            results = self._ledger.record_group(tenant, [piece.entry for piece in pieces])
        except DataError as error:
            if len(pieces) == 1:
                self._metrics.commit_failures.inc()
                return [refused(error, pieces[0].entry)]
            # One bad row must not take the others with it.
            return [result for piece in pieces for result in self._results(tenant, [piece])]
        except Exception as error:
            _log.error("the store cannot be written: %s", error)
            self._metrics.commit_failures.inc(len(pieces))
            return [unavailable("the store cannot be written now")] * len(pieces)
        finally:
            self._began = None
        took = self._clock.monotonic() - began
        self._commit.add(took)
        self._size.add(rows, took)
        self._metrics.commit_seconds.observe(took)
        self._metrics.commit_rows.observe(rows)
        self._tell(tenant, pieces, results)
        return results

    def _failed(self, pieces: list[WritePiece], error: Exception) -> None:
        self._answer([(piece.write.answer, error) for piece in pieces])

    def _tell(
        self,
        tenant: str,
        pieces: Sequence[WritePiece],
        results: Sequence[StoredDecision | Recorded],
    ) -> None:
        pairs = zip((piece.entry for piece in pieces), results, strict=True)
        events = [event for entry, result in pairs for event in new_events(entry, result)]
        try:
            self._stored(tenant, events)
        except Exception:
            # They are stored: an observer that fails does not undo it.
            _log.exception("stored events could not be passed on")

    def _answer(self, results: Sequence[tuple[Any, Any]]) -> None:
        if self._answers is not None:
            self._answers.deliver(results)


def refused(error: DataError, entry: Decision | Events) -> ApiError:
    """What to answer for a row that can never be written."""
    if isinstance(entry, Decision):
        # The request was checked at the door: this is the model's doing.
        _log.error("the decision of model %s cannot be stored: %s", entry.model, error)
        hint = "nothing was stored; let another version decide"
        return ApiError(500, "the model made a decision that cannot be stored", hint=hint)
    where = f"{error.column}: " if error.column else ""
    return ApiError(422, f"{where}{error.what}", hint=error.hint)
