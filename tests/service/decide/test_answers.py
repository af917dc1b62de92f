from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np

from adwright.campaigns.store.group_commit import StoredDecision
from adwright.campaigns.store.store import Store
from adwright.delivery.decision import Decision
from adwright.service.decide.answers import decision_answer, event_row
from adwright.service.decide.schemas import DecideOut, EventIn
from tests.support.service.small_shop import request


def decision(model: str = "v1") -> Decision:
    return Decision(
        request(context={"page": "start", "price": 2.5}),
        "chance",
        ("käse", "b"),
        np.array([1 / 3, 1.0]),
        np.array([0.1 + 0.2, -1e-17]),
        ("by chance",) * 2,
        "coarse",
        model,
    )


def test_the_answer_is_what_the_schema_promises_in_a_fixed_order() -> None:
    body = decision_answer(decision())
    assert body.startswith(b'{"request_id":"r1","policy_id":"chance","model":"v1"')
    assert "käse".encode() in body
    out = DecideOut.model_validate_json(body)
    assert [place.position for place in out.items] == [1, 2]
    assert [place.propensity for place in out.items] == [1 / 3, 1.0]
    assert [place.score for place in out.items] == [0.1 + 0.2, -1e-17]
    assert (out.stage, out.items[0].reason) == ("coarse", "by chance")


def test_the_answer_from_the_store_has_the_same_bytes(store: Store) -> None:
    made = decision()
    (first,) = store.record_group("acme", [made])
    (again,) = store.record_group("acme", [decision("v2")])
    assert isinstance(first, StoredDecision)
    assert isinstance(again, StoredDecision)
    assert again.repeated
    assert decision_answer(first.decision) == decision_answer(made)
    assert decision_answer(again.decision) == decision_answer(made)


def test_an_event_goes_into_the_columns_of_the_log(store: Store) -> None:
    event = EventIn.model_validate(
        {
            "event_id": "e1",
            "time": "2024-06-01T20:30:00+02:00",
            "request_id": "r1",
            "user_id": "u1",
            "kind": "purchase",
            "item_id": "b",
            "value": 3,
            "context": {"page": "start", "n": 1.5},
        }
    )
    row = event_row(event)
    assert row["time"] == datetime(2024, 6, 1, 18, 30, tzinfo=UTC)
    assert json.loads(row["context"]) == {"page": "start", "n": 1.5}
    assert event_row(event.model_copy(update={"context": None}))["context"] is None
    store.record_events("acme", [row])
    (kept,) = store.events("acme").to_dicts()
    assert kept == row
