"""From what a session asks to what the scheduler knows: a chain in terms of hashes and tokens."""

from __future__ import annotations

import asyncio
import json
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from hashlib import blake2b
from importlib import import_module
from itertools import takewhile
from typing import Any, Literal, NamedTuple

from adwright.core.config import require_count
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.deduction import Deduction, Prefixes, PrefixSeed, text_prefixes
from adwright.programs.graph import Chain, Graph, ProgramLimits, prompt_tokens
from adwright.programs.runner import AskedChain, Saying, Session, Variable
from adwright.programs.scheduling.engine import EngineCapabilities, ReadyChain, UpcomingPrefix
from adwright.programs.scheduling.scheduler import PlacementScore
from adwright.programs.steps import ConstantText

# --------------------------------------------------------------------------------------------------
# What happened to a program, in order: from its arrival to its last variable.
#
#     submit      it has come
#     ready       a chain may run                    tokens of its prompt; its group
#     placed      it is sent to an engine            the engine; predicted seconds, by term
#     waits       it waits at an engine for a place, or for a prefix that is read there; or for an
#                 engine that takes it: why none does
#     fill        its beginning is read, for it and others
#     first       the first piece of its answer      tokens that the engine had held
#     again       it will be sent once more          why
#     set         its answer is whole                tokens of it
#     failed      it has none                        why
#     cancelled   nobody wants it any more
#     over        the program is
#
# Traces are bounded, in events and in programs: of a program with more events the last ones are
# kept, and the programs that began last.

TraceEventKind = Literal[
    "submit",
    "ready",
    "placed",
    "waits",
    "fill",
    "first",
    "again",
    "set",
    "failed",
    "cancelled",
    "over",
]


class TraceEvent(NamedTuple):
    """One event. time: seconds on the scheduler's clock. chain: id of the node, "" where it is of
    the program. engine: its id. tokens: of the prompt that is ready, held at the first piece, of
    the answer that is set. score: predicted seconds of the placement, by term. why: in words."""

    time: float
    kind: TraceEventKind
    chain: str = ""
    engine: str = ""
    tokens: int | None = None
    group: str | None = None
    score: PlacementScore | None = None
    why: str = ""

    def as_json(self) -> dict[str, object]:
        """What is known of it."""
        told = self._asdict() | {"score": self.score._asdict() if self.score else None}
        return {name: value for name, value in told.items() if value not in (None, "")}


class ProgramTrace:
    """The events of one program. began: of its first, in seconds since the epoch. left_out: events
    that were no longer kept."""

    def __init__(self, program_id: str, tenant: str, began: float, most: int) -> None:
        self.program_id, self.tenant, self.began = program_id, tenant, began
        self._events: deque[TraceEvent] = deque(maxlen=most)
        self._count = 0
        self._placed: dict[str, str] = {}

    @property
    def events(self) -> tuple[TraceEvent, ...]:
        """Those that are kept, in order."""
        return tuple(self._events)

    @property
    def left_out(self) -> int:
        """How many are not."""
        return self._count - len(self._events)

    @property
    def placed(self) -> Mapping[str, str]:
        """The engine that each chain was sent to last, by the id of its node: what
        `frontend.explain.explain` is told as `placed`."""
        return self._placed

    def note(self, event: TraceEvent) -> None:
        """An event has happened."""
        self._events.append(event)
        self._count += 1
        if event.kind == "placed":
            self._placed[event.chain] = event.engine


class TraceStore:
    """The traces of the last programs. programs, events: the most that are kept, of all and of
    each."""

    def __init__(self, *, programs: int = 1_000, events: int = 10_000) -> None:
        require_count("programs", programs)
        require_count("events", events)
        self._programs, self._events = programs, events
        self._traces: OrderedDict[str, ProgramTrace] = OrderedDict()

    def begin(self, program_id: str, tenant: str, began: float) -> ProgramTrace:
        """A program has come."""
        trace = ProgramTrace(program_id, tenant, began, self._events)
        self._traces.pop(program_id, None)
        self._traces[program_id] = trace
        if len(self._traces) > self._programs:
            self._traces.popitem(last=False)
        return trace

    def find(self, program_id: str) -> ProgramTrace | None:
        """The trace of a program; None where there is none, or no longer."""
        return self._traces.get(program_id)


