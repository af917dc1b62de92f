from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import pytest

from adwright.campaigns.store.store import Events, Store
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ResourceError
from adwright.delivery.decision import Candidates, Deadline, Decision, Request
from adwright.service.decide.decider import (
    Decider,
    HungModels,
    Load,
    LoopLagMonitor,
    Shares,
    commit_reserve,
    missed,
    shed,
)
from adwright.service.decide.schemas import decision_answer
from adwright.web.errors import ApiError, Busy
from tests.support.data.event_rows import event_row
from tests.support.looped import in_a_loop
from tests.support.service.bench import AMPLE, Bench, Held, event
from tests.support.service.small_shop import ITEMS, Hashed, Shuffle, deployed, request, wait_until


def items(decision: Decision) -> list[str]:
    return list(decision.item_ids)


def test_a_decision_is_recorded_with_its_impressions_before_it_is_answered(store: Store) -> None:
    model = deployed()
    bench = Bench(store, {"acme": model})
    asked = request(k=3, context={"page": "start"})

    async def decide(decider: Decider) -> Decision:
        record = await decider.decide("acme", asked, AMPLE)
        assert store.decisions("acme")["request_id"].to_list() == ["r1"]
        events = store.events("acme")
        assert events["event_id"].to_list() == ["r1-1", "r1-2", "r1-3"]
        assert events["item_id"].to_list() == items(record)
        return record

    record = bench.run(decide)
    expected = model.decide("acme", asked, Hashed("v1").recommend_many([asked], None)[0])
    assert items(record) == list(expected.item_ids)
    assert (record.request.context, record.model) == ({"page": "start"}, "v1")
    assert store.decisions("acme")["context"].to_list() == ['{"_model": "v1", "page": "start"}']
    assert store.events("umbrella").is_empty()
    assert bench.value("adwright_decisions_total", stage="fine") == 1


def test_what_starting_took_is_over_before_it_is_calm(store: Store) -> None:
    async def start(decider: Decider) -> list[bool]:
        time.sleep(0.2)
        await asyncio.sleep(0.02)
        seen = [decider.calm]
        while not seen[-1]:
            await asyncio.sleep(0.01)
            seen.append(decider.calm)
        time.sleep(0.2)
        await asyncio.sleep(0.02)
        return [seen[0], seen[-1], decider.calm]

    assert Bench(store, {"acme": deployed()}).run(start) == [False, True, True]


def test_requests_that_come_together_are_computed_and_written_together(store: Store) -> None:
    recommender = Hashed()
    recommender.go_on.clear()
    other = Hashed("other")
    models = {"acme": deployed(recommender=recommender), "umbrella": deployed(recommender=other)}
    bench = Bench(store, models, batch_size=10)

    async def decide(decider: Decider) -> list[Decision]:
        tasks = [asyncio.create_task(decider.decide("acme", request("first"), AMPLE))]
        await asyncio.to_thread(recommender.entered.wait, 10)
        for n in range(14):
            tenant = "umbrella" if n % 7 == 0 else "acme"
            tasks.append(asyncio.create_task(decider.decide(tenant, request(f"r{n}"), AMPLE)))
        await asyncio.sleep(0.05)
        recommender.go_on.set()
        return await asyncio.gather(*tasks)

    records = bench.run(decide)
    assert [record.request.request_id for record in records] == [
        "first",
        *(f"r{n}" for n in range(14)),
    ]
    assert recommender.batches == [1, 10, 2]
    assert sum(other.batches) == 2
    assert bench.value("adwright_batch_size_sum") == 15
    assert store.decisions("acme").height == 13
    assert store.decisions("umbrella")["request_id"].to_list() == ["r0", "r7"]


def test_a_repeated_request_gets_the_recorded_decision(store: Store) -> None:
    def ask(bench: Bench, k: int) -> Decision:
        record: Decision = bench.run(lambda decider: decider.decide("acme", request(k=k), AMPLE))
        return record

    first = Bench(store, {"acme": deployed()})
    record = ask(first, 4)
    second = Bench(store, {"acme": deployed("v2")})
    again = ask(second, 7)
    assert decision_answer(again) == decision_answer(record)
    assert second.value("adwright_decisions_repeated_total") == 1
    assert first.value("adwright_decisions_repeated_total") == 0
    assert store.events("acme").height == 4


