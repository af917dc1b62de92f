"""A program's trace as spans of OpenTelemetry: one of the program, and in it one of each chain.

Spans are made when the program is over, with the times at which things happened, so that tracing
costs a running program nothing. Whether they go anywhere is up to the provider that the process has
set; without one, or without the package `opentelemetry-api`, nothing is done.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from adwright.programs.dispatch.trace import ProgramTrace, TraceEvent

__all__ = ["emit_spans"]


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
