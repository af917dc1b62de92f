"""Engines behind HTTP: our own service, and a server that plays the others and their faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import (
    EngineBusyError,
    EngineFailedError,
    EngineGoneError,
    EngineRefusesError,
    EngineSilentError,
    GenerationConfig,
)
from adwright.lm.engine.http import Dialect, ServerEvent, read_event, request_body
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.programs.engines.openai_http import OpenAIEngine, OpenAIEngineConfig, salted
from adwright.programs.scheduling.engine import EngineReport, ExecutionEngine
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.web.server import on_loopback
from tests.support.chat_server import chatting

pytest.importorskip("httpx", reason="the extra lm is not installed")
pytest.importorskip("fastapi", reason="the extra service is not installed")


_Send = Callable[[Any], Awaitable[None]]


class Played:
    """A server whose faults are named by the model that is asked for. asked: the bodies; left: how
    many connections were closed before their answer was over."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.left, self.status = 0, 200
        self.state = SimpleNamespace()

    async def __call__(self, scope: Any, receive: Any, send: _Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["method"] == "GET":
            await answer(send, self.status, b"{}")
            return
        told = json.loads(body)
        self.asked.append(told)
        match told["model"]:
            case "busy":
                await answer(send, 429, b"{}", [(b"retry-after", b"7")])
            case "full":
                await answer(send, 503, b"{}")
            case "broken":
                await answer(send, 500, b'{"error": {"message": "a fault"}}')
            case "refuses":
                await answer(send, 400, b'{"error": {"message": "priority is off"}}')
            case fault:
                await self._stream(told, fault, receive, send)

    async def _stream(self, told: dict[str, Any], fault: str, receive: Any, send: _Send) -> None:
        if fault == "hangs":
            await self._wait(receive)
            return
        await begin(send)
        for at in range(3):
            await event(send, choices=[{"text": f"t{at} ", "finish_reason": None}])
        match fault:
            case "stops":
                await self._wait(receive)
                return
            case "cut":
                raise ConnectionResetError("played")
            case "ends":
                await send({"type": "http.response.body", "body": b""})
                return
            case "dies":
                await event(send, error={"message": "engine is dead", "code": 500})
        await event(send, choices=[{"text": "", "finish_reason": "length"}])
        usage = {"prompt_tokens": 9, "completion_tokens": 3}
        details = {"cached_tokens": 8 if told.get("cache_salt") else None}
        await event(send, choices=[], usage=usage | {"prompt_tokens_details": details})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _wait(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left += 1


async def begin(send: _Send, status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def answer(send: _Send, status: int, body: bytes, headers: Any = ()) -> None:
    await begin(send, status, headers)
    await send({"type": "http.response.body", "body": body})


async def event(send: _Send, **told: Any) -> None:
    data = f"data: {json.dumps(told)}\n\n".encode()
    half = len(data) // 2  # events come in any pieces
    for part in (data[:half], data[half:]):
        await send({"type": "http.response.body", "body": part, "more_body": True})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Played]]:
    played = Played()
    with on_loopback(played) as url:  # type: ignore[arg-type]
        yield f"{url}/v1", played


async def all_of(reports: AsyncIterator[EngineReport]) -> list[EngineReport]:
    return [report async for report in reports]


def run(work: Any) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_hints_are_sent_and_counts_come_back(server: tuple[str, Played], dialect: Any) -> None:
    url, played = server
    config = OpenAIEngineConfig(url, "m", dialect=dialect, priority=True, adapters={"a": "m-a"})

    async def main() -> None:
        async with OpenAIEngine(config) as engine:
            protocol: ExecutionEngine = engine
            can = protocol.capabilities
            assert (can.priority, can.salt, can.adapters, can.fork) == (True, True, True, False)
            assert can.in_flight_prefix == (dialect == "vllm")
            played.asked.clear()
            found = await all_of(engine.generate("j", [5, 6], max_tokens=3, priority=2, salt="t"))
            assert "".join(one.text for one in found) == "t0 t1 t2 "
            assert [one.over for one in found] == [False] * 4 + [True]
            assert found[-1][1:] == (8, True, (), 3)
            (asked,) = played.asked
            assert asked["prompt"] == [5, 6]
            assert asked["priority"] == (2 if dialect == "vllm" else -2)
            assert len(asked["cache_salt"]) == 128
            assert await engine.fill("f", "text", salt="t", adapter="a") == 8
            assert played.asked[1]["max_tokens"] == 1
            assert played.asked[1]["model"] == "m-a"
            assert played.asked[1]["cache_salt"] == asked["cache_salt"]
            assert await engine.fill("f", "text", salt="") == 0
            assert "cache_salt" not in played.asked[2]
            with pytest.raises(ConfigError, match="adapter"):
                await engine.fill("f", "text", adapter="b")
            assert await engine.stats() == (0, 0, 0)
            await engine.free("text", salt="t")

    run(main())


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        ("busy", EngineBusyError, "429"),
        ("full", EngineBusyError, "503"),
        ("broken", EngineFailedError, "a fault"),
        ("refuses", ConfigError, "priority is off"),
        ("hangs", EngineSilentError, "nothing"),
        ("stops", EngineSilentError, "nothing"),
        ("cut", EngineFailedError, "broke"),
        ("ends", EngineFailedError, "broke off"),
        ("dies", EngineFailedError, "engine is dead"),
    ],
)
def test_each_fault_has_its_error(
    server: tuple[str, Played], fault: str, kind: type[Exception], told: str
) -> None:
    config = OpenAIEngineConfig(
        server[0], fault, dialect="vllm", first_seconds=0.5, piece_seconds=0.5
    )

    async def main() -> None:
        async with OpenAIEngine(config) as engine:
            with pytest.raises(kind, match=told) as found:
                await all_of(engine.generate("j", "tea", max_tokens=3))
            assert not isinstance(found.value, ResourceError)  # it answers others
            if fault == "busy":
                assert found.value.retry_after == 7  # type: ignore[attr-defined]
            assert (await engine.stats()).running == 0

    run(main())


