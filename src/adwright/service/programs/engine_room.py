"""The engines of a service and the dispatcher before them, open while the service runs.

room = EngineRoom({"e0": PagedEngine(config)}, text.count)
app = create_programs_app(settings, room, {"smollm2": text}, ready=room.asked, beside=room)
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adwright.core.errors import AdwrightError, ProgramError
from adwright.lm.engine.generation import Message
from adwright.lm.engine.weights import locate
from adwright.programs.dispatch.dispatcher import ChainDispatcher, DispatchStats
from adwright.programs.dispatch.keeper import ProbedEngine
from adwright.programs.dispatch.ready import ProgramSeat
from adwright.programs.dispatch.terms import DispatchTerms, ProgramEngine
from adwright.programs.engines.engine_errors import EngineFailedError
from adwright.programs.engines.measured_curve import curve_file, load_curve, measured_curve
from adwright.programs.graph import Chain, about_tokens
from adwright.programs.scheduling.engine import ExecutionEngine, LatencyCurve
from adwright.service.programs.book import OpenProgram, ProgramBook
from adwright.web.gate import ServiceMetrics

_log = logging.getLogger("adwright.service")
_TERMS = DispatchTerms()


class OpenableEngine(ExecutionEngine, Protocol):
    """An engine that its context manager opens and closes."""

    async def __aenter__(self) -> object:
        """Open it, in the event loop that it is used in."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        ...


class EngineRoom:
    """Engines that are opened together, and run the chains of all programs.

    engines: by id. count: tokens of a text. measured_for: the tenant in whose name an
    engine is measured, if the machine does not remember how fast it is; None: it is not, and what
    is remembered is used all the same. error: why they could not be opened, for whoever only
    sees that the service did not start.
    """

    def __init__(
        self,
        engines: Mapping[str, OpenableEngine],
        count: Callable[[str], int],
        *,
        model: str = "",
        version: str = "",
        terms: DispatchTerms = _TERMS,
        measured_for: str | None = None,
    ) -> None:
        self._engines, self._count, self._terms = dict(engines), count, terms
        self._measured_for = measured_for
        self._model, self._version = model, version
        self._stack = AsyncExitStack()
        self.dispatcher: ChainDispatcher | None = None
        self.error: AdwrightError | None = None

    async def __aenter__(self) -> Self:
        try:
            async with AsyncExitStack() as stack:
                # One after the other: each may take all of the memory bus while it reads weights.
                for engine in self._engines.values():
                    await stack.enter_async_context(engine)
                unfit = await self._unfit()
                fit = [one for one in self._engines if one not in unfit]
                curves = {one: await self._curve(one) for one in fit}
                self.dispatcher = await stack.enter_async_context(
                    ChainDispatcher(
                        self._engines,
                        self._count,
                        model=self._model,
                        version=self._version,
                        curves={one: curve for one, curve in curves.items() if curve},
                        terms=self._terms,
                    )
                )
                for one, error in unfit.items():
                    self.dispatcher.carrier.keeper.unfit(one, error)
                self._stack = stack.pop_all()
        except AdwrightError as error:
            self.error = error
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.shield(self._stack.aclose())

    def for_program(self, program_id: str, tenant: str, /) -> ProgramEngine:
        """What runs the chains of one program. Raises ProgramError where the room is not open."""
        if self.dispatcher is None:
            raise ProgramError("the engines are not open", where="engines", hint="open the room")
        return self.dispatcher.for_program(program_id, tenant)

    async def _unfit(self) -> dict[str, Exception]:
        """The engines elsewhere whose models do not answer, and why."""
        asked = {one: it for one, it in self._engines.items() if isinstance(it, ProbedEngine)}
        told = await asyncio.gather(*(it.probe() for it in asked.values()), return_exceptions=True)
        return {
            one: error
            for one, error in zip(asked, told, strict=True)
            if isinstance(error, Exception)
        }

    async def _curve(self, engine_id: str) -> LatencyCurve | None:
        """How fast an engine is; None where nobody has measured it."""
        engine = self._engines[engine_id]
        found = load_curve(curve_file(engine.capabilities))
        if found is None and self._measured_for is not None:
            _log.info("measuring engine %s, once: a few seconds", engine_id)
            # A cache without salts is for the first who asks.
            tenant = self._measured_for
            salt = ProgramSeat("", tenant, tenant, False, 0.0).salt
            try:
                found = await measured_curve(engine, self._count, salt=salt)
            except (AdwrightError, EngineFailedError) as error:
                _log.warning("engine %s cannot be measured: %s", engine_id, error)
        return None if found is None else found.curve

    async def asked(self) -> Mapping[str, bool]:
        """Whether each engine answers; those elsewhere that have written nothing lately are asked
        for a token."""
        if self.dispatcher is not None:
            await self.dispatcher.carrier.ask()
        return self.ready()

    def ready(self) -> Mapping[str, bool]:
        """Whether each engine answers, as far as is known."""
        if self.dispatcher is None:
            return dict.fromkeys(self._engines, False)
        return self.dispatcher.stats.alive


# --------------------------------------------------------------------------------------------------
# Counters of programs, for Prometheus. They name no tenant, no model and no variable.