def test_the_same_request_twice_at_once_is_decided_once(store: Store) -> None:
    bench = Bench(store, {"acme": deployed()})

    async def decide(decider: Decider) -> Any:
        return await asyncio.gather(
            *(decider.decide("acme", request(k=k), AMPLE) for k in (3, 3, 5))
        )

    records = bench.run(decide)
    assert items(records[0]) == items(records[1]) == items(records[2])
    assert store.events("acme").height == 3


def test_what_is_late_is_decided_from_the_fallback_in_time_and_once(store: Store) -> None:
    recommender = Hashed()
    recommender.go_on.clear()
    bench = Bench(store, {"acme": deployed(recommender=recommender)})

    async def decide(decider: Decider) -> Decision:
        began = time.monotonic()
        record = await decider.decide("acme", request(), 0.3)
        assert 0.1 < time.monotonic() - began < 8
        recommender.go_on.set()
        return record

    record = bench.run(decide)
    assert record.stage == "popularity"
    assert bench.value("adwright_decisions_rescued_total", reason="late") == 1
    assert store.decisions("acme")["stage"].to_list() == ["popularity"]
    assert bench.value("adwright_decisions_total", stage="fine") is None


def test_a_model_that_fails_is_replaced_by_the_fallback(store: Store) -> None:
    bench = Bench(store, {"acme": deployed(recommender=Hashed(broken=True))})
    record = bench.run(lambda decider: decider.decide("acme", request(), AMPLE))
    assert record.stage == "popularity"
    assert bench.value("adwright_decisions_rescued_total", reason="failed") == 1


class Forgetful(Hashed):
    def recommend_many(self, requests: Any, deadline: Any) -> list[Candidates]:
        return super().recommend_many(requests, deadline)[1:]


def test_a_model_that_forgets_a_request_is_replaced_by_the_fallback(store: Store) -> None:
    bench = Bench(store, {"acme": deployed(recommender=Forgetful())})
    record = bench.run(lambda decider: decider.decide("acme", request(), AMPLE))
    assert record.stage == "popularity"


def test_whoever_waited_too_long_does_not_hurry_the_others(store: Store) -> None:
    recommender = Hashed()
    recommender.go_on.clear()
    bench = Bench(store, {"acme": deployed(recommender=recommender)}, batch_wait_ms=0)

    async def decide(decider: Decider) -> Any:
        first = asyncio.create_task(decider.decide("acme", request("first"), AMPLE))
        await asyncio.to_thread(recommender.entered.wait, 10)
        # Its time for the model ends in the queue; the grace period is still running.
        hurried = asyncio.create_task(decider.decide("acme", request("hurried"), 1.0))
        patient = asyncio.create_task(decider.decide("acme", request("patient"), AMPLE))
        await asyncio.sleep(0.93)
        recommender.go_on.set()
        return await asyncio.gather(first, hurried, patient)

    stages = [record.stage for record in bench.run(decide)]
    assert stages == ["fine", "popularity", "fine"]


def test_the_model_is_told_a_deadline_that_leaves_time_to_write(store: Store) -> None:
    recommender = Hashed()
    bench = Bench(store, {"acme": deployed(recommender=recommender)})
    began = time.monotonic()
    bench.run(lambda decider: decider.decide("acme", request(), AMPLE))
    ended = time.monotonic()
    (deadline,) = recommender.deadlines
    assert deadline is not None
    assert deadline.at - began > 3.5
    assert deadline.at - ended < 4.6


def test_a_full_queue_refuses_at_once(store: Store) -> None:
    recommender = Hashed()
    recommender.go_on.clear()
    model = deployed(recommender=recommender)
    # Of what is free, one tenant gets half.
    bench = Bench(store, {"acme": model, "umbrella": deployed()}, max_queue=6, batch_size=1)

    async def decide(decider: Decider) -> None:
        tasks = [
            asyncio.create_task(decider.decide("acme", request(f"r{n}"), AMPLE)) for n in range(3)
        ]
        await asyncio.to_thread(recommender.entered.wait, 10)
        with pytest.raises(Busy) as busy:
            await decider.decide("acme", request("r9"), AMPLE)
        assert (busy.value.status, busy.value.reason) == (429, "queue")
        await decider.decide("umbrella", request("r1"), AMPLE)
        recommender.go_on.set()
        await asyncio.gather(*tasks)
        await decider.decide("acme", request("r9"), AMPLE)

    bench.run(decide)
    assert bench.value("adwright_shed_total", reason="queue") == 1
    assert store.decisions("acme").height == 4


