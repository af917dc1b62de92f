"""Group commit: write the decisions and events of many requests in one transaction, then answer.

Nothing is acknowledged before the store has committed it. While one transaction waits for the
disk the next gathers, so that the number of commits does not grow with the load. Each transaction
is of one tenant and short; tenants take turns.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from adwright.campaigns.store.store import Events, StoredDecision, new_events
from adwright.campaigns.store.tables import Recorded
from adwright.core.clock import Clock
from adwright.core.errors import DataError
from adwright.core.tenant_queue import TenantQueue
from adwright.delivery.decision import Deadline, Decision, Request
from adwright.service.config import ServiceConfig
from adwright.web.errors import ApiError
from adwright.web.gate import ServiceMetrics

# --------------------------------------------------------------------------------------------------
# Handle items of many tenants in batches, on threads of its own, tenants in turn.
#
# While a batch is handled the next one gathers, so that batches grow with the load by themselves;
# waiting for more items is worth only a moment. A tenant's batches follow one another; those of
# several tenants run side by side where there are several threads, so that a slow one holds up
# nobody else.

T = TypeVar("T")
_log = logging.getLogger("adwright.service")


class MovingAverage:
    """Averages durations: the first one sets the average, each later one moves it by a tenth."""

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.value += (seconds - self.value) * (0.1 if self.value else 1.0)


class Lines(TenantQueue[T]):
    """Where items of a `Batcher` wait. size: of one turn of a tenant."""

    def __init__(self, size: Callable[[], int]) -> None:
        super().__init__()
        self._size = size

    def free(self, busy: Container[str] = ()) -> str | None:
        """Whose turn it is, of those that are not busy."""
        return self.next(lambda tenant: tenant not in busy)

    def turn(self, tenant: str) -> list[T]:
        """Take the items of one turn."""
        return self.take(tenant, self._size())


class Batcher(Generic[T]):
    """Calls `handle` with a tenant and items of it, in the order they came.

    lines: where items wait; nobody else touches it. enough: this many items of a tenant are not
    kept waiting for more. wait: seconds from a tenant's turn on, for which more items of it are
    waited for; 0 takes what is there. threads: so many batches at a time, each of another
    tenant. spare: threads beyond these, each in the place of one that was given up. failed:
    called with the batch where `handle` raised.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[str, list[T]], None],
        lines: Lines[T],
        *,
        clock: Clock,
        enough: int = 1,
        wait: float = 0.0,
        threads: int = 1,
        spare: int = 0,
        failed: Callable[[list[T], Exception], None] = lambda _, __: None,
    ) -> None:
        self._name, self._handle, self._lines = name, handle, lines
        self._clock, self._failed = clock, failed
        self._enough, self._wait = enough, wait
        self._most, self._spare = threads, spare
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # for idle threads
        self._company = threading.Condition(lock)  # for those that wait for more of a tenant
        self._idle = 0
        self._busy: dict[str, threading.Thread] = {}
        self._lost: set[threading.Thread] = set()
        self._threads: set[threading.Thread] = set()
        self._seconds = MovingAverage()
        self._running = False

    @property
    def seconds(self) -> float:
        """Seconds that one item took lately: a moving average over batches."""
        return self._seconds.value

    @property
    def stalled(self) -> bool:
        """Whether every thread was given up, so that nothing is handled any more."""
        return self._running and len(self._lost) >= self._most + self._spare

    def put(self, tenant: str, *items: T) -> None:
        """Add items; from any thread, returns at once. Together costs less than one by one."""
        with self._work:
            for item in items:
                self._lines.put(tenant, item)
            if tenant not in self._busy:
                self._wake()
            elif self._wait and self._lines.waits(tenant) >= self._enough:
                self._company.notify_all()

    def waits(self, tenant: str) -> int:
        """How many items of a tenant are not in work yet."""
        with self._work:
            return self._lines.waits(tenant)

    def drop(self, tenant: str, item: T) -> bool:
        """Take an item back that is not in work yet; whether it was there."""
        with self._work:
            return self._lines.drop(tenant, item)

    def drain(self, tenant: str) -> list[T]:
        """Take back all items of a tenant that are not in work yet."""
        with self._work:
            return self._lines.drain(tenant)

    def give_up(self, tenant: str) -> None:
        """Let another thread go on in the place of the one that handles a batch of this tenant;
        that one ends when its batch does. Nothing happens where `spare` such are there already."""
        with self._work:
            if tenant in self._busy and len(self._lost) < self._most + self._spare:
                self._lost.add(self._busy[tenant])
                if len(self._lost) <= self._spare:
                    del self._busy[tenant]
                self._wake()

    def start(self) -> None:
        """Begin to handle what comes."""
        with self._work:
            self._running = True
            self._wake()

    def stop(self, seconds: float = math.inf) -> None:
        """Handle what was put before this call, then end the threads; returns when they ended,
        but for those that were given up, or after `seconds`."""
        with self._work:
            self._running, self._idle = False, 0
            self._work.notify_all()
            self._company.notify_all()
            threads = list(self._threads - self._lost)
        ends = self._clock.monotonic() + seconds
        for thread in threads:
            left = max(0.0, ends - self._clock.monotonic())
            thread.join(left if math.isfinite(left) else None)

    def _wake(self) -> None:
        """Have a thread look at the lines where somebody's turn has come; holds the lock."""
        if not self._running or self._lines.free(self._busy) is None:
            return
        if self._idle:
            self._idle -= 1
            self._work.notify()
        elif len(self._threads) < self._most + min(len(self._lost), self._spare):
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._threads.add(thread)
            thread.start()

    def _run(self) -> None:
        me = threading.current_thread()
        while turn := self._next(me):
            tenant, items = turn
            began = self._clock.monotonic()
            try:
                self._handle(tenant, items)
            except Exception as error:
                _log.exception("a batch of %s failed", self._name)
                self._failed(items, error)
            self._seconds.add((self._clock.monotonic() - began) / max(1, len(items)))
            with self._work:
                self._lost.discard(me)
                if self._busy.get(tenant) is me:
                    del self._busy[tenant]

    def _next(self, me: threading.Thread) -> tuple[str, list[T]] | None:
        """A tenant and the items of its turn; None when this thread is to end."""
        with self._work:
            while True:
                tenant = self._lines.free(self._busy)
                too_many = len(self._threads) > self._most + min(len(self._lost), self._spare)
                if too_many or (tenant is None and not self._running):
                    self._threads.discard(me)
                    return None
                if tenant is None:
                    self._idle += 1
                    self._work.wait()
                    continue
                self._busy[tenant] = me
                self._gather(tenant)
                items = self._lines.turn(tenant)
                if items:
                    self._wake()  # another tenant may have come meanwhile
                    return tenant, items
                del self._busy[tenant]  # they were taken back

    def _gather(self, tenant: str) -> None:
        """Wait a moment for more items of the tenant; holds the lock but while it waits."""
        closes = self._clock.monotonic() + self._wait if self._wait else 0.0
        while self._wait and self._running and self._lines.waits(tenant) < self._enough:
            left = closes - self._clock.monotonic()
            if left <= 0:
                return
            self._company.wait(left)


