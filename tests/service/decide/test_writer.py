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
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ResourceError, ValueInvalidError
from adwright.delivery.decision import Deadline, Decision, Request
from adwright.service.config import ServiceConfig
from adwright.service.decide.decider import Decider
from adwright.service.decide.writer import (
    Answers,
    Batcher,
    DecisionJob,
    Lines,
    MovingAverage,
    TransactionSize,
    Write,
    WriteQueue,
    Writer,
    pieces_of,
    unavailable,
)
from adwright.web.errors import ApiError
from adwright.web.gate import ServiceMetrics
from tests.support.looped import in_a_loop
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


@in_a_loop
async def test_writes_gather_while_a_transaction_waits_for_the_disk() -> None:
    ledger = Ledger()
    ledger.go_on.clear()

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

    assert ledger.groups == [("acme", 1), ("acme", 19)]


@pytest.mark.parametrize("kind", ["click", "bad", "down"])
@in_a_loop
async def test_whoever_waits_to_settle_is_called_after_the_events_were_told(kind: str) -> None:
    calls: list[str] = []

    ledger, config, clock = Ledger(), ServiceConfig(), SystemClock()
    writer = Writer(ledger, config, ServiceMetrics(), clock, stored=lambda *_: calls.append("told"))
    loop = asyncio.get_running_loop()
    writer.start(Answers(loop))
    one = Write("acme", loop.create_future(), [{"kind": kind}], lambda: calls.append("settled"))
    writer.put(one)
    await asyncio.gather(one.answer, return_exceptions=True)
    await asyncio.to_thread(writer.stop)

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


def decision(places: int = 2) -> Decision:
    items = tuple(f"item-{n}" for n in range(places))
    return Decision(
        request(k=99), "p", items, np.ones(places), np.ones(places), ("r",) * places, "f"
    )


def write_queue_write(tenant: str, entry: Any, loop: asyncio.AbstractEventLoop) -> Write:
    return Write(tenant, loop.create_future(), entry)


@in_a_loop
async def test_decisions_are_written_whole_and_events_in_pieces() -> None:
    loop = asyncio.get_running_loop()
    (whole,) = pieces_of(write_queue_write("a", decision(99), loop))
    assert (whole.rows, whole.last) == (100, True)
    events = [{"event_id": str(n)} for n in range(120)]
    pieces = pieces_of(write_queue_write("a", events, loop))
    assert [(piece.rows, piece.last) for piece in pieces] == [(50, False), (50, False), (20, True)]
    assert [row for piece in pieces for row in piece.entry] == events  # type: ignore[union-attr]
    (single,) = pieces_of(write_queue_write("a", events[:50], loop))
    assert (single.rows, single.last) == (50, True)


@in_a_loop
async def test_what_became_of_the_pieces_is_summed_up_at_the_last() -> None:
    loop = asyncio.get_running_loop()
    pieces = pieces_of(write_queue_write("a", [{}] * 120, loop))
    error = ValueError("no")
    assert pieces[0].result(error) is error
    assert pieces[0].result(Recorded(49, 1, 1, frozenset({7}))) is None
    assert pieces[1].result(Recorded(50, 0)) is None
    total = pieces[2].result(Recorded(18, 2, 1, frozenset({0, 19})))
    assert total == Recorded(117, 3, 2)
    assert total.repeated == {7, 100, 119}


@in_a_loop
async def test_in_each_round_all_decisions_come_before_the_events_of_one_tenant() -> None:
    loop = asyncio.get_running_loop()
    lines = WriteQueue(lambda: 50)
    order = []

    def put(tenant: str, entry: Any) -> None:
        for piece in pieces_of(write_queue_write(tenant, entry, loop)):
            lines.put(tenant, piece)

    def take() -> None:
        tenant = lines.free()
        assert tenant is not None
        taken = lines.turn(tenant)
        order.append((tenant, len(taken), isinstance(taken[0].entry, Decision)))

    put("flood", [{}] * 200)
    put("other", [{}] * 60)
    for _ in range(40):
        put("flood", decision(9))
    put("b", decision())
    assert (lines.deciding("b"), lines.deciding("new"), lines.waits("flood")) == (1, 2, 44)
    for _ in range(3):
        take()
    put("b", decision())  # while events are written
    for _ in range(4):
        take()
    assert order == [
        ("flood", 5, True),
        ("b", 1, True),
        ("flood", 1, False),
        ("flood", 5, True),
        ("b", 1, True),
        ("other", 1, False),
        ("flood", 5, True),
    ]
    assert len(lines.drain("flood")) == 28
    take()
    assert lines.free() is None


