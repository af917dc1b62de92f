from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from adwright.core.clock import FixedClock
from adwright.delivery.decision import Decision
from adwright.delivery.policy.pacing import (
    BudgetPacer,
    BudgetPacingConfig,
    FrequencyCap,
    FrequencyCapConfig,
    PolicyRecords,
)
from adwright.delivery.policy.rules import ItemCounts
from tests.support.delivery.policy_requests import NOON, request


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


def shown(*item_ids: str, request_id: str = "r1", **changes: Any) -> Decision:
    places, ones = len(item_ids), np.ones(len(item_ids))
    asked = request(k=places, request_id=request_id, **changes)
    return Decision(asked, "p", item_ids, ones, ones, ("",) * places, "fine")


def cap() -> FrequencyCap:
    return FrequencyCap(FrequencyCapConfig(limit=3))


def seen(limit: FrequencyCap, item_id: str = "a") -> int:
    return limit.count("ann", item_id, NOON)


def test_a_decision_counts_at_once_and_only_once_when_it_is_stored(clock: FixedClock) -> None:
    limit = cap()
    records = PolicyRecords([limit], clock=clock)
    decision = shown("a", "b")
    records.reserve(decision)
    assert (seen(limit), seen(limit, "b")) == (1, 1)
    records.observe(decision.impressions())
    assert (seen(limit), seen(limit, "b")) == (1, 1)
    records.observe([{**decision.impressions()[0], "event_id": "elsewhere", "request_id": "r9"}])
    assert seen(limit) == 2
    records.settle("r1")
    assert seen(limit) == 2


def test_what_other_clocks_date_ahead_counts_now(clock: FixedClock) -> None:
    limit = cap()
    event = shown("a").impressions()[0]
    PolicyRecords([limit], clock=clock).observe([{**event, "time": NOON + timedelta(days=400)}])
    assert seen(limit) == 1
    assert limit.count("ann", "a", NOON + timedelta(days=2)) == 0


def test_a_decision_that_is_not_stored_is_taken_back(clock: FixedClock) -> None:
    limit = cap()
    records = PolicyRecords([limit], clock=clock)
    records.reserve(shown("a"))
    records.reserve(shown("a"))
    assert seen(limit) == 1, "of decisions about one request one is stored"
    records.reserve(shown("a", request_id="r2"))
    records.settle("r1")
    assert seen(limit) == 1
    records.settle("unheard of")
    records.settle("r2")
    assert seen(limit) == 0


def test_what_was_stored_takes_the_place_of_what_was_reserved(clock: FixedClock) -> None:
    limit = cap()
    records = PolicyRecords([limit], clock=clock)
    records.reserve(shown("a"))
    records.observe(shown("b").impressions())
    assert (seen(limit), seen(limit, "b")) == (0, 1)


def test_evidence_counts_what_is_stored_alone(clock: FixedClock) -> None:
    counts = ItemCounts()
    records = PolicyRecords([], counts, clock=clock)
    decision = shown("a")
    records.reserve(decision)
    assert counts.counts(["a"])[0].tolist() == [0]
    (impression,) = decision.impressions()
    records.observe([impression, {**impression, "kind": "click", "policy_id": None}])
    assert [each.tolist() for each in counts.counts(["a"])] == [[1], [1]]


def test_it_says_which_events_it_needs(clock: FixedClock) -> None:
    day = FrequencyCap(FrequencyCapConfig(hours=3))
    budget = BudgetPacer(BudgetPacingConfig({"one": 1.0}), campaign={"a": "one"})
    assert PolicyRecords(clock=clock).kinds == frozenset()
    assert PolicyRecords([day], clock=clock).kinds == {"impression"}
    assert PolicyRecords([day], clock=clock).since == NOON - timedelta(hours=3)
    assert PolicyRecords([day, budget], clock=clock).since == NOON - timedelta(hours=12)
    late = ItemCounts(response="purchase", since=NOON - timedelta(days=9))
    assert PolicyRecords([day], late, clock=clock).since == NOON - timedelta(days=9)
    assert PolicyRecords([day], late, clock=clock).kinds == {"impression", "purchase"}
    assert PolicyRecords([day], ItemCounts(), clock=clock).since is None


def test_old_impressions_are_forgotten(clock: FixedClock) -> None:
    limit = cap()
    records = PolicyRecords([limit], clock=clock)
    records.observe(shown("a").impressions())
    clock.advance(3 * 86_400)
    assert seen(limit) == 1
    records.observe(shown("b", request_id="r2").impressions())
    assert seen(limit) == 0
