from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from adwright.campaigns.store.store import Events, Store, StoredDecision
from adwright.campaigns.store.tables import Recorded
from adwright.core.clock import SystemClock
from adwright.core.errors import ResourceError, ValueInvalidError
from adwright.delivery.decision import Decision, Request
from adwright.service.config import ServiceConfig
from adwright.service.decide.decider import Decider
from adwright.service.decide.writer import Answers, Write, Writer
from adwright.web.errors import ApiError
from adwright.web.gate import ServiceMetrics
from tests.support.service.bench import AMPLE, Bench, Held, event
from tests.support.service.small_shop import deployed, request, wait_until


class Ledger:
    """Remembers the groups; holds them until it is let go on, and fails where a row says so."""

    def __init__(self) -> None:
        self.groups: list[tuple[str, int]] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def record_group(
        self, tenant: str, entries: Sequence[Decision | Events]
    ) -> list[StoredDecision | Recorded]:
        self.groups.append((tenant, len(entries)))
        self.entered.set()
        self.go_on.wait(10)
        batches = [entry for entry in entries if not isinstance(entry, Decision)]
        kinds = [row["kind"] for batch in batches for row in batch]
        for kind in kinds:
            if kind == "bad":
                raise ValueInvalidError("a bad row", column="kind", hint="mend it")
            if kind == "down":
                raise ResourceError("the store is down")
            if kind == "bug":
                raise ZeroDivisionError
        return [Recorded(len(batch), 0) for batch in batches]


Stored = Callable[[str, Sequence[Mapping[str, Any]]], None]


async def write(
    ledger: Ledger,
    metrics: ServiceMetrics,
    parts: Sequence[tuple[str, list[str]]],
    *,
    rows: int = 100,
    stored: Stored = lambda _, __: None,
) -> list[Any]:
    """What the writer answers to parts of events of these kinds, all put at once."""
    config = ServiceConfig(commit_rows=rows)
    writer = Writer(ledger, config, metrics, SystemClock(), stored=stored)
    loop = asyncio.get_running_loop()
    writes = [
        Write(tenant, loop.create_future(), [{"kind": kind} for kind in kinds])
        for tenant, kinds in parts
    ]
    writer.put(*writes)
    writer.start(Answers(loop))
    results = await asyncio.gather(*(one.answer for one in writes), return_exceptions=True)
    await asyncio.to_thread(writer.stop)
    return results