# --------------------------------------------------------------------------------------------------
# A request for a decision while it is pending, and the way of its answer to the event loop.


@dataclass(eq=False)
class DecisionJob:
    """A request for a decision.

    soft: by when the model must be done, so that the decision can still be written. answer: what
    the caller waits for. expected: responses that the model tells of what is shown.
    """

    tenant: str
    request: Request
    soft: Deadline
    answer: asyncio.Future[Any]
    reason: str = ""
    expected: float = 0.0
    timer: asyncio.TimerHandle | None = None
    _claimed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def claimed(self) -> bool:
        """Whether a decision was made already."""
        return self._claimed

    def claim(self) -> bool:
        """True for the first caller, who alone may decide; the others drop what they have.

        The model and the rescue run side by side; only one of their decisions may be written.
        """
        with self._lock:
            first, self._claimed = not self._claimed, True
        return first


def unavailable(what: str) -> ApiError:
    """503: the store does not take it, or not in time."""
    return ApiError(
        503,
        what,
        hint="send it again with the same ids: what was stored already counts once",
        headers={"Retry-After": "1"},
    )


class Answers:
    """Carries results from other threads to the futures of the event loop, many at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def deliver(self, results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
        """Set each future's result, or its exception where the result is one."""
        try:
            self._loop.call_soon_threadsafe(_settle, results)
        except RuntimeError:
            # The loop is closed: no caller waits any more.
            return


