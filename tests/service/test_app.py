"""The service as a whole: its life, its borders between tenants, and whatever one may send it."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.core.errors import ResourceError
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide import state
from adwright.service.registry.registry import FixedModels, FolderModels, publish
from tests.support.data.event_rows import event_row
from tests.support.service.small_shop import (
    ITEMS,
    NOW,
    Client,
    Hashed,
    deployed,
    load_version,
    running,
    save_version,
    wait_until,
)

EVENT = event_row("e1", NOW.isoformat(), "r1", "u1", "click", "item-001")
PATIENT = ServiceConfig(deadline_ms=2000)


def key_of(store: Store, tenant: str) -> dict[str, str]:
    return {"X-API-Key": store.create_key(tenant, SCOPES)}


def fixed(**models: Any) -> FixedModels:
    return FixedModels(models, SystemClock())


def test_a_tenant_sees_nothing_of_another(store: Store) -> None:
    models = fixed(acme=deployed("of-acme"), umbrella=deployed("of-umbrella"))
    with running(create_app(PATIENT, store, models)) as client:
        acme, umbrella = key_of(store, "acme"), key_of(store, "umbrella")
        campaign = {"campaign_id": "c1", "start": NOW.isoformat(), "type": "of-acme"}
        assert client.post("/v1/campaigns", json=campaign, headers=acme).status_code == 200
        body = {"request_id": "r1", "user_id": "u1", "time": NOW.isoformat()}
        mine = client.post("/v1/decide", json=body, headers=acme)
        event = {"events": [EVENT]}
        assert client.post("/v1/events", json=event, headers=acme).json()["accepted"] == 1

        assert client.get("/v1/campaigns", headers=umbrella).json() == {"campaigns": []}
        (model,) = client.get("/v1/models", headers=umbrella).json()["models"]
        assert model["name"] == "of-umbrella"
        theirs = client.post("/v1/decide", json=body, headers=umbrella)
        assert (mine.status_code, theirs.status_code) == (200, 200)
        assert (mine.json()["model"], theirs.json()["model"]) == ("of-acme", "of-umbrella")
        # The same ids are free for everybody, so not even their use can be found out.
        assert client.post("/v1/events", json=event, headers=umbrella).json()["accepted"] == 1
        other = {**campaign, "type": "of-umbrella"}
        assert client.post("/v1/campaigns", json=other, headers=umbrella).status_code == 200
        (kept,) = client.get("/v1/campaigns", headers=acme).json()["campaigns"]
        assert kept["type"] == "of-acme"
        for path in ("/metrics", "/readyz", "/healthz", "/openapi.json"):
            text = client.get(path).text
            assert "acme" not in text
            assert "umbrella" not in text


def test_without_a_known_key_nothing_is_told(store: Store) -> None:
    with running(create_app(PATIENT, store, fixed(acme=deployed()))) as client:
        revoked = store.create_key("acme", SCOPES)
        store.revoke_key("acme", revoked)
        calls = [
            ("POST", "/v1/decide", {"request_id": "r1", "user_id": "u1"}),
            ("POST", "/v1/events", {"events": [EVENT]}),
            ("GET", "/v1/items/item-001/similar", None),
            ("GET", "/v1/campaigns", None),
            ("POST", "/v1/campaigns", {"campaign_id": "c1", "start": NOW.isoformat()}),
            ("GET", "/v1/models", None),
            ("GET", "/v1/stops", None),
        ]
        for method, path, body in calls:
            for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "x"}, {"X-API-Key": revoked}):
                answer = client.send(method, path, json=body, headers=headers)
                assert answer.status_code == 401, (path, headers)
                assert answer.headers["www-authenticate"] == "ApiKey"
    assert store.events("acme").is_empty()


#: What each scope opens beside the others, by the endpoints that refuse without it.
OPENED = {
    ("POST", "/v1/decide"): {"decide"},
    ("GET", "/v1/items/{item_id}/similar"): {"decide"},
    ("POST", "/v1/events"): {"events"},
    ("GET", "/v1/stops"): {"read", "stops"},
    ("GET", "/v1/campaigns"): {"read"},
    ("POST", "/v1/campaigns"): {"admin"},
    ("GET", "/v1/creatives"): {"read", "creatives"},
    ("POST", "/v1/creatives"): {"creatives", "admin"},
    ("POST", "/v1/creatives/{creative_id}/move"): {"creatives", "admin"},
    ("GET", "/v1/creatives/{creative_id}/moves"): {"read", "creatives"},
    ("GET", "/v1/models"): {"read"},
    ("GET", "/v1/actions"): {"admin"},
    ("GET", "/v1/experiments"): {"read"},
    ("GET", "/v1/audits"): {"read"},
    ("GET", "/v1/audits/{name}"): {"read"},
    ("GET", "/v1/agent/apps"): {"read", "agent:ask", "agent:confirm"},
    ("POST", "/v1/agent/runs"): {"agent:ask"},
    ("GET", "/v1/agent/runs/{run_id}"): {"read", "agent:ask", "agent:confirm"},
    ("POST", "/v1/agent/runs/{run_id}/confirm"): {"agent:confirm"},
    ("POST", "/v1/agent/runs/{run_id}/refuse"): {"agent:confirm", "agent:ask"},
    ("GET", "/v1/agent/runs/{run_id}/report"): {"read", "agent:ask", "agent:confirm"},
}


def test_a_key_opens_what_its_scopes_name_and_says_which_it_lacks(store: Store) -> None:
    bodies: dict[str, Any] = {
        "/v1/decide": {"request_id": "r1", "user_id": "u1"},
        "/v1/events": {"events": [EVENT]},
        "/v1/campaigns": {"campaign_id": "c1", "start": NOW.isoformat()},
        "/v1/creatives": {"creatives": [{"item_id": "i"}]},
        "/v1/creatives/{creative_id}/move": {"state": "draft"},
        "/v1/agent/runs": {"app": "shop", "task": 'Set X of "Y" to 2'},
    }
    app = create_app(PATIENT, store, fixed(acme=deployed()))
    assert OPENED.keys() == {one for one in OPERATIONS if one[1].startswith("/v1/")}
    with running(app) as client:
        keys = {scope: {"X-API-Key": store.create_key("acme", [scope])} for scope in SCOPES}
        for (method, path), scopes in OPENED.items():
            body = bodies.get(path, {"hash": "0" * 64}) if method == "POST" else None
            url = re.sub("{[^}]+}", "0" * 24, path)
            for scope in SCOPES:
                answer = client.send(method, url, json=body, headers=keys[scope])
                assert (answer.status_code == 403) is (scope not in scopes), (path, scope)
                if answer.status_code == 403:
                    error = answer.json()["error"]
                    assert error["code"] == "forbidden"
                    assert any(f"the scope {one}" in error["message"] for one in scopes)
        for scope, allowed in (("events", False), ("stops", True)):
            answer = client.post("/v1/events", json=stop("i", f"s-{scope}"), headers=keys[scope])
            assert (answer.status_code == 200) is allowed
        mixed = {"events": [EVENT, *stop("i", "s2")["events"]]}
        assert client.post("/v1/events", json=mixed, headers=keys["stops"]).status_code == 403
    assert store.stops("acme")["event_id"].to_list() == ["s-stops"]
    (noted, *_) = store.actions("acme", what="stop")
    assert (noted.subject, noted.detail) == ("s-stops", "i by anna")
    assert keys["stops"]["X-API-Key"].split("_")[1] == noted.key_id


def test_a_slash_too_many_leads_nowhere(store: Store) -> None:
    with running(create_app(PATIENT, store, fixed())) as client:
        key = key_of(store, "acme")
        for path in ("/v1/models/", "/v1/decide/"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers=key).status_code == 404
        assert client.get("/healthz/").status_code == 404
        allowed = client.send("DELETE", "/v1/campaigns", headers=key).headers["allow"]
        assert allowed == "GET, POST"


def test_the_limits_of_times_and_lists_stand_in_the_openapi(store: Store) -> None:
    schemas = create_app(PATIENT, store, fixed()).openapi()["components"]["schemas"]
    time = schemas["EventIn"]["properties"]["time"]
    assert "1970 to 2199" in time["description"]
    for text, fits in (("1970-01-01", True), ("2199-12-31", True), ("1969-12-31", False)):
        assert bool(re.match(time["pattern"], text)) is fits
    assert not re.match(time["pattern"], "2200-01-01")
    candidates = json.dumps(schemas["DecideIn"]["properties"]["candidates"])
    assert '"uniqueItems": true' in candidates


def test_a_revoked_key_opens_nothing_once_its_time_is_over(store: Store) -> None:
    config = ServiceConfig(key_seconds=0.05)
    with running(create_app(config, store, fixed(acme=deployed()))) as client:
        key = store.create_key("acme", SCOPES)
        assert client.get("/v1/models", headers={"X-API-Key": key}).status_code == 200
        store.revoke_key("acme", key)
        wait_until(lambda: client.get("/v1/models", headers={"X-API-Key": key}).status_code == 401)


def test_models_are_exchanged_while_it_serves(store: Store, tmp_path: Path) -> None:
    def threads() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name.startswith("adwright-")}

    before = threads()
    root = tmp_path / "models"
    save_version(root, "acme", "v1")
    publish(root, "acme", "v1")
    models = FolderModels(root, load_version, SystemClock(), seconds=0.01)
    with running(create_app(PATIENT, store, models)) as client:
        client.headers = key_of(store, "acme")
        number = iter(range(100_000))

        def model() -> str:
            answer = client.decide(f"r{next(number)}")
            assert answer.status_code == 200
            name: str = answer.json()["model"]
            return name

        assert model() == "v1"
        save_version(root, "acme", "v2")
        publish(root, "acme", "v2")
        wait_until(lambda: model() == "v2")
        save_version(root, "acme", "v3")
        (root / "acme" / "v3" / "more").write_text("damage")
        publish(root, "acme", "v3")
        wait_until(lambda: client.get("/readyz").json()["refused"] == 1)
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert (client.get("/readyz").json()["models"], model()) == (1, "v2")
        assert "adwright_models_refused 1.0" in client.get("/metrics").text
        (status,) = client.get("/v1/models").json()["models"]
        assert (status["name"], status["refused"]) == ("v2", "v3")
        assert "does not list" in status["reason"]
    assert threads() <= before


def stop(item: str, event_id: str, **changes: Any) -> dict[str, Any]:
    """The body that stops an item."""
    event = {**EVENT, "event_id": event_id, "user_id": "anna", "kind": "stop", "item_id": item}
    return {"events": [{**event, **changes}]}


def shown(client: Client, request_id: str, **fields: Any) -> set[str]:
    """All items that one may be shown, as a decision of as many places lists them."""
    answer = client.decide(request_id, k=100, **fields)
    assert answer.status_code == 200
    return {place["item_id"] for place in answer.json()["items"]}


def test_what_is_stopped_is_not_shown_until_it_is_taken_back(store: Store) -> None:
    models = fixed(acme=deployed(), umbrella=deployed())
    with running(create_app(PATIENT, store, models)) as client:
        acme, umbrella = key_of(store, "acme"), key_of(store, "umbrella")
        client.headers = acme
        assert shown(client, "r1") == set(ITEMS)
        why = {"reason": "wear-out", "days_left": 2}
        assert client.post("/v1/events", json=stop(ITEMS[3], "s1", context=why)).status_code == 200
        assert shown(client, "r2") == set(ITEMS) - {ITEMS[3]}
        # Also where the request itself says what it wants, and what it does not.
        assert shown(client, "r3", exclude=ITEMS[:2]) == set(ITEMS[2:]) - {ITEMS[3]}
        assert shown(client, "r4", candidates=ITEMS[2:5]) == {ITEMS[2], ITEMS[4]}
        # The chance is that among what is left, and the log says nothing of what is not.
        events = store.events("acme").filter(request_id="r2")
        assert events["propensity"].to_list() == [1 / (59 - place) for place in range(59)]
        assert json.loads(events["context"][0]) == {"stage": "fine"}
        near = client.get(f"/v1/items/{ITEMS[2]}/similar", params={"k": 3}).json()["items"]
        assert [one["item_id"] for one in near] == [ITEMS[1], ITEMS[0], ITEMS[4]]
        # A decision that was made stands, however often it is asked for.
        assert shown(client, "r1") == set(ITEMS)

        (item,) = client.get("/v1/stops").json()["items"]
        assert (item["item_id"], item["hidden"], item["creatives"]) == (ITEMS[3], True, [])
        (found,) = item["stops"]
        assert (found["stopped_by"], found["event_id"], found["why"]) == ("anna", "s1", why)
        client.headers = umbrella
        assert shown(client, "r2") == set(ITEMS)
        assert client.get("/v1/stops").json()["items"] == []

        client.headers = acme
        # Somebody else's, which the next that takes its own back leaves, whatever its clock says.
        court = stop(ITEMS[3], "court", user_id="legal", time="2100-01-01T00:00:00Z")
        assert client.post("/v1/events", json=court).json()["stops"] == {
            **{"in_force": True, "replicas": 1, "of": 1, "hidden": [ITEMS[3]]}
        }
        early = (NOW - timedelta(minutes=1)).isoformat()
        undone = client.post("/v1/events", json=stop(ITEMS[3], "s2", time=early, value=0))
        assert undone.json()["stops"]["hidden"] == [ITEMS[3]]
        (item,) = client.get("/v1/stops").json()["items"]
        assert [one["event_id"] for one in item["stops"]] == ["court"]
        named = stop(ITEMS[3], "a3", time=early, value=0, undoes=["court"])
        assert client.post("/v1/events", json=named).json()["stops"]["hidden"] == []
        assert shown(client, "r5") == set(ITEMS)
        assert client.get("/v1/stops").json()["items"] == []
        # In the same second again, with an id that sorts first.
        assert client.post("/v1/events", json=stop(ITEMS[3], "a0")).json()["stops"]["hidden"]
        assert ITEMS[3] not in shown(client, "r6")
        wrong = stop(ITEMS[3], "a4", undoes=["a0"])
        assert client.post("/v1/events", json=wrong).status_code == 422


def test_a_stop_counts_though_it_is_sent_again_or_the_rest_of_its_batch_is_refused(
    store: Store,
) -> None:
    config = replace(PATIENT, max_pending_rows=1, stops_poll_seconds=600)
    with running(create_app(config, store, fixed(acme=deployed()))) as client:
        acme, umbrella = key_of(store, "acme"), key_of(store, "umbrella")
        for headers in (acme, umbrella, acme):
            told = client.post("/v1/events", json=stop(ITEMS[0], "s1"), headers=headers).json()
            assert told["stops"]["in_force"]
        client.headers = acme
        assert shown(client, "r1") == set(ITEMS[1:])
        rest = [{**EVENT, "event_id": f"e{number}"} for number in range(2)]
        mixed = {"events": [*rest, *stop(ITEMS[1], "s2")["events"]]}
        answer = client.post("/v1/events", json=mixed)
        assert answer.status_code == 429
        assert "the stops of the batch are stored" in answer.json()["error"]["message"]
        assert "retry-after" in answer.headers
        assert shown(client, "r2") == set(ITEMS[2:])


def test_an_item_is_hidden_when_its_last_creative_is_stopped(store: Store) -> None:
    rows = [{"creative_id": creative, "item_id": ITEMS[0]} for creative in ("a", "b")]
    store.put_creatives("acme", rows)
    with running(create_app(PATIENT, store, fixed(acme=deployed()))) as client:
        client.headers = key_of(store, "acme")
        client.post("/v1/events", json=stop(ITEMS[0], "s1", creative_id="a"))
        assert shown(client, "r1") == set(ITEMS)
        client.post("/v1/events", json=stop(ITEMS[0], "s2", creative_id="b"))
        assert shown(client, "r2") == set(ITEMS[1:])
        (item,) = client.get("/v1/stops").json()["items"]
        assert (item["hidden"], item["stops"]) == (True, [])
        assert [one["creative_id"] for one in item["creatives"]] == ["a", "b"]


def test_the_fallback_shows_nothing_that_is_stopped_either(store: Store) -> None:
    broken = fixed(acme=deployed(recommender=Hashed(broken=True)))
    with running(create_app(PATIENT, store, broken)) as client:
        client.headers = key_of(store, "acme")
        first = client.decide("r1", k=1).json()
        assert first["stage"] == "popularity"
        assert shown(client, "r2") > {ITEMS[-1]}
        client.post("/v1/events", json=stop(ITEMS[-1], "s1"))
        assert ITEMS[-1] not in shown(client, "r3")


def test_other_processes_obey_within_the_interval(store: Store) -> None:
    rarely = replace(PATIENT, stops_poll_seconds=600)
    store.record_events("acme", stop(ITEMS[0], "before", time=NOW)["events"])
    first = create_app(rarely, store, fixed(acme=deployed()))
    second = create_app(rarely, store, fixed(acme=deployed()))
    third = create_app(replace(PATIENT, stops_poll_seconds=0.01), store, fixed(acme=deployed()))
    with running(first) as one, running(second) as two, running(third) as three:
        for client in (one, two, three):
            client.headers = key_of(store, "acme")
        assert shown(two, "r1") == set(ITEMS[1:])  # it was stopped before the start
        told = one.post("/v1/events?wait=0.2", json=stop(ITEMS[1], "s1")).json()["stops"]
        assert (told["in_force"], told["replicas"], told["of"]) == (False, 2, 3)
        assert shown(one, "r2") == set(ITEMS[2:])
        assert shown(two, "r3") == set(ITEMS[1:])
        second.state.service.stops.look()  # its turn has come
        assert shown(two, "r4") == set(ITEMS[2:])
        again = one.post("/v1/events?wait=10", json=stop(ITEMS[1], "s1")).json()
        assert (again["duplicates"], again["stops"]["in_force"]) == (1, True)
        numbers = iter(range(100_000))
        wait_until(lambda: shown(three, f"n{next(numbers)}") == set(ITEMS[2:]))


def test_stops_that_cannot_be_read_are_stored_and_nothing_is_decided_against_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = fixed(acme=deployed(), umbrella=deployed())
    with running(create_app(PATIENT, store, models)) as client, monkeypatch.context() as patch:
        client.headers = key_of(store, "acme")
        client.post("/v1/events", json=stop(ITEMS[0], "s1"))

        def refuse(*_: Any) -> Any:
            raise ResourceError("the disk is gone")

        patch.setattr(store, "stops_of", refuse)
        patch.setattr(store, "stop_versions", refuse)
        answer = client.post("/v1/events", json=stop(ITEMS[1], "s2")).json()
        assert (answer["accepted"], answer["stops"]["in_force"]) == (1, False)
        # Rather nothing than what is stopped; another tenant's decisions go on.
        assert client.decide("r1", k=100).status_code == 503
        text = client.get("/metrics").text
        assert "adwright_stopped_items 1.0" in text
        assert "adwright_stops_age_seconds" in text
        client.headers = key_of(store, "umbrella")
        assert shown(client, "r1") == set(ITEMS)
        client.headers = key_of(store, "acme")
        patch.undo()
        wait_until(lambda: client.decide("r2").status_code == 200)
        assert shown(client, "r3") == set(ITEMS[2:])


def test_a_store_that_hangs_while_stops_are_read_holds_nobody_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(create_app(PATIENT, store, fixed(acme=deployed()))) as client:
        client.headers = key_of(store, "acme")
        goes_on = threading.Event()

        def hang(*_: Any) -> Any:
            goes_on.wait(20)
            raise ResourceError("it took too long")

        monkeypatch.setattr(store, "stops_of", hang)
        monkeypatch.setattr(store, "stop_versions", hang)
        monkeypatch.setattr(state, "HEED_SECONDS", 0.05)
        answer = client.start("POST", "/v1/events", json=stop(ITEMS[1], "s2"))
        assert shown(client, "r1") == set(ITEMS)
        assert answer.result(15).json()["accepted"] == 1
        goes_on.set()


def test_it_ends_only_when_what_it_let_in_is_answered(store: Store) -> None:
    recommender = Hashed()
    recommender.go_on.clear()
    app = create_app(PATIENT, store, fixed(acme=deployed(recommender=recommender)))
    with running(app) as client:
        body = {"request_id": "r1", "user_id": "u1"}
        answer = client.start("POST", "/v1/decide", json=body, headers=key_of(store, "acme"))
        wait_until(recommender.entered.is_set)
        threading.Timer(0.1, recommender.go_on.set).start()
    assert answer.result(1).status_code == 200
    assert store.decisions("acme").height == 1


def test_a_busy_service_sheds_and_recovers(store: Store) -> None:
    recommender = Hashed()
    recommender.go_on.clear()
    # Of what is free, one tenant gets half.
    config = ServiceConfig(deadline_ms=2000, max_queue=8)
    app = create_app(config, store, fixed(acme=deployed(recommender=recommender)))
    with running(app) as client:
        client.headers = key_of(store, "acme")
        client.get("/v1/models")
        bodies = [{"request_id": f"r{n}", "user_id": "u1"} for n in range(12)]
        answers = [client.start("POST", "/v1/decide", json=body) for body in bodies]
        wait_until(lambda: sum(answer.done() for answer in answers) == 8)
        recommender.go_on.set()
        statuses = [answer.result(10).status_code for answer in answers]
        assert sorted(statuses) == [200] * 4 + [429] * 8
        shed = answers[statuses.index(429)].result()
        assert shed.json()["error"]["code"] == "too_busy"
        assert 1 <= int(shed.headers["retry-after"]) <= 60
        assert client.decide("later").status_code == 200
    assert store.decisions("acme").height == 5


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A running service for generated requests."""
    folder = tmp_path_factory.mktemp("api")
    with Store.open(f"sqlite:///{folder}/store.db") as store:
        headers = key_of(store, "acme")
        with running(create_app(PATIENT, store, fixed(acme=deployed()))) as client:
            client.headers = headers
            wait_until(lambda: client.get("/readyz").status_code == 200)
            yield client


