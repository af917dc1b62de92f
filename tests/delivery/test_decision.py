"""Requests, candidates and decisions: their checks, and the rows they leave in the log."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ValueInvalidError
from adwright.data.schema import EVENT_SCHEMA, as_events, validate_events
from adwright.delivery.decision import Candidates, Deadline, Decision, Policy, Recommender, Request

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
REQUEST = Request("r1", "ann", NOON, k=3, context={"store": "north", "basket": 12.5})


def candidates(**changes: Any) -> Candidates:
    fields: dict[str, Any] = {
        "item_ids": ("a", "b", "c"),
        "score": np.array([0.9, 0.5, 0.5]),
        "probability": True,
        "stage": "fine",
    }
    return Candidates(**fields | changes)


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "request": REQUEST,
        "policy_id": "greedy",
        "item_ids": ("b", "a"),
        "propensity": np.array([0.25, 1.0]),
        "score": np.array([0.5, 0.9]),
        "reasons": ("drawn", "best"),
        "stage": "coarse",
    }
    return Decision(**fields | changes)


class Fixed:
    """Recommends and shows the same items to everybody."""

    policy_id = "fixed"

    def recommend(self, request: Request) -> Candidates:
        return candidates()

    def decide(
        self, request: Request, candidates: Candidates, rng: np.random.Generator
    ) -> Decision:
        return decision(request=request, policy_id=self.policy_id)


def test_a_decision_becomes_impressions_of_the_log() -> None:
    rows = decision().impressions()
    assert rows[0] == {
        "event_id": "r1-1",
        "time": NOON,
        "request_id": "r1",
        "user_id": "ann",
        "kind": "impression",
        "item_id": "b",
        "creative_id": None,
        "campaign_id": None,
        "position": 1,
        "propensity": 0.25,
        "policy_id": "greedy",
        "value": None,
        "context": '{"stage": "coarse", "store": "north", "basket": 12.5}',
    }
    assert [list(row) for row in rows] == [EVENT_SCHEMA.names] * 2
    assert [row["event_id"] for row in rows] == ["r1-1", "r1-2"]
    assert [row["position"] for row in rows] == [1, 2]


def test_places_count_from_one_and_hold_plain_numbers() -> None:
    first, second = decision().places()
    assert (first["item_id"], first["position"], first["propensity"]) == ("b", 1, 0.25)
    assert second["position"] == 2
    assert json.loads(json.dumps([first, second])) == decision().places()


def test_impressions_are_valid_events() -> None:
    frame = as_events(pl.DataFrame(decision().impressions(), infer_schema_length=None).lazy())
    events = validate_events(frame.collect())
    assert events.height == 2
    assert events["propensity"].to_list() == [0.25, 1.0]


def test_a_request_overrides_the_stage_in_its_own_context() -> None:
    request = replace(REQUEST, context={"stage": "hers"})
    row = decision(request=request).impressions()[0]
    assert json.loads(row["context"]) == {"stage": "hers"}


def test_one_object_can_recommend_and_decide() -> None:
    fixed = Fixed()
    recommender: Recommender = fixed
    policy: Policy = fixed
    shown = policy.decide(REQUEST, recommender.recommend(REQUEST), np.random.default_rng(0))
    assert shown.item_ids == ("b", "a")
    assert shown.policy_id == policy.policy_id == "fixed"


def test_defaults_of_a_request() -> None:
    request = Request("r", "u", NOON)
    assert (request.k, request.context, request.exclude) == (10, {}, frozenset())
    assert request.candidates is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"request_id": ""}, "request_id is empty"),
        ({"user_id": ""}, "user_id is empty"),
        ({"time": NOON.replace(tzinfo=None)}, "must be in UTC"),
        ({"time": NOON.astimezone(timezone(timedelta(hours=9)))}, "must be in UTC"),
        ({"k": 0}, "at least one place"),
        ({"context": {"x": float("nan")}}, r"not finite \[column context.x"),
        ({"candidates": ("a", "b", "a")}, r"stands twice \[row 2, column candidates, value 'a'\]"),
    ],
)
def test_a_request_checks_itself(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        replace(REQUEST, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_ids": ("a", "a", "b")}, "stands twice"),
        ({"score": np.array([1.0, 0.5])}, r"expected shape \(3,\) and found \(2,\)"),
        ({"score": np.array([0.9, np.nan, 0.1])}, r"not finite \[row 1"),
        ({"score": np.array([0.9, 0.1, 0.2])}, r"best first \[row 2"),
        ({"score": np.array([1.2, 0.5, 0.1])}, r"outside 0..1 \[row 0"),
        ({"score": np.array([0.5, 0.1, -0.1])}, r"outside 0..1 \[row 2"),
    ],
)
def test_candidates_check_themselves(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        candidates(**changes)


def test_scores_that_are_no_probabilities_may_lie_anywhere() -> None:
    assert len(candidates(score=np.array([7.0, 0.0, -3.0]), probability=False)) == 3
    assert len(candidates(item_ids=(), score=np.empty(0))) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_ids": ("a", "a")}, "stands twice"),
        ({"request": replace(REQUEST, k=1)}, "2 items for 1 places"),
        ({"propensity": np.array([0.5])}, r"column propensity"),
        ({"score": np.array([0.5])}, r"column score"),
        ({"score": np.array([0.5, np.inf])}, r"score is not finite \[row 1"),
        ({"reasons": ("one",)}, "expected 2 reasons and found 1"),
        ({"propensity": np.array([0.5, 0.0])}, r"above 0 and at most 1 \[row 1"),
        ({"propensity": np.array([1.5, 0.5])}, r"above 0 and at most 1 \[row 0"),
        ({"propensity": np.array([np.nan, 0.5])}, r"above 0 and at most 1 \[row 0"),
    ],
)
def test_decisions_check_themselves(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        decision(**changes)


def test_time_runs_out(clock: FixedClock) -> None:
    deadline = Deadline.after(0.25, clock)
    assert deadline.remaining() == 0.25
    assert not deadline.passed()
    clock.advance(0.25)
    assert deadline.remaining() == 0
    assert deadline.passed()
    clock.advance(1)
    assert deadline.remaining() == -1


def test_a_deadline_of_no_time_has_passed(clock: FixedClock) -> None:
    assert Deadline.after(0, clock).passed()
    assert Deadline.after(-1, clock).passed()
    assert not Deadline(at=clock.monotonic() + 1e-9, clock=clock).passed()
