"""Each endpoint: what it answers, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide.routes import docs_page, front
from adwright.service.decide.schemas import DecideOut
from adwright.service.registry.registry import FixedModels
from tests.support.service.small_shop import ITEMS, NOW, Client, Hashed, deployed, running


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
        "time": NOW.isoformat(),
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
    assert store.decisions("acme")["time"].to_list() == [NOW, NOW]
    now = client.post("/v1/decide", json={"request_id": "r3", "user_id": "u1"})
    assert now.status_code == 200
    assert (store.decisions("acme")["time"] > NOW).sum() == 1


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
        body = {"campaign_id": f"c{number}", "start": NOW.isoformat(), "end": None}
        assert client.post("/v1/campaigns", json=body).json()["campaign_id"] == f"c{number}"
    changed = {"campaign_id": "c1", "start": NOW.isoformat(), "type": "TypeB"}
    assert client.post("/v1/campaigns", json=changed).json()["type"] == "TypeB"
    listed = client.get("/v1/campaigns?limit=2").json()["campaigns"]
    assert [one["campaign_id"] for one in listed] == ["c0", "c1"]
    assert listed[1] == {
        "campaign_id": "c1",
        "start": "2024-06-01T18:30:00Z",
        "end": None,
        "type": "TypeB",
    }
    rest = client.get("/v1/campaigns?after=c1").json()["campaigns"]
    assert [one["campaign_id"] for one in rest] == ["c2", "c3", "c4"]
    assert store.campaigns("acme").height == 5
    assert code(client.get("/v1/campaigns?limit=0")) == (422, "invalid")


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


def test_the_front_names_where_it_is_described() -> None:
    found = front("1.2")
    assert (found["version"], found["openapi"], found["docs"]) == ("1.2", "/openapi.json", "/docs")


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
        assert client.get("/").json()["docs"] == "/docs"
        page = client.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "/v1/decide" in page.text