# --------------------------------------------------------------------------------------------------
# A program's trace as spans of OpenTelemetry: one of the program, and in it one of each chain.
#
# Spans are made when the program is over, with the times at which things happened, so that tracing
# costs a running program nothing. Whether they go anywhere is up to the provider that the process
# has set; without one, or without the package `opentelemetry-api`, nothing is done.


def emit_spans(trace: ProgramTrace) -> bool:
    """Make the spans of a program. Whether any were made."""
    api = _api()
    events = trace.events
    if api is None or not events:
        return False
    tracer = api.get_tracer("adwright.programs")
    begin = events[0].time

    def at(time: float) -> int:
        return round((trace.began + time - begin) * 1e9)

    # No ambient span of whoever closes the program is its parent.
    root = tracer.start_span(
        "program",
        context=import_module("opentelemetry.context").Context(),
        start_time=at(begin),
        attributes={"adwright.program": trace.program_id, "adwright.tenant": trace.tenant},
    )
    if not root.is_recording():
        return False
    context = api.set_span_in_context(root)
    chains: dict[str, list[TraceEvent]] = {}
    for event in events:
        if event.chain:
            chains.setdefault(event.chain, []).append(event)
    for name, own in chains.items():
        span = tracer.start_span("chain", context=context, start_time=at(own[0].time))
        span.set_attribute("adwright.chain", name)
        for event in own:
            _say(span, event, at(event.time))
        span.end(at(own[-1].time))
    root.end(at(events[-1].time))
    return True


def _say(span: Any, event: TraceEvent, time: int) -> None:
    told = event.as_json()
    score = told.pop("score", None)
    if isinstance(score, dict):
        told |= {f"{name}_seconds": value for name, value in score.items()}
    attributes = {f"adwright.{name}": value for name, value in told.items()}
    attributes = {name: value for name, value in attributes.items() if name != "adwright.time"}
    span.add_event(event.kind, attributes, time)
    if event.kind == "failed":
        status = import_module("opentelemetry.trace.status")
        span.set_status(status.Status(status.StatusCode.ERROR, event.why))


def _api() -> Any:
    """The module, where it is there."""
    try:
        return import_module("opentelemetry.trace")
    except ImportError:
        return None


# --------------------------------------------------------------------------------------------------
# How long prompts are and answers will be, in tokens, as far as it can be known beforehand.

#: A text of more characters is counted in another thread, as the event loop must not stand still.
_LONG = 20_000
#: Answers over which a mean is formed at the most, so that it follows what changes.
_WINDOW = 32


class TokenCounts:
    """Counts each text once. count: tokens of a text. most: texts whose counts are kept, the ones
    used last; of the texts themselves nothing is.

    What one domain has had counted makes no other domain's counting faster.
    """

    def __init__(self, count: Callable[[str], int], *, most: int = 20_000) -> None:
        require_count("most", most)
        self.count, self._most = count, most
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, text: str, domain: str = "") -> int:
        """Tokens of a text."""
        key = _key(text, domain)
        known = self._known.get(key)
        if known is None:
            known = self._keep(key, self.count(text))
        else:
            self._known.move_to_end(key)
        return known

    def is_slow(self, text: str, domain: str = "") -> bool:
        """Whether it would take long to count."""
        return len(text) > _LONG and _key(text, domain) not in self._known

    async def prepare(self, texts: Sequence[str], domain: str = "") -> None:
        """Count the long ones among the texts while the event loop goes on."""
        for text in texts:
            if self.is_slow(text, domain):
                tokens = await asyncio.to_thread(self.count, text)
                self._keep(_key(text, domain), tokens)

    def _keep(self, key: bytes, tokens: int) -> int:
        self._known[key] = tokens
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return tokens


def _key(text: str, domain: str) -> bytes:
    return blake2b(f"{len(domain)} {domain}{text}".encode(), digest_size=16).digest()