def test_events_of_one_tenant_leave_room_for_those_of_another(store: Store) -> None:
    held = Held(store)
    bench = Bench(held, {"acme": deployed()}, max_pending_rows=100)

    async def record(decider: Decider) -> list[Any]:
        calls = [decider.record("acme", [event(f"{n}-{i}") for i in range(20)]) for n in range(5)]
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(decider.record("umbrella", [event("e1")] * 20)))
        await asyncio.sleep(0)
        held.go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = bench.run(record)
    assert [isinstance(result, Busy) for result in results] == [False] * 3 + [True] * 2 + [False]
    assert bench.value("adwright_shed_total", reason="store") == 2
    assert store.events("acme").height == 60


def test_an_event_that_conflicts_is_told_and_counted(store: Store) -> None:
    bench = Bench(store, {"acme": deployed()})

    async def record(decider: Decider) -> Any:
        await decider.record("acme", [event("e1")])
        changed = [event("e1"), event("e1", item_id="item-002"), event("e2")]
        return await decider.record("acme", changed)

    recorded = bench.run(record)
    assert (recorded.accepted, recorded.duplicates, recorded.conflicting) == (1, 2, 1)
    assert bench.value("adwright_events_total", outcome="conflicting") == 1


def test_too_many_events_are_refused_before_they_wait(store: Store) -> None:
    bench = Bench(store, {"acme": deployed()}, max_pending_rows=5)

    async def record(decider: Decider) -> None:
        with pytest.raises(Busy) as busy:
            await decider.record("acme", [{}] * 6)
        assert busy.value.reason == "store"

    bench.run(record)


@pytest.mark.parametrize("tenant", ["umbrella", "nobody"])
def test_a_tenant_without_a_model_is_told_so(store: Store, tenant: str) -> None:
    bench = Bench(store, {"acme": deployed()})

    async def decide(decider: Decider) -> None:
        with pytest.raises(ApiError) as error:
            await decider.decide(tenant, request(), AMPLE)
        assert (error.value.status, error.value.code) == (409, "no_model")

    bench.run(decide)


class Down:
    def record_group(self, tenant: str, entries: Sequence[Decision | Events]) -> list[Any]:
        raise ResourceError("the store is down")


def test_nothing_is_answered_that_could_not_be_written() -> None:
    bench = Bench(Down(), {"acme": deployed()})

    async def decide(decider: Decider) -> None:
        for call in (decider.decide("acme", request(), AMPLE), decider.record("acme", [{}])):
            with pytest.raises(ApiError) as error:
                await call
            assert error.value.status == 503

    bench.run(decide)


class NoPolicy(Shuffle):
    def decide(self, request: Request, candidates: Candidates, rng: Any) -> Decision:
        if request.request_id == "bad":
            raise ZeroDivisionError
        return super().decide(request, candidates, rng)


def test_a_policy_that_fails_fails_its_own_request_alone(store: Store) -> None:
    bench = Bench(store, {"acme": deployed(policy=NoPolicy())})

    async def decide(decider: Decider) -> None:
        calls = [decider.decide("acme", request(name), AMPLE) for name in ("r1", "bad", "r2")]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[1], ZeroDivisionError)
        assert [type(result) for result in results] == [Decision, ZeroDivisionError, Decision]

    bench.run(decide)
    assert store.decisions("acme").height == 2


def test_nothing_is_left_to_show(store: Store) -> None:
    bench = Bench(store, {"acme": deployed()})
    asked = request(exclude=frozenset(ITEMS))
    record = bench.run(lambda decider: decider.decide("acme", asked, AMPLE))
    assert (items(record), record.policy_id) == ([], "shuffle")
    assert store.decisions("acme").height == 1


def test_what_was_let_in_is_finished_when_it_ends(store: Store) -> None:
    recommender = Hashed(seconds=0.05)
    bench = Bench(store, {"acme": deployed(recommender=recommender)}, batch_size=1)

    async def main() -> list[Any]:
        bench.decider.start()
        tasks = [
            asyncio.create_task(bench.decider.decide("acme", request(f"r{n}"), AMPLE))
            for n in range(5)
        ]
        await asyncio.sleep(0.02)
        await asyncio.to_thread(bench.decider.stop)
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(main())) == 5
    assert store.decisions("acme").height == 5


