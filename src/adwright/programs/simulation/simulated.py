"""An engine in simulated time: continuous batching, a prefix cache, limited memory.

A step reads at most `chunk_tokens` of prompts, in the order of arrival, and writes a token of each
row whose prompt has been read; it takes what the curve says of that batch, and the time of the
prompts on top. Memory for a prompt and its answer is set aside when a row is admitted; rows are
admitted first come, first served. Steps that are alike are made at once, so that a simulated hour
takes a moment. Nothing is random.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

from adwright.programs.scheduling.engine import EngineCapabilities
from adwright.programs.scheduling.engine_state import EngineState
from adwright.programs.scheduling.latency_curve import LatencyCurve
from adwright.programs.scheduling.radix import PrefixIndex
from adwright.programs.scheduling.ready_chain import ReadyChain


class SimulatedEvent(NamedTuple):
    """What happened at `time`. cached: tokens of the prompt that were held."""

    time: float
    kind: Literal["prefilled", "done"]
    chain_id: str
    cached: int


@dataclass
class _Row:
    chain: ReadyChain
    cached: int = 0
    unread: int = 0
    unwritten: int = 0
    own: int = 0
    held: int | None = None
    cancelled: bool = False


class SimulatedEngine:
    """One engine. max_rows: a limit of its own, as a server is started with; None: its max_batch.

    read_tokens: of prompts, computed so far; busy: seconds of steps; peak_tokens: the most that
    rows and the prefixes they read have held.
    """

    #: The steps being made: since when, how many alike, seconds of each.
    _began: float
    _steps: int
    _seconds: float

    def __init__(
        self,
        engine_id: str,
        capabilities: EngineCapabilities,
        curve: LatencyCurve,
        *,
        max_rows: int | None = None,
    ) -> None:
        self.engine_id, self.capabilities, self.curve = engine_id, capabilities, curve
        self._most = min(capabilities.max_batch, max_rows or capabilities.max_batch)
        self.read_tokens = self.peak_tokens = 0
        self.busy = 0.0
        self.alive = True
        self._reset()

    def state(self, quota: int | None = None) -> EngineState:
        """A scheduler's view of it."""
        return EngineState(self.engine_id, self.capabilities, self.curve, quota=quota)

    @property
    def held_tokens(self) -> int:
        """Tokens that rows and the prefixes they read hold now."""
        return self._own + self._index.held_tokens

    @property
    def load(self) -> int:
        """Requests that run or wait here."""
        return len(self._rows) + len(self._queue)

    def submit(self, chain: ReadyChain, now: float) -> None:
        """A request arrives; one without an answer only reads its prompt."""
        row = _Row(chain)
        if self._keeps and not self.capabilities.in_flight_prefix:
            self._look_up(row)
        self._queue.append(row)
        self._interrupt(now)

    def cancel(self, chain_id: str, now: float) -> None:
        """It ends with the step that is being made."""
        for row in (*self._queue, *self._rows):
            if row.chain.chain_id == chain_id:
                row.cancelled = True
        self._interrupt(now)

    def die(self) -> None:
        """Everything is lost, without a word."""
        self.alive = False
        self._reset()

    def revive(self) -> None:
        """It is there again, and empty."""
        self.alive = True

    def next_time(self) -> float | None:
        """When something will have happened; None: nothing will."""
        return self._began + self._steps * self._seconds if self._steps else None

    def advance(self, now: float) -> list[SimulatedEvent]:
        """Let time pass until `now`."""
        found: list[SimulatedEvent] = []
        while (end := self.next_time()) is not None and end <= now:
            self.busy += self._steps * self._seconds
            self._began = end
            self._made(end, found)
            self._plan()
        return found

    def _reset(self) -> None:
        self._queue: deque[_Row] = deque()
        self._rows: list[_Row] = []
        self._own = 0
        self._index = PrefixIndex(self.capabilities.kv_tokens, informed=False)
        self._began, self._steps, self._seconds = 0.0, 0, 0.0
        #: And the tokens that each row reads in one.
        self._reads: list[tuple[_Row, int]] = []

    @property
    def _keeps(self) -> bool:
        return self.capabilities.prefix_cache or self.capabilities.fork

    def _interrupt(self, now: float) -> None:
        """Look again after the step that is being made."""
        if not self._steps:
            self._began = now
            self._sweep()
            self._plan()
            return
        made = math.floor((now - self._began) / self._seconds + 1e-9)
        self._steps = min(self._steps, max(made + (made * self._seconds < now - self._began), 1))

    def _made(self, now: float, found: list[SimulatedEvent]) -> None:
        """Account for the steps that have been made."""
        steps = self._steps
        writers = [row for row in self._rows if not row.unread]
        for row, tokens in self._reads:
            row.unread -= tokens * steps
            self.read_tokens += tokens * steps
            if not row.unread:
                if not self.capabilities.in_flight_prefix:
                    self._enter(row, now)
                found.append(SimulatedEvent(now, "prefilled", row.chain.chain_id, row.cached))
        for row in writers:
            row.unwritten -= steps
        for row in list(self._rows):
            if not row.unread and row.unwritten <= 0:
                self._leave(row)
                found.append(SimulatedEvent(now, "done", row.chain.chain_id, row.cached))
        self._sweep()

    def _sweep(self) -> None:
        for row in [row for row in self._rows if row.cancelled]:
            self._leave(row)
        if any(row.cancelled for row in self._queue):
            for row in self._queue:
                if row.cancelled and row.held is not None:
                    self._index.release(row.held)
            self._queue = deque(row for row in self._queue if not row.cancelled)

    def _plan(self) -> None:
        """Admit who fits, and see how many steps are alike."""
        while self._queue and len(self._rows) < self._most and self._admit(self._queue[0]):
            self._queue.popleft()
        writers = [row for row in self._rows if not row.unread]
        readers = [row for row in self._rows if row.unread]
        self._steps, self._reads = 0, []
        if not self._rows:
            return
        steps = min((row.unwritten for row in writers), default=1 << 40)
        left = self.capabilities.chunk_tokens
        if readers and readers[0].unread >= left:
            self._reads = [(readers[0], left)]
            steps, left = min(steps, readers[0].unread // left), 0
        elif readers:
            steps = 1
            for row in readers:
                tokens = min(left, row.unread)
                if tokens:
                    self._reads.append((row, tokens))
                    left -= tokens
        held = self.held_tokens if self.capabilities.shared_reads else sum(map(_length, writers))
        self._steps = steps
        self._seconds = self.curve.step_seconds(len(writers), held if writers else 0)
        self._seconds += self.curve.prefill_seconds(sum(tokens for _, tokens in self._reads))

    def _admit(self, row: _Row) -> bool:
        chain, index = row.chain, self._index
        if self._keeps and self.capabilities.in_flight_prefix:
            self._look_up(row)
        need = chain.prompt_tokens - row.cached + chain.new_tokens
        if self._rows and self.held_tokens + need > self.capabilities.kv_tokens:
            if self.capabilities.in_flight_prefix and row.held is not None:
                index.release(row.held)
                row.held = None
            return False
        row.unread, row.unwritten = chain.prompt_tokens - row.cached, chain.new_tokens
        row.own = need
        self._own += need
        self._make_room()
        self._rows.append(row)
        if self.capabilities.in_flight_prefix:
            self._enter(row, self._began)
        self.peak_tokens = max(self.peak_tokens, self.held_tokens)
        return True

    def _look_up(self, row: _Row) -> None:
        """What is held of its prompt; the last token is computed in any case."""
        borders = self._index.hit(row.chain.prefix)
        if borders:
            block = self.capabilities.block_size
            most = min(row.chain.prefix_tokens[borders - 1], row.chain.prompt_tokens - 1)
            row.cached = most // block * block
            row.held = row.chain.prefix[borders - 1]
            self._index.hold(row.held)

    def _enter(self, row: _Row, now: float) -> None:
        """Its prompt is a prefix for others from now on."""
        if not self._keeps:
            return
        chain, movable = row.chain, row.chain.prompt_tokens - row.cached
        self._index.capacity = self.capabilities.kv_tokens - self._own + movable
        told = (chain.prefix, chain.prefix_tokens, chain.tenant, chain.program_id, now)
        borders, new = self._index.insert(*told)
        moved = min(new, movable)
        row.own -= moved
        self._own -= moved
        if borders:
            self._index.hold(chain.prefix[borders - 1])
            if row.held is not None:
                self._index.release(row.held)
            row.held = chain.prefix[borders - 1]
        self._make_room()

    def _leave(self, row: _Row) -> None:
        self._rows.remove(row)
        self._own -= row.own
        if row.held is not None:
            self._index.release(row.held)
        self._make_room()

    def _make_room(self) -> None:
        self._index.capacity = self.capabilities.kv_tokens - self._own
        self._index.room(0)


def _length(row: _Row) -> int:
    """Tokens that a step reads for a row, about: half of its answer is there."""
    return row.chain.prompt_tokens + row.chain.new_tokens // 2