class AnswerLengths:
    """How many tokens an answer will have: the mean of those that its template had before, with its
    settings' bound. most: templates that are known, the ones used last."""

    def __init__(self, *, most: int = 10_000) -> None:
        require_count("most", most)
        self._most = most
        self._means: OrderedDict[tuple[object, ...], tuple[int, float]] = OrderedDict()

    def expected(self, of: tuple[object, ...], bound: int) -> int:
        """Tokens of an answer. of: what its length goes by, such as tenant and template. bound: the
        most that it may have, which is expected until there was an answer."""
        known = self._means.get(of)
        if known is None:
            return bound
        self._means.move_to_end(of)
        return max(1, min(bound, math.ceil(known[1])))

    def note(self, of: tuple[object, ...], tokens: int) -> None:
        """An answer had so many."""
        count, mean = self._means.pop(of, (0, 0.0))
        count = min(count + 1, _WINDOW)
        self._means[of] = count, mean + (tokens - mean) / count
        if len(self._means) > self._most:
            self._means.popitem(last=False)


@dataclass(frozen=True)
class ProgramSeat:
    """A program of a tenant that has come.

    domain: whoever has the same shares prefixes; public: several tenants may, see `PrefixSeed`.
    arrived: seconds on the scheduler's clock.
    """

    program_id: str
    tenant: str
    domain: str
    public: bool
    arrived: float

    @cached_property
    def salt(self) -> str:
        """What an engine is told of its domain: another one for each, which names nobody."""
        told = json.dumps([self.domain, self.public])
        return blake2b(told.encode(), digest_size=16).hexdigest()


class ChainReader:
    """Reads chains. model: the one that is meant where a call names none. version: of what makes
    tokens of texts; prefixes of two versions are never taken for one."""

    def __init__(self, counts: TokenCounts, *, model: str, version: str = "") -> None:
        self.counts, self.lengths = counts, AnswerLengths()
        self._model, self._version = model, version

    def model_of(self, chain: Chain) -> str:
        """The model that it asks for."""
        return chain.call.model or self._model

    def ready(self, asked: AskedChain, seat: ProgramSeat, chain_id: str) -> ReadyChain:
        """The chain as the scheduler sees it. Ids of programs are unique, so that with them names
        of groups are."""
        chain, deduced = asked.chain, asked.deduced
        found = self.prefixes(chain, asked.segments, seat)
        if not found.hashes:
            # A prompt without a token: engines begin with one of their own.
            found = text_prefixes([chain_id], lambda _: 1, self._seed(chain, seat))
        group = None if deduced.group is None else f"{seat.program_id}/{deduced.group}"
        return ReadyChain(
            chain_id,
            seat.program_id,
            seat.tenant,
            self.model_of(chain),
            chain.call.adapter,
            found.hashes,
            found.tokens,
            self.expected(chain, seat),
            deduced.objective,
            group,
            deduced.depth,
            deduced.critical_tokens,
            seat.arrived,
        )

    def prefixes(self, chain: Chain, segments: Iterable[str], seat: ProgramSeat) -> Prefixes:
        """The prefixes of its prompt, or of what is known of that."""
        count, domain = self.counts.of, seat.domain
        seed = self._seed(chain, seat)
        return text_prefixes(segments, lambda text: count(text, domain), seed)

    def beginning(self, segments: Sequence[str], borders: int, seat: ProgramSeat) -> str:
        """The text of a prompt up to so many borders."""
        for end, segment in enumerate(segments, start=1):
            if segment and self.counts.of(segment, seat.domain):
                borders -= 1
            if not borders:
                return "".join(segments[:end])
        return "".join(segments)

    def expected(self, chain: Chain, seat: ProgramSeat) -> int:
        """Tokens that its answer will have, about."""
        return self.lengths.expected(_length_of(chain, seat), chain.settings.max_tokens)

    def written(self, chain: Chain, seat: ProgramSeat, tokens: int) -> None:
        """It has got an answer of so many tokens."""
        self.lengths.note(_length_of(chain, seat), tokens)

    def _seed(self, chain: Chain, seat: ProgramSeat) -> PrefixSeed:
        model = self.model_of(chain)
        return PrefixSeed(seat.domain, model, chain.call.adapter, self._version, seat.public)


def _length_of(chain: Chain, seat: ProgramSeat) -> tuple[object, ...]:
    """What answers of about one length have in common."""
    call = chain.call
    return seat.tenant, hash(call.template), chain.placeholder, call.model, call.adapter


