"""By what terms the dispatcher works: all that can be chosen, with a default for each."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import field, replace
from typing import Annotated, Literal, NamedTuple, Self
from uuid import uuid4

from adwright.core.config import Count, Gt, Positive, settings
from adwright.core.errors import AdwrightError, ConfigError
from adwright.core.tenant_queue import TenantCounts
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.keeper import KeeperBounds
from adwright.programs.dispatch.ready import (
    ChainJob,
    ChainReader,
    ProgramOutlook,
    ProgramSeat,
    ProgramTrace,
    further_settings,
)
from adwright.programs.runner import AskedChain, Saying, Session
from adwright.programs.scheduling.engine import EngineCapabilities, ExecutionEngine
from adwright.programs.scheduling.order import OrderTerms
from adwright.programs.scheduling.scheduler import PlacementTerms

# --------------------------------------------------------------------------------------------------
# How much may wait and run at a time, in tokens: beyond it, come again later.
#
# Whole programs are let in or not, as one that stops in the middle has cost the more for it: what a
# program may read and write is reserved when it comes, and given free as its chains end. Chains
# beyond what was reserved are let in one by one.


class OverloadedError(AdwrightError):
    """There is too much to do already. retry_after: seconds until there will be room, about."""

    def __init__(
        self, what: str, *, where: str = "", hint: str = "", retry_after: float = 1.0
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.retry_after = retry_after


@settings
class AdmissionBounds:
    """Tokens that are read and written: of all that is let in and not over; of one tenant's; and of
    what one tenant has on engines or before them at a time, beyond which his own chains wait for
    each other; None: no bound. Raises ConfigError for a bound below 1."""

    all_tokens: Count | None = 20_000_000
    tenant_tokens: Count | None = None
    tenant_in_flight: Count | None = None


class Admission:
    """Counts what is let in. seconds: that so many tokens will take, as things are."""

    def __init__(self, bounds: AdmissionBounds, seconds: Callable[[int], float]) -> None:
        self.bounds, self._seconds = bounds, seconds
        self.tokens = 0
        self.by_tenant, self.in_flight = TenantCounts(), TenantCounts()

    def let_in(self, tenant: str, tokens: int) -> None:
        """Let so many tokens of the tenant's in. Raises OverloadedError where they are too many;
        who has nothing here is let in however much it is, once nothing else is there."""
        bounds = self.bounds
        told = (
            (self.tokens, bounds.all_tokens, "all together"),
            (self.by_tenant.get(tenant, 0), bounds.tenant_tokens, "of one tenant"),
        )
        for there, most, whose in told:
            if most is not None and there and there + tokens > most:
                over = there + tokens - most
                raise OverloadedError(
                    f"there are {there:,} tokens to do {whose}, and with {tokens:,} more it would "
                    f"be above {most:,}",
                    where="admission",
                    hint="come again later, or divide the program",
                    retry_after=max(1.0, math.ceil(self._seconds(min(over, there)))),
                )
        self.tokens += tokens
        self.by_tenant.add(tenant, tokens)

    def let_go(self, tenant: str, tokens: int) -> None:
        """So many of them are done, or will not be."""
        self.tokens -= tokens
        self.by_tenant.add(tenant, -tokens)

    def has_room(self, tenant: str, tokens: int) -> bool:
        """Whether so many tokens of a chain may go on to the engines now."""
        most = self.bounds.tenant_in_flight
        there = self.in_flight.get(tenant, 0)
        return most is None or not there or there + tokens <= most

    def begin(self, tenant: str, tokens: int) -> None:
        """A chain of so many goes on to the engines."""
        self.in_flight.add(tenant, tokens)

    def end(self, tenant: str, tokens: int) -> None:
        """It is over."""
        self.in_flight.add(tenant, -tokens)


# --------------------------------------------------------------------------------------------------
# A canary in each prefix cache: now and then an answer is computed again without it.
#
# Caches of prefixes have had faults: hashes that meet, pages that are given away too early. Then an
# answer is that to another prompt. So of the requests whose prompts were found in a cache one now
# and then is computed twice more, its first tokens alone, as the engine is idle: as it was
# (`shared`), and in a domain of its own, where there is nothing to find (`alone`). Where the engine
# tells log-probabilities the two are compared as far as their texts are the same, and at the first
# token that is not, since of two greedy answers by nearly the same numbers
#
#     |a - b| <= t    and, where the tokens differ,    exp(a - t) + exp(b) <= 1
#
# for the log-probabilities a and b of what was chosen, if no number differs by more than t. What is
# tolerated goes by the precision of the weights, as batches of another shape round otherwise.
# Where it tells none, and weights are of 32 bits, the texts are compared.
#
# An engine whose cache lies is used without it from then on.

_log = logging.getLogger("adwright.programs")

WeightPrecision = Literal["float", "half", "quantised"]
#: Twice to five times the largest differences of log-probabilities that were seen between batches.
_TOLERATED: Mapping[WeightPrecision, float] = {"float": 0.01, "half": 0.05, "quantised": 0.5}
_NONE: Mapping[str, WeightPrecision] = {}


@settings
class CanaryTerms:
    """every: seconds between two checks of one engine, and before its first. patience: for which a
    check waits until the engine is idle. tokens: that are computed again. seconds: that a check may
    take. precision: of the weights of each engine, by id; quantised where it is not given."""

    every: Annotated[float, Gt(0)] = 60.0
    patience: Annotated[float, Gt(0)] = 600.0
    tokens: Annotated[int, Gt(0)] = 8
    seconds: Annotated[float, Gt(0)] = 60.0
    precision: Mapping[str, WeightPrecision] = field(default_factory=lambda: _NONE)

    def __post_init__(self) -> None:
        for engine_id, each in self.precision.items():
            if each not in _TOLERATED:
                raise ConfigError(
                    f"{each!r} is no precision",
                    where=f"CanaryTerms.precision of {engine_id}",
                    hint=f"it is one of {', '.join(_TOLERATED)}",
                )


class CheckedAnswer(NamedTuple):
    """An answer that may be checked. cached: tokens of its prompt that the engine had held."""

    prompt: str
    text: str
    salt: str
    adapter: str | None
    settings: GenerationConfig
    cached: int


class SampledAnswer(NamedTuple):
    """The beginning of an answer: pieces of text with the log-probabilities of their tokens."""

    pieces: tuple[tuple[str, tuple[float, ...]], ...]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(text for text, _ in self.pieces)


def contradict(one: SampledAnswer, other: SampledAnswer, tolerance: float) -> str:
    """Why two greedy answers cannot be by nearly the same numbers; "" where they can."""
    for (text, mine), (against, theirs) in zip(one.pieces, other.pieces, strict=False):
        same = text == against and len(mine) == len(theirs)
        # Behind the first token that is another one, nothing can be compared.
        for a, b in list(zip(mine, theirs, strict=False))[: None if same else 1]:
            if abs(a - b) > tolerance:
                return f"a log-probability is {a:.3f} and {b:.3f}"
            # Where one begins as the other does, perhaps only the pieces are cut otherwise.
            apart = not text.startswith(against) and not against.startswith(text)
            if apart and math.exp(max(a, b) - tolerance) + math.exp(min(a, b)) > 1:
                return f"both {text!r} and {against!r} are said to be likely"
        if not same:
            break
    return ""


class CacheCanary:
    """Checks engines. states: of each, what it can do now. lied: told of an engine, and why.

    checks: how many were made; lies: how many engines were found out, by id, with the reason.
    """

    def __init__(
        self,
        engines: Mapping[str, ExecutionEngine],
        terms: CanaryTerms,
        *,
        can: Callable[[str], EngineCapabilities],
        is_idle: Callable[[str], bool],
        lied: Callable[[str, str], None],
    ) -> None:
        self._engines, self._terms = engines, terms
        self._can, self._is_idle, self._lied = can, is_idle, lied
        self._wanted: dict[str, tuple[CheckedAnswer, float]] = {}
        self._next: dict[str, float] = {}
        self.checks = 0
        self.lies: dict[str, str] = {}

    def offer(self, engine_id: str, answer: CheckedAnswer, now: float) -> None:
        """An answer was given; it is checked where that is due and can be done."""
        # Short runs have none: it would come in between what somebody waits for.
        due = self._next.setdefault(engine_id, now + self._terms.every)
        if not answer.cached or engine_id in self._wanted or now < due:
            return
        settings = answer.settings
        greedy = not settings.temperature and not settings.constrained
        if greedy and self._comparable(engine_id) and self._reference(engine_id) is not None:
            self._wanted[engine_id] = answer, now + self._terms.patience

    def due(self, now: float) -> list[tuple[str, CheckedAnswer]]:
        """The checks that can be made now, each of which is then to be passed to `check`."""
        found = []
        for engine_id, (answer, until) in list(self._wanted.items()):
            reference = self._reference(engine_id)
            if reference is None:
                del self._wanted[engine_id]
            elif now >= until or (self._is_idle(engine_id) and self._is_idle(reference)):
                del self._wanted[engine_id]
                self._next[engine_id] = now + self._terms.every
                found.append((engine_id, answer))
        return found

    async def check(self, engine_id: str, answer: CheckedAnswer) -> None:
        """Check one answer. An engine that cannot answer now has said nothing wrong."""
        reference = self._reference(engine_id)
        if reference is None:
            return
        try:
            async with asyncio.timeout(self._terms.seconds):
                alone = await self._sample(reference, answer, f"canary-{uuid4().hex}")
                texts_alone = not self._can(engine_id).logprobs
                if texts_alone and _agree(answer.text, alone.text):
                    self.checks += 1
                    return
                shared = await self._sample(engine_id, answer, answer.salt)
        except Exception as error:  # its own calls tell whether it is gone
            _log.info("engine %s could not be checked: %r", engine_id, error)
            return
        self.checks += 1
        if texts_alone:
            same = _agree(shared.text, alone.text)
            why = "" if same else f"{shared.text!r} with the cache, {alone.text!r} without"
        else:
            precision = self._terms.precision.get(engine_id, "quantised")
            why = contradict(shared, alone, _TOLERATED[precision])
        if why:
            self.lies[engine_id] = why
            _log.error(
                "the prefix cache of engine %s gives wrong answers, it is switched off: %s",
                *(engine_id, why),
            )
            self._lied(engine_id, why)

    def _comparable(self, engine_id: str) -> bool:
        can, precision = self._can(engine_id), self._terms.precision.get(engine_id, "quantised")
        caches = can.prefix_cache or can.fork
        return caches and (can.logprobs or precision == "float")

    def _reference(self, engine_id: str) -> str | None:
        """The engine that computes it alone: itself where domains share nothing, else another one
        of its models that can; None where there is none."""
        models = {*self._can(engine_id).models}
        for each in (engine_id, *self._engines):
            can = self._can(each)
            if models & {*can.models} and (can.salt or not (can.prefix_cache or can.fork)):
                return each
        return None

    async def _sample(self, engine_id: str, answer: CheckedAnswer, salt: str) -> SampledAnswer:
        tokens = min(self._terms.tokens, answer.settings.max_tokens)
        told = self._can(engine_id).logprobs
        settings = replace(
            answer.settings, max_tokens=tokens, min_tokens=0, logprobs=told, top_logprobs=0
        )
        reports = self._engines[engine_id].generate(
            f"canary-{uuid4().hex}",
            answer.prompt,
            max_tokens=tokens,
            adapter=answer.adapter,
            salt=salt,
            settings=further_settings(settings),
        )
        try:
            return SampledAnswer(
                tuple([(report.text, report.logprobs) async for report in reports])
            )
        finally:
            if isinstance(reports, AsyncGenerator):
                await reports.aclose()


def _agree(one: str, other: str) -> bool:
    """Whether one of them begins as the other does, as far as both go."""
    return one == other or bool(one and other and (one.startswith(other) or other.startswith(one)))


_NO_WEIGHTS: Mapping[str, float] = {}


@settings
class DispatchTerms:
    """weights: of tenants, 1 where not given. order, placement: see there. cache_quota: tokens of
    prefixes that a tenant may hold on an engine; None: all. admission: what may wait. keeper: when
    engines are dead, and when they are started again. canary: None: caches are not checked.
    call_seconds: that one attempt may take. retry_seconds: until the first error of a chain is
    followed by another attempt; twice as long after each further one. stop_seconds: that a
    cancelled call may take to end. one_domain: there is only one who shares prefixes, so that
    engines which keep those of all together may be used.
    Raises ConfigError for seconds, a quota or a weight that is not positive.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: _NO_WEIGHTS)
    order: OrderTerms = field(default_factory=OrderTerms)
    placement: PlacementTerms = field(default_factory=PlacementTerms)
    cache_quota: Count | None = None
    admission: AdmissionBounds = field(default_factory=AdmissionBounds)
    keeper: KeeperBounds = field(default_factory=KeeperBounds)
    canary: CanaryTerms | None = field(default_factory=CanaryTerms)
    call_seconds: Positive = 600.0
    retry_seconds: Positive = 0.1
    stop_seconds: Positive = 10.0
    one_domain: bool = False

    def __post_init__(self) -> None:
        for tenant, weight in self.weights.items():
            if not weight > 0:
                what = f"weights of {tenant} must be above 0"
                raise ConfigError(what, where=f"DispatchTerms.weights {weight}")


