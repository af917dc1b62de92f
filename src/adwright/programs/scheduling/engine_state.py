"""What the scheduler knows of an engine, from its own decisions and from what the engine reports.

No decision asks an engine: what it runs, holds and still has to do is kept here.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from adwright.programs.scheduling.engine import (
    EngineCapabilities,
    LatencyCurve,
    ReadyChain,
    StepLimit,
    UpcomingPrefix,
)

# --------------------------------------------------------------------------------------------------
# Which prefixes an engine holds, as far as is known: a radix tree by chained hashes.
#
# A chained hash names everything up to its border, so that a node is found by its hash alone, and
# its parent is held whenever it is. Tenant, model and adapter are in the hash: what two tenants say
# alike are two nodes. Only leaves that no running chain reads may go, those first whose next use
# seems farthest (Pan et al., "KVFlow", 2025): a prefix that chains wait for is needed in so many
# steps; of another is assumed that it comes again after as long as it has not been used (as LRU
# does); one that only ended programs have read goes at once.
#
# The index of the scheduler is a guess, as the engine may drop what it likes. When it reports that
# it found less of a prompt than it was thought to hold, then by the same rule it has dropped what
# was used still longer ago, too (`correct`).


@dataclass(slots=True)
class PrefixNode:
    """What lies between two borders.

    tokens: of its own. total: up to its end. used: seconds. due: of each program that will read it,
    the moment at which it would have been used last to be as far from its next use. readers:
    programs that have read it, two at the most. holders: running chains. rank: lowest goes first.
    """

    parent: int | None
    tokens: int
    total: int
    tenant: str
    used: float
    children: int = 0
    holders: int = 0
    hits: int = 0
    due: dict[str, float] = field(default_factory=dict)
    readers: set[str] = field(default_factory=set)
    rank: float = -math.inf


class PrefixIndex:
    """The prefixes of one engine.

    capacity: tokens. quota: tokens that one tenant may hold at most; None: all. informed: whether
    it goes by `expect`, or by the last use alone as engines do that nobody tells. step_seconds:
    what one step to an execution takes, about. tokens: held, of which running chains read
    held_tokens.
    """

    def __init__(
        self,
        capacity: int,
        *,
        quota: int | None = None,
        informed: bool = True,
    ) -> None:
        self.capacity, self._quota = capacity, quota
        self.step_seconds, self._informed = 1.0, informed
        self._nodes: dict[int, PrefixNode] = {}
        self._leaves: list[tuple[float, int, int]] = []
        self._of_tenant: dict[str, list[tuple[float, int, int]]] = {}
        self._pushed = 0
        self.tokens = self.held_tokens = 0
        self.by_tenant: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, prefix: int) -> bool:
        return prefix in self._nodes

    def node(self, prefix: int) -> PrefixNode | None:
        """What is known of a prefix that is held."""
        return self._nodes.get(prefix)

    def hit(self, prefix: Sequence[int]) -> int:
        """How many borders of these, outermost first, are held."""
        nodes = self._nodes
        if not prefix or prefix[0] not in nodes:
            return 0
        for at in range(len(prefix) - 1, -1, -1):
            if prefix[at] in nodes:
                return at + 1
        return 0

    def insert(
        self, prefix: Sequence[int], totals: Sequence[int], tenant: str, program: str, now: float
    ) -> tuple[int, int]:
        """Say that a prompt has been read.

        Returns how many of its borders are held then, fewer than all where the capacity or the
        tenant's quota has no room that is free or can be made; and how many tokens are new.
        """
        parent: int | None = None
        new = 0
        for at, (name, total) in enumerate(zip(prefix, totals, strict=True)):
            node = self._nodes.get(name)
            if node is None:
                own = total - (self._nodes[parent].total if parent is not None else 0)
                if not self._admit(own, tenant, keep=parent):
                    return at, new
                node = PrefixNode(parent, own, total, tenant, now)
                self._nodes[name] = node
                self.tokens += own
                new += own
                self.by_tenant[tenant] = self.by_tenant.get(tenant, 0) + own
                if parent is not None:
                    self._nodes[parent].children += 1
            else:
                node.hits += 1
            if len(node.readers) < 2:
                node.readers.add(program)
            node.used = max(node.used, now)
            self._ranked(name, node)
            parent = name
        return len(prefix), new

    def hold(self, prefix: int) -> None:
        """A running chain reads it: it and what it continues stay."""
        for node in self._path(prefix):
            node.holders += 1
            if node.holders == 1:
                self.held_tokens += node.tokens

    def release(self, prefix: int) -> None:
        """The chain has ended."""
        for node in self._path(prefix):
            node.holders -= 1
            if not node.holders:
                self.held_tokens -= node.tokens
        self._offer(prefix, self._nodes[prefix])

    def expect(self, program: str, prefix: int, steps: int | None, now: float) -> None:
        """Say in how many steps the program will read it; None: never again."""
        node = self._nodes.get(prefix)
        if node is None or not self._informed:
            return
        if steps is None:
            node.due.pop(program, None)
        else:
            node.due[program] = now - steps * self.step_seconds
        self._ranked(prefix, node, ended=program if steps is None else None)

    def room(self, tokens: int) -> int:
        """Let go of leaves until so many tokens are free; returns how many are."""
        while self.capacity - self.tokens < tokens:
            name = self._victim(self._leaves)
            if name is None:
                break
            self._drop(name)
        return self.capacity - self.tokens

    def correct(self, before: float) -> None:
        """The engine has dropped a prefix that was last used then: drop what was used at that
        moment or earlier, but for what running chains read."""
        for name in reversed(list(self._nodes)):  # what continues a prefix came after it
            node = self._nodes[name]
            if not node.children and not node.holders and node.used <= before:
                self._drop(name)

    def clear(self) -> None:
        """Nothing is held any more."""
        self._nodes.clear()
        self._leaves.clear()
        self._of_tenant.clear()
        self.by_tenant.clear()
        self.tokens = self.held_tokens = 0

    def _admit(self, tokens: int, tenant: str, keep: int | None) -> bool:
        """Make room for a new node; what it continues must not go for it."""
        if keep is not None:
            self.hold(keep)
        try:
            if self._quota is not None:
                own = self._of_tenant.setdefault(tenant, [])
                while self.by_tenant.get(tenant, 0) + tokens > self._quota:
                    name = self._victim(own)
                    if name is None:
                        return False
                    self._drop(name)
            return self.room(tokens) >= tokens
        finally:
            if keep is not None:
                self.release(keep)

    def _path(self, prefix: int | None) -> Iterator[PrefixNode]:
        """A node and what it continues."""
        while prefix is not None:
            node = self._nodes[prefix]
            yield node
            prefix = node.parent

    def _ranked(self, name: int, node: PrefixNode, ended: str | None = None) -> None:
        due = max(node.due.values(), default=-math.inf)
        known = bool(node.due or ended)
        if known and len(node.readers) < 2 and node.readers <= node.due.keys() | {ended}:
            rank = due  # only programs that have said when read it
        else:
            rank = max(node.used, due)
        node.rank = rank
        self._offer(name, node)

    def _offer(self, name: int, node: PrefixNode) -> None:
        if node.children or node.holders:
            return
        if len(self._leaves) > 4 * len(self._nodes) + 64:
            self._rebuild()
        self._pushed += 1
        entry = (node.rank, self._pushed, name)
        heapq.heappush(self._leaves, entry)
        if self._quota is not None:
            heapq.heappush(self._of_tenant.setdefault(node.tenant, []), entry)

    def _rebuild(self) -> None:
        """Heaps without what is out of date."""
        self._leaves, self._of_tenant = [], {}
        for at, (name, node) in enumerate(self._nodes.items()):
            if not node.children and not node.holders:
                self._leaves.append((node.rank, at - len(self._nodes), name))
                if self._quota is not None:
                    self._of_tenant.setdefault(node.tenant, []).append(self._leaves[-1])
        for heap in (self._leaves, *self._of_tenant.values()):
            heapq.heapify(heap)

    def _victim(self, heap: list[tuple[float, int, int]]) -> int | None:
        """The first to go; entries that are out of date leave the heap."""
        while heap:
            rank, _, name = heap[0]
            node = self._nodes.get(name)
            if node and not node.children and not node.holders and node.rank == rank:
                return name
            heapq.heappop(heap)
        return None

    def _drop(self, name: int) -> None:
        node = self._nodes.pop(name)
        self.tokens -= node.tokens
        self.by_tenant[node.tenant] -= node.tokens
        if not self.by_tenant[node.tenant]:
            del self.by_tenant[node.tenant]
        if node.parent is not None:
            parent = self._nodes[node.parent]
            parent.children -= 1
            self._offer(node.parent, parent)


#: Why an engine that is there is given nothing new: it said that it has enough to do, it fails, or
#: it refuses whoever asks, for a key, an address or a model that is not there.
EngineRest = Literal["busy", "fails", "refuses"]

#: Steps whose prompts may wait in an engine: with one, short prompts would go in one by one, and
#: the first of them would be answered in a batch of one. Of those that can wait it is one, since
#: whoever cannot may come at any moment.
_STEPS_AHEAD = 8


@dataclass(slots=True)
class ChainRun:
    """A chain, or the filling of a prefix for others, that is on an engine.

    cached: tokens of its prompt that are thought to be held there. kv: tokens it keeps beyond
    these until its prompt is in the index. stale: when the deepest of these was used before.
    """

    chain: ReadyChain
    limit: StepLimit
    cached: int
    kv: int
    started: float
    stale: float
    held: int | None = None
    prefilled: bool = False
    fill: bool = False


class WaitingChain(NamedTuple):
    """A chain that waits at an engine. rank: of its class, the strictest is 0; number: as it came.
    until: seconds on the clock; border: the prefix that it waits for, None: for a free place;
    unread: tokens of its prompt that it will have to read."""

    rank: int
    number: int
    until: float
    border: int | None
    unread: int
    chain: ReadyChain


class EngineState:
    """What the scheduler knows of one engine. quota: tokens of prefixes a tenant may hold here.

    No method of it asks the engine; all take constant time but for what leaves the index.
    """

    def __init__(
        self,
        engine_id: str,
        capabilities: EngineCapabilities,
        curve: LatencyCurve,
        *,
        quota: int | None = None,
    ) -> None:
        self.engine_id, self.capabilities, self.curve = engine_id, capabilities, curve
        self.alive = True
        #: None: it takes what fits. why: in the words of its last error.
        self.rests: EngineRest | None = None
        self.why = ""
        self.index = PrefixIndex(
            capabilities.kv_tokens,
            quota=quota,
            informed=capabilities.fork,
        )
        self.running: dict[str, ChainRun] = {}
        #: Chains that wait here for a place, the first to start first; by class.
        self.parked: list[WaitingChain] = []
        self._places = [0, 0, 0]
        #: Classes of which nothing can start until something happens here, and how many waited.
        self._refused: dict[int, float] = {}
        #: Of all that wait: rows, and tokens as of those that run.
        self.expected_programs: Counter[str] = Counter()
        self.expected_rows = self.expected_answers = 0
        self.expected_reads = self.expected_unread = 0
        #: Those that wait for a prefix, by its hash.
        self.followers: dict[int, list[WaitingChain]] = {}
        #: Prefixes that are being read for others, and when that is over.
        self.filling: dict[int, float] = {}
        #: Programs of the running chains that are wanted soon.
        self.soon_programs: Counter[str] = Counter()
        #: Tokens of running chains that are not in the index: prompts being read, answers.
        self.own_tokens = 0
        #: Tokens of prompts that are not computed yet; tokens of answers that are expected.
        self.unread_tokens = 0
        self.answer_tokens = 0
        #: Of each row its prompt and its answer.
        self.read_tokens = 0
        #: Chains that have ended here, for the mean of their seconds.
        self._ended = 0
        self._limits: Counter[float] = Counter()
        self._queues: Counter[float] = Counter()
        self.tightest = StepLimit()
        #: Running chains that are wanted soon; others that began since the last of these.
        self.soon = 0
        self._since_soon = capabilities.max_batch
        #: Until then no prompt is read for whoever can wait, where others are wanted soon.
        self.quiet_until = -math.inf

    @property
    def batch(self) -> int:
        """Rows that run."""
        return len(self.running)

    @property
    def takes(self) -> bool:
        """Whether chains may begin here."""
        return self.alive and self.rests is None

    @property
    def answers(self) -> bool:
        """Whether it can be asked, now or when it has less to do."""
        return self.alive and self.rests in (None, "busy")

    @property
    def held_tokens(self) -> int:
        """Tokens in its memory, of rows and of prefixes."""
        return self.own_tokens + self.index.tokens

    def reads(self, tokens: int = 0, cached: int = 0) -> int:
        """Tokens that a step reads, at most, with another row of so many, of which so many are of a
        prefix that is held."""
        if self.capabilities.shared_reads:
            return self.own_tokens + self.index.held_tokens + tokens - cached
        return self.read_tokens + tokens

    def cached(self, chain: ReadyChain) -> int:
        """Tokens of the chain's prompt that are thought to be held; at least its last one is
        computed again."""
        borders = self.index.hit(chain.prefix)
        if not borders:
            return 0
        block = self.capabilities.block_size
        return min(chain.prefix_tokens[borders - 1], chain.prompt_tokens - 1) // block * block

    def refuses(self, rank: int, waiting: float) -> bool:
        """Whether nothing of this class, or with -1 of those that wait here, can start now: for
        want of places, or because another one could not, nothing has happened here since, and
        hardly more chains wait than then. waiting: chains, for each engine."""
        if rank in self._refused:
            known = self._refused[rank]
            return waiting <= known + 0.25
        can = self.capabilities
        full = len(self.running) >= can.max_batch
        full = full or self.unread_tokens >= _STEPS_AHEAD * can.chunk_tokens
        if full or any(self._places[: rank + 1]):
            self._refused[rank] = math.inf
            return True
        return False

    def refuse(self, rank: int, waiting: float) -> None:
        """One of this class, or with -1 of those that wait here, cannot start now."""
        self._refused[rank] = waiting

    def look_again(self) -> None:
        """Something has happened."""
        self._refused.clear()

    def fits(self, chain: ReadyChain, cached: int, limit: StepLimit, now: float) -> bool:
        """Whether it can start now: a row, memory, and everyone's limits."""
        batch = len(self.running) + 1
        if batch > self.capabilities.max_batch:
            return False
        tokens = chain.prompt_tokens - cached + chain.new_tokens
        # What it would read of the cache is counted twice where another reads it, too: there is
        # always room for a chain alone.
        kv = self.own_tokens + self.index.held_tokens + cached + tokens
        if kv > self.capabilities.kv_tokens and batch > 1:
            return False
        if batch == 1:
            return True
        # More prompts than it reads in a few steps would wait there, where nobody can overtake.
        unread = self.unread_tokens + chain.prompt_tokens - cached
        ahead = 1 if chain.objective.kind == "throughput" else _STEPS_AHEAD
        if self.unread_tokens and unread > ahead * self.capabilities.chunk_tokens:
            return False
        read = self.reads(chain.prompt_tokens + chain.new_tokens, cached)
        step, slack = self.curve.step_seconds(batch, read), 1 + 1e-9
        tightest = self.tightest
        if limit.rows is not None and self.soon >= limit.rows:
            return False
        if step > limit.step * slack:
            return False
        if step > tightest.step * slack:
            return False
        if self.mixed and chain.objective.kind == "throughput":
            knee = self.curve.knee
            left = self.curve.step_seconds(knee, knee * read / batch) * slack
            if step > left or (self.soon and now < self.quiet_until):
                return False
        if limit.queue == tightest.queue == math.inf:
            return True
        # Who is bound by its first token waits for all prompts that are before it.
        return self.curve.prefill_seconds(unread) <= min(limit.queue, tightest.queue)

    def limit(
        self, chain: ReadyChain, cached: int, now: float, backlog: tuple[float, float]
    ) -> StepLimit:
        """What a chain tolerates here. backlog: chains and programs that wait and are wanted soon,
        for each engine."""
        if chain.objective.kind == "throughput":
            return self.curve.limit(chain, now)
        chains = self.soon + self.expected_rows + math.ceil(backlog[0])
        here, own = self.soon_programs, chain.program_id
        others = len(here) - (own in here)
        if self.expected_programs:
            others += sum(each not in here and each != own for each in self.expected_programs)
        programs = max(1, round(others + max(backlog[1], 1)))
        shared = cached if self.capabilities.shared_reads else 0
        return self.curve.limit(
            chain, now, cached=cached, shared=shared, chains=chains, programs=programs
        )

    def waits(self, share: float) -> bool:
        """Whether one more may wait here for a place: so many over the rows it can hold."""
        return len(self.parked) < share * self.capabilities.max_batch

    def park(self, waiting: WaitingChain) -> None:
        """A chain waits here from now on."""
        self._await(waiting, 1)
        self._refused.clear()
        if waiting.border is not None:
            self.followers.setdefault(waiting.border, []).append(waiting)
        else:
            insort(self.parked, waiting)
            self._places[waiting.rank] += 1

    def unpark(self, waiting: WaitingChain) -> None:
        """It does not wait here any more."""
        self._await(waiting, -1)
        self._refused.clear()
        if waiting.border is not None:
            self.followers[waiting.border].remove(waiting)
            if not self.followers[waiting.border]:
                del self.followers[waiting.border]
        else:
            self.parked.remove(waiting)
            self._places[waiting.rank] -= 1

    def filled(self, border: int) -> list[WaitingChain]:
        """The prefix is read, or never will be: those who waited for it wait for a place."""
        self.filling.pop(border, None)
        found = [each._replace(border=None) for each in self.followers.pop(border, [])]
        for each in found:
            self._await(each, -1)
            self.park(each)
        return found

    @property
    def mixed(self) -> bool:
        """Whether chains that are wanted soon come here, too: within the last batch of others."""
        return self._since_soon < self.capabilities.max_batch

    def start(
        self, chain: ReadyChain, limit: StepLimit, now: float, *, fill: bool = False
    ) -> ChainRun:
        """A chain begins here; returns what is kept of it."""
        cached = self.cached(chain)
        borders = self.index.hit(chain.prefix)
        deepest = self.index.node(chain.prefix[borders - 1]) if borders else None
        kv = chain.prompt_tokens - cached + chain.new_tokens
        run = ChainRun(chain, limit, cached, kv, now, deepest.used if deepest else now, fill=fill)
        self.running[chain.chain_id] = run
        self._refused.clear()
        self.own_tokens += kv
        self.unread_tokens += chain.prompt_tokens - cached
        self.answer_tokens += chain.new_tokens
        self.read_tokens += chain.prompt_tokens + chain.new_tokens
        self._count(run, 1)
        if limit.rows is not None:
            self._since_soon = 0
        elif chain.objective.kind == "throughput" and not fill:
            self._since_soon += 1
            if self.mixed:
                # Its prompt stops the others: on average their step stays below the knee's.
                read = self.reads()
                step = self.curve.step_seconds(len(self.running), read)
                left = 1 - step / self.curve.step_seconds(self.curve.knee, read)
                seconds = self.curve.prefill_seconds(chain.prompt_tokens - cached)
                self.quiet_until = now + seconds / max(left, 0.1)
        if borders:
            self._hold(run, chain.prefix[borders - 1])
        self._make_room()
        if self.capabilities.in_flight_prefix:
            self._enter(run, now)
        return run

    def prefilled(self, chain_id: str, now: float, cached_tokens: int | None = None) -> None:
        """Its prompt has been computed. cached_tokens: that the engine says it had found."""
        run = self.running[chain_id]
        if run.prefilled:
            return
        run.prefilled = True
        self._refused.clear()
        self.unread_tokens -= run.chain.prompt_tokens - run.cached
        if cached_tokens is not None and cached_tokens < run.cached:
            self.index.correct(run.stale)
        if not self.capabilities.in_flight_prefix:
            self._enter(run, now)

    def end(self, chain_id: str, now: float) -> ChainRun:
        """It is over, whatever its end; what it alone needed is free."""
        run = self.running.pop(chain_id)
        self._refused.clear()
        if not run.fill:
            self._ended += 1
            self.index.step_seconds += (now - run.started - self.index.step_seconds) / self._ended
        chain = run.chain
        self.own_tokens -= run.kv
        if not run.prefilled:
            self.unread_tokens -= chain.prompt_tokens - run.cached
        self.answer_tokens -= chain.new_tokens
        self.read_tokens -= chain.prompt_tokens + chain.new_tokens
        self._count(run, -1)
        if run.held is not None:
            self.index.release(run.held)
        return run

    def died(self) -> list[ChainRun]:
        """It is gone with all it held; returns what ran there. Who waits here is not touched."""
        self.alive, self.rests = False, None
        self._refused.clear()
        lost = list(self.running.values())
        self.running.clear()
        self.filling.clear()
        self.soon_programs.clear()
        self._limits.clear()
        self._queues.clear()
        self.tightest = StepLimit()
        self.soon = 0
        self.own_tokens = self.unread_tokens = self.answer_tokens = self.read_tokens = 0
        self.index.clear()
        return lost

    def _await(self, waiting: WaitingChain, by: int) -> None:
        program = waiting.chain.program_id
        self.expected_programs[program] += by
        if not self.expected_programs[program]:
            del self.expected_programs[program]
        self.expected_rows += by
        self.expected_answers += by * waiting.chain.new_tokens
        self.expected_reads += by * (waiting.chain.prompt_tokens + waiting.chain.new_tokens)
        self.expected_unread += by * waiting.unread

    def _enter(self, run: ChainRun, now: float) -> None:
        """The prompt of `run` becomes a prefix that others find."""
        chain = run.chain
        if not self.capabilities.prefix_cache and not self.capabilities.fork:
            return
        # What it holds itself moves into the index, and needs no further room.
        movable = chain.prompt_tokens - run.cached
        self.index.capacity = self.capabilities.kv_tokens - self.own_tokens + movable
        told = (chain.tenant, chain.program_id, now)
        borders, new = self.index.insert(chain.prefix, chain.prefix_tokens, *told)
        moved = min(new, movable)
        run.kv -= moved
        self.own_tokens -= moved
        if borders:
            self._hold(run, chain.prefix[borders - 1])
        self._make_room()

    def _hold(self, run: ChainRun, prefix: int) -> None:
        self.index.hold(prefix)
        if run.held is not None:
            self.index.release(run.held)
        run.held = prefix

    def _make_room(self) -> None:
        """Prefixes that nobody reads make way for the rows."""
        self.index.capacity = self.capabilities.kv_tokens - self.own_tokens
        self.index.room(0)

    def _count(self, run: ChainRun, by: int) -> None:
        limit, program = run.limit, run.chain.program_id
        if limit.rows is not None:
            self.soon += by
            self.soon_programs[program] += by
            if not self.soon_programs[program]:
                del self.soon_programs[program]
        elif limit.step != math.inf:
            self._limits[limit.step] += by
            if not self._limits[limit.step]:
                del self._limits[limit.step]
        if limit.step == limit.queue == math.inf:
            return
        if limit.queue != math.inf:
            self._queues[limit.queue] += by
            if not self._queues[limit.queue]:
                del self._queues[limit.queue]
        step, queue = min(self._limits, default=math.inf), min(self._queues, default=math.inf)
        self.tightest = StepLimit(step, queue)


