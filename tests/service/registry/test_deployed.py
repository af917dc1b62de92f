from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.delivery.popularity import Popularity
from adwright.service.registry.deployed import decision_rng, probe
from tests.support.service.small_shop import Hashed, Shuffle, deployed, request


def draws(*parts: Any) -> list[float]:
    drawn: list[float] = decision_rng(*parts).random(4).tolist()
    return drawn


def test_chance_depends_on_seed_tenant_and_request_alone() -> None:
    assert draws(1, "acme", "r1") == draws(1, "acme", "r1")
    others = [(2, "acme", "r1"), (1, "umbrella", "r1"), (1, "acme", "r2"), (1, "acm", "er1")]
    seen = {tuple(draws(*parts)) for parts in [(1, "acme", "r1"), *others]}
    assert len(seen) == 5
    # Pinned: replicas of different versions must decide alike.
    assert decision_rng(0, "a", "b").integers(0, 2**32, 2).tolist() == [489223896, 1858404339]


def test_a_decision_is_that_of_the_policy_with_this_generator() -> None:
    model = deployed()
    asked = request(k=5)
    candidates = Hashed().recommend_many([asked], None)[0]
    found = model.decide("acme", asked, candidates)
    expected = Shuffle().decide(asked, candidates, decision_rng(7, "acme", "r1"))
    assert found.item_ids == expected.item_ids
    assert model.decide("umbrella", asked, candidates).item_ids != found.item_ids


def test_one_thread_at_a_time_is_with_the_policy() -> None:
    inside, most = [0], [0]

    class Counting(Shuffle):
        def decide(
            self, request: Request, candidates: Candidates, rng: np.random.Generator
        ) -> Decision:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            threading.Event().wait(0.002)
            inside[0] -= 1
            return super().decide(request, candidates, rng)

    model = deployed(policy=Counting())
    candidates = Hashed().recommend_many([request()], None)[0]
    threads = [
        threading.Thread(target=model.decide, args=("acme", request(), candidates))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_probe_takes_every_path(clock: FixedClock) -> None:
    recommender = Hashed()
    probe(deployed(recommender=recommender), clock)
    assert recommender.batches == [2, 2, 2]
    none, far, passed = recommender.deadlines
    assert none is None
    assert far is not None
    assert not far.passed()
    assert passed is not None
    assert passed.passed()


class Short(Hashed):
    def recommend_many(self, requests: Any, deadline: Any) -> list[Candidates]:
        return super().recommend_many(requests, deadline)[:1]


class NoPolicy(Shuffle):
    def decide(self, request: Request, candidates: Candidates, rng: Any) -> Decision:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"recommender": Hashed(broken=True)}, RuntimeError),
        ({"recommender": Short()}, ValueInvalidError),
        ({"fallback": Popularity((), np.empty(0))}, ConfigError),
        ({"policy": NoPolicy()}, ZeroDivisionError),
    ],
)
def test_a_model_that_cannot_decide_is_found_out(
    clock: FixedClock, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        probe(deployed(**changes), clock)


class LongId(Shuffle):
    policy_id = "x" * 501


class Blank(Shuffle):
    def decide(self, request: Request, candidates: Candidates, rng: Any) -> Decision:
        found = super().decide(request, candidates, rng)
        return replace(found, item_ids=tuple(" " * (n + 1) for n in range(len(found.item_ids))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_ids": ("a", "x" * 600)}, "600 characters"),
        ({"item_ids": ("a", "nan")}, "a word for nothing.*nan"),
        ({"item_ids": (" ",)}, "blank"),
        ({"item_ids": ("a\0b",)}, "control character"),
        ({"policy": LongId()}, "policy_id must have at most 500"),
        ({"policy": Blank()}, "item_id must not be empty"),
    ],
)
def test_a_model_whose_decisions_cannot_be_stored_is_found_out(
    clock: FixedClock, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        probe(deployed(**changes), clock)
    probe(deployed(item_ids=("a", "x" * 500)), clock)


def test_a_model_that_knows_each_event_is_asked_about_all_of_them() -> None:
    noon, few = datetime(2024, 6, 1, tzinfo=UTC), pl.DataFrame({"kind": []})
    plain = deployed(observe=print, known_until=noon)
    exact = deployed(observe=print, known_until=noon, unknown=lambda _: few)
    assert [one.since for one in (*plain.observers, *exact.observers)] == [noon, None]
    (observer,) = exact.observers
    assert observer.unknown is not None
    assert observer.unknown(pl.DataFrame()) is few


def test_a_model_is_told_what_it_wants_to_know() -> None:
    told: list[Any] = []
    events = [{"kind": kind} for kind in ("click", "view", "click")]
    deployed(observe=told.append, kinds=frozenset({"click"})).tell(events)
    deployed(observe=told.append, kinds=frozenset({"purchase"})).tell(events)
    deployed(kinds=frozenset({"click"})).tell(events)
    assert told == [[events[0], events[2]]]
