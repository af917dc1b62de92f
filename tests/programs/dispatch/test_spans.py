"""A program's trace as spans of OpenTelemetry."""

from __future__ import annotations

import sys

import pytest

from adwright.programs.dispatch.ready import ProgramTrace, TraceEvent, emit_spans
from adwright.programs.scheduling.scheduler import PlacementScore

EVENTS = (
    TraceEvent(10.0, "submit"),
    TraceEvent(10.1, "ready", "a.o", tokens=30),
    TraceEvent(10.2, "placed", "a.o", "e0", group="g", score=PlacementScore(0.1, 0.2, 0.3)),
    TraceEvent(10.3, "ready", "b.o", tokens=5),
    TraceEvent(10.5, "set", "a.o", "e0", 12),
    TraceEvent(10.6, "failed", "b.o", why="it broke"),
    TraceEvent(11.0, "over"),
)


def trace_of(*events: TraceEvent) -> ProgramTrace:
    trace = ProgramTrace("p", "shop", 1_700_000_000.0, 100)
    for event in events:
        trace.note(event)
    return trace


def test_a_program_is_a_span_and_so_is_each_chain_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(api, "get_tracer", provider.get_tracer)
    assert emit_spans(trace_of(*EVENTS))
    first, second, root = exporter.get_finished_spans()
    assert (first.name, root.name) == ("chain", "program")
    assert root.attributes == {"adwright.program": "p", "adwright.tenant": "shop"}
    assert first.parent.span_id == second.parent.span_id == root.context.span_id
    assert root.start_time == 1_700_000_000 * 10**9
    assert root.end_time - root.start_time == pytest.approx(1e9)
    assert first.end_time - first.start_time == pytest.approx(0.4e9)
    assert [one.name for one in first.events] == ["ready", "placed", "set"]
    assert first.events[1].attributes["adwright.prefill_seconds"] == 0.1
    assert first.events[1].attributes["adwright.engine"] == "e0"
    assert first.status.is_unset
    assert second.status.description == "it broke"


def test_without_a_provider_or_the_package_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not emit_spans(trace_of())
    assert not emit_spans(trace_of(*EVENTS))
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    assert not emit_spans(trace_of(*EVENTS))