def test_what_is_cancelled_or_left_closes_its_connection(server: tuple[str, Played]) -> None:
    url, played = server

    async def main() -> None:
        async with OpenAIEngine(OpenAIEngineConfig(url, "stops", dialect="vllm")) as engine:
            before = played.left
            reports = engine.generate("one", "some tea", max_tokens=9)
            async with aclosing(reports):
                await anext(reports)
                stats = await engine.stats()
                assert (stats.running, stats.kv_tokens >= 2) == (1, True)
                with pytest.raises(ConfigError, match="job of this name"):
                    await engine.fill("one", "tea")
                await engine.cancel("one")
                assert (await all_of(reports))[-1].over
            left = engine.generate("two", "tea", max_tokens=9)
            async with aclosing(left):
                await anext(left)
            waiting = asyncio.create_task(engine.fill("three", "tea"))
            while (await engine.stats()).running < 1:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await engine.stats()).running == 0
            await engine.cancel("two")
            while played.left < before + 2:
                await asyncio.sleep(0.01)

    run(main())


def test_a_server_that_is_not_there_or_ill_is_gone(server: tuple[str, Played]) -> None:
    url, played = server
    nowhere = "http://127.0.0.1:9/v1"

    async def main() -> None:
        async with OpenAIEngine(OpenAIEngineConfig(nowhere, "m")) as engine:
            with pytest.raises(EngineGoneError, match="cannot be reached"):
                await all_of(engine.generate("j", "tea", max_tokens=3))
            with pytest.raises(EngineGoneError, match="cannot be reached"):
                await engine.stats()
        with pytest.raises(EngineGoneError, match="not open"):
            await engine.stats()
        async with OpenAIEngine(OpenAIEngineConfig(url, "m")) as engine:
            played.status = 500
            with pytest.raises(EngineGoneError, match="500"):
                await engine.stats()
            played.status = 401
            assert (await engine.stats()).running == 0
            played.status = 200

    run(main())


