"""?"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import UserDict
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import (
    Cancellation,
    Health,
    LanguageModel,
    Message,
    ModelInfo,
    TokenPrompt,
)
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel
from adwright.service.lm.work import Asked, Gone, LmShares, LmWork, TimeUp, in_thread, prompt_tokens
from adwright.web.errors import ApiError, Busy
from adwright.web.server import on_loopback
from tests.support.looped import in_a_loop
from tests.support.service.scripted_models import Recorded, app_of, events_of
from tests.support.service.small_shop import Client, running


class Dead(ScriptedModel):
    """Its process cannot be started."""

    def health(self) -> Health:
        return "dead"


def test_not_ready_without_a_model_or_while_it_drains() -> None:
    app = app_of(Recorded())
    with running(app) as client:
        app.state.service.draining = True
        assert client.get("/readyz").status_code == 503
        app.state.service.draining = False
        assert client.get("/readyz").json() == {"ready": True, "models": {"m": "ready"}}
        app.state.service.models["other"] = Dead(ScriptedConfig())
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["models"]["other"]) == (503, "dead")
        app.state.service.models.clear()
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200


def test_a_model_that_goes_while_they_are_listed() -> None:
    class Going(UserDict[str, LanguageModel]):
        """Another thread removes one after the names were read."""

        def __iter__(self) -> Iterator[str]:
            return iter(["gone", *self.data])

    app = app_of(Recorded())
    with running(app) as client:
        names = [one["id"] for one in client.get("/v1/models").json()["data"]]
        app.state.service.models = Going(app.state.service.models)
        found = client.get("/v1/models")
    assert found.status_code == 200
    assert [one["id"] for one in found.json()["data"]] == names


def test_the_openapi_is_made() -> None:
    with running(app_of(Recorded())) as client:
        assert "/v1/chat/completions" in client.get("/openapi.json").json()["paths"]


HELLO = [{"role": "user", "content": "hello"}]
ECHO = {"prompt": "hello", "max_tokens": 0, "echo": True, "logprobs": 1}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", {"messages": HELLO}),
    ("chat/completions", {"messages": HELLO, "stream": True}),
    ("completions", {"prompt": "hello"}),
    ("completions", {"prompt": "hello", "stream": True}),
    ("completions", ECHO),
    ("embeddings", {"input": "hello"}),
]


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_without_the_key_no_model_is_asked(path: str, body: dict[str, Any]) -> None:
    model = Recorded()
    with running(app_of(model, key="s3cret")) as client:
        for key in ("", "Bearer ", "Bearer s3cre", "Basic s3cret", "s3cret", "Bearers3cret"):
            sent = {"Authorization": key} if key else {}
            answer = client.post(f"/v1/{path}", json={"model": "m", **body}, headers=sent)
            assert answer.status_code == 401
            assert "s3cret" not in answer.text
        right = {"Authorization": "Bearer s3cret"}
        answer = client.post(f"/v1/{path}", json={"model": "m", **body}, headers=right)
        assert answer.status_code == 200
    assert len(model.asked) <= 1


def test_paths_of_adapters_need_the_key_too() -> None:
    with running(app_of(Recorded(), key="s3cret")) as client:
        assert client.get("/v1/adapters").status_code == 401
        assert client.post("/v1/adapters/rescan").status_code == 401
        for open_to_all in ("/healthz", "/readyz", "/metrics"):
            assert client.get(open_to_all).status_code == 200


class Small(ScriptedModel):
    """Has room for three tokens."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo("small", "scripted", 3)


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_what_the_model_refuses_is_the_callers_to_correct(path: str, body: dict[str, Any]) -> None:
    with running(app_of(Small(ScriptedConfig()))) as client:
        answer = client.post(f"/v1/{path}", json={"model": "m", **body})
        # Before the head of a stream too.
        assert answer.status_code == 400
        assert "no room in a context of 3" in answer.json()["error"]["message"]
        assert "hello" not in answer.text