# --------------------------------------------------------------------------------------------------
# What becomes of a prefix that no running chain reads: kept where it is, moved out, or let go.
#
# A program's graph says in how many steps a prefix is read again. One that the next step reads is
# pinned; one that is read later is moved to the host's memory where bringing it back is faster than
# reading it anew, and room is short; one that nobody will read any more is freed. What is said of
# no prefix is left to the order in which the index lets go (`radix`). Only engines whose contexts
# are ours obey; for the others it is what the index expects of them.


class KeepDecision(NamedTuple):
    """What to do with a prefix on an engine."""

    engine_id: str
    prefix: int
    action: Literal["pin", "spill", "free"]


def keep_decisions(
    upcoming: Iterable[UpcomingPrefix],
    engines: Iterable[EngineState],
    *,
    restore_rate: float = math.inf,
    short: float = 0.9,
) -> list[KeepDecision]:
    """Decide for each prefix of which something was said, wherever it is held.

    restore_rate: tokens a second that come back from the host's memory. short: room is short from
    this share of the engine's memory on.
    """
    soonest: dict[int, int | None] = {}
    for each in upcoming:
        known = soonest.get(each.prefix)
        if each.prefix not in soonest or known is None:
            soonest[each.prefix] = each.steps
        elif each.steps is not None:
            soonest[each.prefix] = min(known, each.steps)
    found = []
    for engine in engines:
        if not engine.alive or not engine.capabilities.fork:
            continue
        scarce = engine.held_tokens > short * engine.capabilities.kv_tokens
        pays = restore_rate > engine.curve.prefill
        for prefix, steps in soonest.items():
            node = engine.index.node(prefix)
            if node is None:
                continue
            if steps is None:
                # Somebody else may still come back to it.
                if not node.holders and not node.children and not node.due and not node.hits:
                    found.append(KeepDecision(engine.engine_id, prefix, "free"))
            elif steps <= 1:
                found.append(KeepDecision(engine.engine_id, prefix, "pin"))
            elif scarce and pays and not node.holders:
                found.append(KeepDecision(engine.engine_id, prefix, "spill"))
    return found