def value(metrics: ServiceMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_one_transaction_a_tenant_holds_what_came_together() -> None:
    ledger, metrics = Ledger(), ServiceMetrics()
    parts = [("acme", ["click"]), ("umbrella", ["click"] * 2), ("acme", ["click"] * 3)]
    results = asyncio.run(write(ledger, metrics, parts))
    assert results == [Recorded(1, 0), Recorded(2, 0), Recorded(3, 0)]
    assert ledger.groups == [("acme", 2), ("umbrella", 1)]
    assert value(metrics, "adwright_commit_rows_count") == 2
    assert value(metrics, "adwright_commit_rows_sum") == 6
    assert value(metrics, "adwright_commit_failures_total") == 0


def test_a_transaction_has_its_most_rows() -> None:
    ledger = Ledger()
    asyncio.run(write(ledger, ServiceMetrics(), [("acme", ["click"] * 2)] * 5, rows=4))
    assert ledger.groups == [("acme", 2), ("acme", 2), ("acme", 1)]


def test_a_bad_row_fails_alone() -> None:
    ledger, metrics = Ledger(), ServiceMetrics()
    parts = [("acme", ["click"]), ("acme", ["click", "bad"]), ("acme", ["click"])]
    first, bad, last = asyncio.run(write(ledger, metrics, parts))
    assert first == last == Recorded(1, 0)
    assert isinstance(bad, ApiError)
    assert (bad.status, bad.code, bad.message) == (422, "invalid", "kind: a bad row")
    assert bad.hint == "mend it"
    assert value(metrics, "adwright_commit_failures_total") == 1


def test_a_decision_that_can_never_be_stored_is_the_models_fault() -> None:
    asked = Request("r1", "u1", datetime(2024, 6, 1, tzinfo=UTC))
    decision = Decision(asked, "greedy", ("a",), np.ones(1), np.ones(1), ("best",), "fine", "odd")

    class Refusing(Ledger):
        def record_group(self, tenant: str, entries: Any) -> Any:
            raise ValueInvalidError("no database keeps it", column="slate")

    async def answer_to() -> Any:
        loop = asyncio.get_running_loop()
        writer = Writer(Refusing(), ServiceConfig(), ServiceMetrics(), SystemClock())
        writer.start(Answers(loop))
        one = Write("acme", loop.create_future(), decision)
        writer.put(one)
        found = await asyncio.gather(one.answer, return_exceptions=True)
        await asyncio.to_thread(writer.stop)
        return found[0]

    answer = asyncio.run(answer_to())
    assert isinstance(answer, ApiError)
    assert (answer.status, answer.code) == (500, "internal")
    assert "the model made a decision" in answer.message


@pytest.mark.parametrize("kind", ["down", "bug"])
def test_a_store_that_fails_is_said_to_everybody(kind: str) -> None:
    ledger, metrics = Ledger(), ServiceMetrics()
    results = asyncio.run(write(ledger, metrics, [("acme", ["click"]), ("acme", [kind])]))
    assert ledger.groups == [("acme", 2)], "nothing is tried again while the store is down"
    for error in results:
        assert isinstance(error, ApiError)
        assert (error.status, error.headers) == (503, {"Retry-After": "1"})
    assert value(metrics, "adwright_commit_failures_total") == 2


def test_what_was_stored_is_told_and_a_listener_that_fails_undoes_nothing() -> None:
    told: list[tuple[str, int]] = []

    def stored(tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        told.append((tenant, len(events)))
        raise RuntimeError("no ears")

    parts = [("acme", ["click"]), ("acme", ["bad"]), ("umbrella", ["click"] * 2)]
    results = asyncio.run(write(Ledger(), ServiceMetrics(), parts, stored=stored))
    assert [isinstance(result, Recorded) for result in results] == [True, False, True]
    assert told == [("acme", 1), ("umbrella", 2)]


def test_writes_gather_while_a_transaction_waits_for_the_disk() -> None:
    ledger = Ledger()
    ledger.go_on.clear()

    async def main() -> None:
        writer = Writer(ledger, ServiceConfig(), ServiceMetrics(), SystemClock())
        loop = asyncio.get_running_loop()
        writer.start(Answers(loop))
        writes = [Write("acme", loop.create_future(), [{"kind": "click"}]) for _ in range(20)]
        writer.put(writes[0])
        await asyncio.to_thread(ledger.entered.wait, 10)
        for one in writes[1:]:
            writer.put(one)
        assert not writes[0].answer.done()
        await asyncio.sleep(0.05)
        assert 0.04 < writer.age < 10
        assert writer.before("umbrella") == 0, "the one in work should be over"
        ledger.go_on.set()
        await asyncio.gather(*(one.answer for one in writes))
        await asyncio.to_thread(writer.stop)
        assert writer.per_commit > 0
        assert writer.age == 0

    asyncio.run(main())
    assert ledger.groups == [("acme", 1), ("acme", 19)]


@pytest.mark.parametrize("kind", ["click", "bad", "down"])
def test_whoever_waits_to_settle_is_called_after_the_events_were_told(kind: str) -> None:
    calls: list[str] = []

    async def main() -> None:
        ledger, config, clock = Ledger(), ServiceConfig(), SystemClock()
        writer = Writer(
            ledger, config, ServiceMetrics(), clock, stored=lambda *_: calls.append("told")
        )
        loop = asyncio.get_running_loop()
        writer.start(Answers(loop))
        one = Write("acme", loop.create_future(), [{"kind": kind}], lambda: calls.append("settled"))
        writer.put(one)
        await asyncio.gather(one.answer, return_exceptions=True)
        await asyncio.to_thread(writer.stop)

    asyncio.run(main())
    assert calls == (["told", "settled"] if kind == "click" else ["settled"])


def test_decisions_are_written_before_events_that_wait(store: Store) -> None:
    held = Held(store)
    bench = Bench(held, {"acme": deployed(), "umbrella": deployed()})

    async def main(decider: Decider) -> None:
        flood = [event(f"e{n}") for n in range(1000)]
        recording = asyncio.create_task(decider.record("acme", flood))
        await asyncio.to_thread(wait_until, lambda: len(held.groups) == 1)
        deciding = asyncio.create_task(decider.decide("umbrella", request(), AMPLE))
        await asyncio.sleep(0.2)
        held.go_on.set()
        await deciding
        assert not recording.done()
        assert (await recording).accepted == 1000

    bench.run(main)
    assert held.groups[1] == ("umbrella", 1)
    assert len(held.groups) > 4, "the events are cut into portions"


def test_a_decision_that_the_store_confirms_too_late_is_kept_for_the_next_try(store: Store) -> None:
    held = Held(store)
    bench = Bench(held, {"acme": deployed()}, grace_ms=100, late_store_seconds=0.3)

    async def main(decider: Decider) -> Decision:
        began = time.monotonic()
        with pytest.raises(ApiError) as late:
            await decider.decide("acme", request(k=3), 0.05)
        assert 0.15 <= time.monotonic() - began < 8
        assert (late.value.status, late.value.headers) == (503, {"Retry-After": "1"})
        await asyncio.sleep(0.4)
        for call in (
            decider.decide("acme", request("r2"), 1),
            decider.record("acme", [event("e")]),
        ):
            with pytest.raises(ApiError) as shut:
                await call
            assert shut.value.status == 503
        held.go_on.set()
        await asyncio.to_thread(wait_until, lambda: not store.decisions("acme").is_empty())
        await asyncio.sleep(0.05)
        again: Decision = await decider.decide("acme", request(k=9), AMPLE)
        return again

    assert len(bench.run(main).item_ids) == 3
    assert bench.value("adwright_shed_total", reason="late_store") == 2


def test_events_wait_for_the_store_for_a_while(store: Store) -> None:
    held = Held(store)
    bench = Bench(held, {}, events_seconds=0.1)

    async def main(decider: Decider) -> None:
        calls = [decider.record("acme", [event(f"{n}-{i}") for i in range(99)]) for n in range(2)]
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, ApiError)
            assert result.status == 503
        held.go_on.set()

    bench.run(main)
    assert store.events("acme").height < 198, "what nobody waits for is not written"


def test_the_end_comes_although_the_store_does_not_answer(store: Store) -> None:
    held = Held(store)
    bench = Bench(held, {}, events_seconds=0.1, stop_seconds=0.2)

    async def main(decider: Decider) -> float:
        with pytest.raises(ApiError):
            await decider.record("acme", [event("e1")])
        return time.monotonic()

    began = bench.run(main)
    assert time.monotonic() - began < 10
    held.go_on.set()