def test_closing_ends_what_waits(server: tuple[str, Played]) -> None:
    async def main() -> None:
        engine = OpenAIEngine(OpenAIEngineConfig(server[0], "stops"))
        async with engine:
            waiting = asyncio.create_task(all_of(engine.generate("j", "tea", max_tokens=9)))
            await asyncio.sleep(0.1)
        assert (await waiting)[-1].over

    run(main())


def test_a_cache_without_salts_belongs_to_one_domain(server: tuple[str, Played]) -> None:
    async def main() -> None:
        async with OpenAIEngine(OpenAIEngineConfig(server[0], "m", domain="t")) as engine:
            assert engine.capabilities.prefix_cache
            assert await all_of(engine.generate("j", "tea", max_tokens=3, salt="t"))
            with pytest.raises(ConfigError, match="another domain"):
                await engine.fill("j", "tea", salt="u")
        async with OpenAIEngine(OpenAIEngineConfig(server[0], "m", domain=None)) as engine:
            assert not engine.capabilities.prefix_cache
            for salt in ("t", "u"):
                await engine.fill("j", "tea", salt=salt)

    run(main())


@pytest.mark.parametrize("chat", [False, True])
def test_our_own_service(chat: bool) -> None:
    model = ScriptedModel(ScriptedConfig(("green tea",), name="m"))
    app = create_lm_app(LmServiceConfig(key="k"), {"m": model})

    async def main(url: str) -> None:
        config = OpenAIEngineConfig(f"{url}/v1", "m", chat=chat, key_variable="TEST_ENGINE_KEY")
        async with OpenAIEngine(config) as engine:
            assert engine.capabilities.continues == (not chat)
            logprobs = GenerationConfig(logprobs=True)
            found = await asyncio.gather(
                *(
                    all_of(engine.generate(f"{at}", "tea", max_tokens=20, settings=logprobs))
                    for at in range(5)
                )
            )
            for reports in found:
                assert "".join(one.text for one in reports) == "green tea"
                assert len([value for one in reports for value in one.logprobs]) == 9
                assert (reports[-1].over, reports[-1].tokens) == (True, 10)
            assert (await engine.stats()).running == 0
            await engine.probe()
        other = OpenAIEngineConfig(f"{url}/v1", "other", key_variable="TEST_ENGINE_KEY")
        for wrong, status in ((OpenAIEngineConfig(f"{url}/v1", "m"), "401"), (other, "404")):
            async with OpenAIEngine(wrong) as engine:
                with pytest.raises(EngineRefusesError, match=status):
                    await engine.fill("f", "tea")
                with pytest.raises(EngineRefusesError, match=status):
                    await engine.probe()

    with pytest.MonkeyPatch.context() as patch, on_loopback(app) as url:
        patch.setenv("TEST_ENGINE_KEY", "k")
        patch.setenv("OPENAI_API_KEY", "other")
        run(main(url))


def test_a_server_of_another_make_is_asked_as_it_likes_and_its_password_is_not_shown() -> None:
    def refuse(asked: dict[str, Any]) -> str:
        return "use 'max_completion_tokens' instead" if "max_tokens" in asked else ""

    async def main(url: str) -> None:
        async with OpenAIEngine(OpenAIEngineConfig(url, "m", name="house", chat=True)) as engine:
            assert engine.capabilities.models == ("house",)
            assert engine.name.startswith("http://shop:***@127.0.0.1:")
            for at in range(2):
                found = await all_of(engine.generate(f"{at}", "tea", max_tokens=7))
                assert "".join(one.text for one in found) == "green tea"

    with chatting(lambda _: "green tea", refuse) as (url, server):
        run(main(url.replace("://", "://shop:s3cret@")))
    assert [one.get("max_completion_tokens") for one in server.asked] == [None, 7, 7]
    assert {one["model"] for one in server.asked} == {"m"}
    assert set(server.logins) == {"Basic c2hvcDpzM2NyZXQ="}


