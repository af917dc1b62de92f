"""Counting what happened to items."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adwright.core.errors import ValueInvalidError
from adwright.delivery.policy.rules import Evidence, ItemCounts
from tests.support.delivery.policy_requests import NOON


def event(kind: str, item_id: str) -> dict[str, Any]:
    return {"kind": kind, "item_id": item_id}


def test_counts_impressions_and_responses_of_items() -> None:
    counts: Evidence = ItemCounts()
    assert isinstance(counts, ItemCounts)
    counts.record([event("impression", "a"), event("impression", "a"), event("click", "a")])
    counts.record([event("purchase", "a"), event("impression", "b")])
    shown, answered = counts.counts(["b", "a", "z"])
    assert shown.tolist() == [1, 2, 0]
    assert answered.tolist() == [0, 1, 0]


def test_the_response_is_a_choice() -> None:
    counts = ItemCounts(response="purchase")
    counts.record([event("impression", "a"), event("click", "a"), event("purchase", "a")])
    assert [each.tolist() for each in counts.counts(["a"])] == [[1], [1]]


def test_a_response_waits_for_its_impression() -> None:
    counts = ItemCounts()
    counts.record([event("click", "a")])
    assert [each.tolist() for each in counts.counts(["a"])] == [[0], [0]]
    counts.record([event("impression", "a")])
    assert [each.tolist() for each in counts.counts(["a"])] == [[1], [1]]


def test_what_the_scores_know_already_is_not_counted() -> None:
    counts = ItemCounts(since=NOON)
    for hours in (-1, 0, 1):
        counts.record([{**event("impression", "a"), "time": NOON + timedelta(hours=hours)}])
    assert counts.counts(["a"])[0].tolist() == [2]


def test_an_event_without_an_item_is_named() -> None:
    with pytest.raises(ValueInvalidError, match=r"row 1, column item_id"):
        ItemCounts().record([event("click", "a"), event("click", "")])
