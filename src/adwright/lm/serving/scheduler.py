"""Choose the rows of the next pass, and who gets pages and gives them back.

Requests are served first come, first served. The first one waiting is admitted when there is a
place in the batch and room for its adapter and all of its tokens so far, evicting adapters without
a user; later requests wait behind it, so that a large one does not starve. A row that writes takes
a page each time a block is full. Where none is free, the row that came last is preempted: it gives
all of its pages back, waits at the head of the queue, and its keys and values are computed again
later (recomputation, as in vLLM, Kwon et al., 2023, arXiv 2309.06180). So the first row always
goes on; and since requests that could never fit are rejected on arrival, every row ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from adwright.core.errors import AdwrightError, ResourceError, ValueInvalidError
from adwright.lm.serving.adapter_cache import AdapterCache, PooledAdapter
from adwright.lm.serving.page_pool import PagePool
from adwright.lm.serving.rows import Row

__all__ = ["Scheduler", "Turn"]

_log = logging.getLogger("adwright.lm")


class Turn(NamedTuple):
    """A row in the next pass, and how many of its tokens it takes."""

    row: Row
    new: int


class Scheduler:
    """The queue and the rows of one pool. rows: the most at a time."""

    def __init__(self, pool: PagePool, cache: AdapterCache, rows: int) -> None:
        self._pool, self._cache, self._rows = pool, cache, rows
        self.waiting: deque[Row] = deque()
        self.live: list[Row] = []
        self.preemptions = 0
        self._arrived = 0

    def check(self, row: Row, index: int | None = None) -> None:
        """Raises ValueInvalidError, with its index in the call, where the row cannot fit into the
        empty pool; ConfigError where its adapter is not registered."""
        own = 0 if row.adapter is None else self._cache.pages_of(row.adapter)
        if row.adapter is not None:
            row.ahead = self._cache.ahead(row.adapter)
        needed = own + self._pool.shape.blocks(row.ahead.tokens + row.max_tokens)
        if needed > self._pool.capacity:
            raise ValueInvalidError(
                f"the request needs {needed} pages, and the pool has {self._pool.capacity}",
                row=index,
                hint="ask for fewer tokens, or give the pool more pages",
            )

    def add(self, row: Row) -> None:
        """Put a row behind the others."""
        row.order = self._arrived
        self._arrived += 1
        self.waiting.append(row)

    def uses(self, name: str) -> bool:
        """Whether a row waits for, or uses, the adapter."""
        return any(row.adapter == name for row in (*self.waiting, *self.live))

    def turns(self, tokens: int, allowed: Callable[[Row], bool] | None = None) -> list[Turn]:
        """Choose the next pass: rows that write, sorted by kind of adapter, then prompts of at most
        `tokens` together. allowed: whether a row may take part now."""
        self._sweep()
        self._grow(allowed)
        chosen = [row for row in self.live if allowed is None or allowed(row)]
        writing = sorted((row for row in chosen if row.writes), key=_like)
        turns = [Turn(row, 1) for row in writing]
        for row in chosen:
            if not row.writes and tokens:
                turns.append(Turn(row, min(row.left, tokens)))
                tokens -= turns[-1].new
        while tokens and self.waiting and (allowed is None or allowed(self.waiting[0])):
            row = self.waiting[0]
            if not self._admit(row):
                break
            if not row.over:
                turns.append(Turn(row, min(row.left, tokens)))
                tokens -= turns[-1].new
        return turns

    def settle(self) -> None:
        """Remove the rows that are over, and free what they hold."""
        for row in [row for row in self.live if row.over]:
            self._leave(row)
        if any(row.over for row in self.waiting):
            self.waiting = deque(row for row in self.waiting if not row.over)

    def fail(self, rows: Iterable[Row], error: AdwrightError) -> None:
        """End these with an error, but for those that are over."""
        for row in rows:
            if not row.over:
                row.fail(error)
        self.settle()

    def _sweep(self) -> None:
        for row in (*self.live, *self.waiting):
            if not row.over and row.cancelled:
                row.end("cancelled")
        self.settle()

    def _grow(self, allowed: Callable[[Row], bool] | None) -> None:
        """Give a page to each row whose last block is full."""
        for row in sorted(self.live, key=lambda row: row.order):
            if row not in self.live or (allowed is not None and not allowed(row)):
                continue
            while len(row.pages) < self._blocks(row):
                if self._cache.room(1):
                    row.pages.extend(self._pool.allocate(1, "keys") or ())
                    continue
                last = max(self.live, key=lambda row: row.order)
                self._preempt(last)
                if last is row:
                    break

    def _admit(self, row: Row) -> bool:
        """Admit the head of the queue; False where it has to wait."""
        if len(self.live) >= self._rows:
            return False
        needed = self._blocks(row)
        try:
            hot = self._hot(row, needed)
        except Exception as error:  # whatever is wrong with one adapter, the others go on
            self.waiting.popleft()
            row.fail(error if isinstance(error, AdwrightError) else _not_loaded(row, error))
            return True
        if hot is None and (row.adapter is not None or not self._cache.room(needed)):
            if not self.live:
                # All rows are done, so the pages that are missing are pinned from outside.
                self.waiting.popleft()
                row.fail(
                    ResourceError(
                        "the pool is held by others", where="pages", hint="release their pins"
                    )
                )
                return True
            return False
        self._cache.room(needed)
        row.hot = hot
        row.pages = self._pool.allocate(needed, "keys") or []
        if hot is not None and hot.ahead:
            # The last of them is not full, so that each row needs its own.
            self._pool.copy(hot.ahead, row.pages[: len(hot.ahead)])
        self.waiting.popleft()
        self.live.append(row)
        return True

    def _blocks(self, row: Row) -> int:
        """Pages for what stands before its text, and all of its tokens so far."""
        return self._pool.shape.blocks(row.ahead.tokens + len(row.tokens))

    def _hot(self, row: Row, needed: int) -> PooledAdapter | None:
        return None if row.adapter is None else self._cache.acquire(row.adapter, keep=needed)

    def _preempt(self, row: Row) -> None:
        self._leave(row)
        row.done = 0
        self.waiting.appendleft(row)
        self.preemptions += 1

    def _leave(self, row: Row) -> None:
        self.live.remove(row)
        self._pool.release(row.pages)
        row.pages = []
        if row.hot is not None:
            self._cache.release(row.hot.name)
            row.hot = None


def _not_loaded(row: Row, error: Exception) -> ResourceError:
    _log.error("the adapter %s cannot be loaded", row.adapter, exc_info=error)
    return ResourceError(
        f"the adapter cannot be loaded: {error}",
        where=str(row.adapter),
        hint="ask again, or look at its folder",
    )


def _like(row: Row) -> tuple[tuple[int, int, str], str]:
    """Sort key: rows with adapters of one kind together, those of one adapter side by side."""
    return ((-1, 0, ""), "") if row.hot is None else (row.hot.layout.order, row.hot.name)
