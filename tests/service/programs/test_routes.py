"""The endpoints of programs, over a scripted engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.service.program_apps import TEAM, ScriptedRouter, events_of, program_app
from tests.support.service.small_shop import Client, running, wait_until

AD = "[An ad for green tea: ]"
CALL = {"name": "writer", "template": "An ad for {{product}}: {{ad:output}}"}
ONE = {"values": {"product": "green tea"}, "calls": [CALL], "outputs": [{"variable": "ad"}]}


@pytest.fixture
def router() -> ScriptedRouter:
    return ScriptedRouter(held="slow")


@pytest.fixture
def client(router: ScriptedRouter) -> Iterator[Client]:
    with running(program_app(router, keys={"a": "key-a", "b": "key-b"})) as client:
        client.headers = {"Authorization": "Bearer key-a"}
        yield client


def opened(client: Client, body: dict[str, Any], status: int = 201, **options: Any) -> Any:
    answer = client.post("/v1/programs", json=body, **options)
    assert answer.status_code == status, answer.text
    return answer.json()


def settled(client: Client, program: str, name: str) -> Any:
    answer = client.get(f"/v1/programs/{program}/variables/{name}?wait=5")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_whole_graph_in_one_call(client: Client) -> None:
    found = opened(client, {**TEAM, "wait": True})
    assert found["state"] == "done"
    assert set(found["values"]) == {"final"}
    assert AD in found["values"]["final"]
    assert found["variables"]["legal_view"] == "set"
    assert {one["id"]: one["state"] for one in found["nodes"]} == {
        "writer.ad": "done",
        "brand.brand_view": "done",
        "legal.legal_view": "done",
        "editor.final": "done",
    }


@pytest.mark.parametrize(("count", "status"), [(2_999, 201), (3_000, 400), (25_000, 400)])
def test_no_value_is_dropped_in_silence(client: Client, count: int, status: int) -> None:
    values = {"product": "green tea", **{f"v{at}": "x" for at in range(count)}}
    found = opened(client, {**ONE, "values": values}, status)
    if status == 201:
        assert set(values) < set(found["variables"])
    else:
        assert "at most 3,000 are taken" in found["error"]["message"]


def test_a_program_is_looked_at_while_it_runs(client: Client, router: ScriptedRouter) -> None:
    calls = [{**CALL, "name": "slow"}, *TEAM["calls"][1:]]
    program = opened(client, {**TEAM, "calls": calls})["id"]
    wait_until(lambda: len(router.asked) == 1)
    found = client.get(f"/v1/programs/{program}").json()
    assert (found["state"], found["values"]) == ("running", {})
    nodes = {one["id"]: one for one in found["nodes"]}
    assert nodes["slow.ad"]["state"] == "running"
    assert nodes["legal.legal_view"]["state"] == "waiting"
    assert nodes["legal.legal_view"]["objective"] == "latency"
    assert nodes["legal.legal_view"]["group"] == nodes["brand.brand_view"]["group"] != ""
    half = client.get(f"/v1/programs/{program}/variables/ad").json()
    assert half == {
        "name": "ad",
        "state": "pending",
        "text": None,
        "characters": 1,
        "failure": None,
    }
    router.let("slow")
    assert settled(client, program, "ad")["text"] == AD


def test_waiting_ends(client: Client) -> None:
    program = opened(client, {**ONE, "calls": [{**CALL, "name": "slow"}]})["id"]
    found = client.get(f"/v1/programs/{program}/variables/ad?wait=0.05").json()
    assert found["state"] == "pending"


def test_a_text_that_is_asked_for_later(client: Client, router: ScriptedRouter) -> None:
    program = opened(client, {**ONE, "outputs": []})["id"]
    assert router.asked == []
    path = f"/v1/programs/{program}/variables/ad?wait=5&objective=ttft&seconds=2"
    assert client.get(path).json()["text"] == AD
    assert str(router.asked[0][1].deduced.objective) == "ttft 2 s"
    answer = client.get(f"/v1/programs/{program}/variables/ad?wait=5&objective=ttft")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "seconds"


def test_a_stream(client: Client) -> None:
    program = opened(client, {**ONE, "outputs": []})["id"]
    answer = client.get(f"/v1/programs/{program}/variables/ad/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer)
    assert events[-1] == ("done", {"characters": len(AD)})
    assert "".join(told["text"] for kind, told in events if kind == "piece") == AD


def test_a_stream_of_what_fails(client: Client) -> None:
    body = {"awaited": ["word"], "calls": [{"name": "a", "template": "{{word}}{{x:output}}"}]}
    program = opened(client, body)["id"]
    answer = client.send(
        "PUT", f"/v1/programs/{program}/variables/word", json={"failure": "nobody came"}
    )
    assert answer.json()["failure"] == {"kind": "outside", "origin": "word", "what": "nobody came"}
    (event,) = events_of(client.get(f"/v1/programs/{program}/variables/x/stream"))
    assert event == ("failed", {"kind": "outside", "origin": "word", "what": "nobody came"})


def test_a_variable_is_set_once(client: Client) -> None:
    body = {"awaited": ["word"], "calls": [{"name": "a", "template": "{{word}}{{x:output}}"}]}
    program = opened(client, {**body, "outputs": [{"variable": "x"}]})["id"]
    path = f"/v1/programs/{program}/variables/word"
    assert client.send("PUT", path, json={"text": "tea"}).json()["text"] == "tea"
    assert settled(client, program, "x")["text"] == "[tea]"
    assert client.send("PUT", path, json={"text": "tea"}).status_code == 200
    assert client.send("PUT", path, json={"text": "coffee"}).status_code == 409
    told = client.send("PUT", f"/v1/programs/{program}/variables/x", json={"text": "a"})
    assert told.status_code == 400
    assert "not set from outside" in told.json()["error"]["message"]
    assert client.send("PUT", path, json={}).status_code == 400


def test_cancelling_a_variable(client: Client, router: ScriptedRouter) -> None:
    body = {**ONE, "calls": [{**CALL, "name": "slow"}]}
    program = opened(client, body)["id"]
    wait_until(lambda: len(router.asked) == 1)
    found = client.send("DELETE", f"/v1/programs/{program}/variables/ad").json()
    assert (found["state"], found["failure"]["kind"]) == ("cancelled", "cancelled")
    wait_until(lambda: router.cancelled == ["slow"])
    assert client.get(f"/v1/programs/{program}").json()["state"] == "failed"


def test_deleting_a_program(client: Client, router: ScriptedRouter) -> None:
    program = opened(client, {**ONE, "calls": [{**CALL, "name": "slow"}]})["id"]
    wait_until(lambda: len(router.asked) == 1)
    assert client.send("DELETE", f"/v1/programs/{program}").json()["state"] == "running"
    wait_until(lambda: router.cancelled == ["slow"])
    assert client.get(f"/v1/programs/{program}").status_code == 404
    assert client.send("DELETE", f"/v1/programs/{program}").status_code == 404


def test_a_program_grows(client: Client) -> None:
    program = opened(client, ONE)["id"]
    more = {
        "calls": [{"name": "short", "template": "Shorter: {{ad}} {{less:output}}"}],
        "outputs": [{"variable": "less", "objective": {"kind": "throughput"}}],
    }
    path = f"/v1/programs/{program}/calls"
    headers = {"Idempotency-Key": "k1"}
    assert client.post(path, json=more, headers=headers).status_code == 200
    assert client.post(path, json=more, headers=headers).status_code == 200
    assert settled(client, program, "less")["text"] == f"[Shorter: {AD} ]"
    again = client.post(path, json=more)
    assert again.status_code == 400
    assert again.json()["error"]["param"] == "calls.0"


def test_a_retry_makes_no_second_program(client: Client, router: ScriptedRouter) -> None:
    headers = {"Idempotency-Key": "once"}
    first = opened(client, {**ONE, "wait": True}, headers=headers)
    second = opened(client, {**ONE, "wait": True}, 200, headers=headers)
    assert first["id"] == second["id"]
    assert len(router.tenants) == 1
    opened(client, {**TEAM, "wait": True}, 409, headers=headers)
    other = {**headers, "Authorization": "Bearer key-b"}
    assert opened(client, {**ONE, "wait": True}, headers=other)["id"] != first["id"]
    client.send("DELETE", f"/v1/programs/{first['id']}")
    assert opened(client, TEAM, headers=headers)["id"] != first["id"]


def test_a_program_of_another_tenant_is_not_there(client: Client, router: ScriptedRouter) -> None:
    program = opened(client, {**ONE, "awaited": ["word"]})["id"]
    assert router.tenants == {program: "a"}
    client.headers = {"Authorization": "Bearer key-b"}
    path = f"/v1/programs/{program}"
    answers = [
        client.get(path),
        client.send("DELETE", path),
        client.post(f"{path}/calls", json=TEAM),
        client.get(f"{path}/variables/ad?wait=1"),
        client.get(f"{path}/variables/ad/stream"),
        client.send("PUT", f"{path}/variables/word", json={"text": "a"}),
        client.send("DELETE", f"{path}/variables/ad"),
    ]
    unknown = client.get("/v1/programs/prog_unknown")
    assert [one.status_code for one in answers] == [404] * len(answers)
    assert all(one.json() == unknown.json() for one in answers)
    assert client.get("/v1/programs/x", headers={"Authorization": "no"}).status_code == 401


def test_who_waits_and_goes_away(client: Client, router: ScriptedRouter) -> None:
    body = {**ONE, "calls": [{**CALL, "name": "slow"}], "wait": True}
    for policy in ("cancel", "detach"):
        before = len(router.asked)
        task = client.start("POST", "/v1/programs", json={**body, "on_disconnect": policy})
        wait_until(lambda before=before: len(router.asked) > before)
        task.cancel()
    (_, kept) = router.tenants
    wait_until(lambda: router.cancelled == ["slow"])
    wait_until(lambda: client.get(f"/v1/programs/{kept}").status_code == 200)
    gone = next(iter(router.tenants))
    assert client.get(f"/v1/programs/{gone}").status_code == 404
    router.let("slow")
    assert settled(client, kept, "ad")["text"] == AD


def test_a_trace(client: Client) -> None:
    found = opened(client, {**ONE, "wait": True})
    assert [one["engine"] for one in found["nodes"]] == ["e0"]
    told = client.get(f"/v1/programs/{found['id']}/trace").json()
    assert told["events"] == [
        {"time": 0.0, "kind": "submit", "chain": ""},
        {"time": 2.5, "kind": "placed", "chain": "writer.ad"},
    ]


def test_too_much_is_refused_with_when_to_come_back() -> None:
    router = ScriptedRouter(held="slow")
    slow = {**ONE, "calls": [{**CALL, "name": "slow"}]}
    app = program_app(router, tenant_programs=2, tenant_queued_tokens=200, max_body_bytes=5000)
    with running(app) as client:
        program = opened(client, slow)["id"]
        refused = [client.post("/v1/programs", json=ONE)]
        client.send("DELETE", f"/v1/programs/{program}")
        for _ in range(2):
            opened(client, {**ONE, "wait": True})
        refused.append(client.post("/v1/programs", json=ONE))
        messages = [{"role": "user", "content": "tea"}]
        body = {"model": "m", "messages": messages}
        refused.append(client.post("/v1/chat/completions", json=body))
        for answer in refused:
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["type"] == "rate_limit_error"
        assert "tokens are still to be" in refused[0].json()["error"]["message"]
        assert "open programs" in refused[1].json()["error"]["message"]
        told = client.get("/metrics").text
        assert 'adwright_shed_total{reason="tenant_programs"} 2.0' in told
        large = client.post("/v1/programs", json={"values": {"a": "x" * 6000}})
        assert large.status_code == 413
    # What a chat or a refused program would have held is free again.
    assert router.closed == len(router.tenants)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 5000, "application/json", 400),
        (b'{"values": ' * 3000 + b"{}" + b"}" * 3000, "application/json", 400),
        (b'{"values": {"a": 1e999}}', "application/json", 400),
        (b'{"values": {"a": NaN}}', "application/json", 400),
        (b'{"calls": [' + b"{}," * 20_000 + b"{}]}", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"", "application/json", 400),
        (b"calls=1", "application/x-www-form-urlencoded", 415),
    ],
)
def test_bodies_that_are_none(client: Client, content: bytes, kind: str, status: int) -> None:
    answer = client.post("/v1/programs", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
