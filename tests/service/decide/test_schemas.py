from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from adwright.data.columns import NOT_IDS
from adwright.data.schema import EVENT_SCHEMA, KINDS
from adwright.service.decide import schemas
from adwright.service.decide.schemas import (
    ID_LENGTH,
    MAX_EVENTS,
    MAX_IDS,
    MAX_PLACES,
    CampaignIn,
    DecideIn,
    EventIn,
    EventsIn,
)

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


MODELS = [
    each
    for each in vars(schemas).values()
    if isinstance(each, type) and issubclass(each, BaseModel) and each is not BaseModel
]


@pytest.mark.parametrize("model", MODELS)
def test_the_examples_are_valid(model: type[BaseModel]) -> None:
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
        {"user_id": "x" * (ID_LENGTH + 1)},
        {"user_id": "a\0b"},
        {"user_id": "a\nb"},
        {"user_id": "end\n"},
        {"user_id": "\ud800"},
        {"user_id": 5},
        {"user_id": None},
        {"request_id": "x" * (ID_LENGTH - 7)},
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
    for item in ("käse", "チーズ", "🧀", "a b", "x" * ID_LENGTH):
        assert parse(EventIn, {**EVENT, "item_id": item}).item_id == item


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"k": 1},
            {"k": MAX_PLACES},
            {"user_id": "x" * ID_LENGTH},
            {"request_id": "x" * (ID_LENGTH - 8)},
        ),
        *({"time": "1970-01-01T00:00:00Z"}, {"time": "2199-12-31T23:59:59Z"}, {"time": None}),
        *({"context": {}}, {"context": {"a": ""}}, {"context": {"a_b": "x" * 256}}),
        *({"context": {"a": 1e15}}, {"context": {"a": -1e15}}, {"context": {"k" * 64: 0}}),
        *({"context": {f"k{n}": n for n in range(32)}}, {"exclude": ["a"] * MAX_IDS}),
        *({"exclude": ["a", "a"]}, {"candidates": []}, {"candidates": ["a", "b"]}),
        *({"deadline_ms": 1}, {"deadline_ms": 2.5}, {"deadline_ms": None}),
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_decision_at_the_edge_of_its_range_is_taken(changes: dict[str, Any]) -> None:
    body = parse(DecideIn, {**DECIDE, **changes})
    ((name, value),) = changes.items()
    found = getattr(body, name)
    assert (
        found.isoformat().replace("+00:00", "Z") if name == "time" and value else found
    ) == value


@pytest.mark.parametrize(
    "changes",
    [
        *({"position": 0}, {"position": 2**31 - 1}, {"propensity": 1}, {"propensity": 1e-300}),
        *({"value": -1e15}, {"value": 0}, {"context": {"page": "start"}}, {"creative_id": None}),
        *({"kind": kind} for kind in KINDS),
    ],
    ids=str,
)
def test_an_event_at_the_edge_of_its_range_is_taken(changes: dict[str, Any]) -> None:
    ((name, value),) = changes.items()
    assert getattr(parse(EventIn, {**EVENT, **changes}), name) == value


@pytest.mark.parametrize(
    ("model", "body"), [(DecideIn, DECIDE), (EventIn, EVENT), (CampaignIn, CAMPAIGN)]
)
def test_what_is_required_is_what_is_given_here(
    model: type[BaseModel], body: dict[str, Any]
) -> None:
    schema = model.model_json_schema()
    assert set(schema["required"]) == set(body)
    assert schema["additionalProperties"] is False
    for name in body:
        with pytest.raises(ValidationError, match=name):
            parse(model, {key: value for key, value in body.items() if key != name})


def test_a_body_is_not_changed_after_it_was_checked() -> None:
    body = parse(DecideIn, DECIDE)
    with pytest.raises(ValidationError, match="frozen"):
        body.k = 5
    assert body.k == 10


def test_an_event_says_which_field_of_which_one_is_wrong() -> None:
    events = [EVENT, {**EVENT, "propensity": 2}]
    with pytest.raises(ValidationError) as caught:
        parse(EventsIn, {"events": events})
    (problem,) = caught.value.errors()
    assert problem["loc"] == ("events", 1, "propensity")


def test_the_fields_of_an_event_are_columns_of_the_log() -> None:
    assert set(EventIn.model_fields) == {*EVENT_SCHEMA.names, "undoes"}


def test_limits_stand_in_the_openapi() -> None:
    fields = DecideIn.model_json_schema()["properties"]
    assert (fields["k"]["minimum"], fields["k"]["maximum"]) == (1, MAX_PLACES)
    assert fields["user_id"]["maxLength"] == ID_LENGTH
    assert fields["exclude"]["maxItems"] == MAX_IDS
    events = EventsIn.model_json_schema()["properties"]["events"]
    assert (events["minItems"], events["maxItems"]) == (1, MAX_EVENTS)