def test_the_model_takes_note_of_what_was_stored(store: Store) -> None:
    noted: list[str] = []

    def observe(events: Sequence[Mapping[str, Any]]) -> None:
        noted.extend(event["event_id"] for event in events)

    bench = Bench(
        store, {"acme": deployed(observe=observe, kinds=frozenset({"click", "impression"}))}
    )
    event = event_row("e1", request().time, "r1", "u1", "click", "item-001")

    async def record(decider: Decider) -> Any:
        await decider.decide("acme", request(k=1), AMPLE)
        await decider.record("umbrella", [event])
        return [await decider.record("acme", [event]) for _ in range(2)]

    first, again = bench.run(record)
    assert (first.accepted, again.duplicates) == (1, 1)
    assert noted == ["r1-1", "e1"], "each once, and none of another tenant"
    assert bench.value("adwright_events_total", outcome="accepted") == 2
    assert bench.value("adwright_events_total", outcome="duplicate") == 1


def test_equal_models_decide_equally_wherever_they_run(store: Store, tmp_path: Any) -> None:
    def slates(where: Any, batch_size: int) -> list[list[str]]:
        bench = Bench(where, {"acme": deployed()}, batch_size=batch_size)

        async def decide(decider: Decider) -> Any:
            calls = [decider.decide("acme", request(f"r{n}", f"u{n}"), AMPLE) for n in range(20)]
            return await asyncio.gather(*calls)

        return [items(record) for record in bench.run(decide)]

    with type(store).open(f"sqlite:///{tmp_path}/other.db") as other:
        other.create_tenant("acme")
        one, two = slates(store, 16), slates(other, 1)
    assert one == two
    assert len({tuple(slate) for slate in one}) == 20
    assert np.isfinite(store.events("acme")["propensity"].to_numpy()).all()


@in_a_loop
async def test_a_loop_that_was_blocked_is_late_and_is_forgiven() -> None:
    pulse = LoopLagMonitor(SystemClock())
    assert pulse.lag == 0
    pulse.start()
    await asyncio.sleep(0.03)
    time.sleep(0.3)  # somebody blocks the loop
    await asyncio.sleep(0.02)
    late = pulse.lag
    assert 0.2 < late < 5
    ends = time.monotonic() + 10
    while pulse.lag > late / 2:
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)
    pulse.stop()
    await asyncio.sleep(0.03)
    after = pulse.lag
    time.sleep(0.1)
    await asyncio.sleep(0.03)
    assert pulse.lag == after, "it measures no more"
    pulse.stop()


@in_a_loop
async def test_what_is_to_be_looked_at_is_looked_at_at_each_beat() -> None:
    beats: list[float] = []
    pulse = LoopLagMonitor(SystemClock(), beats.append)
    pulse.start()
    ends = time.monotonic() + 10
    while len(beats) < 3:
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)
    pulse.stop()


MODEL = deployed()


def watched(clock: FixedClock) -> HungModels:
    return HungModels(clock, seconds=1.0, retry=10.0)


def hang(hung: HungModels, clock: FixedClock, model: object = MODEL) -> None:
    """A call that is late, is set aside, and returns a second later."""
    with hung.call("acme", model, Deadline.after(0.5, clock)):  # type: ignore[arg-type]
        clock.advance(1.6)
        assert hung.look() == ["acme"]
        clock.advance(1)


def test_a_call_that_is_late_by_far_sets_its_model_aside(clock: FixedClock) -> None:
    hung = watched(clock)
    with hung.call("acme", MODEL, Deadline.after(0.5, clock)):
        clock.advance(1.4)
        assert hung.look() == []
        assert not hung.aside("acme", MODEL)
        clock.advance(0.2)
        assert hung.look() == ["acme"]
        assert hung.look() == [], "told once"
        assert (hung.aside("acme", MODEL), len(hung)) == (True, 1)
        assert not hung.aside("umbrella", MODEL)
        clock.advance(1000)
        assert hung.aside("acme", MODEL), "nobody else enters it"


