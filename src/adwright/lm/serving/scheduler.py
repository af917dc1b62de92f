"""Which rows are in the next pass, who gets pages, and who gives them back.

Requests are served in the order in which they came. One is let in where a row, room for its part
and room for all of its tokens so far can be had, evicting parts that nobody uses; later ones wait
behind it, so a large one is not passed by for ever. A row that is written takes a page each time
that a block is full. Where there is none, the row that came last gives all of its pages back and
waits at the head of the queue: its keys and values are computed again later (recomputation, as in
vLLM, Kwon et al., 2023, arXiv 2309.06180). So the row that came first always goes on, and since
what cannot fit into the empty pool is refused at the door, every row ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from adwright.core.errors import AdwrightError, ResourceError, ValueInvalidError
from adwright.lm.serving.adapter_cache import Hot, Residency
from adwright.lm.serving.page_pool import PagePool
from adwright.lm.serving.rows import Job

__all__ = ["Scheduler", "Turn"]

_log = logging.getLogger("adwright.lm")


class Turn(NamedTuple):
    """A job in the next pass, and how many of its tokens it takes."""

    job: Job
    new: int


class Scheduler:
    """The queue and the rows of one pool. rows: the most at a time."""

    def __init__(self, pool: PagePool, residency: Residency, rows: int) -> None:
        self._pool, self._residency, self._rows = pool, residency, rows
        self.waiting: deque[Job] = deque()
        self.live: list[Job] = []
        self.preemptions = 0
        self._arrived = 0

    def check(self, job: Job, row: int | None = None) -> None:
        """Raises ValueInvalidError, with the row of its call, where the job cannot fit into the
        empty pool; ConfigError where its part is not registered."""
        own = 0 if job.adapter is None else self._residency.pages_of(job.adapter)
        needed = own + self._pool.shape.blocks(job.most)
        if needed > self._pool.capacity:
            raise ValueInvalidError(
                f"the request needs {needed} pages, and the pool has {self._pool.capacity}",
                row=row,
                hint="ask for fewer tokens, or give the pool more pages",
            )

    def add(self, job: Job) -> None:
        """Put a job behind the others."""
        job.order = self._arrived
        self._arrived += 1
        self.waiting.append(job)

    def uses(self, name: str) -> bool:
        """Whether a job waits for, or uses, the part."""
        return any(job.adapter == name for job in (*self.waiting, *self.live))

    def turns(self, tokens: int, allowed: Callable[[Job], bool] | None = None) -> list[Turn]:
        """The next pass: rows that write first, sorted by what their parts do; then prompts, at
        most `tokens` of them together. allowed: of the jobs, those that may take part now."""
        self._sweep()
        self._grow(allowed)
        chosen = [job for job in self.live if allowed is None or allowed(job)]
        writing = sorted((job for job in chosen if job.writes), key=_like)
        turns = [Turn(job, 1) for job in writing]
        for job in chosen:
            if not job.writes and tokens:
                turns.append(Turn(job, min(job.left, tokens)))
                tokens -= turns[-1].new
        while tokens and self.waiting and (allowed is None or allowed(self.waiting[0])):
            job = self.waiting[0]
            if not self._admit(job):
                break
            if not job.over:
                turns.append(Turn(job, min(job.left, tokens)))
                tokens -= turns[-1].new
        return turns

    def settle(self) -> None:
        """Free what jobs have that are over, and forget them."""
        for job in [job for job in self.live if job.over]:
            self._leave(job)
        if any(job.over for job in self.waiting):
            self.waiting = deque(job for job in self.waiting if not job.over)

    def fail(self, jobs: Iterable[Job], error: AdwrightError) -> None:
        """These end with an error, but for those that are over."""
        for job in jobs:
            if not job.over:
                job.fail(error)
        self.settle()

    def _sweep(self) -> None:
        for job in (*self.live, *self.waiting):
            if not job.over and job.cancelled:
                job.end("cancelled")
        self.settle()

    def _grow(self, allowed: Callable[[Job], bool] | None) -> None:
        """A page more for each row that writes over the end of its last one."""
        for job in sorted(self.live, key=lambda job: job.order):
            if job not in self.live or (allowed is not None and not allowed(job)):
                continue
            while len(job.pages) < self._pool.shape.blocks(len(job.tokens)):
                if self._residency.room(1):
                    job.pages.extend(self._pool.allocate(1, "keys") or ())
                    continue
                last = max(self.live, key=lambda job: job.order)
                self._preempt(last)
                if last is job:
                    break

    def _admit(self, job: Job) -> bool:
        """Give the head of the queue what it needs; False where it has to wait."""
        if len(self.live) >= self._rows:
            return False
        needed = self._pool.shape.blocks(len(job.tokens))
        try:
            hot = self._hot(job, needed)
        except Exception as error:  # whatever is wrong with one part, the others go on
            self.waiting.popleft()
            job.fail(error if isinstance(error, AdwrightError) else _not_loaded(job, error))
            return True
        if hot is None and (job.adapter is not None or not self._residency.room(needed)):
            if not self.live:
                # Pages that neither rows nor idle parts hold are pinned by someone else.
                self.waiting.popleft()
                job.fail(
                    ResourceError(
                        "the pool is held by others", where="pages", hint="release their pins"
                    )
                )
                return True
            return False
        self._residency.room(needed)
        job.hot = hot
        job.pages = self._pool.allocate(needed, "keys") or []
        self.waiting.popleft()
        self.live.append(job)
        return True

    def _hot(self, job: Job, needed: int) -> Hot | None:
        return None if job.adapter is None else self._residency.acquire(job.adapter, keep=needed)

    def _preempt(self, job: Job) -> None:
        self._leave(job)
        job.done = 0
        self.waiting.appendleft(job)
        self.preemptions += 1

    def _leave(self, job: Job) -> None:
        self.live.remove(job)
        self._pool.release(job.pages)
        job.pages = []
        if job.hot is not None:
            self._residency.release(job.hot.name)
            job.hot = None


def _not_loaded(job: Job, error: Exception) -> ResourceError:
    _log.error("the part %s cannot be loaded", job.adapter, exc_info=error)
    return ResourceError(
        f"the part cannot be loaded: {error}",
        where=str(job.adapter),
        hint="ask again, or look at its folder",
    )


def _like(job: Job) -> tuple[tuple[int, int, str], str]:
    """Rows of like parts stand together, those of one part side by side."""
    return ((-1, 0, ""), "") if job.hot is None else (job.hot.layout.order, job.hot.name)