@in_a_loop
async def test_events_that_nobody_waits_for_are_left_out() -> None:
    loop = asyncio.get_running_loop()
    lines = WriteQueue(lambda: 50)
    given_up, kept = write_queue_write("a", [{}], loop), write_queue_write("a", [{}], loop)
    made = write_queue_write("a", decision(), loop)
    for one in (given_up, kept, made):
        for piece in pieces_of(one):
            lines.put("a", piece)
    given_up.answer.cancel()
    made.answer.cancel()
    assert [piece.write for piece in lines.turn("a")] == [made], "it was decided"
    assert [piece.write for piece in lines.turn("a")] == [kept]


def test_a_transaction_takes_what_it_can_write_in_time() -> None:
    size = TransactionSize(most=400, seconds=0.01)
    assert size.rows == 50
    for _ in range(60):
        size.add(size.rows, 0.005)
    assert size.rows == 400
    size.add(10, 0.5)
    assert size.rows == 400, "so few rows say nothing"
    size.add(400, 0.02)
    assert size.rows == 200
    size.add(100, 0.001)
    assert size.rows == 200, "it was not full"
    size.add(200, 10.0)
    assert size.rows == 50
    assert TransactionSize(most=4, seconds=1).rows == 4


Batch = tuple[str, list[int]]


class Slow:
    """Takes batches; holds those of the tenants in `held` until they are let go on."""

    def __init__(self, *held: str) -> None:
        self.batches: list[Batch] = []
        self.inside: list[str] = []
        self.go_on = {tenant: threading.Event() for tenant in held}

    def __call__(self, tenant: str, batch: list[int]) -> None:
        self.batches.append((tenant, batch))
        self.inside.append(tenant)
        if tenant in self.go_on:
            self.go_on[tenant].wait(20)
        self.inside.remove(tenant)


def batcher(handle: Any, size: int = 4, **options: Any) -> Batcher[int]:
    return Batcher("test", handle, Lines(lambda: size), clock=SystemClock(), **options)


def test_items_gather_while_a_batch_is_handled_and_tenants_take_turns() -> None:
    slow = Slow("a")
    made = batcher(slow)
    made.start()
    made.put("a", 0)
    wait_until(lambda: len(slow.batches) == 1)
    made.put("a", *range(1, 8))
    made.put("b", 10, 11)
    slow.go_on["a"].set()
    made.stop()
    # The turn of a was over, so b comes before what a put since.
    assert slow.batches[0] == ("a", [0])
    assert sorted(slow.batches[1:]) == [("a", [1, 2, 3, 4]), ("a", [5, 6, 7]), ("b", [10, 11])]
    assert slow.batches[2] != ("a", [5, 6, 7]), "b waits for one turn of a at most"
    assert made.seconds > 0


def test_it_waits_for_company_but_not_for_long() -> None:
    slow = Slow()
    made = batcher(slow, size=3, enough=3, wait=0.3)
    made.start()
    began = time.monotonic()
    for item in range(4):
        made.put("a", item)
    wait_until(lambda: len(slow.batches) == 2)
    took = time.monotonic() - began
    made.stop()
    assert slow.batches == [("a", [0, 1, 2]), ("a", [3])]
    assert 0.3 < took < 5


def test_a_batch_that_fails_is_handed_back_and_the_next_is_handled(caplog: object) -> None:
    failed: list[tuple[list[int], str]] = []

    def handle(_: str, batch: list[int]) -> None:
        if 0 in batch:
            raise RuntimeError("zero")

    made = batcher(handle, size=1, failed=lambda batch, error: failed.append((batch, str(error))))
    made.start()
    made.put("a", 0)
    made.put("a", 1)
    made.stop()
    assert failed == [([0], "zero")]


def test_stopping_handles_what_came_before_and_may_be_repeated() -> None:
    handled: list[int] = []
    made = batcher(lambda _, batch: handled.extend(batch), size=7, enough=7, wait=0.01)
    made.stop()
    for item in range(500):
        made.put("a", item)
    made.start()
    for item in range(500, 1000):
        made.put("a", item)
    made.stop()
    made.stop()
    assert handled == list(range(1000))


