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
from typing import Literal, NamedTuple

from adwright.core.config import require_count
from adwright.programs.scheduling.placement import PlacementScore

__all__ = ["ProgramTrace", "TraceEvent", "TraceEventKind", "TraceStore"]

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
