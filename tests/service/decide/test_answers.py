from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.store.store import Store, StoredDecision
from adwright.data.schema import validate_events
from adwright.data.stops import Stops, stopped
from adwright.delivery.decision import Decision
from adwright.service.decide.schemas import (
    DecideOut,
    EventIn,
    StopsOut,
    decision_answer,
    event_row,
    stops_out,
)
from tests.support.service.small_shop import request

NOW = datetime(2024, 6, 1, tzinfo=UTC)
WHY = {"reason": "wear-out", "days_left": 2.0}


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
    undo = event_row(event.model_copy(update={"undoes": ["s1"]}))
    assert json.loads(undo["context"]) == {"page": "start", "n": 1.5, "undoes": ["s1"]}
    store.record_events("acme", [row])
    (kept,) = store.events("acme").to_dicts()
    assert kept == row


def made(*pairs: tuple[str, str | None], **more: Any) -> Stops:
    rows = [
        {
            **{"event_id": f"e{n}", "time": NOW, "request_id": "r", "user_id": "anna"},
            **{"kind": "stop", "item_id": item, "creative_id": creative, **more},
        }
        for n, (item, creative) in enumerate(pairs)
    ]
    creatives = pl.DataFrame({"item_id": ["b", "c", "c"], "creative_id": ["b1", "c1", "c2"]})
    events = validate_events(pl.DataFrame(rows, schema_overrides={"creative_id": pl.String}))
    return stopped(events, creatives, NOW)


def test_of_each_item_it_says_who_when_and_why() -> None:
    stops = made(("c", "c1"), ("a", None), ("b", "b1"), ("b", None), context=json.dumps(WHY))
    first, second, third = stops_out(stops, NOW, after=None, limit=10).items
    assert (first.item_id, first.hidden, first.creatives) == ("a", True, [])
    assert first.stops[0].model_dump() == {
        **{"event_id": "e1", "time": NOW, "stopped_by": "anna", "why": WHY}
    }
    assert (second.stops[0].event_id, [one.creative_id for one in second.creatives]) == (
        "e3",
        ["b1"],
    )
    assert (third.item_id, third.hidden, third.stops) == ("c", False, [])
    assert third.creatives[0].why == WHY


def test_an_item_whose_creatives_are_all_stopped_is_hidden() -> None:
    (item,) = stops_out(made(("c", "c1"), ("c", "c2")), NOW, after=None, limit=10).items
    assert (item.hidden, item.stops, len(item.creatives)) == (True, [], 2)


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [(None, 2, ["a", "b"]), ("a", 2, ["b", "c"]), ("aa", 1, ["b"]), ("c", 5, [])],
)
def test_a_page_begins_after_an_item_and_cuts_none_apart(
    after: str | None, limit: int, expected: list[str]
) -> None:
    page = stops_out(
        made(("c", "c1"), ("a", None), ("b", None), ("b", "b1")), NOW, after=after, limit=limit
    )
    assert [item.item_id for item in page.items] == expected
    assert all(len(item.creatives) == 1 for item in page.items if item.item_id == "b")
    assert page.at == NOW


def test_where_nothing_was_ever_stopped_there_is_nothing() -> None:
    assert stops_out(None, NOW, after=None, limit=5) == StopsOut(at=NOW, items=[])
