"""The programs that are open: whose they are, what they may still cost, and when they end.

A program is found by its id and by its tenant: that of another is not there. All bounds are checked
before anything of a program is kept or run. Everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from adwright.core.clock import Clock
from adwright.core.config import Count, Positive, settings
from adwright.core.errors import AdwrightError, ConfigError, ProgramError
from adwright.programs.dispatch.terms import ProgramEngine
from adwright.programs.graph import Chain, ProgramLimits, build_graph, prompt_tokens
from adwright.programs.persistence import KeptChains, KeptFolder, KeptPart, KeptProgram, ProgramLog
from adwright.programs.program import Program, SemanticCall
from adwright.programs.runner import ChainEngine, Session
from adwright.service.lm.config import EndpointConfig
from adwright.web.errors import ApiError, Busy

# --------------------------------------------------------------------------------------------------
# What an operator may set about serving programs.

_LIMITS = ProgramLimits(
    calls=1000,
    nodes=2000,
    text_characters=1 << 18,
    all_characters=1 << 22,
    total_tokens=1_000_000,
)


@settings
class ProgramServiceConfig(EndpointConfig):
    """Limits of one process that serves programs.

    limits: of one program, with all that is added to it. max_programs: that are open at a time;
        tenant_programs: of one tenant. queued_tokens: read and written, at most, by all calls that
        are not over yet; tenant_queued_tokens: by those of one tenant. What is above one of the
        four is refused with 429.
    keep_folder: where programs are kept, so that they go on after the process has died; None: they
        end with it.
    keep_seconds: a program ends when nobody has called for it for so long, and nothing of it runs.
    most_seconds: the longest that a program is kept at all.
    wait_seconds: the longest that one request waits for a text; then it is told how far it is.
    max_tokens, max_texts, max_seconds: of one chat. max_in_flight: those that wait among them.
    """

    limits: ProgramLimits = _LIMITS
    max_programs: Count = 1024
    tenant_programs: Count = 64
    queued_tokens: Count = 16_000_000
    tenant_queued_tokens: Count = 4_000_000
    keep_folder: Path | None = None
    keep_seconds: Positive = 600.0
    most_seconds: Positive = 86_400.0
    wait_seconds: Positive = 300.0
    max_in_flight: Count = 512
    max_body_bytes: Count = 4 << 20


# --------------------------------------------------------------------------------------------------
# A program that is open, and what the service asks of whatever runs its chains.

OutputState = Literal["running", "done", "failed"]


class ChainRouter(Protocol):
    """What runs the chains of all programs: a dispatcher before several engines."""

    def for_program(self, program_id: str, tenant: str, /) -> ProgramEngine:
        """What runs those of one program. tenant: whose it is, and who shares prefixes."""
        ...


@dataclass(eq=False)
class OpenProgram:
    """A program that is open. made: seconds since 1970; opened, touched: seconds on the clock.
    waiting: requests that wait for one of its texts. owed: tokens of its chains that are not over.
    log: where it is kept, if it is.
    """

    program_id: str
    tenant: str
    chains: ProgramEngine
    session: Session
    on_disconnect: Literal["detach", "cancel"]
    made: int
    opened: float
    touched: float
    log: ProgramLog | None = None
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

    def set(self, name: str, text: str) -> None:
        """Set an awaited variable. Raises as `Session.set`."""
        self.session.set(name, text)
        self._kept("set", name, text)

    def fail(self, name: str, what: str) -> None:
        """Say that an awaited variable will not be set. Raises as `Session.set`."""
        self.session.fail(name, what)
        self._kept("fail", name, what)

    def cancel(self, name: str) -> None:
        """Cancel a variable. Raises as `Session.cancel`."""
        is_pending = not self.session.variable(name).is_settled
        self.session.cancel(name)
        if is_pending:
            self._kept("cancel", name)

    def _kept(self, kind: Literal["set", "fail", "cancel"], name: str, text: str = "") -> None:
        if self.log is not None:
            self.log.said(kind, name, text)


# --------------------------------------------------------------------------------------------------
# What is wrong with a graph, as the field of the body that it stands in.
#
# A graph is refused with the name of a call, step or variable. Who sent it as JSON finds the place
# by its path: "call writer, output ad" is `calls.0.settings.ad`.

_KINDS = ("call or step ", "call ", "step ", "chain ", "node ", "variable ")
_OUTPUT = re.compile(r", output ([\w-]+)")


class Refused(ApiError):
    """400: the program is wrong. param: the path of the field, where it is one."""

    def __init__(self, what: str, *, param: str | None, hint: str = "") -> None:
        message = what if param is None else f"{param}: {what}"
        super().__init__(400, message, code="invalid", hint=hint)
        self.what, self.param = what, param


@contextmanager
def refusing(program: Program) -> Iterator[None]:
    """Whatever is wrong with a program that is submitted within the context is its sender's to
    correct. Raises Refused."""
    try:
        yield
    except ConfigError as error:
        # The name stands in the path where that can be told, and else in the message.
        where = path_of(error.where, program)
        what = error.what if where else f"{error.where}: {error.what}"
        raise Refused(what, param=where, hint=error.hint) from None
    except ProgramError as error:
        raise ApiError(409, error.what, hint=error.hint) from None


def path_of(where: str, program: Program) -> str | None:
    """The path of the place `where` of an error in the JSON of a program; None where it is not in
    it, or is all of it."""
    if where.startswith("outputs."):
        return f"{where}.variable"
    kind = next((one for one in _KINDS if where.startswith(one)), None)
    if kind is None:
        return None
    rest = where.removeprefix(kind)
    if kind == "variable ":
        return _variable(rest.partition(",")[0], program)
    at = _at(rest, [one.name for one in program.calls])
    if at is not None and kind != "step ":
        return _in_call(rest, program.calls[at], f"calls.{at}")
    at = _at(rest, [one.name for one in program.steps])
    return None if at is None else f"steps.{at}"


def _at(rest: str, names: list[str]) -> int | None:
    """Which of the names a place begins with."""
    fits = [
        (len(name), -at)
        for at, name in enumerate(names)
        if rest.startswith(name) and rest[len(name) : len(name) + 1] in ("", ",", ".")
    ]
    return -max(fits)[1] if fits else None


def _in_call(rest: str, call: SemanticCall, path: str) -> str:
    if ", template" in rest:
        return f"{path}.template"
    output = _OUTPUT.search(rest)
    # Of a chain: the placeholder that it writes.
    name = output[1] if output else rest.removeprefix(call.name).partition(",")[0][1:]
    if not name:
        return path
    return f"{path}.settings.{name}" if name in call.settings else f"{path}.template"


def _variable(name: str, program: Program) -> str | None:
    if name in program.values:
        return f"values.{name}"
    if name in program.awaited:
        return f"awaited.{program.awaited.index(name)}"
    made = next((at for at, one in enumerate(program.steps) if name in one.outputs), None)
    return None if made is None else f"steps.{made}.outputs"


_log = logging.getLogger("adwright.service")
#: Seconds between two looks for programs that have ended; and those that the end of one may take.
_LOOK, _CLOSE = 1.0, 10.0
#: Tokens a second, before anything was measured.
_FIRST_RATE = 500.0
#: What the last look counts for in the mean.
_NEWS = 0.2


class ProgramBook:
    """The open programs of all tenants. models: that a call may name; the first is the one that is
    meant by "". keep: where programs are kept, so that they outlive the process. Raises ConfigError
    through `refusing` only."""

    def __init__(
        self,
        router: ChainRouter,
        config: ProgramServiceConfig,
        clock: Clock,
        models: Iterable[str],
        keep: KeptFolder | None = None,
    ) -> None:
        self._keep = keep
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
        keep: bool = True,
    ) -> tuple[OpenProgram, bool]:
        """Open a program, or return the one that was opened with that key; and whether it is new.
        keep: whether it outlives the process, where that is offered.

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
        program_id = f"prog_{secrets.token_urlsafe(16)}"
        made = int(self._clock.now().timestamp())
        log = None
        if self._keep is not None and keep:
            log = self._keep.new(program_id, tenant, on_disconnect, made)
        try:
            opened = self._opened(program_id, tenant, on_disconnect, made, log)
            self._submit_to(opened, part, key, digest)
        except BaseException:
            if log is not None:
                log.forget()
            raise
        self._open[program_id] = opened
        return opened, True

    def extend(self, one: OpenProgram, part: Program, *, key: str = "", digest: str = "") -> bool:
        """Add to an open program; False where that key has done so before. Raises as `open`."""
        if key and key in one.keys:
            _require_same(one.keys[key], digest)
            return False
        self._submit(one, part, key, digest)
        return True

    def end(self, one: OpenProgram, why: str) -> None:
        """End a program: what runs is cancelled, and nobody finds it any more."""
        if self._open.pop(one.program_id, None) is None:
            return
        for key in one.keys:
            self._by_key.pop((one.tenant, key), None)
        self.ended[why] += 1
        if one.log is not None:
            # What ends with the service goes on with the next one.
            (one.log.close if why == "closed" else one.log.forget)()
        task = asyncio.get_running_loop().create_task(self._close(one))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def restore(self) -> None:
        """Open the programs again that are kept, and have what chains of them wrote."""
        if self._keep is None:
            return
        await self._keep.open()
        asked = []
        for kept in self._keep.programs():
            try:
                asked += self._restored(kept)
            except (AdwrightError, ApiError) as error:
                kept.log.close()
                _log.warning("a kept program cannot go on: %s: %s", kept.program_id, error)
        # No engine is asked for these texts, so they are there, or refused again, at once.
        with suppress(TimeoutError):
            known = asyncio.gather(*asked, return_exceptions=True)
            await asyncio.wait_for(known, _CLOSE)

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
        if self._keep is not None:
            self._keep.close()

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

    def _opened(
        self,
        program_id: str,
        tenant: str,
        on_disconnect: Literal["detach", "cancel"],
        made: int,
        log: ProgramLog | None,
        kept: KeptProgram | None = None,
    ) -> OpenProgram:
        chains = self._router.for_program(program_id, tenant)
        runs: ChainEngine = chains
        if log is not None:
            texts, errors = (kept.texts, kept.errors) if kept else ({}, {})
            runs = KeptChains(chains, log, texts, errors)
        session = Session(runs, limits=self._config.limits)
        now = self._clock.monotonic()
        age = max(0.0, self._clock.now().timestamp() - made) if kept else 0.0
        told = (program_id, tenant, chains, session, on_disconnect, made, now - age, now)
        try:
            chains.watch(session)
        except BaseException:
            chains.close()
            raise
        return OpenProgram(*told, log)

    def _submit_to(self, opened: OpenProgram, part: Program, key: str, digest: str) -> None:
        """Submit the first part of a program, which is closed where that is refused."""
        try:
            self._submit(opened, part, key, digest)
        except BaseException:
            opened.chains.close()
            raise

    def _restored(self, kept: KeptProgram) -> list[Awaitable[str]]:
        """Open a program again; returns what asks for the texts that are known."""
        told = (kept.program_id, kept.tenant, kept.on_disconnect, kept.made)
        one = self._opened(*told, kept.log, kept)

        def submit(kept_part: KeptPart) -> None:
            part = self._with_models(self._known_models(kept_part.program, kept.program_id))
            tokens = self._tokens_of(one, part)
            is_first = one.session.graph.program == Program()
            one.session.submit(part)
            self._note(one, tokens, kept_part.key, kept_part.digest, is_first=is_first)

        try:
            known = kept.replay(one.session, submit)
        except BaseException:
            one.chains.close()
            raise
        self._open[kept.program_id] = one
        return [one.session.get(name) for name in known]

    def _submit(self, one: OpenProgram, part: Program, key: str = "", digest: str = "") -> None:
        part = self._with_models(part)
        with refusing(part):
            tokens = self._tokens_of(one, part)
            self._require_room(one.tenant, sum(tokens.values()))
            if one.log is not None:
                one.log.part(part, key, digest)
            is_first = one.session.graph.program == Program()
            one.session.submit(part)
        self._note(one, tokens, key, digest, is_first=is_first)

    def _note(
        self, one: OpenProgram, tokens: Mapping[str, int], key: str, digest: str, *, is_first: bool
    ) -> None:
        """A part was submitted."""
        one.owed |= tokens
        self.submitted += 1
        if key:
            if is_first:
                self._by_key[one.tenant, key] = one.program_id
            one.keys[key] = digest

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

    def _known_models(self, part: Program, program_id: str) -> Program:
        """A part that was kept under other names of models goes on with the default."""
        lost = {one.model for one in part.calls} - {"", None, *self._models}
        if not lost:
            return part
        _log.warning(
            "kept program %s goes on without the model %s", program_id, ", ".join(sorted(lost))
        )
        calls = (replace(one, model="") if one.model in lost else one for one in part.calls)
        return replace(part, calls=tuple(calls))

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
