"""The programs that are open: whose they are, what they may still cost, and when they end.

A program is found by its id and by its tenant: that of another is not there. All bounds are checked
before anything of a program is kept or run. Everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from adwright.core.clock import Clock
from adwright.programs.build import build_graph
from adwright.programs.chain_engine import ChainEngine
from adwright.programs.graph import Chain
from adwright.programs.limits import prompt_tokens
from adwright.programs.program import Program
from adwright.programs.runner import Session
from adwright.service.programs.config import ProgramServiceConfig
from adwright.service.programs.refusals import Refused, refusing
from adwright.web.errors import ApiError, Busy

__all__ = [
    "ChainEvent",
    "ChainRouter",
    "ChainTrace",
    "OpenProgram",
    "OutputState",
    "ProgramBook",
    "ProgramChains",
]

_log = logging.getLogger("adwright.service")
OutputState = Literal["running", "done", "failed"]
#: Seconds between two looks for programs that have ended; and those that the end of one may take.
_LOOK, _CLOSE = 1.0, 10.0
#: Tokens a second, before anything was measured.
_FIRST_RATE = 500.0
#: What the last look counts for in the mean.
_NEWS = 0.2


class ChainEvent(Protocol):
    """Something that happened to a program."""

    @property
    def time(self) -> float:
        """Seconds on the clock of whoever runs it."""
        ...

    def as_json(self) -> dict[str, object]:
        """What is known of it."""
        ...


class ChainTrace(Protocol):
    """What happened to a program. placed: the engine of each chain, by the id of its node."""

    @property
    def events(self) -> Sequence[ChainEvent]:
        """In order."""
        ...

    @property
    def placed(self) -> Mapping[str, str]:
        """Where each chain was sent last."""
        ...


class ProgramChains(ChainEngine, Protocol):
    """What runs the chains of one program."""

    @property
    def trace(self) -> ChainTrace:
        """What happened to it so far."""
        ...

    def watch(self, session: Session) -> None:
        """See by the session what is left of the program."""
        ...

    def close(self) -> None:
        """The program is over."""
        ...


class ChainRouter(Protocol):
    """What runs the chains of all programs: a dispatcher before several engines."""

    def for_program(self, program_id: str, tenant: str, /) -> ProgramChains:
        """What runs those of one program. tenant: whose it is, and who shares prefixes."""
        ...


@dataclass(eq=False)
class OpenProgram:
    """A program that is open. made: seconds since 1970; opened, touched: seconds on the clock.
    waiting: requests that wait for one of its texts. owed: tokens of its chains that are not over.
    """

    program_id: str
    tenant: str
    chains: ProgramChains
    session: Session
    on_disconnect: Literal["detach", "cancel"]
    made: int
    opened: float
    touched: float
    waiting: int = 0
    owed: dict[str, int] = field(default_factory=dict)
    #: Of each part that came with a key: the digest of its body.
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The variables that were asked for."""
        return tuple(one.variable for one in self.session.graph.program.outputs)

    @property
    def state(self) -> OutputState:
        """How the outputs are: running while one is not settled; failed where one has no text."""
        states = {self.session.variable(one).state for one in self.outputs}
        if "pending" in states or self.session.running:
            return "running"
        return "failed" if states - {"set"} else "done"


