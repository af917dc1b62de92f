from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("openvino", reason="the extra lm is not installed")

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.native_engines.openvino_worker import PipelineRequest, Worker


class Handle:
    """Counts down from the first token of its prompt."""

    def __init__(self, left: int) -> None:
        self.left, self.ready, self.status = left, 0, "RUNNING"

    def step(self) -> None:
        if self.status == "RUNNING":
            self.left -= 1
            self.ready += 1
            if self.left == 0:
                self.status = "FINISHED"

    def get_status(self) -> Any:
        return SimpleNamespace(name=self.status)

    def can_read(self) -> bool:
        return self.ready > 0

    def read(self) -> dict[int, Any]:
        self.ready -= 1
        reason = "LENGTH" if self.status == "FINISHED" else "NONE"
        output = SimpleNamespace(
            generated_ids=[self.left + self.ready],
            generated_log_probs=[-1.0],
            finish_reason=SimpleNamespace(name=reason),
        )
        return {0: output}

    def cancel(self) -> None:
        self.status = "CANCEL"


class Pipeline:
    """As OpenVINO's, without a model. A prompt that begins with 99 breaks every step from then
    on; one that begins with 98 is not taken; one with 97 finds the cache full."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []
        self.steps = 0
        self.broken = False
        self.may_step = threading.Event()
        self.may_step.set()

    def add_request(self, _: int, ids: Any, settings: Any) -> Handle:
        first = int(ids.data.reshape(-1)[0])
        if first == 98:
            raise RuntimeError("[12:00:01] /src/a.cc:12: it is not taken")
        self.broken = self.broken or first == 99
        handle = Handle(first)
        if first == 97:
            handle.status = "IGNORED"
        self.handles.append(handle)
        return handle

    def has_non_finished_requests(self) -> bool:
        self.handles = [one for one in self.handles if one.status not in ("FINISHED", "IGNORED")]
        return bool(self.handles)

    def step(self) -> None:
        self.may_step.wait(10)
        self.steps += 1
        if self.broken:
            raise RuntimeError("what went wrong")
        self.handles = [one for one in self.handles if one.status != "CANCEL"]
        for handle in self.handles:
            handle.step()


def make() -> tuple[Worker, list[Pipeline]]:
    made = [Pipeline()]

    def again() -> Any:
        made.append(Pipeline())
        return made[-1]

    return Worker(made[0], again), made  # type: ignore[arg-type]


def ids_of(ticket: PipelineRequest) -> list[int]:
    return [token for piece in ticket for token in piece.ids]


def test_requests_run_together() -> None:
    worker, (pipeline,) = make()
    pipeline.may_step.clear()
    tickets = [worker.submit([n], None) for n in (3, 5, 4)]
    time.sleep(0.05)
    pipeline.may_step.set()
    assert [ids_of(ticket) for ticket in tickets] == [[2, 1, 0], [4, 3, 2, 1, 0], [3, 2, 1, 0]]
    assert pipeline.steps <= 7
    worker.close()
    worker.close()


def test_a_dropped_request_leaves_and_idle_costs_nothing() -> None:
    worker, (pipeline,) = make()
    ticket = worker.submit([10_000_000], None)
    assert next(iter(ticket)).ended is False
    ticket.drop()
    until = time.monotonic() + 10
    while worker.running and time.monotonic() < until:
        time.sleep(0.001)
    assert worker.running == 0
    time.sleep(0.05)
    assert not pipeline.handles
    steps = pipeline.steps
    time.sleep(0.05)
    assert pipeline.steps == steps
    assert ticket.next(0.0) is not None
    worker.close()


def test_a_request_that_is_not_taken_harms_no_other() -> None:
    worker, _ = make()
    bad, good = worker.submit([98], None), worker.submit([2], None)
    with pytest.raises(ConfigError, match=r"^it is not taken"):
        ids_of(bad)
    assert ids_of(good) == [1, 0]
    full = worker.submit([97], None)
    with pytest.raises(ResourceError, match="full"):
        ids_of(full)
    worker.close()


def test_a_step_that_fails_ends_its_requests_and_a_new_pipeline_goes_on() -> None:
    worker, made = make()
    bad = worker.submit([99], None)
    with pytest.raises(ResourceError, match="what went wrong"):
        ids_of(bad)
    assert ids_of(worker.submit([2], None)) == [1, 0]
    assert len(made) == 2
    worker.close()


def test_closing_ends_what_runs() -> None:
    worker, _ = make()
    ticket = worker.submit([10_000_000], None)
    next(iter(ticket))
    worker.close()
    with pytest.raises(ResourceError, match="closed"):
        ids_of(ticket)
    with pytest.raises(ConfigError, match="closed"):
        worker.submit([1], None)
    assert ticket.handle is None