# --------------------------------------------------------------------------------------------------
# One chain that somebody waits for, over however many attempts: what was said of its answer.
#
# An attempt may break off in the middle, as its engine dies. What was said by then has been read by
# whoever streams it, so the next attempt goes on from there: it reads the prompt and what was said,
# and writes what is left. A model writes each token given all before it, so that this is an answer
# as good as an unbroken one; the same one, where the tokenizer makes of what was said the tokens
# that it came from. It costs reading what was written, not writing it again. Where it cannot be (a
# form that the whole answer has to have; an engine that takes a prompt for a turn of a chat), what
# was said is taken back, and the answer is begun anew.

_DEFAULTS = tuple(
    (one.name, getattr(GenerationConfig(), one.name))
    for one in fields(GenerationConfig)
    if one.name not in ("max_tokens", "json_schema")
)


class StreamConsumerError(Exception):
    """Whoever is told the pieces does not take one; `__cause__` says why."""


@dataclass(frozen=True)
class ChainRequest:
    """What an attempt asks of an engine. settings: where there are others than the length and the
    schema."""

    prompt: str
    max_tokens: int
    schema: str | None
    settings: GenerationConfig | None


def further_settings(settings: GenerationConfig) -> GenerationConfig | None:
    """The settings, where there are others than the length and the schema."""
    plain = all(getattr(settings, name) == value for name, value in _DEFAULTS)
    return None if plain else settings


@dataclass(eq=False)
class ChainJob:
    """A chain that is asked for. answer: who waits for it. tokens: that were let in for it.
    is_begun: whether the scheduler knows of it. attempts: begun so far; errors: how many of them
    failed; error: that of the last. moved: how often an engine died under it. before: tokens that
    were said before this attempt."""

    chain: ReadyChain
    asked: AskedChain
    seat: ProgramSeat
    say: Saying
    trace: ProgramTrace
    answer: asyncio.Future[str]
    tokens: int
    is_begun: bool = False
    attempts: int = 0
    errors: int = 0
    error: Exception | None = None
    moved: int = 0
    before: int = 0
    _said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self._said)

    def add(self, piece: str) -> None:
        """The answer goes on. Raises StreamConsumerError where that is not taken."""
        if not piece:
            return
        try:
            self.say(piece)
        except Exception as error:
            raise StreamConsumerError from error
        self._said.append(piece)

    def settle(self, what: str | Exception) -> None:
        """It has come to this, unless it came to something before."""
        if self.answer.done():
            return
        if isinstance(what, str):
            self.answer.set_result(what)
        else:
            self.answer.set_exception(what)

    def note(
        self,
        kind: TraceEventKind,
        now: float,
        *,
        engine: str = "",
        tokens: int | None = None,
        group: str | None = None,
        score: PlacementScore | None = None,
        why: str = "",
    ) -> None:
        """Write an event into the program's trace."""
        chain_id = self.asked.chain.node_id
        self.trace.note(TraceEvent(now, kind, chain_id, engine, tokens, group, score, why))

    def begin(self, can: EngineCapabilities, count: Callable[[str], int]) -> ChainRequest | None:
        """Begin an attempt on an engine that can do so much; None where the answer is whole as it
        is. count: tokens of a text."""
        settings, prompt, written = self.asked.chain.settings, self.asked.prompt, 0
        if self._said:
            if can.continues and not settings.constrained and not settings.logprobs:
                prompt, written = prompt + self.text, count(self.text)
            else:
                self._said.clear()
                self.say.take_back()
        self.before, left = written, settings.max_tokens - written
        if left < 1:
            return None
        if self.attempts and settings.temperature:
            # Else it would draw again what it has drawn for the tokens that were said.
            settings = replace(settings, seed=settings.seed + self.attempts)
        self.attempts += 1
        schema = settings.json_schema
        told = None if schema is None else json.dumps(schema)
        if written:
            least = max(0, settings.min_tokens - written)
            settings = replace(settings, max_tokens=left, min_tokens=least)
        return ChainRequest(prompt, left, told, further_settings(settings))


# --------------------------------------------------------------------------------------------------
# What is left of a program that runs, and what it will read again.

_LIMITS = ProgramLimits()


