"""A program that runs in a service on this machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from adwright.core.errors import ConfigError, ProgramError, ResourceError
from adwright.programs.frontend.flow import Flow
from adwright.programs.frontend.remote import RemoteProgram
from adwright.programs.program import Objective, Program, SemanticCall
from adwright.programs.steps import Join
from adwright.web.server import on_loopback
from tests.support.service.program_apps import ScriptedRouter, program_app
from tests.support.service.small_shop import wait_until


@pytest.fixture
def router() -> ScriptedRouter:
    return ScriptedRouter(held="slow", broken="bad")


@pytest.fixture
def url(router: ScriptedRouter) -> Iterator[str]:
    with on_loopback(program_app(router, keys={"shop": "key"})) as url:
        yield url


def test_a_flow_runs_elsewhere(url: str) -> None:
    async def scenario() -> None:
        remote = RemoteProgram(f"{url}/v1", key="key")
        flow = Flow(remote)
        word = flow.awaited("word")
        call = SemanticCall("ad", "An ad for {{what}}: {{text:output}}")
        (ad,) = flow.call(call, {"what": word}, ["text"])
        (both,) = flow.step(Join(" and "), [ad, "tea"])
        word.set("cups")
        assert await ad.get(Objective("ttft", 2.0)) == "[An ad for cups: ]"
        assert await both.get() == "[An ad for cups: ] and tea"
        assert "".join([one async for one in both.stream()]) == "[An ad for cups: ] and tea"
        found = await remote.status()
        assert (found["id"], found["state"]) == (remote.program_id, "done")
        await remote.close()
        await remote.close()
        assert remote.program_id == ""

    asyncio.run(scenario())


def test_what_fails_and_what_is_refused(url: str, router: ScriptedRouter) -> None:
    async def scenario() -> None:
        remote = RemoteProgram(url, key="key", on_disconnect="cancel")
        calls = (SemanticCall("bad", "a{{x:output}}"), SemanticCall("slow", "b{{y:output}}"))
        remote.submit(Program(calls=calls))
        with pytest.raises(ProgramError, match=r"bad is broken.*variable x, from bad\.x"):
            await remote.get("x")
        with pytest.raises(ProgramError, match="bad is broken"):
            assert [one async for one in remote.stream("x")] == []
        waits = asyncio.create_task(remote.get("y"))
        await asyncio.sleep(0.05)
        remote.cancel("y")
        with pytest.raises(ProgramError, match="it was cancelled"):
            await waits
        with pytest.raises(ConfigError, match=r"calls\.0: nobody sets z"):
            remote.submit(Program(calls=(SemanticCall("c", "{{z}}{{w:output}}"),)))
        with pytest.raises(ConfigError, match="no variable of this name"):
            await remote.get("none")
        with pytest.raises(ConfigError, match="key is missing"):
            RemoteProgram(url).submit(Program(calls=calls))

    asyncio.run(scenario())
    wait_until(lambda: router.cancelled == ["slow"])


def test_a_service_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="is a URL"):
        RemoteProgram("localhost:8002")
    with pytest.raises(ResourceError, match="cannot be reached"):
        RemoteProgram("http://127.0.0.1:9").submit(Program(awaited=("a",)))


class _Busy(BaseHTTPRequestHandler):
    """Too busy once, then a program."""

    keys: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.keys.append(self.headers["Idempotency-Key"])
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"id": "prog_1"}'
        if len(self.keys) == 1:
            self.send_response(429)
            self.send_header("Retry-After", "0")
            body = b"busy"
        else:
            self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_what_is_sent_again_is_the_same_request() -> None:
    with HTTPServer(("127.0.0.1", 0), _Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        remote = RemoteProgram(f"http://127.0.0.1:{server.server_address[1]}")
        remote.submit(Program(awaited=("a",)))
        server.shutdown()
        thread.join()
    assert remote.program_id == "prog_1"
    assert len(_Busy.keys) == 2
    assert len(set(_Busy.keys)) == 1
