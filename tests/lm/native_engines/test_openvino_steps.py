from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("openvino", reason="the extra lm is not installed")

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.native_engines.openvino_worker import StepOutput, Stepper, StepRequest

#: Steps that do not end while a test does something else.
MANY = 20_000


class Handle:
    """Counts down from the first token of its prompt, less what follows it."""

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
        self.slow = 0.0
        self.joined: list[int] = []
        self.broken = False
        self.may_step = threading.Event()
        self.may_step.set()

    def add_request(self, _: int, ids: Any, settings: Any) -> Handle:
        time.sleep(self.slow)
        self.joined.append(self.steps)
        first = int(ids.data.reshape(-1)[0])
        if first == 96:
            raise OverflowError("it does not fit")
        if first == 98:
            raise RuntimeError("[12:00:01] /src/a.cc:12: it is not taken")
        self.broken = self.broken or first == 99
        handle = Handle(first - len(ids.data.reshape(-1)) + 1)
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


class Ticket:
    """A request, and what is told of it."""

    def __init__(self, stepper: Stepper, ids: list[int], *, shaped: bool = False) -> None:
        self.arrived: SimpleQueue[StepOutput | Exception] = SimpleQueue()
        settings: Any = SimpleNamespace(max_new_tokens=ids[0])
        self.request = StepRequest(ids, settings, self.arrived.put, shaped)
        stepper.submit([self.request])

    def __iter__(self) -> Iterator[StepOutput]:
        while True:
            output = self.arrived.get(timeout=20)
            if isinstance(output, Exception):
                raise output
            yield output
            if output.ended:
                return


def make() -> tuple[Stepper, list[Pipeline]]:
    made = [Pipeline()]

    def again() -> Any:
        made.append(Pipeline())
        return made[-1]

    return Stepper(made[0], again), made  # type: ignore[arg-type]


def ids_of(ticket: Ticket) -> list[int]:
    return [token for piece in ticket for token in piece.ids]


def test_requests_run_together() -> None:
    worker, (pipeline,) = make()
    pipeline.may_step.clear()
    tickets = [Ticket(worker, [n]) for n in (3, 5, 4)]
    time.sleep(0.05)
    pipeline.may_step.set()
    assert [ids_of(ticket) for ticket in tickets] == [[2, 1, 0], [4, 3, 2, 1, 0], [3, 2, 1, 0]]
    assert pipeline.steps <= 7
    worker.close()
    worker.close()


def test_no_step_lies_between_those_that_are_submitted_together() -> None:
    worker, (pipeline,) = make()
    told: list[list[StepOutput | Exception]] = [[], [], []]
    settings: Any = SimpleNamespace(max_new_tokens=4)
    requests = [StepRequest([4], settings, one.append) for one in told]
    requests[1].dropped = True
    pipeline.slow = 0.02
    worker.submit([])
    worker.submit(requests)
    last = Ticket(worker, [30])
    assert ids_of(last)[-1] == 0
    assert pipeline.joined[:2] == [0, 0]
    assert [len(one) for one in told] == [4, 1, 4]
    worker.close()


def test_a_dropped_request_leaves_and_idle_costs_nothing() -> None:
    worker, (pipeline,) = make()
    ticket = Ticket(worker, [10_000_000])
    assert next(iter(ticket)).ended is False
    ticket.request.dropped = True
    until = time.monotonic() + 10
    while worker.running and time.monotonic() < until:
        time.sleep(0.001)
    assert worker.running == 0
    time.sleep(0.05)
    assert not pipeline.handles
    steps = pipeline.steps
    time.sleep(0.05)
    assert pipeline.steps == steps
    assert not ticket.arrived.empty()
    worker.close()


def test_a_request_that_is_not_taken_harms_no_other() -> None:
    worker, _ = make()
    bad, good = Ticket(worker, [98]), Ticket(worker, [2])
    with pytest.raises(ConfigError, match=r"^it is not taken"):
        ids_of(bad)
    assert ids_of(good) == [1, 0]
    with pytest.raises(ConfigError, match="does not fit"):
        ids_of(Ticket(worker, [96]))
    with pytest.raises(ConfigError, match="int"):
        ids_of(Ticket(worker, [2**63]))
    assert ids_of(Ticket(worker, [2])) == [1, 0]
    full = Ticket(worker, [97])
    with pytest.raises(ResourceError, match="full"):
        ids_of(full)
    worker.close()


def test_a_step_that_fails_ends_its_requests_and_a_new_pipeline_goes_on() -> None:
    worker, made = make()
    bad = Ticket(worker, [99])
    with pytest.raises(ResourceError, match="what went wrong"):
        ids_of(bad)
    assert ids_of(Ticket(worker, [2])) == [1, 0]
    assert len(made) == 2
    worker.close()


def test_a_schema_that_is_not_taken_ends_its_own_request_and_the_others_go_on() -> None:
    worker, made = make()
    going, bound = Ticket(worker, [MANY]), Ticket(worker, [MANY], shaped=True)
    first = [next(iter(going)), next(iter(bound))]
    made[0].may_step.clear()
    bad = Ticket(worker, [99], shaped=True)
    made[0].may_step.set()
    with pytest.raises(ConfigError, match="the schema or grammar is not taken: what went wrong"):
        ids_of(bad)
    assert [*first[0].ids, *ids_of(going)] == list(reversed(range(MANY)))
    assert going.request.settings.max_new_tokens < MANY
    with pytest.raises(ResourceError, match="what went wrong"):
        ids_of(bound)
    assert len(made) == 2
    worker.close()


def test_of_two_new_schemas_neither_is_called_wrong() -> None:
    worker, made = make()
    made[0].may_step.clear()
    waiting = Ticket(worker, [5])
    tickets = [Ticket(worker, [n], shaped=True) for n in (99, 6)]
    made[0].may_step.set()
    assert ids_of(waiting) == [4, 3, 2, 1, 0]
    for ticket in tickets:
        with pytest.raises((ResourceError, ConfigError)):
            ids_of(ticket)
    worker.close()


def test_closing_ends_what_runs() -> None:
    worker, _ = make()
    ticket = Ticket(worker, [10_000_000])
    next(iter(ticket))
    worker.close()
    with pytest.raises(ResourceError, match="closed"):
        ids_of(ticket)
    with pytest.raises(ConfigError, match="closed"):
        Ticket(worker, [1])
    assert ticket.request.handle is None


def test_where_there_is_no_new_pipeline_all_are_told_and_the_thread_ends() -> None:
    made = [Pipeline()]

    def again() -> Any:
        raise ValueError("no memory")

    worker = Stepper(made[0], again)  # type: ignore[arg-type]
    made[0].may_step.clear()
    tickets = [Ticket(worker, [n]) for n in (99, 5, 6)]
    made[0].may_step.set()
    for ticket in tickets:
        with pytest.raises(ResourceError):
            ids_of(ticket)
    worker.join()
    with pytest.raises(ConfigError, match="closed"):
        Ticket(worker, [1])