def test_a_deadline_that_was_over_before_gives_the_call_its_time(clock: FixedClock) -> None:
    hung = watched(clock)
    over = Deadline.after(0.0, clock)
    clock.advance(5)
    with hung.call("acme", MODEL, over):
        clock.advance(0.9)
        assert hung.look() == []
        clock.advance(0.2)
        assert hung.look() == ["acme"]


def test_it_is_tried_again_after_a_while_and_later_if_it_hangs_again(clock: FixedClock) -> None:
    hung = watched(clock)
    hang(hung, clock)
    assert hung.aside("acme", MODEL)
    clock.advance(9.1)  # since it was set aside, 10.1 s
    assert not hung.aside("acme", MODEL)
    hang(hung, clock)
    clock.advance(18.9)
    assert hung.aside("acme", MODEL)
    clock.advance(0.2)
    assert not hung.aside("acme", MODEL)
    with hung.call("acme", MODEL, Deadline.after(1, clock)):
        assert len(hung) == 0
    hang(hung, clock)
    assert len(hung) == 1
    clock.advance(9.1)
    assert not hung.aside("acme", MODEL), "what was before it was well is forgotten"


def test_another_model_in_its_place_is_called_at_once(clock: FixedClock) -> None:
    hung, other = watched(clock), deployed("v2")
    with hung.call("acme", MODEL, Deadline.after(0.5, clock)):
        clock.advance(2)
        hung.look()
        assert not hung.aside("acme", other)
        with hung.call("acme", other, Deadline.after(0.5, clock)):
            pass
        assert len(hung) == 0
    assert not hung.aside("acme", other)


def test_a_call_that_fails_has_ended(clock: FixedClock) -> None:
    hung = watched(clock)
    with pytest.raises(ZeroDivisionError), hung.call("acme", MODEL, Deadline.after(1, clock)):
        raise ZeroDivisionError
    clock.advance(100)
    assert hung.look() == []


def test_a_model_that_hangs_is_its_tenants_matter(store: Store) -> None:
    hangs = Hashed()
    hangs.go_on.clear()
    models = {"acme": deployed(recommender=hangs), "umbrella": deployed()}
    limits = {"hung_seconds": 0.1, "retry_seconds": 0.2, "model_threads": 1, "hung_threads": 1}
    bench = Bench(store, models, **limits)

    async def main(decider: Decider) -> None:
        first = await decider.decide("acme", request("r1"), 0.1)
        assert first.stage == "popularity"
        await asyncio.to_thread(wait_until, lambda: decider.hung == 1)
        began = time.monotonic()
        aside = await decider.decide("acme", request("r2"), AMPLE)
        assert aside.stage == "popularity"
        assert time.monotonic() - began < AMPLE / 2, "nobody waits for the model"
        other = await decider.decide("umbrella", request("r1"), AMPLE)
        assert other.stage == "fine", "there is another thread"
        assert (decider.is_hung("acme", models["acme"]), decider.stalled) == (True, False)
        hangs.go_on.set()
        await asyncio.sleep(0.3)
        again = await decider.decide("acme", request("r3"), AMPLE)
        assert again.stage == "fine"
        assert decider.hung == 0

    bench.run(main)
    assert bench.value("adwright_decisions_rescued_total", reason="late") == 1
    assert bench.value("adwright_decisions_rescued_total", reason="hung") == 1
    assert hangs.batches == [1, 1]


def test_a_slow_model_of_one_tenant_makes_no_other_late(store: Store) -> None:
    slow = Hashed()
    slow.go_on.clear()
    bench = Bench(store, {"acme": deployed(recommender=slow), "umbrella": deployed()})

    async def main(decider: Decider) -> None:
        waiting = asyncio.create_task(decider.decide("acme", request(), AMPLE))
        await asyncio.to_thread(slow.entered.wait, 10)
        other = await decider.decide("umbrella", request(), AMPLE)
        assert other.stage == "fine"
        assert not waiting.done()
        slow.go_on.set()
        assert (await waiting).stage == "fine"

    bench.run(main)


