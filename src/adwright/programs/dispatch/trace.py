"""What happened to a program, in order: from its arrival to its last variable.

    submit      it has come
    ready       a chain may run                    tokens of its prompt; its group
    placed      it is sent to an engine            the engine; predicted seconds, by term
    waits       it waits at an engine for a place, or for a prefix that is read there; or for an
                engine that takes it: why none does
    fill        its beginning is read, for it and others
    first       the first piece of its answer      tokens that the engine had held
    again       it will be sent once more          why
    set         its answer is whole                tokens of it
    failed      it has none                        why
    cancelled   nobody wants it any more
    over        the program is

Traces are bounded, in events and in programs: of a program with more events the last ones are kept,
and the programs that began last.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple

from adwright.core.config import require_count
from adwright.programs.scheduling.scheduler import PlacementScore

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
