"""Engines of a service, and what becomes of programs when they die."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adwright.core.errors import AssetError, ProgramError
from adwright.programs.engines.engine_errors import EngineRefusesError, EngineSilentError
from adwright.service.programs.engine_room import EngineRoom
from tests.support.service.program_apps import TEAM, OpenedEngine, room_app
from tests.support.service.small_shop import running, wait_until


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


def test_ready_is_what_its_model_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thing that is no LM server is not ready, whatever it says of models."""
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))

    class Probed(OpenedEngine):
        error: Exception | None = None

        async def probe(self) -> None:
            if self.error is not None:
                raise self.error

    async def scenario() -> None:
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

    asyncio.run(scenario())


def test_an_engine_that_cannot_be_opened() -> None:
    good, bad = OpenedEngine(), OpenedEngine()
    bad.fails = True
    room = EngineRoom({"e0": good, "e1": bad}, len)

    async def scenario() -> None:
        with pytest.raises(AssetError):
            async with room:
                pass

    asyncio.run(scenario())
    assert isinstance(room.error, AssetError)
    assert not good.is_open