def _settle(results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


# --------------------------------------------------------------------------------------------------
# What waits for the store: decisions before events, each tenant in its turn, in small portions.
#
# Events come in bodies of up to a thousand. Written whole, one body would hold up everybody's
# decisions, so they are cut into pieces, and a transaction takes as many of them as it can write
# in a few milliseconds.

#: Rows that are written together in any case: so many cost no more than the wait for the disk.
PIECE_ROWS = 50


@dataclass(eq=False)
class Write:
    """What one request wants written.

    answer: gets what the ledger says of the entry, a decision or events. settled: called once it
    is known whether the entry was written, after new events were passed on.
    """

    tenant: str
    answer: asyncio.Future[Any]
    entry: Decision | Events
    settled: Callable[[], None] = lambda: None
    # What became of the pieces that were written.
    recorded: list[Recorded] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that it adds to the store."""
        if isinstance(self.entry, Decision):
            return 1 + len(self.entry.item_ids)
        return len(self.entry)


@dataclass(eq=False)
class WritePiece:
    """A part of a write that is not divided further. last: whether it ends the write."""

    write: Write
    entry: Decision | Events
    rows: int
    last: bool = True

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for these events."""
        return not self.write.answer.done()

    def result(self, result: Any) -> Any:
        """The answer to the whole write once this piece, in its turn, became `result`; None where
        more of its pieces are to come."""
        if not isinstance(result, Recorded) or (self.last and not self.write.recorded):
            return result
        self.write.recorded.append(result)
        return _sum(self.write.recorded) if self.last else None


def pieces_of(write: Write) -> list[WritePiece]:
    """The write in pieces, in order: a decision whole, events by `PIECE_ROWS`."""
    entry, rows = write.entry, write.rows
    if isinstance(entry, Decision) or rows <= PIECE_ROWS:
        return [WritePiece(write, entry, rows)]
    return [
        WritePiece(write, part, len(part), at + PIECE_ROWS >= rows)
        for at in range(0, rows, PIECE_ROWS)
        if (part := entry[at : at + PIECE_ROWS])
    ]


class TransactionSize:
    """How many rows one transaction takes, so that it ends in about `seconds`.

    It grows slowly while full transactions end in time, and shrinks at once when one does not;
    between PIECE_ROWS and `most`.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self.rows = min(PIECE_ROWS, most)

    def add(self, rows: int, seconds: float) -> None:
        """Take note that so many rows took so long."""
        if seconds > self._seconds and rows > PIECE_ROWS:
            self.rows = max(PIECE_ROWS, int(rows * self._seconds / seconds))
        elif seconds <= self._seconds and rows > self.rows - PIECE_ROWS:
            self.rows += 1 + self.rows // 16
        self.rows = min(self.rows, self._most)


class WriteQueue(Lines[WritePiece]):
    """In each round one turn of every tenant that has decisions, then one turn of one tenant that
    has events."""

    def __init__(self, size: Callable[[], int]) -> None:
        super().__init__(size)
        self._decisions, self._events = TenantQueue[WritePiece](), TenantQueue[WritePiece]()
        self._served: set[str] = set()  # whose decisions had their turn in this round

    def deciding(self, tenant: str) -> int:
        """How many other tenants have decisions waiting."""
        return len(self._decisions.tenants) - (self._decisions.waits(tenant) > 0)

    def waits(self, tenant: str) -> int:
        """Pieces of one tenant."""
        return self._decisions.waits(tenant) + self._events.waits(tenant)

    def put(self, tenant: str, item: WritePiece) -> None:
        """Add a piece."""
        self._of(item).put(tenant, item)

    def free(self, busy: Container[str] = ()) -> str | None:
        """Whose turn it is."""
        served = self._served if len(self._events) else busy
        due = self._decisions.next(lambda tenant: tenant not in served)
        return self._events.next(lambda tenant: tenant not in busy) if due is None else due

    def turn(self, tenant: str) -> list[WritePiece]:
        """The pieces of one turn, without those that nobody waits for any more."""
        size = self._size()
        in_turn = tenant not in self._served or not len(self._events)
        if in_turn and self._decisions.waits(tenant):
            self._served.add(tenant)
            return self._decisions.take(tenant, size, lambda piece: piece.rows)
        self._served.clear()
        taken = self._events.take(tenant, size, lambda piece: piece.rows)
        return [piece for piece in taken if piece.wanted]

    def drop(self, tenant: str, item: WritePiece) -> bool:
        """Take one piece out."""
        return self._of(item).drop(tenant, item)

    def drain(self, tenant: str) -> list[WritePiece]:
        """Take all pieces of a tenant."""
        return self._decisions.drain(tenant) + self._events.drain(tenant)

    def _of(self, piece: WritePiece) -> TenantQueue[WritePiece]:
        return self._decisions if isinstance(piece.entry, Decision) else self._events


def _sum(parts: Sequence[Recorded]) -> Recorded:
    repeated, before = set[int](), 0
    for part in parts:
        repeated |= {before + place for place in part.repeated}
        before += part.accepted + part.duplicates
    return Recorded(
        sum(part.accepted for part in parts),
        sum(part.duplicates for part in parts),
        sum(part.conflicting for part in parts),
        frozenset(repeated),
    )


class Ledger(Protocol):
    """What decisions and events are written to: a store, or what stands before it."""

    def record_group(
        self, tenant: str, entries: Sequence[Decision | Events]
    ) -> list[StoredDecision | Recorded]:
        """See `Store.record_group`."""
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
