"""What waits for the store: decisions before events, each tenant in its turn, in small portions.

Events come in bodies of up to a thousand. Written whole, one body would hold up everybody's
decisions, so they are cut into pieces, and a transaction takes as many of them as it can write
in a few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.group_commit import Events
from adwright.delivery.decision import Decision
from adwright.service.decide.fair_queue import FairQueue

__all__ = ["TransactionSize", "Write", "WritePiece", "WriteQueue", "pieces_of"]

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


class WriteQueue:
    """The lines of a `Batcher` for pieces: in each round one turn of every tenant that has
    decisions, then one turn of one tenant that has events."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._decisions: FairQueue[WritePiece] = FairQueue(size, lambda piece: piece.rows)
        self._events: FairQueue[WritePiece] = FairQueue(size, lambda piece: piece.rows)
        self._served: set[str] = set()  # whose decisions had their turn in this round

    def deciding(self, tenant: str) -> int:
        """How many other tenants have decisions waiting."""
        return self._decisions.tenants - (self._decisions.waits(tenant) > 0)

    def waits(self, tenant: str) -> int:
        """Pieces of one tenant."""
        return self._decisions.waits(tenant) + self._events.waits(tenant)

    def put(self, tenant: str, item: WritePiece) -> None:
        """Add a piece."""
        self._of(item).put(tenant, item)

    def next(self, busy: Container[str] = ()) -> str | None:
        """Whose turn it is."""
        for queue in (self._decisions, self._events):
            first = queue is self._decisions and self._events.tenants
            due = queue.next(self._served if first else busy)
            if due is not None:
                return due
        return None

    def take(self, tenant: str) -> list[WritePiece]:
        """The pieces of one turn, without those that nobody waits for any more."""
        in_turn = tenant not in self._served or not self._events.tenants
        if in_turn and self._decisions.waits(tenant):
            self._served.add(tenant)
            return self._decisions.take(tenant)
        self._served.clear()
        return [piece for piece in self._events.take(tenant) if piece.wanted]

    def drop(self, tenant: str, item: WritePiece) -> bool:
        """Take one piece out."""
        return self._of(item).drop(tenant, item)

    def drain(self, tenant: str) -> list[WritePiece]:
        """Take all pieces of a tenant."""
        return self._decisions.drain(tenant) + self._events.drain(tenant)

    def _of(self, piece: WritePiece) -> FairQueue[WritePiece]:
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