class ProgramOutlook:
    """Of one program's session. What it has said of a prefix it takes back once that is over."""

    def __init__(self, session: Session, seat: ProgramSeat, reader: ChainReader) -> None:
        self._session, self._seat, self._reader = session, seat, reader
        self._said: set[int] = set()
        self._graph: Graph | None = None
        self._reads: dict[str, int] = {}
        self._deduction: Deduction | None = None
        #: Chains that are not over: what they write, and tokens that they read and write.
        self._open: list[tuple[Variable, int, int]] = []
        #: Of chains that wait: how much of the prompt was known, and its prefixes.
        self._known: dict[str, tuple[int, Prefixes]] = {}

    def left(self) -> tuple[int, int]:
        """Tokens that are to be read and written until it is over, about."""
        session, graph = self._session, self._session.graph
        if self._graph is not graph:
            self._graph, self._reads = graph, prompt_tokens(graph, _LIMITS)
        if self._deduction is not session.deduction:
            self._deduction = session.deduction
            nodes = (graph.nodes[node_id] for node_id in self._deduction.chains)
            self._open = [
                (
                    session.variable(one.output),
                    self._reads[one.node_id],
                    self._reader.expected(one, self._seat),
                )
                for one in nodes
                if isinstance(one, Chain)
            ]
        self._open = [one for one in self._open if not one[0].is_settled]
        return sum(one[1] for one in self._open), sum(one[2] for one in self._open)

    def upcoming(self, at_work: Iterable[ChainJob], texts: PrefixTexts) -> list[UpcomingPrefix]:
        """The prefixes that will be read, with in how many steps. at_work: chains that are ready or
        run. texts: is told what the prefixes are."""
        steps: dict[int, int] = {}
        for job in at_work:
            steps.update(dict.fromkeys(job.chain.prefix, 0))
            texts.learn(self._seat, job.asked.chain, job.chain.prefix, job.asked.segments)
        known, self._known = self._known, {}
        for one in self._session.upcoming:
            node_id, size = one.chain.node_id, len(one.segments)
            found = known.get(node_id)
            if found is None or found[0] != size:
                found = size, self._prefixes(one.chain, one.segments)
                texts.learn(self._seat, one.chain, found[1].hashes, one.segments)
            self._known[node_id] = found
            for border in found[1].hashes:
                if steps.get(border, one.steps) >= one.steps:
                    steps[border] = one.steps
        return self._told(steps)

    def _prefixes(self, chain: Chain, segments: Sequence[str]) -> Prefixes:
        """Those before the first text that would take long to count: that is done, beside the event
        loop, once the chain is ready."""
        counts, domain = self._reader.counts, self._seat.domain
        quick = takewhile(lambda text: not counts.is_slow(text, domain), segments)
        return self._reader.prefixes(chain, quick, self._seat)

    def over(self) -> list[UpcomingPrefix]:
        """None of them will be read again."""
        return self._told({})

    def _told(self, steps: dict[int, int]) -> list[UpcomingPrefix]:
        program = self._seat.program_id
        ended = self._said - steps.keys()
        self._said = set(steps)
        told = [UpcomingPrefix(program, border, each) for border, each in steps.items()]
        return told + [UpcomingPrefix(program, border, None) for border in ended]


class PrefixTexts:
    """What the hashes of prefixes stand for, as engines are told texts.

    Those that templates begin with, before any variable, are left out: no graph says that nobody
    will read them again, as the next program may have the same template.
    """

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader
        self._texts: dict[int, tuple[tuple[str, ...], int, ProgramSeat]] = {}
        self._of_program: dict[str, set[int]] = {}
        self._users: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def learn(
        self, seat: ProgramSeat, chain: Chain, hashes: Sequence[int], segments: tuple[str, ...]
    ) -> None:
        """The hashes at the borders of a prompt of the chain, or its beginning."""
        known = self._of_program.setdefault(seat.program_id, set())
        # No two constant texts stand side by side.
        first = 2 if isinstance(chain.prompt[0], ConstantText) else 1
        for borders, border in enumerate(hashes, start=1):
            if borders >= first and border not in known:
                known.add(border)
                self._users[border] = self._users.get(border, 0) + 1
                self._texts.setdefault(border, (segments, borders, seat))

    def find(self, border: int) -> tuple[str, str] | None:
        """The text up to a border, and the salt of who reads it; None where nobody knows it."""
        found = self._texts.get(border)
        if found is None:
            return None
        segments, borders, seat = found
        return self._reader.beginning(segments, borders, seat), seat.salt

    def forget(self, program_id: str) -> None:
        """The program is over."""
        for border in self._of_program.pop(program_id, ()):
            self._users[border] -= 1
            if not self._users[border]:
                del self._users[border], self._texts[border]