class ProgramMeasures(Collector):
    """What is read of the book when Prometheus asks."""

    def __init__(self, metrics: ServiceMetrics, book: ProgramBook) -> None:
        self._book = book
        metrics.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The measures as they are now."""
        book = self._book
        programs = GaugeMetricFamily(
            "adwright_programs", "Open programs by state of their outputs.", labels=["state"]
        )
        states = Counts(one.state for one in book.programs)
        for state in ("running", "done", "failed"):
            programs.add_metric([state], states[state])
        yield programs
        ended = CounterMetricFamily(
            "adwright_programs_ended", "Programs that have ended, by why.", labels=["why"]
        )
        for why, count in sorted(book.ended.items()):
            ended.add_metric([why], count)
        yield ended
        yield CounterMetricFamily(
            "adwright_program_parts", "Programs and parts of them taken.", book.submitted
        )
        chains = GaugeMetricFamily(
            "adwright_program_chains", "Chains of open programs by state.", labels=["state"]
        )
        for state, count in sorted(_chains(book.programs).items()):
            chains.add_metric([state], count)
        yield chains
        yield GaugeMetricFamily(
            "adwright_program_owed_tokens",
            "Tokens that chains which are not over may read and write.",
            book.owed(),
        )
        yield GaugeMetricFamily(
            "adwright_program_waiting",
            "Requests that wait for a text.",
            sum(one.waiting for one in book.programs),
        )


class EngineMeasures(Collector):
    """What the engines have done. They are told apart by their ids, which the operator chose."""

    def __init__(self, room: EngineRoom) -> None:
        self._room = room

    def collect(self) -> Iterator[Metric]:
        """The measures as they are now; none before the engines are open."""
        dispatcher = self._room.dispatcher
        if dispatcher is None:
            return
        stats = dispatcher.stats
        tokens = CounterMetricFamily(
            "adwright_program_tokens",
            "Tokens of chains that have ended: read, of these found in a cache, and written.",
            labels=["kind"],
        )
        tokens.add_metric(["read"], stats.read_tokens)
        tokens.add_metric(["cached"], stats.cached_tokens)
        tokens.add_metric(["written"], stats.written_tokens)
        yield tokens
        yield GaugeMetricFamily(
            "adwright_program_queue", "Chains that are ready and on no engine.", _queue(stats)
        )
        yield CounterMetricFamily(
            "adwright_program_decisions", "Decisions of the scheduler.", stats.decisions
        )
        yield CounterMetricFamily(
            "adwright_program_cache_checks",
            "Answers with cached tokens that were computed again without them.",
            stats.cache_checks,
        )
        for name, text, values in (
            ("engine_alive", "Whether it answers.", stats.alive),
            ("engine_chains", "Chains there.", stats.running),
            ("engine_cache_off", "Whether its prefix cache lied.", _lies(stats)),
        ):
            family = GaugeMetricFamily(f"adwright_{name}", text, labels=["engine"])
            for engine_id, value in values.items():
                family.add_metric([engine_id], float(value))
            yield family
        deaths = CounterMetricFamily(
            "adwright_engine_deaths", "How often it was gone.", labels=["engine"]
        )
        for engine_id, count in stats.deaths.items():
            deaths.add_metric([engine_id], count)
        yield deaths


def _queue(stats: DispatchStats) -> int:
    return max(0, stats.chains - sum(stats.running.values()))


def _lies(stats: DispatchStats) -> dict[str, bool]:
    return {engine_id: engine_id in stats.cache_lies for engine_id in stats.alive}


def _chains(programs: tuple[OpenProgram, ...]) -> Counts[str]:
    found = Counts({state: 0 for state in ("waiting", "running", "done", "failed")})
    for one in programs:
        running = set(one.session.running)
        for node_id, node in one.session.graph.nodes.items():
            if isinstance(node, Chain):
                state = one.session.variable(node.output).state
                if state == "pending":
                    found["running" if node_id in running else "waiting"] += 1
                else:
                    found["done" if state == "set" else "failed"] += 1
    return found


# --------------------------------------------------------------------------------------------------
# What the service knows of a model beside its engines: how many tokens a text has, and what the
# prompt of a chat is.


@dataclass(frozen=True)
class ServedText:
    """What the service knows of a model beside its engines. count: tokens of a text. chat: the
    prompt of a chat with what its template is told; None where the model has no template here.
    engine, context: for who lists the models."""

    count: Callable[[str], int]
    chat: Callable[[Sequence[Message], Mapping[str, Any]], str] | None = None
    engine: str = ""
    context: int = 0


def text_of_model(model: str, *, engine: str, offline: bool = False) -> ServedText:
    """What the tokeniser of a model says, which is loaded without its weights.

    Raises AssetError where there is no such model or it has no tokeniser, MissingExtraError
    without transformers.
    """
    from adwright.lm.engine.hf_tokens import HuggingFaceTokens

    where, _ = locate(model, offline=offline)
    tokens = HuggingFaceTokens.load(where)
    return ServedText(tokens.count, tokens.chat_text, engine)


def guessed_text(*, engine: str) -> ServedText:
    """Of a model that is elsewhere: a token is four characters, and no template is known."""
    return ServedText(about_tokens, None, engine)