def test_a_model_that_fails_at_each_call_is_logged_now_and_then(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(store, {"acme": deployed(recommender=Hashed(broken=True))})

    async def decide(decider: Decider) -> None:
        for n in range(3):
            assert (await decider.decide("acme", request(f"r{n}"), AMPLE)).stage == "popularity"

    bench.run(decide)
    assert [record.message for record in caplog.records] == ["the model v1 of tenant acme failed"]


class Owing(Hashed):
    """Would like to be asked for more for ever, and fails then."""

    asked = 0

    def catch_up(self, free: Any) -> None:
        self.asked += 1
        while free():
            time.sleep(0.001)
        raise RuntimeError("it has had enough")


def test_a_model_may_catch_up_while_nothing_waits(store: Store) -> None:
    model = Owing()
    bench = Bench(store, {"acme": deployed(recommender=model)})

    async def decide(decider: Decider) -> None:
        for n in range(3):
            assert (await decider.decide("acme", request(f"r{n}"), AMPLE)).stage == "fine"

    bench.run(decide)
    assert model.asked == 3


LOAD = Load(own=3, decisions=4, per_rescue=0.002, store=0.005, per_commit=0.005)


def test_the_wait_is_to_rescue_all_before_and_the_transactions() -> None:
    assert LOAD.wait() == pytest.approx(5 * 0.002 + 2 * 0.005)
    assert dataclasses.replace(LOAD, store=0).wait() == pytest.approx(5 * 0.002 + 0.005)
    assert dataclasses.replace(LOAD, decisions=0).wait() == pytest.approx(0.002 + 0.010)


def test_whoever_has_hardly_anything_in_work_is_let_in_whatever_others_do() -> None:
    load = Load(own=2, decisions=80, per_rescue=100, store=100, per_commit=100)
    assert shed(load, 0.001) is None
    assert shed(load, 0) is None
    assert shed(dataclasses.replace(load, own=3), 0.001) is not None


def test_only_what_can_be_answered_in_time_is_let_in() -> None:
    assert shed(LOAD, 0.021) is None
    refusal = shed(LOAD, 0.019)
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.code) == (429, "deadline", "too_busy")
    assert refusal.headers == {"Retry-After": "1"}
    idle = Load(own=0, decisions=0, per_rescue=0, store=0, per_commit=0)
    assert shed(idle, 0.001) is None
    busy = dataclasses.replace(idle, own=3)
    assert shed(busy, 0.001) is None
    over = shed(busy, 0.0)
    assert over is not None
    assert over.reason == "deadline"


def test_the_time_to_come_back_grows_with_the_wait_within_bounds() -> None:
    later = shed(dataclasses.replace(LOAD, per_rescue=1.0), 0.02)
    assert later is not None
    assert 5 <= int(later.headers["Retry-After"]) <= 6
    never = shed(dataclasses.replace(LOAD, per_rescue=1e6), 0.02)
    assert never is not None
    assert never.headers["Retry-After"] == "60"


def test_a_tenant_may_hold_as_much_as_is_still_free() -> None:
    shares = Shares(100)
    with ExitStack() as held:
        for tenant, total in (("a", 50), ("b", 75)):
            for _ in range(100):
                if shares.fits(tenant):
                    held.enter_context(shares.held(tenant))
            assert shares.total == total
        assert shares.fits("c", 25)
        assert not shares.fits("c", 26)
        assert not shares.fits("a")


def test_what_is_held_is_given_back_whatever_happens() -> None:
    shares = Shares(10)
    with suppress(ZeroDivisionError), shares.held("a", 6):
        assert shares.total == 6
        assert not shares.fits("a")
        raise ZeroDivisionError
    assert shares.total == 0
    assert shares.fits("a", 10)


def test_what_stands_before_a_tenant_is_its_own_line_and_turns_of_others() -> None:
    shares = Shares(1000)
    with shares.held("flood", 400), shares.held("some", 3):
        assert shares.before("new", 8) == 8 + 3
        assert shares.before("some", 8) == 3 + 8
        assert shares.before("flood", 8) == 400 + 3
        with shares.held("new", 20):
            assert shares.before("new", 8) == 20 + 24 + 3


def test_the_reserve_for_writing_is_bounded() -> None:
    assert commit_reserve(0.0, 0.04) == 0.004
    assert commit_reserve(0.005, 0.04) == 0.010
    assert commit_reserve(1.0, 0.04) == 0.02


def test_a_missed_deadline_names_what_sets_it() -> None:
    refusal = missed(0.2)
    assert "deadline" in refusal.message
    for words in ("deadline_ms with it", "setting deadline_ms", "come back in 1 s"):
        assert words in refusal.hint
    late = shed(LOAD, 0.019)
    assert late is not None
    assert late.message == refusal.message