class ProgramBook:
    """The open programs of all tenants. models: that a call may name; the first is the one that is
    meant by "". Raises ConfigError through `refusing` only."""

    def __init__(
        self,
        router: ChainRouter,
        config: ProgramServiceConfig,
        clock: Clock,
        models: Iterable[str],
    ) -> None:
        self._router, self._config, self._clock = router, config, clock
        self._models = tuple(models)
        self._open: dict[str, OpenProgram] = {}
        self._by_key: dict[tuple[str, str], str] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._rate = _FIRST_RATE
        #: Programs that have ended, by why: "deleted", "idle", "answered", "gone", "old", "closed".
        self.ended: Counter[str] = Counter()
        self.submitted = 0
        #: Tokens of chains that have ended since the last look.
        self._done_tokens = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def programs(self) -> tuple[OpenProgram, ...]:
        """The open ones, the oldest first."""
        return tuple(self._open.values())

    def get(self, tenant: str, program_id: str) -> OpenProgram:
        """An open program. Raises ApiError 404 where there is none of that tenant."""
        found = self._open.get(program_id)
        if found is None or found.tenant != tenant:
            seconds = f"{self._config.keep_seconds:g}"
            hint = f"one ends when nobody has called for it for {seconds} s"
            raise ApiError(404, "there is no program of this id", hint=hint)
        found.touched = self._clock.monotonic()
        return found

    def open(
        self,
        tenant: str,
        part: Program,
        *,
        on_disconnect: Literal["detach", "cancel"] = "detach",
        key: str = "",
        digest: str = "",
    ) -> tuple[OpenProgram, bool]:
        """Open a program, or return the one that was opened with that key; and whether it is new.

        Raises Refused where it is none, Busy where it is too much, ApiError 409 where the key was
        used for another body.
        """
        known = self._known(tenant, key, digest)
        if known is not None:
            return known, False
        own = sum(one.tenant == tenant for one in self._open.values())
        if own >= self._config.tenant_programs:
            what = f"you have {own} open programs, the most that you may have"
            hint = "delete those that you need no more"
            raise Busy("tenant_programs", self._config.keep_seconds, what=what, hint=hint)
        if len(self._open) >= self._config.max_programs:
            raise Busy("programs", self._config.keep_seconds)
        program_id, now = f"prog_{secrets.token_urlsafe(16)}", self._clock.monotonic()
        chains = self._router.for_program(program_id, tenant)
        session = Session(chains, limits=self._config.limits)
        made = int(self._clock.now().timestamp())
        opened = OpenProgram(program_id, tenant, chains, session, on_disconnect, made, now, now)
        try:
            chains.watch(session)
            self._submit(opened, part)
        except BaseException:
            chains.close()
            raise
        self._open[program_id] = opened
        if key:
            self._by_key[tenant, key] = program_id
            opened.keys[key] = digest
        return opened, True

    def extend(self, one: OpenProgram, part: Program, *, key: str = "", digest: str = "") -> bool:
        """Add to an open program; False where that key has done so before. Raises as `open`."""
        if key and key in one.keys:
            _require_same(one.keys[key], digest)
            return False
        self._submit(one, part)
        if key:
            one.keys[key] = digest
        return True

    def end(self, one: OpenProgram, why: str) -> None:
        """End a program: what runs is cancelled, and nobody finds it any more."""
        if self._open.pop(one.program_id, None) is None:
            return
        for key in one.keys:
            self._by_key.pop((one.tenant, key), None)
        self.ended[why] += 1
        task = asyncio.get_running_loop().create_task(self._close(one))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def start(self) -> None:
        """Look for programs that are over, from now on."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def close(self) -> None:
        """End all programs."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        for one in self.programs:
            self.end(one, "closed")
        if self._closing:
            await asyncio.wait(set(self._closing))

    def look(self) -> None:
        """End the programs whose time is over, and see how much was done since the last look."""
        now = self._clock.monotonic()
        if self.owed() and self._done_tokens:
            self._rate += (self._done_tokens / _LOOK - self._rate) * _NEWS
        self._done_tokens = 0
        for one in self.programs:
            if one.waiting or one.session.running:
                one.touched = now
            if now - one.opened > self._config.most_seconds:
                self.end(one, "old")
            elif now - one.touched > self._config.keep_seconds:
                self.end(one, "idle")

    def owed(self, tenant: str | None = None) -> int:
        """Tokens of all chains that are not over, or of those of one tenant."""
        own = [one for one in self._open.values() if tenant is None or one.tenant == tenant]
        self._done_tokens += sum(map(_settle_chains, own))
        return sum(sum(one.owed.values()) for one in own)

    def _known(self, tenant: str, key: str, digest: str) -> OpenProgram | None:
        found = self._open.get(self._by_key.get((tenant, key), "")) if key else None
        if found is not None:
            _require_same(found.keys[key], digest)
            found.touched = self._clock.monotonic()
        return found

    def _submit(self, one: OpenProgram, part: Program) -> None:
        part = self._with_models(part)
        with refusing(part):
            tokens = self._tokens_of(one, part)
            self._require_room(one.tenant, sum(tokens.values()))
            one.session.submit(part)
        one.owed |= tokens
        self.submitted += 1

    def _tokens_of(self, one: OpenProgram, part: Program) -> dict[str, int]:
        """Tokens that each new chain reads and writes, at most."""
        limits = self._config.limits
        graph = build_graph(one.session.graph.program.joined(part), limits)
        read = prompt_tokens(graph, limits)
        known = one.session.graph.nodes
        return {
            node_id: read[node_id] + node.settings.max_tokens
            for node_id, node in graph.nodes.items()
            if isinstance(node, Chain) and node_id not in known
        }

    def _with_models(self, part: Program) -> Program:
        """The same, with each call's model named. Raises Refused for one that there is not."""
        for at, call in enumerate(part.calls):
            if call.model and call.model not in self._models:
                path = f"calls.{at}.model"
                hint = f"it is one of {', '.join(self._models[:5])}"
                raise Refused("there is no model of this name", param=path, hint=hint)
        first = next(iter(self._models), "")
        return replace(
            part, calls=tuple(replace(one, model=one.model or first) for one in part.calls)
        )

    def _require_room(self, tenant: str, tokens: int) -> None:
        for name, most, owed in (
            ("tenant_tokens", self._config.tenant_queued_tokens, self.owed(tenant)),
            ("tokens", self._config.queued_tokens, self.owed()),
        ):
            if owed and owed + tokens > most:
                what = f"{owed:,} tokens are still to be read and written, and {tokens:,} more"
                raise Busy(name, (owed + tokens - most) / self._rate, what=what)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self.look()

    async def _close(self, one: OpenProgram) -> None:
        try:
            await asyncio.wait_for(one.session.close(), _CLOSE)
        except TimeoutError:
            _log.error("a program could not be ended: an engine does not let go of it")
        finally:
            one.chains.close()


def _settle_chains(one: OpenProgram) -> int:
    """Forget the chains that are over; their tokens."""
    nodes, variable = one.session.graph.nodes, one.session.variable
    over = [name for name in one.owed if variable(nodes[name].outputs[0]).is_settled]
    return sum(one.owed.pop(name) for name in over)


def _require_same(known: str, digest: str) -> None:
    if known != digest:
        raise ApiError(
            409,
            "the idempotency key was used for another body",
            hint="take a new key for each thing that you ask for",
        )
