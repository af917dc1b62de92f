"""The programs that are open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import AssetError, ProgramError
from adwright.lm.engine.generation import EngineRefusesError, EngineSilentError, Message
from adwright.programs.persistence import KeptFolder
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.service.programs.book import ProgramBook, ProgramServiceConfig, Refused
from adwright.service.programs.engine_room import EngineRoom, guessed_text, text_of_model
from adwright.web.errors import ApiError, Busy
from tests.support.looped import in_a_loop
from tests.support.service.program_apps import (
    TEAM,
    OpenedEngine,
    ScriptedRouter,
    events_of,
    program_app,
    room_app,
)
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


def asking(name: str = "a", model: str = "") -> Program:
    call = SemanticCall(name, f"an ad {{{{{name}_text:output}}}}", model=model)
    return Program(calls=(call,), outputs=(WantedOutput(f"{name}_text"),))


def a_book(router: ScriptedRouter | None = None, **settings: Any) -> tuple[ProgramBook, FixedClock]:
    clock = FixedClock()
    config = ProgramServiceConfig(**settings)
    return ProgramBook(router or ScriptedRouter(), config, clock, ["m", "other"]), clock


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@in_a_loop
async def test_programs_end_when_nobody_calls() -> None:
    router = ScriptedRouter(held="slow")
    book, clock = a_book(router, keep_seconds=10, most_seconds=100)
    one, _ = book.open("t", asking())
    runs, _ = book.open("t", asking("slow"))
    waited, _ = book.open("t", asking())
    waited.waiting += 1
    await settle()
    assert (one.state, runs.state) == ("done", "running")
    clock.advance(9)
    assert book.get("t", one.program_id) is one
    clock.advance(9)
    book.look()
    assert len(book) == 3
    clock.advance(2)
    book.look()
    assert book.programs == (runs, waited)
    clock.advance(100)
    book.look()
    await settle()
    assert (len(book), router.cancelled) == (0, ["slow"])
    assert book.ended == {"idle": 1, "old": 2}
    await book.close()


@in_a_loop
async def test_bounds() -> None:
    router = ScriptedRouter(held="slow")
    book, _ = a_book(
        router, tenant_programs=2, max_programs=3, tenant_queued_tokens=520, queued_tokens=700
    )
    first, _ = book.open("t", asking("slow"))  # 2 tokens to read, 128 to write
    assert book.owed() == book.owed("t") == 130
    book.open("t", asking())
    with pytest.raises(Busy) as told:
        book.open("t", asking())
    assert (told.value.reason, told.value.status) == ("tenant_programs", 429)
    assert int(told.value.headers["Retry-After"]) >= 1
    for n in range(2):
        book.extend(first, asking(f"slow{n}"))
    with pytest.raises(Busy) as told:
        book.extend(first, asking("slow3"))
    assert told.value.reason == "tenant_tokens"
    assert first.session.graph.get_producer("slow3_text") is None
    other, _ = book.open("u", asking())
    with pytest.raises(Busy) as told:
        book.extend(other, asking("slow3"))
    assert told.value.reason == "tokens"
    with pytest.raises(Busy) as told:
        book.open("v", asking())
    assert told.value.reason == "programs"
    await settle()
    router.let("slow")
    async with asyncio.timeout(20):
        while book.owed():
            await asyncio.sleep(0.01)
    await book.close()


@in_a_loop
async def test_keys_and_models() -> None:
    router = ScriptedRouter()
    book, _ = a_book(router)
    one, is_new = book.open("t", asking(), key="k", digest="d")
    assert (is_new, book.open("t", asking(), key="k", digest="d")) == (True, (one, False))
    assert book.open("u", asking(), key="k", digest="d")[1]
    with pytest.raises(ApiError) as told:
        book.open("t", asking(), key="k", digest="other")
    assert told.value.status == 409
    assert book.extend(one, asking("b"), key="k2", digest="d")
    assert not book.extend(one, asking("b"), key="k2", digest="d")
    with pytest.raises(ApiError):
        book.extend(one, asking("b"), key="k2", digest="e")
    book.end(one, "deleted")
    book.end(one, "deleted")
    assert book.open("t", asking(), key="k", digest="d")[1]
    assert book.ended == {"deleted": 1}
    with pytest.raises(Refused):
        book.open("t", asking(model="none"))
    book.open("t", asking(model="other"))
    await settle()
    assert {asked.chain.call.model for _, asked in router.asked} == {"m", "other"}
    await book.close()


@in_a_loop
async def test_what_runs_a_program_is_closed_with_it(caplog: pytest.LogCaptureFixture) -> None:
    router = ScriptedRouter(held="slow")
    book, _ = a_book(router)
    book.start()
    book.open("t", asking("slow"))
    with pytest.raises(Refused):
        book.open("t", asking("9"))
    assert router.closed == 1
    await settle()
    await book.close()
    assert (router.closed, router.cancelled) == (2, ["slow"])

    assert caplog.records == []


def test_when_to_come_back_follows_from_what_is_done() -> None:
    async def scenario(done: int) -> float:
        router = ScriptedRouter(held="slow")
        book, _ = a_book(router, tenant_queued_tokens=20_000)
        slow = Program(calls=tuple(asking(f"slow{n}").calls[0] for n in range(150)))
        one, _ = book.open("t", slow)
        for n in range(done):
            one.session.cancel(f"slow{n}_text")
        book.look()
        with pytest.raises(Busy) as told:
            book.open("t", slow)
        await book.close()
        return float(told.value.headers["Retry-After"])

    assert asyncio.run(scenario(20)) < asyncio.run(scenario(0))


def a_kept_book(folder: Path, router: ScriptedRouter) -> ProgramBook:
    keep = KeptFolder(folder, patience=0.0)
    return ProgramBook(router, ProgramServiceConfig(), FixedClock(), ["m"], keep)


def team() -> Program:
    """A writer who waits for a brief, and an editor."""
    writer = SemanticCall("writer", "An ad for {{brief}}: {{ad:output}}")
    editor = SemanticCall("editor", "Shorten {{ad}}: {{short:output}}")
    wanted = (WantedOutput("short"), WantedOutput("never"))
    return Program(calls=(writer, editor), awaited=("brief", "never"), outputs=wanted)


def test_kept_programs_go_on_in_the_next_process(tmp_path: Path) -> None:
    async def first() -> str:
        book = a_kept_book(tmp_path, ScriptedRouter(held="editor"))
        await book.restore()
        one, _ = book.open("t", team(), key="k", digest="d", on_disconnect="cancel")
        book.extend(one, asking(), key="more", digest="e")
        one.set("brief", "tea")
        one.cancel("never")
        deleted, _ = book.open("t", asking())
        book.open("t", asking(), keep=False)
        await settle()
        book.end(deleted, "deleted")
        assert [path.suffix for path in tmp_path.iterdir()].count(".jsonl") == 1
        assert one.session.variable("ad").text == "[An ad for tea: ]"
        # Only what was written stays, as where the process is killed.
        await book.close()
        return one.program_id

    async def second(program_id: str) -> None:
        router = ScriptedRouter()
        book = a_kept_book(tmp_path, router)
        await book.restore()
        (one,) = book.programs
        assert (one.program_id, one.tenant, one.on_disconnect) == (program_id, "t", "cancel")
        assert one.session.variable("ad").text == "[An ad for tea: ]"
        assert one.session.variable("never").failure is not None
        await settle()
        assert one.session.variable("short").text == "[Shorten [An ad for tea: ]: ]"
        assert [asked.chain.call.name for _, asked in router.asked] == ["editor"]
        assert book.open("t", team(), key="k", digest="d") == (one, False)
        assert not book.extend(one, asking(), key="more", digest="e")
        with pytest.raises(ApiError, match="no program"):
            book.get("u", program_id)
        book.end(one, "idle")
        await book.close()
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]

    asyncio.run(second(asyncio.run(first())))


def test_a_kept_program_that_is_too_old_ends(tmp_path: Path) -> None:
    async def first() -> None:
        book = a_kept_book(tmp_path, ScriptedRouter())
        await book.restore()
        book.open("t", asking())
        await book.close()

    async def second() -> None:
        clock = FixedClock()
        clock.advance(86_401)
        keep = KeptFolder(tmp_path)
        book = ProgramBook(ScriptedRouter(), ProgramServiceConfig(), clock, ["m"], keep)
        await book.restore()
        assert len(book) == 1
        book.look()
        assert book.ended == {"old": 1}
        await book.close()

    asyncio.run(first())
    asyncio.run(second())


def test_what_was_kept_under_another_name_of_the_model_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(model: str) -> list[str]:
        router, keep = ScriptedRouter(), KeptFolder(tmp_path)
        book = ProgramBook(router, ProgramServiceConfig(), FixedClock(), [model], keep)
        await book.restore()
        if not len(book):
            book.open("t", asking(model=model))
        (one,) = book.programs
        models = [each.model for each in one.session.graph.program.calls]
        await book.close()
        return models

    assert asyncio.run(main("other")) == ["other"]
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(main("m")) == ["m"]
    assert "goes on without the model other" in caplog.text


def test_engines_are_open_while_the_service_runs() -> None:
    engines = {"e0": OpenedEngine(pace=0.001), "e1": OpenedEngine(pace=0.001)}
    room = EngineRoom(engines, len)
    with pytest.raises(ProgramError):
        room.for_program("p", "t")
    assert room.ready() == {"e0": False, "e1": False}
    with running(room_app(room)) as client:
        assert all(one.is_open for one in engines.values())
        found = client.post("/v1/programs", json={**TEAM, "wait": True}).json()
        assert found["state"] == "done"
        assert {one["engine"] for one in found["nodes"]} <= {"e0", "e1"}
        events = client.get(f"/v1/programs/{found['id']}/trace").json()["events"]
        kinds = [one["kind"] for one in events]
        assert (kinds[0], kinds.count("ready"), kinds.count("set")) == ("submit", 4, 4)
        told = client.get("/metrics").text
        assert 'adwright_engine_alive{engine="e0"} 1.0' in told
        assert 'adwright_program_tokens_total{kind="written"}' in told
        assert "adwright_program_queue 0.0" in told
    assert not any(one.is_open for one in engines.values())


def test_the_usage_of_a_chat_is_what_the_engine_counted() -> None:
    room = EngineRoom({"e0": OpenedEngine(pace=0.001)}, len)
    with running(room_app(room)) as client:
        messages = [{"role": "user", "content": "tea " * 20}]
        body = {"model": "model", "messages": messages, "max_tokens": 200}
        usages = [client.post("/v1/chat/completions", json=body).json() for _ in range(2)]
        (first, second) = (one["usage"] for one in usages)
        assert first["prompt_tokens"] == len("user: " + "tea " * 20 + "\nassistant:")
        assert first["completion_tokens"] == first["prompt_tokens"] + len("[]")
        assert first["prompt_tokens_details"]["cached_tokens"] == 0
        assert second["prompt_tokens_details"]["cached_tokens"] == first["prompt_tokens"] - 1
        (choice,) = usages[0]["choices"]
        assert choice["finish_reason"] == "stop"


def test_a_program_outlives_an_engine() -> None:
    engine = OpenedEngine(pace=0.02)
    room = EngineRoom({"e0": engine}, len)
    with running(room_app(room)) as client:
        task = client.start("POST", "/v1/programs", json={**TEAM, "wait": True})
        wait_until(lambda: len(engine.begun) >= 2)
        engine.die()
        found = task.result(20).json()
        assert found["state"] == "done"
        assert 'adwright_engine_deaths_total{engine="e0"} 1.0' in client.get("/metrics").text
        wait_until(lambda: room.ready() == {"e0": True})


def test_who_goes_away_ends_what_runs_for_him() -> None:
    engine = OpenedEngine(pace=0.5)
    with running(room_app(EngineRoom({"e0": engine}, len))) as client:
        body = {**TEAM, "wait": True, "on_disconnect": "cancel"}
        task = client.start("POST", "/v1/programs", json=body)
        wait_until(lambda: len(engine.begun) == 1)
        task.cancel()
        wait_until(lambda: engine.cancelled == engine.begun)
        wait_until(lambda: engine.held == {})
        assert client.get("/metrics").text.count('adwright_programs_ended_total{why="gone"} 1.0')


def test_engines_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))

    async def scenario(measured_for: str | None) -> list[int]:
        engines = {one: OpenedEngine(lambda *_: answer, pace=0.001) for one in ("e0", "e1")}
        async with EngineRoom(engines, len, measured_for=measured_for):
            return [len(one.begun) for one in engines.values()]

    answer = "x"
    assert asyncio.run(scenario(None)) == [0, 0]
    # Its answers are too short: it is used all the same.
    assert asyncio.run(scenario("")) == [1, 1]
    assert "cannot be measured" in caplog.text
    answer = "x" * 400
    first, second = asyncio.run(scenario(""))
    assert first > 1
    assert second == 0
    assert asyncio.run(scenario("")) == [0, 0]


def test_an_engine_that_is_silent_while_it_is_measured_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))

    def answer(*_: object) -> str:
        raise EngineSilentError("e0 sent nothing for too long")

    async def scenario() -> dict[str, bool]:
        async with EngineRoom({"e0": OpenedEngine(answer)}, len, measured_for="") as room:
            return dict(room.ready())

    assert asyncio.run(scenario()) == {"e0": True}
    assert "engine e0 cannot be measured: e0 sent nothing for too long" in caplog.text


@in_a_loop
async def test_ready_is_what_its_model_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thing that is no LM server is not ready, whatever it says of models."""
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))

    class Probed(OpenedEngine):
        error: Exception | None = None

        async def probe(self) -> None:
            if self.error is not None:
                raise self.error

    engines = {"e0": Probed(), "e1": Probed()}
    engines["e0"].error = EngineRefusesError("the server answered 404")
    async with EngineRoom(engines, len, measured_for="") as room:
        assert room.ready() == await room.asked() == {"e0": False, "e1": True}
        assert engines["e0"].begun == []
        engines["e0"].error = None
        while not room.ready()["e0"]:
            await asyncio.sleep(0.05)
        engines["e1"].error = EngineSilentError("nothing")
        assert await room.asked() == {"e0": True, "e1": True}, "it was asked just now"


@in_a_loop
async def test_an_engine_that_cannot_be_opened() -> None:
    good, bad = OpenedEngine(), OpenedEngine()
    bad.fails = True
    room = EngineRoom({"e0": good, "e1": bad}, len)

    with pytest.raises(AssetError):
        async with room:
            pass

    assert isinstance(room.error, AssetError)
    assert not good.is_open


def test_the_tokeniser_of_a_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    text = text_of_model(str(save_tiny(tmp_path / "tiny")), engine="paged")
    assert text.count("the best tea") > 1
    assert text.chat is not None
    told = text.chat((Message("user", "tea"),), {})
    assert "tea" in told
    with pytest.raises(AssetError):
        text_of_model(str(tmp_path / "none"), engine="paged")


def test_a_model_elsewhere() -> None:
    text = guessed_text(engine="http")
    assert (text.count("a" * 10), text.chat, text.engine) == (3, None, "http")
