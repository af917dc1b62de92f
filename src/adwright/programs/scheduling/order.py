"""Which of the chains that wait is next.

Chains wait in lanes: one for each model and objective class, timed (a deadline, a first token),
soon (latency, a rate of tokens) or whenever (throughput). Of each lane only the head is looked at:

    lanes      the stricter class first; a class gains a place for `patience` seconds of waiting
    tenants    least attained service over weight first; who was idle starts where the one stood
               that was served last (start-time fair queueing, Goyal et al., SIGCOMM 1996)
    programs   the key below, lowest first, a fan-out counting as one
    chains     the longest way to an output first, then the one nearest to it

The key of a program is `what + ageing * arrived`, where `what` is the seconds of work that remain
("remaining"; by its graph where `outlook` was told, else of the chains that wait and the longest
way from them), that it has been given ("attained", Luo et al., "Autellix",
2025) or nothing ("arrival"). All age at the same rate, so that keys need not change while nothing
happens; and whoever arrives `what / ageing` seconds later comes after it, so that everyone's turn
comes. "remaining" finishes what is begun first, depth first, as work that is done remains no more.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from adwright.core.config import Gt, settings
from adwright.programs.scheduling.engine import ReadyChain

_Entry = tuple[float, int, str]
_Lane = tuple[int, str, bool]


def class_of(chain: ReadyChain) -> int:
    """0: timed, 1: soon, 2: whenever."""
    kind = chain.objective.kind
    if kind == "throughput":
        return 2
    return 0 if kind in ("deadline", "ttft") else 1


@settings
class OrderTerms:
    """What the order goes by; each can be left out.

    programs: see above. ageing: seconds of work that a second of waiting outweighs. critical: the
    longest way first; False: as chains became ready. fair: tenants by attained service; False: all
    as one. patience: seconds for which a class waits before it counts as the next stricter one.
    Raises ConfigError where ageing or patience is not positive.
    """

    programs: Literal["remaining", "attained", "arrival"] = "remaining"
    ageing: Annotated[float, Gt(0)] = 0.1
    critical: bool = True
    fair: bool = True
    patience: Annotated[float, Gt(0)] = 60.0


@dataclass
class ChainFailures:
    """Where a chain failed: how often, by engine. since: its first failure, on the scheduler's
    clock. errors, busy, refusals: what failed, had too much to do, or refused whoever asks."""

    since: float
    on: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    busy: int = 0
    refusals: int = 0


@dataclass
class _Program:
    """The chains of one program in one lane. work: their seconds. beyond: of what follows."""

    arrived: float
    chains: list[tuple[float, int, int, str]] = field(default_factory=list)
    count: int = 0
    work: float = 0.0
    beyond: float = 0.0
    key: float = 0.0


@dataclass
class _Tenant:
    """The programs of one tenant in one lane."""

    heap: list[_Entry] = field(default_factory=list)
    programs: dict[str, _Program] = field(default_factory=dict)
    #: The service with which it stands in the lane's heap.
    offered: float = 0.0


@dataclass
class _LaneQueue:
    heap: list[_Entry] = field(default_factory=list)
    tenants: dict[str, _Tenant] = field(default_factory=dict)
    #: (ready, number, chain id): the oldest says how far the lane has aged.
    ages: list[_Entry] = field(default_factory=list)


class ChainQueue:
    """All chains that wait. cost: predicted seconds of a chain, and of so many tokens that follow.

    weights: of tenants, 1 where not given.
    """

    def __init__(
        self,
        terms: OrderTerms | None = None,
        *,
        cost: Callable[[ReadyChain, int], float],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.terms = terms or OrderTerms()
        self._cost, self._weights = cost, dict(weights or {})
        self._lanes: dict[_Lane, _LaneQueue] = {}
        self._chains: dict[str, ReadyChain] = {}
        self._pushed: dict[str, float] = {}
        self._sharing: Counter[int] = Counter()
        self._numbers = 0
        #: Attained service over weight, by tenant; of programs in seconds.
        self._virtual: dict[str, float] = {}
        self._attained: dict[str, float] = {}
        self._outlook: dict[str, float] = {}
        self._waiting: Counter[str] = Counter()
        #: Where the tenant stood that was served last.
        self._floor = 0.0
        self._soon = 0
        self._soon_programs: Counter[str] = Counter()
        #: Chains that have waited at an engine in vain, and do so no more.
        self.impatient: set[str] = set()
        #: Of chains that have failed somewhere and are not over.
        self.failures: dict[str, ChainFailures] = {}

    def __len__(self) -> int:
        return len(self._chains)

    def __contains__(self, chain_id: str) -> bool:
        return chain_id in self._chains

    def sharing(self, prefix: int) -> int:
        """How many chains that wait begin with it."""
        return self._sharing[prefix]

    @property
    def soon(self) -> tuple[int, int]:
        """How many chains that wait are not for whenever, and of how many programs."""
        return self._soon, len(self._soon_programs)

    def waited(self, chain_id: str, now: float) -> float:
        """Seconds since it came here."""
        return now - self._pushed[chain_id]

    def attained(self, tenant: str) -> float:
        """Seconds of service over weight; of a tenant who was idle, as if it had kept up."""
        return self._virtual.get(tenant, 0.0)

    def push(self, chain: ReadyChain, now: float) -> None:
        """A chain is ready, or has to wait again."""
        lane = self._lanes.setdefault(self._lane_of(chain), _LaneQueue())
        who = self._tenant_of(chain)
        if not self._waiting[who]:
            self._virtual[who] = max(self._virtual.get(who, 0.0), self._floor)
        self._waiting[who] += 1
        tenant = lane.tenants.get(who)
        if tenant is None:
            tenant = lane.tenants[who] = _Tenant()
            self._offer_tenant(lane, who, tenant)
        program = tenant.programs.get(chain.program_id)
        if program is None:
            program = tenant.programs[chain.program_id] = _Program(chain.arrived)
        self._numbers += 1
        longest = -float(chain.critical_tokens) if self.terms.critical else 0.0
        nearest = chain.depth if self.terms.critical else 0
        heapq.heappush(program.chains, (longest, nearest, self._numbers, chain.chain_id))
        program.count += 1
        own = self._cost(chain, 0)
        program.work += own
        program.beyond = max(program.beyond, self._cost(chain, chain.critical_tokens) - own)
        self._offer(tenant, chain.program_id, program)
        self._chains[chain.chain_id] = chain
        self._pushed[chain.chain_id] = now
        if class_of(chain) < 2:
            self._soon += 1
            self._soon_programs[chain.program_id] += 1
        heapq.heappush(lane.ages, (now, self._numbers, chain.chain_id))
        for border in chain.prefix:
            self._sharing[border] += 1

    def remove(self, chain_id: str) -> ReadyChain:
        """Take it out: it starts, moves on or is not wanted any more."""
        chain = self._chains.pop(chain_id)
        del self._pushed[chain_id]
        if class_of(chain) < 2:
            self._soon -= 1
            self._soon_programs[chain.program_id] -= 1
            if not self._soon_programs[chain.program_id]:
                del self._soon_programs[chain.program_id]
        who = self._tenant_of(chain)
        self._waiting[who] -= 1
        if not self._waiting[who]:
            del self._waiting[who]
        lane = self._lanes[self._lane_of(chain)]
        tenant = lane.tenants[who]
        program = tenant.programs[chain.program_id]
        program.count -= 1
        program.work -= self._cost(chain, 0)
        if program.count:
            self._offer(tenant, chain.program_id, program)
        else:
            del tenant.programs[chain.program_id]
            if not tenant.programs:
                del lane.tenants[who]
        for border in chain.prefix:
            self._sharing[border] -= 1
            if not self._sharing[border]:
                del self._sharing[border]
        return chain

    def charge(self, chain: ReadyChain, seconds: float) -> None:
        """The chain was given so many seconds of an engine; or has used so many fewer."""
        who = self._tenant_of(chain)
        weight = self._weights.get(chain.tenant, 1.0)
        stood = self._virtual.get(who, 0.0)
        self._virtual[who] = stood + seconds / weight
        if seconds > 0:
            self._floor = max(self._floor, stood)
            self._prune()
        if self.terms.programs == "attained":
            known = self._attained.get(chain.program_id, 0.0)
            self._attained[chain.program_id] = known + seconds
            for lane in self._lanes.values():
                tenant = lane.tenants.get(who)
                if tenant and (program := tenant.programs.get(chain.program_id)):
                    self._offer(tenant, chain.program_id, program)

    def outlook(self, program_id: str, tenant: str, seconds: float) -> None:
        """By its graph, so much work is left of a program of the tenant's."""
        self._outlook[program_id] = seconds
        for lane in self._lanes.values():
            known = lane.tenants.get(tenant if self.terms.fair else "")
            if known and (program := known.programs.get(program_id)):
                self._offer(known, program_id, program)

    def forget(self, program_id: str) -> None:
        """The program is over."""
        self._attained.pop(program_id, None)
        self._outlook.pop(program_id, None)

    def heads(self) -> Iterator[ReadyChain]:
        """The next chain of each lane, in the order in which the lanes come."""
        if len(self._lanes) == 1:
            keys = list(self._lanes)
        else:
            ages = {key: self._age(lane) for key, lane in self._lanes.items() if lane.tenants}
            keys = sorted(ages, key=lambda key: (ages[key] + key[0] * self.terms.patience, key))
        for key in keys:
            head = self._head(self._lanes[key])
            if head is not None:
                yield head

    def _lane_of(self, chain: ReadyChain) -> _Lane:
        return class_of(chain), chain.model, chain.adapter is not None

    def _tenant_of(self, chain: ReadyChain) -> str:
        return chain.tenant if self.terms.fair else ""

    def _offer(self, tenant: _Tenant, program_id: str, program: _Program) -> None:
        """Put a program where its key says now; entries with another key are out of date."""
        match self.terms.programs:
            case "remaining":
                what = self._outlook.get(program_id, program.work + program.beyond)
            case "attained":
                what = self._attained.get(program_id, 0.0)
            case "arrival":
                what = 0.0
        program.key = what + self.terms.ageing * program.arrived
        self._numbers += 1
        heapq.heappush(tenant.heap, (program.key, self._numbers, program_id))
        if len(tenant.heap) > 4 * len(tenant.programs) + 64:
            live = {name: each for name, each in tenant.programs.items() if each.count}
            fresh = [(each.key, at, name) for at, (name, each) in enumerate(live.items())]
            tenant.heap = fresh
            heapq.heapify(tenant.heap)

    def _offer_tenant(self, lane: _LaneQueue, who: str, tenant: _Tenant) -> None:
        self._numbers += 1
        tenant.offered = self._virtual.get(who, 0.0)
        heapq.heappush(lane.heap, (tenant.offered, self._numbers, who))

    def _prune(self) -> None:
        """Forget tenants who wait for nothing and would start at the floor anyway."""
        if len(self._virtual) > 2 * len(self._waiting) + 1_000:
            self._virtual = {
                who: stood
                for who, stood in self._virtual.items()
                if stood > self._floor or who in self._waiting
            }

    def _head(self, lane: _LaneQueue) -> ReadyChain | None:
        while lane.heap:
            virtual, _, who = lane.heap[0]
            tenant = lane.tenants.get(who)
            if tenant is None or virtual != tenant.offered:
                heapq.heappop(lane.heap)
                continue
            if virtual != self._virtual.get(who, 0.0):
                heapq.heappop(lane.heap)
                self._offer_tenant(lane, who, tenant)
                continue
            return self._first(tenant)
        return None

    def _first(self, tenant: _Tenant) -> ReadyChain | None:
        while tenant.heap:
            key, _, name = tenant.heap[0]
            program = tenant.programs.get(name)
            if program is None or program.key != key:
                heapq.heappop(tenant.heap)
                continue
            while program.chains[0][3] not in self._chains:
                heapq.heappop(program.chains)
            return self._chains[program.chains[0][3]]
        return None

    def _age(self, lane: _LaneQueue) -> float:
        while lane.ages:
            ready, _, chain_id = lane.ages[0]
            if self._pushed.get(chain_id) == ready:
                return ready
            heapq.heappop(lane.ages)
        return 0.0
