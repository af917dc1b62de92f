from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from adwright.data.columns import NOT_IDS
from adwright.service.decide import schemas
from adwright.service.decide.schemas import CampaignIn, DecideIn, EventIn, EventsIn

DECIDE = {"request_id": "r1", "user_id": "u1"}
EVENT = {
    "event_id": "e1",
    "time": "2024-06-01T18:30:00Z",
    "request_id": "r1",
    "user_id": "u1",
    "kind": "click",
    "item_id": "i1",
}
CAMPAIGN = {"campaign_id": "c1", "start": "2024-06-01T00:00:00Z"}


def parse(model: type[BaseModel], value: Any) -> Any:
    # As the framework does it: JSON first, then the model.
    return model.model_validate(json.loads(json.dumps(value)))


@pytest.mark.parametrize("name", schemas.__all__)
def test_the_examples_are_valid(name: str) -> None:
    model = getattr(schemas, name)
    if isinstance(model, type) and issubclass(model, BaseModel):
        for example in model.model_json_schema().get("examples", []):
            assert isinstance(parse(model, example), model)


def test_a_decision_needs_two_ids_and_has_defaults() -> None:
    body = parse(DecideIn, DECIDE)
    assert (body.k, body.context, body.exclude, body.candidates) == (10, {}, [], None)
    assert (body.time, body.deadline_ms) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"k": 0},
        {"k": 101},
        {"k": "5"},
        {"k": 2.5},
        {"k": True},
        {"user_id": ""},
        {"user_id": " "},
        {"user_id": "x" * 129},
        {"user_id": "a\0b"},
        {"user_id": "a\nb"},
        {"user_id": "end\n"},
        {"user_id": "\ud800"},
        {"user_id": 5},
        {"user_id": None},
        {"request_id": "x" * 121},
        {"request_id": "None"},
        {"time": "2024-06-01T18:30:00"},
        {"time": 1717266600},
        {"time": True},
        {"time": "0001-01-01T00:00:00+14:00"},
        {"time": "9999-12-31T23:59:59-14:00"},
        {"time": "yesterday"},
        {"context": {"": "x"}},
        {"context": {"_model": "x"}},
        {"context": {"a": float("nan")}},
        {"context": {"a": float("inf")}},
        {"context": {"a": 1e16}},
        {"context": {"a": 10**400}},
        {"context": {"a": [1]}},
        {"context": {"a": None}},
        {"context": {"a": True}},
        {"context": {"a": "x" * 257}},
        {"context": {"a\0": "x"}},
        {"context": {"\ud800": "x"}},
        {"context": {f"k{n}": "x" for n in range(33)}},
        {"exclude": ["a", ""]},
        {"exclude": ["a"] * 5001},
        {"candidates": ["a", "a"]},
        {"candidates": "abc"},
        {"deadline_ms": 0},
        {"deadline_ms": float("nan")},
        {"deadline_ms": "fast"},
        {"unknown": 1},
    ],
)
def test_a_decision_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse(DecideIn, {**DECIDE, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": ""},
        {"kind": "other"},
        {"item_id": "nan"},
        {"creative_id": ""},
        {"position": -1},
        {"position": 2**31},
        {"position": 1.5},
        {"propensity": 0},
        {"propensity": 1.5},
        {"propensity": float("nan")},
        {"value": float("inf")},
        {"value": "3"},
        {"time": None},
        {"context": "{}"},
        {"tenant": "umbrella"},
    ],
)
def test_an_event_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    parse(EventIn, EVENT)
    with pytest.raises(ValidationError):
        parse(EventIn, {**EVENT, **changes})


def test_a_batch_has_1_to_1000_events() -> None:
    assert len(parse(EventsIn, {"events": [EVENT] * 1000}).events) == 1000
    for events in ([], [EVENT] * 1001):
        with pytest.raises(ValidationError):
            parse(EventsIn, {"events": events})


def test_a_campaign_ends_after_it_starts() -> None:
    same = parse(CampaignIn, {**CAMPAIGN, "end": CAMPAIGN["start"], "type": "TypeA"})
    assert same.end == same.start
    with pytest.raises(ValidationError, match="end must not be before start"):
        parse(CampaignIn, {**CAMPAIGN, "end": "2024-05-31T23:59:59Z"})


def test_times_are_turned_into_utc() -> None:
    body = parse(DecideIn, {**DECIDE, "time": "2024-06-01T20:30:00.5+02:00"})
    assert body.time == datetime(2024, 6, 1, 18, 30, 0, 500_000, tzinfo=UTC)
    assert body.time.tzinfo is UTC


@pytest.mark.parametrize("word", NOT_IDS)
def test_what_the_log_takes_for_no_id_is_none_here_either(word: str) -> None:
    with pytest.raises(ValidationError, match="must be an id"):
        parse(EventIn, {**EVENT, "item_id": word})


def test_ids_may_be_in_any_script() -> None:
    for item in ("käse", "チーズ", "🧀", "a b", "x" * 128):
        assert parse(EventIn, {**EVENT, "item_id": item}).item_id == item
