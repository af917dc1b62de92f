"""Tasks over HTTP: begun, shown, confirmed or refused, and read again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.registry import FixedModels
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_desk import shop_desk, shop_folder
from tests.support.service.small_shop import Client, running, wait_until

RUNS = "/v1/agent/runs"
TASK = {"app": "shop", "task": 'Set the discount of "Spring" to 25'}


@pytest.fixture
def shop() -> ShopApp:
    return ShopApp()


@pytest.fixture
def api(tmp_path: Path, store: Store, shop: ShopApp) -> Iterator[Client]:
    """A service with an app of acme."""
    shop_folder(tmp_path / "agents")
    config = ServiceConfig(agents=str(tmp_path / "agents"), agent_runs=1)
    app = create_app(config, store, FixedModels({}, SystemClock()))
    app.state.agents = shop_desk(shop, config)
    with running(app) as client:
        client.headers = {"X-API-Key": store.create_key("acme", SCOPES)}
        yield client


def begun(api: Client, *, headers: dict[str, str] | None = None, **changes: Any) -> str:
    answer = api.post(RUNS, json={**TASK, **changes}, headers=headers or {})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["run_id"])


def state_of(api: Client, run_id: str, state: str) -> dict[str, Any]:
    wait_until(lambda: api.get(f"{RUNS}/{run_id}").json()["state"] == state)
    return dict(api.get(f"{RUNS}/{run_id}").json())


def test_nothing_is_sent_before_the_yes_to_this_change(api: Client, shop: ShopApp) -> None:
    assert api.get("/v1/agent/apps").json() == {"apps": ["shop"]}
    run_id = begun(api)
    found = state_of(api, run_id, "waiting")
    assert (found["source"], found["tokens_in"], found["verdict"]) == ("plan", 0, None)
    pending = found["pending"]
    assert (pending["effect"], pending["method"], pending["number"]) == ("commit", "POST", 1)
    (share,) = (one for one in pending["fields"] if one["name"] == "share")
    assert share == {"name": "share", "old": "10", "new": "25"}
    wrong = api.post(f"{RUNS}/{run_id}/confirm", json={"hash": "0" * 64})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "conflict")
    assert api.get(f"{RUNS}/{run_id}/report").status_code == 409
    assert api.post(RUNS, json=TASK).status_code == 409
    assert shop.writes == []
    answer = api.post(f"{RUNS}/{run_id}/confirm", json={"hash": found["hash"]})
    assert answer.status_code == 200
    ended = state_of(api, run_id, "ended")
    assert (ended["verdict"], ended["problem"], ended["pending"]) == ("verified", "", None)
    assert [one["number"] for one in ended["written"]] == [1]
    assert shop.offers[7].share == "25"
    again = api.post(f"{RUNS}/{run_id}/confirm", json={"hash": found["hash"]})
    assert again.status_code == 409
    page = api.get(f"{RUNS}/{run_id}/report")
    assert "Verdict: <strong>verified</strong>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["content-type"].startswith("text/html")


def test_a_tenant_may_want_another_key_to_say_yes(api: Client, store: Store) -> None:
    store.want_two_keys("acme", True)
    asked = {"X-API-Key": store.create_key("acme", SCOPES)}
    run_id = begun(api, headers=asked)
    found = state_of(api, run_id, "waiting")
    body = {"hash": found["hash"]}
    answer = api.post(f"{RUNS}/{run_id}/confirm", json=body, headers=asked)
    assert answer.status_code == 403
    assert "the key that asked" in answer.json()["error"]["message"]
    other = {"X-API-Key": store.create_key("acme", ["agent:confirm"])}
    assert api.post(f"{RUNS}/{run_id}/confirm", json=body, headers=other).status_code == 200
    state_of(api, run_id, "ended")
    ids = [one["X-API-Key"].split("_")[1] for one in (other, asked)]
    noted = [one for one in store.actions("acme") if one.what.startswith("agent")]
    assert [(one.what, one.subject, one.key_id) for one in noted] == [
        ("agent confirm", run_id, ids[0]),
        ("agent ask", run_id, ids[1]),
    ]


def test_nothing_begins_that_cannot_be_written_down(api: Client, store: Store) -> None:
    with store._database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE actions RENAME TO gone")
    assert api.post(RUNS, json=TASK).status_code == 503
    with store._database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO actions")
    state_of(api, begun(api), "waiting")  # nothing else is under way
    assert api.post(RUNS, json=TASK).status_code == 409
    assert len(store.actions("acme", what="agent ask")) == 1  # what is refused is not noted


def test_a_no_stops_the_run(api: Client, shop: ShopApp) -> None:
    run_id = begun(api)
    found = state_of(api, run_id, "waiting")
    assert api.post(f"{RUNS}/{run_id}/refuse", json={"hash": found["hash"]}).status_code == 200
    ended = state_of(api, run_id, "ended")
    assert (ended["verdict"], shop.writes) == ("stopped", [])
    assert "not confirmed" in ended["problem"]


def test_questions_and_dry_runs_do_not_wait(api: Client, shop: ShopApp) -> None:
    found = state_of(api, begun(api, task="How many offers are there?"), "ended")
    assert (found["verdict"], found["answers"], found["written"]) == ("done", ["2"], [])
    found = state_of(api, begun(api, dry_run=True), "ended")
    assert (found["verdict"], found["dry_run"], shop.writes) == ("dry", True, [])
    assert [one["effect"] for one in found["would_send"]] == ["commit"]
    found = state_of(api, begun(api, task="Sing a song"), "ended")
    assert (found["verdict"], found["script"]) == (None, "")
    assert "no plan fits" in found["problem"]


def test_others_see_and_answer_nothing(api: Client, store: Store) -> None:
    run_id = begun(api)
    found = state_of(api, run_id, "waiting")
    other = {"X-API-Key": store.create_key("umbrella", SCOPES)}
    assert api.get("/v1/agent/apps", headers=other).json() == {"apps": []}
    for path in ("", "/report"):
        assert api.get(f"{RUNS}/{run_id}{path}", headers=other).status_code == 404
    for verb in ("confirm", "refuse"):
        body = {"hash": found["hash"]}
        assert api.post(f"{RUNS}/{run_id}/{verb}", json=body, headers=other).status_code == 404
    assert api.post(RUNS, json=TASK, headers=other).status_code == 404
    assert state_of(api, run_id, "waiting")["hash"] == found["hash"]
    assert api.get("/v1/agent/apps", headers={"X-API-Key": "none"}).status_code == 401


def test_what_waits_keeps_nobody_out_but_too_much_of_it_does(
    api: Client, store: Store, tmp_path: Path
) -> None:
    def asked(tenant: str) -> Any:
        shop_folder(tmp_path / "agents", tenant=tenant)
        return api.post(RUNS, json=TASK, headers={"X-API-Key": store.create_key(tenant, SCOPES)})

    state_of(api, begun(api), "waiting")
    for number in range(3):
        wait_until(lambda n=number: asked(f"t{n}-{time.time_ns()}").status_code == 202)
    wait_until(lambda: "too many changes wait" in asked(f"u{time.time_ns()}").text)
    answer = asked("umbrella")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_busy")
    assert "retry-after" in answer.headers


def test_wrong_requests_are_refused(api: Client, tmp_path: Path) -> None:
    assert api.post(RUNS, json={**TASK, "app": "none"}).status_code == 404
    for changes in (
        {"app": "../x"},
        {"task": ""},
        {"task": "   "},
        {"yes": True},
        {"task": "x" * 3000},
    ):
        assert api.post(RUNS, json={**TASK, **changes}).status_code == 422
    for path in ("none", "0" * 24):
        assert api.get(f"{RUNS}/{path}").status_code in (404, 422)
    policy = tmp_path / "agents/acme/shop/policy.toml"
    policy.write_text("[reach]\norigin = 1\n", "utf-8")
    answer = api.post(RUNS, json=TASK)
    assert answer.status_code == 409
    assert str(tmp_path) not in answer.text
