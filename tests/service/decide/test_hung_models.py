from __future__ import annotations

import asyncio
import time

import pytest

from adwright.campaigns.store.store import Store
from adwright.core.clock import FixedClock
from adwright.delivery.decision import Deadline
from adwright.service.decide.decider import Decider, HungModels
from tests.support.service.bench import AMPLE, Bench
from tests.support.service.small_shop import Hashed, deployed, request, wait_until

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