@pytest.mark.parametrize("change", [{"base_url": "x"}, {"priority": True}])
def test_settings_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        OpenAIEngineConfig(**{"base_url": "http://a", "model": "m"} | change)


CONFIG = GenerationConfig(max_tokens=9)


def body(dialect: Dialect, config: GenerationConfig = CONFIG, **further: Any) -> dict[str, Any]:
    told = {"chat": False, "priority": 2, "salt": "s"} | further
    return request_body("m", "tea", config, dialect=dialect, **told)


def test_hints_go_where_they_are_known() -> None:
    plain = {"model": "m", "prompt": "tea", "max_tokens": 9, "temperature": 0.0, "seed": 0}
    plain |= {"stream": True, "stream_options": {"include_usage": True}}
    assert body("openai") == plain
    assert body("vllm") == plain | {"priority": 2, "cache_salt": "s"}
    assert body("sglang") == plain | {"priority": -2, "cache_salt": "s"}
    assert body("vllm", priority=0, salt="") == plain


def test_prompts_as_tokens_and_as_chats() -> None:
    found = request_body("m", (5, 6), CONFIG, dialect="vllm")
    assert found["prompt"] == [5, 6]
    found = body("openai", GenerationConfig(logprobs=True), chat=True)
    assert found["messages"] == [{"role": "user", "content": "tea"}]
    assert (found["logprobs"], "prompt" in found) == (True, False)
    assert body("openai", GenerationConfig(logprobs=True))["logprobs"] == 1
    with pytest.raises(ConfigError, match="no tokens"):
        request_body("m", [5, 6], CONFIG, dialect="vllm", chat=True)


def test_forms_of_answers() -> None:
    schema = GenerationConfig(json_schema={"type": "object"})
    for dialect in ("openai", "vllm", "sglang"):
        found = body(dialect, schema)["response_format"]["json_schema"]
        assert found["schema"] == {"type": "object"}
    regex, grammar = GenerationConfig(regex="a+"), GenerationConfig(grammar='root ::= "a"')
    assert body("vllm", regex)["structured_outputs"] == {"regex": "a+"}
    assert body("sglang", regex)["regex"] == "a+"
    assert body("sglang", grammar)["ebnf"] == 'root ::= "a"'
    assert "structured_outputs" not in body("sglang", grammar)
    assert body("vllm", GenerationConfig(ignore_eos=True))["ignore_eos"]


def test_nobody_can_tell_or_guess_whose_a_salt_is() -> None:
    found = {salted(salt, secret) for salt in ("a", "b") for secret in ("x", "y", "x" * 100)}
    assert len(found) == 6
    assert salted("a", "x") == salted("a", "x")
    assert all(60 < len(one) <= 1024 for one in found)


def test_what_events_say() -> None:
    def event(**told: Any) -> ServerEvent:
        return read_event(json.dumps(told))

    usage = {"completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 32}}
    assert event(choices=[], usage=usage) == ServerEvent(None, (), None, 32, 7)
    assert event(choices=[], usage={"prompt_tokens_details": None}) == ServerEvent()
    choice = {"text": "a", "finish_reason": None, "logprobs": {"token_logprobs": [-1.0, None]}}
    assert event(choices=[choice]) == ServerEvent("a", (-1.0,))
    choice = {"delta": {}, "finish_reason": "stop", "logprobs": {"content": [{"logprob": -2}]}}
    assert event(choices=[choice]) == ServerEvent("", (-2.0,), "stop")
    assert event(choices=[{"delta": {"content": "a"}}]).text == "a"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("{half", "no JSON"),
        ("[]", "broke off"),
        ('{"error": {"message": "out of memory", "code": 500}}', "out of memory"),
        ('{"error": "plain"}', "plain"),
        ('{"choices": [{"text": "", "finish_reason": "abort"}]}', "abort"),
    ],
)
def test_what_is_no_event(data: str, told: str) -> None:
    with pytest.raises(EngineFailedError, match=told):
        read_event(data)
