"""Which prefixes an engine holds, as far as is known: a radix tree by chained hashes.

A chained hash names everything up to its border, so that a node is found by its hash alone, and its
parent is held whenever it is. Tenant, model and adapter are in the hash: what two tenants say alike
are two nodes. Only leaves that no running chain reads may go, those first whose next use seems
farthest (Pan et al., "KVFlow", 2025): a prefix that chains wait for is needed in so many steps;
of another is assumed that it comes again after as long as it has not been used (as LRU does); one
that only ended programs have read goes at once.

The index of the scheduler is a guess, as the engine may drop what it likes. When it reports that it
found less of a prompt than it was thought to hold, then by the same rule it has dropped what was
used still longer ago, too (`correct`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["PrefixIndex", "PrefixNode"]


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
