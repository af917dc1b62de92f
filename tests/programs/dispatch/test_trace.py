"""What is kept of what happened."""

from __future__ import annotations

import json

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.dispatch.trace import TraceEvent, TraceStore
from adwright.programs.scheduling.scheduler import PlacementScore

SCORE = PlacementScore(0.1, 0.2, 0.3)


def test_events_come_in_order_and_say_where_each_chain_ran_last() -> None:
    trace = TraceStore().begin("p", "shop", 1000.0)
    trace.note(TraceEvent(0.0, "submit"))
    for engine in ("e0", "e1"):
        trace.note(TraceEvent(1.0, "placed", "a.o", engine, group="g", score=SCORE))
    assert trace.placed == {"a.o": "e1"}
    trace.note(TraceEvent(2.0, "over"))
    assert [one.kind for one in trace.events] == ["submit", "placed", "placed", "over"]


def test_an_event_tells_what_is_known_of_it() -> None:
    event = TraceEvent(1.0, "placed", "a.o", "e1", group="g", score=SCORE)
    assert json.loads(json.dumps(event.as_json())) == {
        "time": 1.0,
        "kind": "placed",
        "chain": "a.o",
        "engine": "e1",
        "group": "g",
        "score": {"prefill": 0.1, "queue": 0.2, "interference": 0.3},
    }
    assert TraceEvent(1.0, "first", "a.o", "e1", 0).as_json()["tokens"] == 0


def test_traces_are_bounded_in_events_and_in_programs() -> None:
    store = TraceStore(programs=2, events=3)
    trace = store.begin("p", "shop", 0.0)
    for at in range(5):
        trace.note(TraceEvent(float(at), "ready", f"c{at}"))
    assert [one.chain for one in trace.events] == ["c2", "c3", "c4"]
    assert trace.left_out == 2
    store.begin("q", "shop", 0.0)
    again = store.begin("p", "shop", 0.0)
    store.begin("r", "shop", 0.0)
    assert store.find("q") is None
    assert store.find("p") is again
    with pytest.raises(ConfigError, match="events must be at least 1"):
        TraceStore(events=0)