# --------------------------------------------------------------------------------------------------
# What a session of one program is given for an engine: the dispatcher, in the program's name.


class ProgramEngine:
    """Runs the chains of one program; made by `ChainDispatcher.for_program`.

        with dispatcher.for_program("p1", "shop") as engine:
            async with Session(engine) as session:
                engine.watch(session)
                ...

    trace: of what happens. reserved: tokens that were let in for chains to come.
    """

    def __init__(
        self,
        seat: ProgramSeat,
        trace: ProgramTrace,
        admission: Admission,
        reader: ChainReader,
        *,
        run: Callable[[ProgramEngine, AskedChain, Saying], Awaitable[str]],
        over: Callable[[ProgramEngine], None],
    ) -> None:
        self.seat, self.trace = seat, trace
        self.reserved = 0
        self.outlook: ProgramOutlook | None = None
        #: Chains that somebody waits for, by the id that the scheduler knows.
        self.jobs: dict[str, ChainJob] = {}
        self._admission, self._reader = admission, reader
        self._run, self._over = run, over
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the program is over."""
        return self._is_closed

    async def generate(self, asked: AskedChain, say: Saying) -> str:
        """Write the output of a chain.

        Raises OverloadedError where there is too much to do, and nothing was reserved; ConfigError
        where no engine takes it; ProgramError once the program or the dispatcher is closed.
        """
        return await self._run(self, asked, say)

    def watch(self, session: Session) -> None:
        """See by the session what is left of the program, and what it will read again."""
        self.outlook = ProgramOutlook(session, self.seat, self._reader)

    def reserve(self, tokens: int) -> None:
        """Let in what the program, or a part that is added to it, may read and write. Raises
        OverloadedError where that is too much for now."""
        self._admission.let_in(self.seat.tenant, tokens)
        self.reserved += tokens

    def use(self, tokens: int) -> bool:
        """A chain takes its tokens from what was reserved; whether there were as many."""
        if self.reserved < tokens:
            return False
        self.reserved -= tokens
        return True

    def close(self) -> None:
        """The program is over: what is left of it is cancelled. Any number of times."""
        if not self._is_closed:
            self._is_closed = True
            if self.reserved:
                self._admission.let_go(self.seat.tenant, self.reserved)
                self.reserved = 0
            self._over(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