def test_a_slow_tenant_keeps_one_thread_and_others_go_on() -> None:
    slow = Slow("a")
    made = batcher(slow, size=1, threads=2)
    made.start()
    made.put("a", 0, 1)
    wait_until(lambda: slow.inside == ["a"])
    for item in range(5):
        made.put("b", item)
    wait_until(lambda: len(slow.batches) == 6)
    assert slow.inside == ["a"], "a is never handled by two threads"
    slow.go_on["a"].set()
    made.stop()
    assert slow.batches[-1] == ("a", [1])


def test_items_that_wait_can_be_taken_back() -> None:
    slow = Slow("a")
    made = batcher(slow, size=1)
    made.start()
    made.put("a", *range(4))
    wait_until(lambda: slow.batches == [("a", [0])])
    assert made.drop("a", 2)
    assert not made.drop("a", 0), "it is in work"
    assert made.drain("a") == [1, 3]
    slow.go_on["a"].set()
    made.stop()
    assert slow.batches == [("a", [0])]


def test_another_thread_takes_the_place_of_one_that_is_given_up() -> None:
    slow = Slow("a", "b", "c")
    made = batcher(slow, threads=1, spare=2)
    made.start()
    for tenant in "abc":
        made.put(tenant, 1)
        wait_until(lambda: tenant in slow.inside)  # noqa: B023
        assert not made.stalled
        made.give_up(tenant)
    # Two were replaced; the third had no spare one left, so that nobody comes for d.
    made.put("d", 1)
    time.sleep(0.1)
    assert [tenant for tenant, _ in slow.batches] == ["a", "b", "c"]
    assert made.stalled
    slow.go_on["a"].set()
    slow.go_on["b"].set()
    slow.go_on["c"].set()
    wait_until(lambda: len(slow.batches) == 4)
    assert not made.stalled
    made.put("e", 9)
    made.stop()
    assert slow.batches[-1] == ("e", [9])


def test_the_end_does_not_wait_for_a_batch_that_does_not_end() -> None:
    slow = Slow("a", "b")
    made = batcher(slow, threads=2, spare=1)
    made.start()
    made.put("a", 1)
    made.put("b", 1)
    wait_until(lambda: len(slow.inside) == 2)
    made.give_up("a")
    began = time.monotonic()
    made.stop(0.2)
    assert 0.2 <= time.monotonic() - began < 10
    for each in slow.go_on.values():
        each.set()


def test_a_moving_average_begins_with_the_first_and_follows_slowly() -> None:
    average = MovingAverage()
    average.add(2.0)
    assert average.value == 2.0
    average.add(3.0)
    assert average.value == pytest.approx(2.1)
    for _ in range(200):
        average.add(5.0)
    assert average.value == pytest.approx(5.0)


@in_a_loop
async def test_only_the_first_may_decide(clock: FixedClock) -> None:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    job = DecisionJob("acme", request(), Deadline.after(1, clock), future)
    assert not job.claimed
    won: list[bool] = []
    threads = [threading.Thread(target=lambda: won.append(job.claim())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert job.claimed


@in_a_loop
async def test_results_and_errors_reach_the_loop_and_late_ones_are_dropped() -> None:
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(3)]
    futures[2].cancel()
    results = list(zip(futures, (1, ValueError("no"), 3), strict=True))
    thread = threading.Thread(target=Answers(loop).deliver, args=(results,))
    thread.start()
    assert await futures[0] == 1
    with pytest.raises(ValueError, match="no"):
        await futures[1]
    thread.join()


def test_a_loop_that_is_closed_is_no_error() -> None:
    async def main() -> tuple[Answers, asyncio.Future[Any]]:
        loop = asyncio.get_running_loop()
        return Answers(loop), loop.create_future()

    answers, future = asyncio.run(main())
    answers.deliver([(future, 1)])
    assert not future.done()


def test_what_the_store_does_not_take_may_be_sent_again() -> None:
    error = unavailable("the store sleeps")
    assert (error.status, error.code, error.headers) == (503, "unavailable", {"Retry-After": "1"})
    assert "send it again" in error.hint