OPERATIONS = [
    ("POST", "/v1/decide"),
    ("POST", "/v1/events"),
    ("GET", "/v1/items/{item_id}/similar"),
    ("GET", "/v1/campaigns"),
    ("POST", "/v1/campaigns"),
    ("GET", "/v1/creatives"),
    ("POST", "/v1/creatives"),
    ("POST", "/v1/creatives/{creative_id}/move"),
    ("GET", "/v1/creatives/{creative_id}/moves"),
    ("GET", "/click/{token}"),
    ("GET", "/v1/models"),
    ("GET", "/v1/stops"),
    ("GET", "/v1/actions"),
    ("GET", "/v1/experiments"),
    ("GET", "/v1/audits"),
    ("GET", "/v1/audits/{name}"),
    ("GET", "/v1/agent/apps"),
    ("POST", "/v1/agent/runs"),
    ("GET", "/v1/agent/runs/{run_id}"),
    ("POST", "/v1/agent/runs/{run_id}/confirm"),
    ("POST", "/v1/agent/runs/{run_id}/refuse"),
    ("GET", "/v1/agent/runs/{run_id}/report"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
]
EXAMPLES = int(os.environ.get("ADWRIGHT_EXAMPLES", "12"))
#: What an answer must hold to. Whether a request that breaks the schema is refused is not among
#: them: some rules, such as the years of a time, have no words in a schema.
PROMISES = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def test_every_operation_is_tried(api: Client) -> None:
    paths = api.app.openapi()["paths"]
    assert {(method.upper(), path) for path in paths for method in paths[path]} == {*OPERATIONS}


CASES = [
    (method, path, mode)
    for method, path in OPERATIONS
    for mode in GenerationMode
    # What takes no input cannot be given a wrong one.
    if path.startswith("/v1/") or mode is GenerationMode.POSITIVE
]


@pytest.mark.parametrize(("method", "path", "mode"), CASES, ids=str)
def test_whatever_is_sent_gets_an_answer_that_is_documented(
    api: Client, method: str, path: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(api.app.openapi())[path][method]

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        call = case.as_transport_kwargs(base_url="http://test")
        headers = {k: v for k, v in call["headers"].items() if k.lower() != "x-api-key"}
        if "json" in call:
            # As it is, halves of surrogate pairs included; a client would refuse to encode them.
            headers["Content-Type"] = "application/json"
            call["data"] = json.dumps(call["json"])
        answer = api.send(
            call["method"],
            call["url"].removeprefix("http://test"),
            params=call.get("params"),
            headers=headers,
            content=call.get("data"),
        )
        case.validate_response(answer, checks=PROMISES)

    check()
