"""What is asked of the service by HTTP, what it answers, and which bodies it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import BaseModel, ValidationError

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store, StoredDecision
from adwright.core.clock import SystemClock
from adwright.data.schema import EVENT_SCHEMA, KINDS, NOT_IDS, validate_events
from adwright.data.stops import Stops, stopped
from adwright.delivery.decision import Decision
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide import schemas
from adwright.service.decide.routes import docs_page
from adwright.service.decide.schemas import (
    ID_LENGTH,
    MAX_EVENTS,
    MAX_IDS,
    MAX_PLACES,
    CampaignIn,
    DecideIn,
    DecideOut,
    EventIn,
    EventsIn,
    StopsOut,
    decision_answer,
    event_row,
    stops_out,
)
from adwright.service.registry.registry import FixedModels
from tests.support.service import small_shop
from tests.support.service.small_shop import ITEMS, Client, Hashed, deployed, request, running


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    models = {"acme": deployed(), "umbrella": deployed("plain", similar=None)}
    config = ServiceConfig(deadline_ms=2000)
    app = create_app(config, store, FixedModels(models, SystemClock()))
    with running(app) as running_client:
        running_client.headers = {"X-API-Key": store.create_key("acme", SCOPES)}
        yield running_client


def event(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "e1",
        "time": small_shop.NOW.isoformat(),
        "request_id": "r1",
        "user_id": "u1",
        "kind": "click",
        "item_id": "item-001",
        **changes,
    }


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_decision_fills_the_places_and_is_logged(client: Client, store: Store) -> None:
    answer = client.decide("r1", k=4, context={"page": "start"})
    out = DecideOut.model_validate_json(answer.content)
    assert answer.headers["content-type"] == "application/json"
    assert (out.request_id, out.policy_id, out.model, out.stage) == ("r1", "shuffle", "v1", "fine")
    assert [place.position for place in out.items] == [1, 2, 3, 4]
    events = store.events("acme")
    assert events["item_id"].to_list() == [place.item_id for place in out.items]
    assert events["propensity"].to_list() == [place.propensity for place in out.items]
    assert json.loads(events["context"][0]) == {"stage": "fine", "page": "start"}


@pytest.mark.parametrize(
    ("fields", "holds"),
    [
        ({"k": 2}, lambda items: len(items) == 2),
        ({"exclude": ITEMS[:55]}, lambda items: set(items) == set(ITEMS[55:])),
        ({"candidates": ITEMS[3:6]}, lambda items: set(items) == set(ITEMS[3:6])),
        ({"candidates": []}, lambda items: items == []),
        ({"k": 100}, lambda items: sorted(items) == sorted(ITEMS)),
    ],
)
def test_what_is_asked_for_is_what_comes(
    client: Client, fields: Mapping[str, Any], holds: Any
) -> None:
    answer = client.decide("r1", **fields)
    assert holds([place["item_id"] for place in answer.json()["items"]])


def test_the_person_the_time_and_the_deadline_reach_the_model(client: Client, store: Store) -> None:
    one, two = client.decide("r1", "u1").json(), client.decide("r2", "u2").json()
    assert one["items"] != two["items"]
    assert store.decisions("acme")["time"].to_list() == [small_shop.NOW, small_shop.NOW]
    now = client.post("/v1/decide", json={"request_id": "r3", "user_id": "u1"})
    assert now.status_code == 200
    assert (store.decisions("acme")["time"] > small_shop.NOW).sum() == 1


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({}, {"deadline_ms": 1000}),
        ({"deadline_ms": 1000}, {}),
        # A longer one than the service allows is cut.
        ({"deadline_ms": 900, "max_deadline_ms": 1000}, {"deadline_ms": 1e9}),
    ],
)
def test_a_short_deadline_is_met_with_less(
    store: Store, settings: dict[str, Any], fields: dict[str, Any]
) -> None:
    models = FixedModels({"acme": deployed(recommender=Hashed(seconds=2.5))}, SystemClock())
    with running(create_app(ServiceConfig(**settings), store, models)) as client:
        client.headers = {"X-API-Key": store.create_key("acme", SCOPES)}
        assert client.decide("r1", **fields).json()["stage"] == "popularity"


def test_a_request_that_is_dated_ahead_is_of_now(client: Client, store: Store) -> None:
    ahead = SystemClock().now() + timedelta(hours=20)
    assert client.decide("r1", time=ahead.isoformat()).status_code == 200
    (then,) = store.decisions("acme")["time"]
    assert abs((SystemClock().now() - then).total_seconds()) < 60


def test_a_request_is_decided_once_and_belongs_to_one_person(client: Client) -> None:
    first = client.decide("r1", k=3)
    assert client.decide("r1", k=8).content == first.content
    assert code(client.decide("r1", "u2")) == (409, "conflict")


def test_events_count_once(client: Client, store: Store) -> None:
    events = [event(event_id=f"e{n}") for n in range(5)]
    first = client.post("/v1/events", json={"events": events})
    assert first.json() == {"accepted": 5, "duplicates": 0, "conflicts": 0}
    more = [*events[2:], event(event_id="new"), event(event_id="new")]
    again = client.post("/v1/events", json={"events": more})
    assert again.json() == {"accepted": 1, "duplicates": 4, "conflicts": 0}
    assert store.events("acme").height == 6


def test_a_bad_event_refuses_its_batch_alone(client: Client, store: Store) -> None:
    bad = [event(), event(event_id="e2", kind="unheard of")]
    assert code(client.post("/v1/events", json={"events": bad})) == (422, "invalid")
    assert store.events("acme").is_empty()


def test_what_is_dated_after_now_is_refused(client: Client, store: Store) -> None:
    """Only a stop may begin later; a clock may be hours ahead."""
    soon, late = ((datetime.now(UTC) + timedelta(hours=h)).isoformat() for h in (20, 30))
    batch = {"events": [event(), event(event_id="e2", time=late)]}
    refused = client.post("/v1/events", json=batch)
    assert code(refused) == (422, "invalid")
    assert "event e2 is dated" in refused.json()["error"]["message"]
    assert code(client.decide("r9", time=late)) == (422, "invalid")
    assert store.events("acme").height == 0
    fine = [event(time=soon), event(event_id="e2", time=late, kind="stop")]
    assert client.post("/v1/events", json={"events": fine}).json()["accepted"] == 2


def test_similar_items_come_nearest_first(client: Client, store: Store) -> None:
    answer = client.get("/v1/items/item-010/similar?k=3").json()
    assert answer["item_id"] == "item-010"
    scores = [item["score"] for item in answer["items"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert code(client.get("/v1/items/unknown/similar")) == (404, "not_found")
    assert code(client.get("/v1/items/a%2Fb/similar")) == (404, "not_found")
    for query in ("k=0", "k=101", "k=x"):
        assert code(client.get(f"/v1/items/item-010/similar?{query}")) == (422, "invalid")
    assert code(client.get("/v1/items/%00/similar")) == (422, "invalid")
    umbrella = {"X-API-Key": store.create_key("umbrella", SCOPES)}
    plain = client.get("/v1/items/item-010/similar", headers=umbrella)
    assert code(plain) == (409, "no_model")


def test_campaigns_are_kept_replaced_and_listed(client: Client, store: Store) -> None:
    for number in range(5):
        body = {"campaign_id": f"c{number}", "start": small_shop.NOW.isoformat(), "end": None}
        assert client.post("/v1/campaigns", json=body).json()["campaign_id"] == f"c{number}"
    changed = {"campaign_id": "c1", "start": small_shop.NOW.isoformat(), "type": "TypeB"}
    assert client.post("/v1/campaigns", json=changed).json()["type"] == "TypeB"
    listed = client.get("/v1/campaigns?limit=2").json()["campaigns"]
    assert [one["campaign_id"] for one in listed] == ["c0", "c1"]
    assert listed[1] == {
        "campaign_id": "c1",
        "start": "2024-06-01T18:30:00Z",
        "end": None,
        "type": "TypeB",
        **dict.fromkeys(("budget", "price", "per", "cap", "cap_hours", "targeting")),
        "spent": 0.0,
    }
    rest = client.get("/v1/campaigns?after=c1").json()["campaigns"]
    assert [one["campaign_id"] for one in rest] == ["c2", "c3", "c4"]
    assert store.campaigns("acme").height == 5
    assert code(client.get("/v1/campaigns?limit=0")) == (422, "invalid")


def test_a_campaign_has_terms_and_says_what_it_spent(client: Client, store: Store) -> None:
    terms = {
        **{"budget": 5.0, "price": 0.1, "per": "impression", "cap": 3, "cap_hours": 12.0},
        "targeting": {"page": ["start", "search"], "floor": [2.0]},
    }
    body = {"campaign_id": "c1", "start": small_shop.NOW.isoformat(), **terms}
    made = client.post("/v1/campaigns", json=body).json()
    assert made == {**made, **terms, "spent": 0.0}
    impressions = [event(event_id=f"i{n}", kind="impression", campaign_id="c1") for n in range(3)]
    assert client.post("/v1/events", json={"events": impressions}).json()["accepted"] == 3
    assert store.known_spend("acme") == {"c1": 0.3}
    (kept,) = client.get("/v1/campaigns").json()["campaigns"]
    assert kept == {**made, "spent": 0.3}
    assert client.post("/v1/campaigns", json={**body, "price": 0.2}).json()["spent"] == 0.3


def test_the_model_is_shown(client: Client) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["name"], model["kind"], model["refused"]) == ("v1", "hashed", None)
    assert len(model["id"]) == 64


def test_a_tenant_without_a_model_is_shown_none(client: Client, store: Store) -> None:
    client.headers = {"X-API-Key": store.create_key("newcomer", SCOPES)}
    assert client.get("/v1/models").json() == {"models": []}
    assert code(client.decide("r1")) == (409, "no_model")
    assert client.post("/v1/events", json={"events": [event()]}).status_code == 200


def test_the_openapi_shows_examples_and_typed_errors(client: Client) -> None:
    api = client.get("/openapi.json").json()
    for path in api["paths"]:
        for operation in api["paths"][path].values():
            assert operation["summary"]
            assert operation["description"]
            for status, answer in operation["responses"].items():
                if status.startswith("4"):
                    content = answer["content"]["application/json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
                    assert content["example"]["error"]["message"]
            if path.startswith("/v1/"):
                assert operation["security"] == [{"APIKeyHeader": []}]
                assert {"401", "429"} <= operation["responses"].keys()
    for name in ("DecideIn", "DecideOut", "EventsIn", "EventsOut", "CampaignIn", "SimilarOut"):
        assert api["components"]["schemas"][name]["examples"]
        assert api["components"]["schemas"][name]["additionalProperties"] is False
    assert client.get("/redoc").status_code == 404


def test_answers_of_unknown_shape_would_be_noticed() -> None:
    with pytest.raises(ValidationError):
        DecideOut.model_validate({"request_id": "r1"})


def test_the_page_lists_each_call_with_its_fields_and_runs_no_script(store: Store) -> None:
    app = create_app(ServiceConfig(), store, FixedModels({}, SystemClock()))
    page = docs_page(app.openapi())
    for path in app.openapi()["paths"]:
        assert f" {path}<" in page
    assert "deadline_ms" in page
    assert "curl -X POST http://127.0.0.1:8000/v1/decide" in page
    assert "<script" not in page
    assert "https://" not in page


def test_what_an_openapi_says_is_text() -> None:
    call = {"summary": "<b>", "parameters": [{"name": "<i>", "description": "&"}]}
    page = docs_page({"info": {"title": "t", "version": "1"}, "paths": {"/x": {"get": call}}})
    assert "&lt;b&gt;" in page
    assert "<td>&lt;i&gt;</td>" in page
    assert "<b>" not in page


def test_both_are_served_without_a_key(store: Store) -> None:
    with running(create_app(ServiceConfig(), store, FixedModels({}, SystemClock()))) as client:
        told = client.get("/").json()
        assert (told["openapi"], told["docs"]) == ("/openapi.json", "/docs")
        page = client.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "/v1/decide" in page.text


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


WRONG: dict[str, list[Any]] = {
    "k": [0, 101, "5", 2.5, True],
    "user_id": ["", " ", "x" * (ID_LENGTH + 1), "a\0b", "a\nb", "end\n", "\ud800", 5, None],
    "request_id": ["x" * (ID_LENGTH - 7), "None"],
    "time": [
        *("2024-06-01T18:30:00", 1717266600, True, "yesterday"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    ],
    "context": [
        *({"": "x"}, {"_model": "x"}, {"a\0": "x"}, {"\ud800": "x"}, {"a": "x" * 257}),
        *({"a": float("nan")}, {"a": float("inf")}, {"a": 1e16}, {"a": 10**400}),
        *({"a": [1]}, {"a": None}, {"a": True}, {f"k{n}": "x" for n in range(33)}),
    ],
    "exclude": [["a", ""], ["a"] * 5001],
    "candidates": [["a", "a"], "abc"],
    "deadline_ms": [0, float("nan"), "fast"],
    "unknown": [1],
}
WRONG_OF_EVENT: dict[str, list[Any]] = {
    "event_id": [""],
    "kind": ["other"],
    "item_id": ["nan"],
    "creative_id": [""],
    "position": [-1, 2**31, 1.5],
    "propensity": [0, 1.5, float("nan")],
    "value": [float("inf"), "3"],
    "time": [None],
    "context": ["{}"],
    "tenant": ["umbrella"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_decision_out_of_range_is_refused(name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(ValidationError):
            parse(DecideIn, {**DECIDE, name: value})


@pytest.mark.parametrize("name", WRONG_OF_EVENT)
def test_an_event_out_of_range_is_refused(name: str) -> None:
    parse(EventIn, EVENT)
    for value in WRONG_OF_EVENT[name]:
        with pytest.raises(ValidationError):
            parse(EventIn, {**EVENT, name: value})


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


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"budget": 5.0}, "without a price"),
        ({"price": 0.0}, "greater than or equal"),
        ({"price": "0.1"}, "valid number"),
        ({"price": 0.1, "per": "view"}, "impression"),
        ({"cap": 0}, "greater than or equal"),
        ({"cap": 1.5}, "integer"),
        ({"targeting": {"_page": ["x"]}}, "pattern"),
        ({"targeting": {"page": []}}, "at least 1"),
        ({"targeting": {"page": "start"}}, "list"),
    ],
)
def test_terms_that_are_none_are_refused(terms: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        parse(CampaignIn, {**CAMPAIGN, **terms})


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
