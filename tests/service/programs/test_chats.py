"""Chats of the OpenAI protocol, as programs of one call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import Request

from adwright.core.clock import FixedClock
from adwright.programs.program import LATENCY, NativeStep, Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from adwright.programs.steps import Join
from adwright.service.lm.work import Gone
from adwright.service.programs.book import OpenProgram, ProgramBook, ProgramServiceConfig
from adwright.service.programs.state import (
    event,
    program_out,
    settled,
    text_events,
    trace_out,
    variable_out,
    waited,
)
from tests.support.looped import in_a_loop
from tests.support.programs.echo_engine import EchoEngine
from tests.support.service.program_apps import ScriptedRouter, program_app
from tests.support.service.small_shop import Client, running, wait_until

HELLO = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}]
ANSWER = "[system: Be kind.\nuser: hello\nassistant:]"


@pytest.fixture
def router() -> ScriptedRouter:
    return ScriptedRouter()


@pytest.fixture
def client(router: ScriptedRouter) -> Iterator[Client]:
    with running(program_app(router)) as client:
        yield client


def chat(client: Client, status: int = 200, **fields: Any) -> Any:
    body = {"model": "m", "messages": HELLO, **fields}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def pieces(answer: httpx.Response) -> list[Any]:
    lines = [one.removeprefix("data: ") for one in answer.text.split("\n\n") if one]
    assert lines[-1] == "[DONE]"
    return [json.loads(one) for one in lines[:-1]]


def test_a_chat_is_answered_and_nothing_is_kept(client: Client, router: ScriptedRouter) -> None:
    found = chat(client, max_tokens=40, seed=3, temperature=0.5, stop=["x"])
    assert found["choices"][0]["message"] == {"role": "assistant", "content": ANSWER}
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["usage"]["completion_tokens"] == 6
    assert "adwright" not in found
    ((_, asked),) = router.asked
    assert asked.chain.settings.stop == ("x",)
    # Chats that begin alike share what they have in common, up to the end of a turn.
    assert asked.segments == ("system: Be kind.", "\nuser: hello", "\nassistant:")
    (program,) = router.tenants
    assert client.get(f"/v1/programs/{program}").status_code == 404


def test_several_answers_draw_from_other_seeds(client: Client, router: ScriptedRouter) -> None:
    assert len(chat(client, n=3, seed=5)["choices"]) == 3
    assert sorted(asked.chain.settings.seed for _, asked in router.asked) == [5, 6, 7]


def test_a_stream(client: Client) -> None:
    body = {"model": "m", "messages": HELLO, "stream": True, "n": 2}
    body["stream_options"] = {"include_usage": True}
    answer = client.post("/v1/chat/completions", json=body)
    events = pieces(answer)
    for index in range(2):
        said = [
            one["choices"][0]["delta"]["content"]
            for one in events[:-1]
            if one["choices"][0]["index"] == index
        ]
        assert "".join(said) == ANSWER
    assert events[-1]["usage"]["completion_tokens"] == 12


def test_a_response(client: Client) -> None:
    body = {"model": "m", "input": "hello", "instructions": "Be kind."}
    found = client.post("/v1/responses", json=body).json()
    assert found["output"][0]["content"][0]["text"] == ANSWER
    answer = client.post("/v1/responses", json={**body, "stream": True})
    events = [
        json.loads(one.split("data: ")[1]) for one in answer.text.split("\n\n") if "data: " in one
    ]
    deltas = [one["delta"] for one in events if one["type"] == "response.output_text.delta"]
    assert "".join(deltas) == ANSWER
    assert events[-1]["type"] == "response.completed"


def test_a_tool_that_has_to_be_called(client: Client, router: ScriptedRouter) -> None:
    tool = {"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}
    named = {"type": "function", "function": {"name": "price"}}
    chat(client, 503, tools=[tool], tool_choice=named)  # the scripted engine heeds no schema
    assert router.asked[0][1].chain.settings.json_schema == {"type": "object"}


def test_a_chat_of_a_program(client: Client, router: ScriptedRouter) -> None:
    first = chat(client, 202, adwright={"output": "draft", "defer": True})
    assert first["outputs"] == ["draft"]
    program = first["program"]
    asks = [{"role": "user", "content": "Shorten {{text}} {not} {{this}}"}]
    wanted = {
        "program": program,
        "inputs": {"text": "draft"},
        "objective": {"kind": "deadline", "seconds": 9},
    }
    second = chat(client, messages=asks, adwright=wanted)
    content = second["choices"][0]["message"]["content"]
    assert content == f"[user: Shorten {ANSWER} {{not}} {{{{this}}}}\nassistant:]"
    assert second["adwright"]["program"] == program
    found = client.get(f"/v1/programs/{program}").json()
    assert found["values"]["draft"] == ANSWER
    assert found["values"][second["adwright"]["outputs"][0]] == content
    body = {"model": "m", "input": "{{a}}", "adwright": {"program": program, "inputs": {"a": "b"}}}
    told = client.post("/v1/responses", json=body)
    assert (told.status_code, told.json()["error"]["param"]) == (400, "adwright.inputs.a")
    deferred = {"model": "m", "input": "hello", "adwright": {"defer": True}}
    assert client.post("/v1/responses", json=deferred).status_code == 202


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "none"}, 404, None),
        ({"logprobs": True}, 400, "logprobs"),
        ({"n": 17}, 400, None),
        ({"n": 2, "adwright": {"output": "a"}}, 400, "n"),
        ({"max_tokens": 100_000}, 400, None),
        ({"adwright": {"program": "prog_none"}}, 404, None),
        ({"adwright": {"output": "not a name"}}, 400, None),
        ({"adwright": {"outptu": "a"}}, 400, "adwright.outptu"),
        ({"adwright": {"objective": {"kind": "soon"}}}, 400, "adwright.objective.kind"),
    ],
)
def test_what_is_refused(
    client: Client, fields: dict[str, Any], status: int, param: str | None
) -> None:
    assert chat(client, status, **fields)["error"]["param"] == param


def test_a_model_without_a_template() -> None:
    with running(program_app(ScriptedRouter(), chat=False)) as client:
        assert "no chat template" in chat(client, 400)["error"]["message"]


def test_a_chat_that_fails() -> None:
    router = ScriptedRouter()
    with running(program_app(router)) as client:
        router.broken = _Every()  # type: ignore[assignment]
        for stream in (False, True):
            assert "is broken" in chat(client, 503, stream=stream)["error"]["message"]
        assert client.get("/metrics").text.count('adwright_programs{state="running"} 0.0') == 1


class _Every:
    def __contains__(self, name: object) -> bool:
        return True


def test_a_caller_that_goes_away(client: Client, router: ScriptedRouter) -> None:
    router.slow = 30
    for stream in (False, True):
        before = len(router.asked)
        body = {"model": "m", "messages": HELLO, "stream": stream}
        task = client.start("POST", "/v1/chat/completions", json=body)
        wait_until(lambda before=before: len(router.asked) > before)
        task.cancel()
        wait_until(lambda before=before: len(router.cancelled) > before)
    assert len(router.cancelled) == len(router.asked) == 2


PROGRAM = Program(
    calls=(
        SemanticCall("bad", "a{{x:output}}"),
        SemanticCall("slow", "b{{y:output}}"),
        SemanticCall("last", "{{y}}{{z:output}}"),
        SemanticCall("unread", "c{{w:output}}"),
    ),
    steps=(
        NativeStep("both", Join(), ("x", "y"), ("xy",)),
        NativeStep("one", Join(), ("v",), ("u",)),
    ),
    values={"v": "word"},
    outputs=tuple(WantedOutput(one) for one in ("xy", "z", "u")),
)


def test_a_program_of_which_each_part_is_in_another_state() -> None:
    async def scenario() -> OpenProgram:
        router = ScriptedRouter(held="slow", broken="bad")
        book = ProgramBook(router, ProgramServiceConfig(), FixedClock(), ["m"])
        one, _ = book.open("t", PROGRAM)
        for _ in range(20):
            await asyncio.sleep(0)
        found = program_out(one)
        assert {each.id: each.state for each in found.nodes} == {
            "bad.x": "failed",
            "slow.y": "running",
            "last.z": "waiting",
            "unread.w": "idle",
            "both": "failed",
            "one": "done",
        }
        assert (found.state, found.values) == ("running", {"u": "word"})
        assert [(name, each.origin) for name, each in found.failures.items()] == [("xy", "bad.x")]
        kinds = {each.id: (each.kind, each.objective) for each in found.nodes}
        assert kinds["unread.w"] == ("chain", "")
        assert kinds["one"] == ("step", "latency")
        assert kinds["last.z"] == ("chain", "latency")
        assert variable_out(one.session.variable("y")).characters == 1
        assert trace_out(one).events[0] == {"time": 0.0, "kind": "submit", "chain": ""}
        router.let("slow")
        await asyncio.sleep(0.01)
        assert program_out(one).state == "failed"
        await book.close()
        return one

    assert asyncio.run(scenario()).state == "failed"


def request(*, gone: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


@in_a_loop
async def test_waiting_ends_with_the_work_the_time_or_the_caller() -> None:
    gone, ended = asyncio.Event(), []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    assert await waited(asyncio.sleep(0), request(gone=gone), 60)
    assert not await waited(work(), request(gone=gone), 0.01)
    gone.set()
    with pytest.raises(Gone):
        await waited(work(), request(gone=gone), 60)
    assert ended == [True, True]


@in_a_loop
async def test_a_text_that_is_begun_anew() -> None:
    engine = EchoEngine(held="a")
    async with Session(engine) as session:
        session.submit(Program(calls=(SemanticCall("a", "tea{{b:output}}"),)))
        found = text_events(session, "b", LATENCY)
        assert await anext(found) == event("piece", {"text": "["})
        session.variable("b").take_back()
        assert await anext(found) == event("restart", {})
        rest = asyncio.ensure_future(anext(found))
        await asyncio.sleep(0)
        engine.held["a"].set()
        assert await rest == event("piece", {"text": "[tea]"})
        assert [one async for one in found] == [event("done", {"characters": 5})]


@in_a_loop
async def test_leaving_a_stream_ends_what_nobody_else_reads() -> None:
    engine = EchoEngine(held="a")
    async with Session(engine) as session:
        session.submit(Program(calls=(SemanticCall("a", "tea{{b:output}}"),)))
        found = text_events(session, "b", LATENCY)
        await anext(found)
        await found.aclose()
        await asyncio.sleep(0.01)
        assert (engine.cancelled, session.running) == (["a"], ())


@in_a_loop
async def test_all_of_several_are_settled() -> None:
    async with Session(EchoEngine(broken="a")) as session:
        calls = (SemanticCall("a", "tea{{b:output}}"), SemanticCall("c", "tea{{d:output}}"))
        session.submit(Program(calls=calls))
        task = asyncio.ensure_future(settled(session, ("b", "d")))
        await asyncio.sleep(0)
        session.cancel("b")
        session.cancel("d")
        await task
        assert session.variable("b").is_settled
