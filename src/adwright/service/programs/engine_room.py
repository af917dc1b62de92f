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
from typing import Any, Protocol, Self

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adwright.core.errors import AdwrightError, ProgramError
from adwright.lm.engine.generation import EngineFailedError, Message
from adwright.lm.engine.weights import locate
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.keeper import ProbedEngine
from adwright.programs.dispatch.ready import ProgramSeat
from adwright.programs.dispatch.terms import DispatchTerms, ProgramEngine
from adwright.programs.engines.measured_curve import curve_file, load_curve, measured_curve
from adwright.programs.graph import Chain, about_tokens
from adwright.programs.scheduling.engine import ExecutionEngine, LatencyCurve
from adwright.service.programs.book import OpenProgram, ProgramBook
from adwright.web.gate import ServiceMetrics

_log = logging.getLogger("adwright.service")
_TERMS = DispatchTerms()


class OpenableEngine(ExecutionEngine, Protocol):
    """An engine that its context manager opens and closes, in the event loop that it is used in."""

    async def __aenter__(self) -> object:
        """Open it."""
        ...

    async def __aexit__(self, *_: object) -> None:
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

    async def __aexit__(self, *_: object) -> None:
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


def _family(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    name: str,
    text: str,
    label: str,
    values: Mapping[str, float],
) -> Metric:
    """One measure with a value for each value of its label."""
    family = kind(f"adwright_{name}", text, labels=[label])
    for told, value in values.items():
        family.add_metric([told], float(value))
    return family


class ProgramMeasures(Collector):
    """What is read of the book when Prometheus asks."""

    def __init__(self, metrics: ServiceMetrics, book: ProgramBook) -> None:
        self._book = book
        metrics.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The measures as they are now."""
        book, gauge, counter = self._book, GaugeMetricFamily, CounterMetricFamily
        counted = Counts(one.state for one in book.programs)
        states = {state: counted[state] for state in ("running", "done", "failed")}
        text = "Open programs by state of their outputs."
        yield _family(gauge, "programs", text, "state", states)
        ended = dict(sorted(book.ended.items()))
        yield _family(counter, "programs_ended", "Programs that have ended, by why.", "why", ended)
        text = "Programs and parts of them taken."
        yield counter("adwright_program_parts", text, book.submitted)
        chains = dict(sorted(_chains(book.programs).items()))
        text = "Chains of open programs by state."
        yield _family(gauge, "program_chains", text, "state", chains)
        text = "Tokens that chains which are not over may read and write."
        yield gauge("adwright_program_owed_tokens", text, book.owed())
        waiting = sum(one.waiting for one in book.programs)
        yield gauge("adwright_program_waiting", "Requests that wait for a text.", waiting)


class EngineMeasures(Collector):
    """What the engines have done. They are told apart by their ids, which the operator chose."""

    def __init__(self, room: EngineRoom) -> None:
        self._room = room

    def collect(self) -> Iterator[Metric]:
        """The measures as they are now; none before the engines are open."""
        dispatcher, gauge, counter = self._room.dispatcher, GaugeMetricFamily, CounterMetricFamily
        if dispatcher is None:
            return
        stats = dispatcher.stats
        text = "Tokens of chains that have ended: read, of these found in a cache, and written."
        tokens = {"read": stats.read_tokens, "cached": stats.cached_tokens}
        tokens["written"] = stats.written_tokens
        yield _family(counter, "program_tokens", text, "kind", tokens)
        queue = max(0, stats.chains - sum(stats.running.values()))
        yield gauge("adwright_program_queue", "Chains that are ready and on no engine.", queue)
        text = "Decisions of the scheduler."
        yield counter("adwright_program_decisions", text, stats.decisions)
        text = "Answers with cached tokens that were computed again without them."
        yield counter("adwright_program_cache_checks", text, stats.cache_checks)
        lies = {engine_id: engine_id in stats.cache_lies for engine_id in stats.alive}
        yield _family(gauge, "engine_alive", "Whether it answers.", "engine", stats.alive)
        yield _family(gauge, "engine_chains", "Chains there.", "engine", stats.running)
        text = "Whether its prefix cache lied."
        yield _family(gauge, "engine_cache_off", text, "engine", lies)
        yield _family(counter, "engine_deaths", "How often it was gone.", "engine", stats.deaths)


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