def test_pieces_of_a_character_are_no_events_of_their_own() -> None:
    with running(app_of(Recorded("\u00e9t\u00e9"))) as client:
        body = {"model": "m", "prompt": "a", "stream": True}
        events = events_of(client.post("/v1/completions", json=body))
        texts = [one["choices"][0]["text"] for one in events]
        assert texts == ["\u00e9", "t", "\u00e9", ""]
        assert [one["choices"][0]["finish_reason"] for one in events] == [None, None, None, "stop"]
        # With log-probabilities each token is told.
        events = events_of(client.post("/v1/completions", json={**body, "logprobs": 1}))
        told = [one["choices"][0]["logprobs"]["token_logprobs"] for one in events]
        assert sum(map(len, told)) == 5


class Spelling(ByteTokens):
    """Its tokeniser takes its time for the text of a token that is asked for alone."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def decode(self, ids: Sequence[int]) -> str:
        if len(ids) == 1 and threading.current_thread().name == "adwright-aside":
            self.asked.set()
            self.go_on.wait(20)
        return super().decode(ids)


def test_the_likeliest_tokens_are_spelled_beside_the_loop() -> None:
    tokens = Spelling()

    class Slow(ScriptedModel):
        @property
        def tokens(self) -> Spelling:
            return tokens

    with running(app_of(Slow(ScriptedConfig()))) as client:
        body = {"model": "m", "prompt": "a", "logprobs": 5}
        answer = client.start("POST", "/v1/completions", json=body)
        assert tokens.asked.wait(20)
        assert client.get("/healthz").status_code == 200
        tokens.go_on.set()
        assert len(answer.result(30).json()["choices"][0]["logprobs"]["tokens"]) == 2


def test_a_stream_tells_its_usage_only_where_it_is_asked_for() -> None:
    with running(app_of(Recorded())) as client:
        body = {"model": "m", "prompt": "ab", "stream": True}
        assert all("usage" not in one for one in told(client, body))
        *_, last = told(client, {**body, "stream_options": {"include_usage": True}})
        assert last["choices"] == []
        assert last["usage"] == {
            "prompt_tokens": 2,
            "completion_tokens": 10,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 0},
        }


def told(client: Client, body: dict[str, Any]) -> list[Any]:
    return events_of(client.post("/v1/completions", json=body))


def test_each_answer_has_a_name_of_its_kind() -> None:
    with running(app_of(Recorded())) as client:
        chat = client.post("/v1/chat/completions", json={"model": "m", "messages": HELLO}).json()
        text = client.post("/v1/completions", json={"model": "m", "prompt": "a"}).json()
    assert chat["id"].startswith("chatcmpl-")
    assert text["id"].startswith("cmpl-")
    assert chat["created"] == text["created"] == int(FixedClock().now().timestamp())


@pytest.mark.parametrize("path", ["completions", "embeddings"])
def test_who_goes_away_is_counted_and_not_answered(path: str) -> None:
    model = Waiting(ScriptedConfig())
    app = app_of(model)
    body = {"model": "m", **(ECHO if path == "completions" else {"input": "hello"})}
    with on_loopback(app) as url, httpx.Client(timeout=30) as client:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/{path}", json=body, timeout=httpx.Timeout(30, read=1))
        assert model.entered.wait(10)
        try:
            until = time.monotonic() + 20
            while not counted(client.get(f"{url}/metrics").text, path):
                assert time.monotonic() < until
                time.sleep(0.02)
        finally:
            model.go_on.set()


def counted(metrics: str, path: str) -> bool:
    """Whether a request to the path was counted as closed by its caller."""
    lines = [line for line in metrics.splitlines() if line.startswith("adwright_requests_total")]
    return any(f'"/v1/{path}"' in line and 'status="499"' in line for line in lines)


class Waiting(ScriptedModel):
    """Scores and embeds once it is told to go on."""

    def __init__(self, config: ScriptedConfig) -> None:
        super().__init__(config)
        self.entered, self.go_on = threading.Event(), threading.Event()

    def score(self, *given: Any, **named: Any) -> Any:
        self._wait()
        return super().score(*given, **named)

    def embed(self, *given: Any, **named: Any) -> Any:
        self._wait()
        return super().embed(*given, **named)

    def _wait(self) -> None:
        self.entered.set()
        self.go_on.wait(20)


@pytest.mark.parametrize("stream", [False, True])
def test_what_takes_too_long_ends(stream: bool) -> None:
    model = ScriptedModel(ScriptedConfig(replies=("a" * 1000,), seconds_per_token=0.02))
    with running(app_of(model, max_seconds=0.3)) as client:
        body = {"model": "m", "prompt": "a", "max_tokens": 900, "stream": stream}
        answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200
    last = events_of(answer)[-1] if stream else answer.json()
    assert last["choices"][0]["finish_reason"] == "length"


def test_what_has_nothing_in_time_is_unavailable() -> None:
    model = Recorded()
    model.go_on.clear()
    with running(app_of(model, max_seconds=0.2)) as client:
        answer = client.post("/v1/completions", json={"model": "m", "prompt": "a"})
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert model.cancelled
        model.go_on.set()


def test_tenants_have_keys_of_their_own() -> None:
    keys = {"shop-1": "k1", "shop-2": "k2"}
    with running(app_of(Recorded(), keys=keys)) as client:
        body = {"model": "m", "prompt": "a"}
        codes = [
            client.post(
                "/v1/completions", json=body, headers={"Authorization": f"Bearer {key}"}
            ).status_code
            for key in ("k1", "k2", "k3")
        ]
        assert codes == [200, 200, 401]
        shown = client.get("/metrics").text + client.get("/readyz").text
        assert not any(text in shown for text in ("shop-1", "k1", "shop-2"))


JSON = {"content-type": "application/json"}


def test_a_number_beyond_all_is_refused_where_it_would_be_told_again() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"maximum": 9}}
    body = json.dumps({"model": "m", "input": "a", "tools": [tool], "tool_choice": "none"})
    with running(app_of(Recorded())) as client:
        for number, status in (("9", 200), ("1e999", 400)):
            sent = body.replace(": 9", f": {number}")
            answer = client.post("/v1/responses", content=sent, headers=JSON)
            assert answer.status_code == status, answer.text


BODY = {"model": "m", "input": "hello"}


def test_a_response_and_its_stream() -> None:
    model = Recorded("fresh tea", "hot tea")
    with running(app_of(model)) as client:
        whole = client.post("/v1/responses", json={**BODY, "instructions": "be brief"})
        assert whole.json()["output"][0]["content"][0]["text"] == "fresh tea"
        told = client.post("/v1/responses", json={**BODY, "stream": True})
        metrics = client.get("/metrics").text
    events = [one.split("\ndata: ") for one in told.text.split("\n\n") if one]
    assert events[0][0] == "event: response.created"
    assert events[-1][0] == "event: response.completed"
    last = json.loads(events[-1][1])["response"]
    assert last["output"][0]["content"][0]["text"] == "hot tea"
    assert last["usage"]["output_tokens"] == 8
    assert model.asked[0][0] == (Message("system", "be brief"), Message("user", "hello"))
    assert 'adwright_lm_tokens_total{kind="answer"} 18.0' in metrics


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_refused(stream: bool) -> None:
    with running(app_of(Recorded())) as client:
        for fields, words in (
            ({"previous_response_id": "r"}, "previous_response_id: there is no such field"),
            ({"tool_choice": "required"}, "tool_choice needs tools"),
            ({"max_output_tokens": 10**6}, "at most"),
        ):
            body = json.dumps({**BODY, "stream": stream, **fields})
            headers = {"content-type": "application/json"}
            answer = client.post("/v1/responses", content=body, headers=headers)
            assert answer.status_code == 400
            assert words in answer.json()["error"]["message"]


class Breaking(ScriptedModel):
    """Breaks off after the first piece."""

    def stream(self, *_: Any, **__: Any) -> Any:
        chunks = super().stream("a")
        yield next(chunks)
        raise ResourceError("it broke on SECRET")


def test_a_stream_that_breaks_off_says_so() -> None:
    with running(app_of(Breaking(ScriptedConfig(("ab",))))) as client:
        told = client.post("/v1/responses", json={**BODY, "stream": True}).text
    assert "event: error\n" in told
    assert "SECRET" not in told


def request_of(gone: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


def make(running: int = 1, waiting: int = 0) -> LmWork:
    return LmWork(LmShares(running=running, waiting=waiting), clock=SystemClock())


def test_a_result_and_an_error() -> None:
    async def run() -> None:
        work = make()
        here = request_of(asyncio.Event())
        assert await work.run(lambda _: 7, here) == 7

        def fail(_: Cancellation) -> int:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await work.run(fail, here)
        assert work.pending == 0
        work.close()

    asyncio.run(run())


def test_who_goes_away_takes_the_work_along() -> None:
    async def run() -> None:
        work, gone, ended = make(), asyncio.Event(), threading.Event()

        def wait(cancel: Cancellation) -> None:
            while not cancel.cancelled:
                ended.wait(0.01)
            ended.set()

        asyncio.get_running_loop().call_later(0.05, gone.set)
        with pytest.raises(Gone):
            await work.run(wait, request_of(gone))
        await asyncio.to_thread(work.close)
        assert ended.is_set()

    asyncio.run(run())


def test_a_full_queue_is_told_at_once() -> None:
    async def run() -> None:
        work, go_on = make(running=1, waiting=1), threading.Event()
        here = request_of(asyncio.Event())
        tasks = [asyncio.create_task(work.run(lambda _: go_on.wait(10), here)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert work.pending == 2
        with pytest.raises(Busy):
            await work.run(lambda _: None, here)
        with pytest.raises(Busy):
            work.stream(lambda _: iter(()), here)
        go_on.set()
        assert await asyncio.gather(*tasks) == [True, True]
        work.close()

    asyncio.run(run())


@in_a_loop
async def test_streams() -> None:
    work, here = make(), request_of(asyncio.Event())
    assert [one async for one in work.stream(lambda _: iter("abc"), here)] == ["a", "b", "c"]

    def broken(_: Cancellation) -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found: list[int] = []

    async def take() -> None:
        async for one in work.stream(broken, here):
            found.append(one)

    with pytest.raises(ValueError, match="broken"):
        await take()
    assert found == [1]
    work.close()


@in_a_loop
async def test_a_stream_that_is_left_ends() -> None:
    work, closed = make(), threading.Event()
    gone = asyncio.Event()

    def endless(cancel: Cancellation) -> Iterator[int]:
        try:
            while not cancel.cancelled:
                closed.wait(0.005)
                yield 1
        finally:
            closed.set()

    stream: Any = work.stream(endless, request_of(asyncio.Event()))
    assert await anext(stream) == 1
    await stream.aclose()
    assert await asyncio.to_thread(closed.wait, 10)
    closed.clear()
    asyncio.get_running_loop().call_later(0.05, gone.set)
    with pytest.raises(Gone):
        async for _ in work.stream(endless, request_of(gone)):
            pass
    assert await asyncio.to_thread(closed.wait, 10)
    work.close()


def test_closing_ends_what_runs() -> None:
    async def run() -> None:
        work, here = make(), request_of(asyncio.Event())
        entered = threading.Event()

        def wait(cancel: Cancellation) -> str:
            entered.set()
            while not cancel.cancelled:
                entered.wait(0.005)
            return "cancelled"

        task = asyncio.create_task(work.run(wait, here))
        await asyncio.to_thread(entered.wait, 10)
        await asyncio.to_thread(work.close)
        assert await task == "cancelled"

    asyncio.run(run())


def test_nobody_waits_for_longer_than_the_bound() -> None:
    async def run() -> None:
        work = LmWork(LmShares(running=1, waiting=1), clock=SystemClock(), seconds=0.2)
        here = request_of(asyncio.Event())
        go_on = threading.Event()
        # What does not look at its cancellation, and what waits behind it.
        tasks = [asyncio.create_task(work.run(lambda _: go_on.wait(20), here)) for _ in range(2)]
        for task in tasks:
            with pytest.raises(TimeUp):
                await task
        assert work.pending == 1
        assert not work.stuck

        def wait(cancel: Cancellation) -> str:
            while not cancel.cancelled:
                go_on.wait(0.005)
            return "what it has"

        go_on.set()
        assert await work.run(wait, here) == "what it has"
        work.close()
        with pytest.raises(ApiError, match="ending"):
            await work.run(wait, here)

    asyncio.run(run())


def test_one_that_is_pushed_out_of_the_queue_is_told() -> None:
    async def run() -> None:
        shares: LmShares[Any] = LmShares(
            running=1, waiting=1, several=True, tenant_waiting=9, tenant_tokens=9
        )
        work, go_on = LmWork(shares, clock=SystemClock()), threading.Event()
        here = request_of(asyncio.Event())

        def ask(tenant: str) -> Any:
            return asyncio.create_task(work.run(lambda _: go_on.wait(20), here, Asked(tenant)))

        first = ask("a")
        await asyncio.sleep(0.05)
        stream = work.stream(lambda _: iter("ab"), here, Asked("a"))
        with pytest.raises(Busy):
            work.stream(lambda _: iter("ab"), here, Asked("a"))
        go_on.set()
        assert await first
        assert [one async for one in stream] == ["a", "b"]
        work.close()

    asyncio.run(run())


@in_a_loop
async def test_aside_in_a_thread() -> None:
    assert await in_thread(lambda: 7, 20) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, 20)
    with pytest.raises(TimeUp):
        await in_thread(lambda: threading.Event().wait(1), 0.05)


def filled(shares: LmShares[str], *jobs: str, answers: int = 1, tokens: int = 0) -> list[str]:
    """Put jobs, each named by its tenant and a number; return those that begin."""
    for job in jobs:
        shares.put(job, Asked(job[0], answers, tokens))
    return begun(shares)


def begun(shares: LmShares[str]) -> list[str]:
    found = []
    while (job := shares.take()) is not None:
        found.append(job)
    return found


def test_who_asks_for_a_model() -> None:
    shares: LmShares[str] = LmShares(running=1, waiting=9)
    for job, model in (("a", "tea"), ("b", "coffee")):
        shares.put(job, Asked(model=model))
    assert (shares.take(), shares.asks("tea"), shares.asks("coffee")) == ("a", True, True)
    shares.leave("a")
    assert (shares.asks("tea"), shares.asks("coffee")) == (False, True)


def many(**bounds: int) -> LmShares[str]:
    defaults = {"running": 3, "waiting": 6, "tenant_waiting": 4, "tenant_tokens": 100}
    return LmShares(several=True, **(defaults | bounds))  # type: ignore[arg-type]


def test_one_tenant_has_all() -> None:
    shares: LmShares[str] = LmShares(running=2, waiting=1)
    assert filled(shares, "a1", "a2", "a3", "a4", answers=5, tokens=10**9) == ["a1", "a2"]
    assert shares.over() == ["a4"]
    assert (shares.waiting, shares.working) == (1, ("a1", "a2"))
    shares.leave("a1")
    assert begun(shares) == ["a3"]


def test_the_last_place_is_kept_for_another() -> None:
    shares = many()
    assert filled(shares, "a1", "a2", "a3", "a4") == ["a1", "a2"]
    assert filled(shares, "b1", "b2") == ["b1"]
    shares.leave("a1")
    assert begun(shares) == []  # the free one is the last again
    shares.leave("a2")
    assert begun(shares) == ["a3"]


def test_turns_go_round() -> None:
    shares = many(running=1, waiting=99, tenant_waiting=99)
    order = filled(shares, "a1", "a2", "a3", "b1", "b2", "c1")
    while shares.working:
        shares.leave(shares.working[0])
        order += begun(shares)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_large_one_is_not_passed_by_for_ever() -> None:
    shares = many(running=3)
    assert filled(shares, "a1", "a2") == ["a1", "a2"]
    assert filled(shares, "b1", answers=64) == []
    assert filled(shares, "c1", "a3") == []
    shares.leave("a1")
    shares.leave("a2")
    assert begun(shares) == ["b1", "c1"]


def test_tokens_in_work_are_bounded() -> None:
    shares = many(running=9)
    assert filled(shares, "a1", "a2", "a3", tokens=60) == ["a1"]
    assert filled(shares, "b1", tokens=1000) == ["b1"]
    shares.leave("a1")
    assert begun(shares) == ["a2"]


def test_who_floods_is_refused() -> None:
    shares = many(running=1, waiting=4, tenant_waiting=3)
    assert filled(shares, "x1") == ["x1"]
    filled(shares, *(f"a{n}" for n in range(6)))
    assert shares.over() == ["a5", "a4", "a3"]
    filled(shares, "b1", "b2")
    assert shares.over() == ["a2"]
    assert shares.drop() is not None
    shares.leave("b1")
    assert shares.waiting == 2


def test_about_how_many_tokens() -> None:
    assert prompt_tokens([TokenPrompt((1, 2, 3))]) == 3
    assert prompt_tokens(["a" * 40, (Message("user", "b" * 20),)]) == 11 + 6
