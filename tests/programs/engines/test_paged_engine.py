"""The engine in a real process, on the tiny model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import AssetError, ConfigError, ValueInvalidError
from adwright.lm.engine.generation import EngineGoneError, GenerationConfig
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.torch_engine.config import TorchConfig
from adwright.programs.engines.paged_engine import ChildLink, PagedEngine, PagedEngineConfig
from adwright.programs.engines.paged_worker import PagedServer, serve
from adwright.programs.scheduling.engine import EngineReport, ExecutionEngine
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import BLOCK, models_of, saved_parts
from tests.support.lm.tiny_llama import save_tiny
from tests.support.looped import in_a_loop

pytest.importorskip("transformers", reason="the extra lm is not installed")


RULES = "the best tea in the world is a cup of tea with a friend, "


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PagedEngineConfig:
    top = tmp_path_factory.mktemp("tiny")
    torch = TorchConfig(str(save_tiny(top / "base")), threads=1, dtype="float32")
    parts = saved_parts(top, {"lora": LoRA(rank=3)})
    adapters = {name: str(folder) for name, folder in parts.items()}
    return PagedEngineConfig(torch, "tiny", adapters, block=4, pool_bytes=4 << 20, quiet_seconds=30)


async def all_of(reports: AsyncIterator[EngineReport]) -> list[EngineReport]:
    return [report async for report in reports]


async def texts_of(engine: PagedEngine, **settings: Any) -> list[str]:
    """Four answers at once to prompts that begin alike."""
    asked = [
        all_of(engine.generate(f"job {at}", f"{RULES}{at}", max_tokens=6, **settings))
        for at in range(4)
    ]
    found = await asyncio.gather(*asked)
    assert all(reports[-1].over and not any(one.over for one in reports[:-1]) for reports in found)
    assert all(reports[0].cached_tokens is not None for reports in found)
    assert len(found[0]) > 1
    assert [reports[-1].tokens for reports in found] == [6] * 4
    return ["".join(one.text for one in reports) for reports in found]


async def shared(engine: PagedEngine) -> None:
    can = engine.capabilities
    assert can.models == ("tiny",)
    assert (can.fork, can.in_flight_prefix, can.salt, can.adapters) == (True,) * 4
    assert (can.block_size, can.context_length, can.kv_bytes_per_token) == (4, 256, 576)
    assert await engine.fill("rules", RULES) == 0
    assert await engine.fill("rules", RULES) > 8
    assert (await engine.stats()).running == 0
    warm = await texts_of(engine)
    assert await texts_of(engine, salt="other") == warm
    assert await texts_of(engine, adapter="lora") != warm
    asked = GenerationConfig(seed=5, temperature=0.7, logprobs=True, ignore_eos=True)
    drawn = await all_of(engine.generate("d", RULES, max_tokens=9, settings=asked))
    assert len([value for one in drawn for value in one.logprobs]) == 9
    await engine.free(RULES)
    with pytest.raises(ValueInvalidError, match="tokens"):
        await engine.fill("long", "tea " * 400)
    with pytest.raises(ConfigError, match="adapter"):
        await all_of(engine.generate("a", RULES, max_tokens=2, adapter="none"))


async def cancelled(engine: PagedEngine) -> None:
    before = await engine.stats()
    reports = engine.generate("long", RULES, max_tokens=200)
    async with aclosing(reports):
        await anext(reports)
        with pytest.raises(ConfigError, match="job of this name"):
            await engine.fill("long", RULES)
        assert (await engine.stats()).running == 1
        await engine.cancel("long")
        rest = await all_of(reports)
        assert len(rest) < 100
        assert rest[-1].over
    reports = engine.generate("long", RULES, max_tokens=200)
    async with aclosing(reports):
        await anext(reports)
    after = await engine.stats()  # closing it is enough
    assert (after.running, after.waiting) == (before.running, before.waiting) == (0, 0)
    await engine.cancel("long")


async def killed(engine: PagedEngine, file: Path) -> None:
    await engine.fill("rules", RULES)
    saved = await engine.snapshot(RULES, file)
    wanted = await texts_of(engine)
    waiting = [
        asyncio.create_task(all_of(engine.generate(f"{at}", f"{RULES}{at}", max_tokens=150)))
        for at in range(4)
    ]
    while (await engine.stats()).running < 4:
        await asyncio.sleep(0.01)
    first = engine.pid or 0
    os.kill(first, signal.SIGKILL)
    for found in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(found, EngineGoneError)
    await engine.gone()
    assert not engine.alive
    with pytest.raises(EngineGoneError, match="SIGKILL"):
        await engine.stats()
    await engine.restart()
    assert engine.pid != first
    assert (await engine.stats()).kv_tokens == 0
    assert await engine.restore(file) == saved
    assert await engine.fill("rules", RULES) >= saved
    assert await texts_of(engine) == wanted


def test_in_a_process(config: PagedEngineConfig, tmp_path: Path) -> None:
    async def main() -> int:
        async with PagedEngine(config) as engine:
            protocol: ExecutionEngine = engine
            assert protocol.capabilities is engine.capabilities
            await shared(engine)
            await cancelled(engine)
            await killed(engine, tmp_path / "rules")
            pid = engine.pid or 0
        with pytest.raises(EngineGoneError):
            await engine.stats()
        return pid

    pid = asyncio.run(main())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


@in_a_loop
async def test_public_texts_are_shared_by_all_salts_and_nothing_behind_them(
    config: PagedEngineConfig,
) -> None:
    async def cached(engine: PagedEngine, prompt: str, salt: str) -> int:
        job = f"{salt} {prompt}"
        (first, *_) = await all_of(engine.generate(job, prompt, max_tokens=2, salt=salt))
        return first.cached_tokens or 0

    async with PagedEngine(replace(config, public=(RULES,))) as engine:
        secret = f"{RULES} and the secret of the shop is the water of the well"
        assert await cached(engine, secret, "one") == 0
        public = await cached(engine, f"{RULES} in the morning", "two")
        assert public >= 8
        # Another tenant's secret is found as far as it is public, and no further.
        assert await cached(engine, secret, "two") - public < 8
        assert await cached(engine, secret, "one") > public + 8


@in_a_loop
async def test_a_model_that_is_not_there() -> None:
    engine = PagedEngine(PagedEngineConfig(TorchConfig("/no/model", offline=True)))
    with pytest.raises(ConfigError, match="not open"):
        engine.capabilities  # noqa: B018
    with pytest.raises(AssetError, match="no such model"):
        await engine.restart()
    with pytest.raises(EngineGoneError, match="no process"):
        await engine.stats()
    await engine.close()


pytest.importorskip("transformers", reason="the extra lm is not installed")


PAGED_WORKER_RULES = list(range(20, 60))
OUTSIDE = ServingConfig(drive="outside", prompt_tokens=64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"), {"lora": LoRA(rank=3)})


class Talk:
    """Requests to a server, and what it said to each."""

    def __init__(self, models: AdapterModels) -> None:
        self.models, self.said = models, list[dict[str, Any]]()
        self.server = PagedServer(models, self._say)
        self.idents = iter(range(1, 1000))

    def _say(self, *whats: dict[str, Any]) -> None:
        self.said += whats

    def ask(self, do: str, **what: Any) -> int:
        ident = next(self.idents)
        self.server.hand({"id": ident, "do": do, **what})
        return ident

    def of(self, ident: int) -> list[dict[str, Any]]:
        return [one for one in self.said if one.get("id") == ident]

    def run(self, *idents: int) -> list[dict[str, Any]]:
        """Step until these are over; what was said last of each."""
        for _ in range(300):
            ends = [
                one for ident in idents for one in self.of(ident) if "over" in one or "error" in one
            ]
            if len(ends) == len(idents):
                return ends
            self.server.step()
        raise AssertionError("they do not end")

    def write(self, prompt: list[int], most: int = 6, **what: Any) -> int:
        return self.ask("generate", prompt=prompt, settings={"max_tokens": most}, **what)

    def text(self, ident: int) -> str:
        return "".join(one.get("text", "") for one in self.of(ident))


@pytest.fixture
def talk(folders: dict[str, Path]) -> Iterator[Talk]:
    with closing(models_of(folders, config=OUTSIDE)) as models:
        yield Talk(models)


def test_several_answers_at_once_are_those_of_each_alone(talk: Talk) -> None:
    prompts = [[*PAGED_WORKER_RULES, at, at + 1] for at in range(60, 64)]
    found = [talk.write(one) for one in prompts]
    found.append(talk.write(prompts[0], adapter="lora"))
    talk.run(*found)
    config = GenerationConfig(max_tokens=6)
    for name, ident, prompt in zip(
        ["base"] * 4 + ["lora"], found, [*prompts, prompts[0]], strict=True
    ):
        plain = talk.models.batched(name).row(prompt, config)
        plain.shares = False
        talk.models.submit([plain])
        while not plain.over:
            talk.models.step()
        assert talk.text(ident) == plain.answer.completion().text
    # One reads the beginning, the others wait for it.
    cached = [one["cached"] for ident in found for one in talk.of(ident) if "cached" in one]
    assert cached == [0, 40, 40, 40, 0]
    assert [talk.of(ident)[-1]["reason"] for ident in found] == ["length"] * 5


def test_salts_share_nothing(talk: Talk) -> None:
    talk.run(talk.ask("fill", prompt=PAGED_WORKER_RULES, salt="one"))
    for salt in ("one", "two", ""):
        for last in (7, 8):
            talk.run(talk.write([*PAGED_WORKER_RULES, last], salt=salt))
    cached = [one["cached"] for one in talk.said if "cached" in one]
    assert cached == [0, 40, 40, 0, 40, 0, 40]


def test_what_is_filled_is_held_until_it_is_freed(folders: dict[str, Path]) -> None:
    with closing(models_of({}, pages=41, config=OUTSIDE)) as models:
        talk = Talk(models)
        talk.run(talk.ask("fill", prompt=PAGED_WORKER_RULES))
        # Forty pages; ten are held. Others come and go.
        for at in range(6):
            talk.run(talk.write([100 + at] * 60, 4))
        assert talk.run(talk.ask("stats"))[0]["kv_tokens"] == 40
        assert talk.run(talk.ask("fill", prompt=PAGED_WORKER_RULES))[0]["cached"] == 39
        assert talk.run(talk.ask("free", prompt=PAGED_WORKER_RULES, salt="other"))[0]["freed"] == 0
        assert talk.run(talk.ask("free", prompt=PAGED_WORKER_RULES))[0]["freed"] == 1
        assert talk.run(talk.ask("free", prompt=PAGED_WORKER_RULES))[0]["freed"] == 0
        assert talk.run(talk.ask("stats"))[0]["kv_tokens"] == 0
        for at in range(4):
            talk.run(talk.write([200 + at] * 60, 4))
        assert talk.run(talk.ask("fill", prompt=PAGED_WORKER_RULES))[0]["cached"] == 0


def test_what_is_held_gives_way_where_nothing_else_can() -> None:
    with closing(models_of({}, pages=41, config=OUTSIDE)) as models:
        talk = Talk(models)
        for at in range(4):
            talk.run(talk.ask("fill", prompt=[20 + at] * 40))
        assert talk.run(talk.write([300] * 150, 4))[0]["reason"] == "length"


def test_cancelled_ones_free_what_they_have_at_the_next_step(talk: Talk) -> None:
    long = talk.write(PAGED_WORKER_RULES, 100)
    waits = talk.ask("fill", prompt=[5] * 150)
    for _ in range(4):
        talk.server.step()
    assert talk.models.pool().keys >= 10
    for ident in (long, waits):
        talk.server.hand({"do": "cancel", "job": ident})
    stats = talk.ask("stats")
    talk.server.step()
    assert talk.models.pool().keys == 0
    assert (talk.of(stats)[0]["running"], talk.of(stats)[0]["waiting"]) == (0, 0)
    assert (talk.of(long)[-1]["reason"], talk.of(long)[-1]["over"]) == ("cancelled", True)
    assert talk.of(waits)[-1]["over"]
    talk.server.hand({"do": "cancel", "job": long})  # it is over


def test_scores_with_and_without_what_others_have_read(talk: Talk) -> None:
    prompt = "the best tea in the world is a cup of tea with a friend"
    for adapter in (None, "lora"):
        told = {"prompt": prompt, "continuation": " and bread", "adapter": adapter}
        talk.run(talk.ask("fill", prompt=prompt, adapter=adapter))
        both = [talk.run(talk.ask("score", **told, shared=one))[0] for one in (True, False)]
        one, other = (each["logprobs"] for each in both)
        np.testing.assert_allclose(one, other, atol=1e-4)
        wanted = talk.models[adapter or "base"]
        assert len(one) == len(wanted.tokens.encode(" and bread"))
    assert "error" in talk.run(talk.ask("score", **told | {"continuation": ""}))[0]


def test_a_schema_binds_the_answer(talk: Talk) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    settings = {"max_tokens": 60, "json_schema": schema | {"additionalProperties": False}}
    ident = talk.ask("generate", prompt=PAGED_WORKER_RULES, settings=settings)
    ended = threading.Event()
    while not talk.of(ident) or "over" not in talk.of(ident)[-1]:
        talk.server.step() or ended.wait(0.01)
    assert isinstance(json.loads(talk.text(ident))["a"], bool)


def test_what_is_wrong_ends_its_request_alone(talk: Talk) -> None:
    good = talk.write(PAGED_WORKER_RULES)
    bad = [
        talk.write([5] * 300),
        talk.write([5000]),
        talk.write(PAGED_WORKER_RULES, adapter="unknown"),
        talk.ask("generate", prompt=PAGED_WORKER_RULES, settings={"max_tokens": 0}),
        talk.ask("nonsense"),
        talk.ask("restore", file="/no/such/file"),
    ]
    ends = talk.run(good, *bad)
    kinds = [one.get("error", {}).get("kind") for one in ends]
    assert kinds == [None, "value", "value", "config", "config", "config", "config"]


def test_what_it_says_of_itself(talk: Talk) -> None:
    told = talk.run(talk.ask("describe"))[0]
    assert told["adapters"] == ["lora"]
    assert told["kv_bytes_per_token"] * BLOCK * (told["kv_tokens"] // BLOCK + 1) == (
        talk.models.pool().bytes
    )
    assert (told["block_size"], told["context_length"]) == (BLOCK, 256)


def test_a_prefix_outlives_the_process_in_a_file(folders: dict[str, Path], tmp_path: Path) -> None:
    file = str(tmp_path / "rules")
    prompt = [*PAGED_WORKER_RULES, 61]
    texts = []
    for adapter in (None, "lora"):
        with closing(models_of(folders, config=OUTSIDE)) as models:
            talk = Talk(models)
            asked = {"prompt": PAGED_WORKER_RULES, "adapter": adapter, "salt": "s", "file": file}
            assert talk.run(talk.ask("snapshot", **asked))[0]["tokens"] == 0
            talk.run(talk.ask("fill", prompt=PAGED_WORKER_RULES, adapter=adapter, salt="s"))
            assert talk.run(talk.ask("snapshot", **asked))[0]["tokens"] == 40
            ident = talk.write(prompt, adapter=adapter, salt="s")
            talk.run(ident)
            texts.append(talk.text(ident))
        with closing(models_of(folders, config=OUTSIDE)) as models:
            talk = Talk(models)
            assert talk.run(talk.ask("restore", file=file))[0]["tokens"] == 40
            score = {
                "prompt": PAGED_WORKER_RULES,
                "continuation": "tea",
                "adapter": adapter,
                "salt": "s",
            }
            scores = [talk.run(talk.ask("score", **score, shared=one))[0] for one in (True, False)]
            np.testing.assert_allclose(scores[0]["logprobs"], scores[1]["logprobs"], atol=1e-4)
            ident = talk.write(prompt, adapter=adapter, salt="s")
            talk.run(ident)
            assert talk.of(ident)[0]["cached"] == 40
            texts.append(talk.text(ident))
            other = talk.write(prompt, adapter=adapter)
            talk.run(other)
            assert talk.of(other)[0]["cached"] == 0
        assert texts[-1] == texts[-2]


def test_over_a_socket() -> None:
    here, there = socket.socketpair()
    with closing(models_of({}, config=OUTSIDE)) as models:
        thread = threading.Thread(target=serve, args=(there, models))
        thread.start()
        with here, here.makefile("rb") as lines:
            here.sendall(b'{"ping": 3}\n')
            assert json.loads(lines.readline()) == {"pong": 3}
            told = {
                "id": 1,
                "do": "generate",
                "prompt": PAGED_WORKER_RULES,
                "settings": {"max_tokens": 3},
            }
            here.sendall(json.dumps(told).encode() + b"\n")
            while "over" not in (found := json.loads(lines.readline())):
                pass
            assert found["reason"] == "length"
            here.shutdown(socket.SHUT_RDWR)
            thread.join(20)
        assert not thread.is_alive()
        there.close()


_Work = Callable[[ChildLink, "Child"], Awaitable[None]]


class Child:
    """A process without one: the test reads and writes the other end of its connection."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.pid, self.killed = 17, threading.Event()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    ending = property(lambda self: "was killed by SIGKILL")

    def gone_within(self, seconds: float) -> bool:
        return self.killed.wait(min(seconds, 0.05))

    def kill(self) -> None:
        self.killed.set()
        self.writer.transport.abort()

    def end(self) -> None:
        self.killed.set()

    async def told(self) -> dict[str, Any]:
        while True:
            line = json.loads(await self.reader.readline())
            if "ping" not in line:
                return dict(line)

    def say(self, **what: Any) -> None:
        self.writer.write(json.dumps(what).encode() + b"\n")


def played(work: _Work, quiet: float = 30.0) -> None:
    async def main() -> None:
        child = Child()
        child.reader, child.writer = await asyncio.open_connection(sock=child.there)
        reader, writer = await asyncio.open_connection(sock=child.here)
        link = ChildLink("tiny", child, reader, writer, quiet)  # type: ignore[arg-type]
        try:
            await work(link, child)
        finally:
            await link.close()
            child.writer.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_several_requests_at_once() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        one, two = await link.request({"do": "a"}), await link.request({"do": "b"})
        assert await child.told() == {"id": 1, "do": "a"}
        assert await child.told() == {"id": 2, "do": "b"}
        child.say(id=2, text="x")
        child.say(id=1, text="y", over=True)
        child.say(id=9, text="nobody asked")
        child.say(id=2, error={"kind": "config", "what": "no"})
        assert [part["text"] async for part in one] == ["y"]
        assert (await two.next())["text"] == "x"
        with pytest.raises(ConfigError, match="no"):
            await two.next()
        assert two.over

    played(work)


def test_what_nobody_waits_for_is_cancelled_once() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        one = await link.request({"do": "a"})
        link.forget(one)
        link.forget(one)
        link.tell({"do": "last"})
        assert [(await child.told())["do"] for _ in range(3)] == ["a", "cancel", "last"]

    played(work)


def test_all_that_waits_ends_with_the_process() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        waiting = [asyncio.create_task(link.ask({"do": "a"})) for _ in range(3)]
        await child.told()
        assert link.alive
        child.kill()
        await link.gone.wait()
        for found in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(found, EngineGoneError)
            assert "SIGKILL" in str(found)
        assert not link.alive
        with pytest.raises(EngineGoneError):
            await link.request({"do": "b"})

    played(work)


@pytest.mark.parametrize("line", [b"{half\n", b"[1]\n", b"\xff\n"])
def test_a_line_that_is_none_ends_the_process(line: bytes) -> None:
    async def work(link: ChildLink, child: Child) -> None:
        child.writer.write(line)
        await link.gone.wait()
        assert child.killed.is_set()

    played(work)


def test_one_that_stands_still_is_ended() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        with pytest.raises(EngineGoneError):
            await link.ask({"do": "a"})
        assert child.killed.is_set()

    played(work, quiet=0.2)


def test_signs_of_life_keep_it() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        for _ in range(12):
            line = json.loads(await child.reader.readline())
            child.say(pong=line["ping"])
        assert link.alive

    played(work, quiet=0.2)


def test_closing_ends_what_waits() -> None:
    async def work(link: ChildLink, child: Child) -> None:
        waiting = asyncio.create_task(link.ask({"do": "a"}))
        await child.told()
        await link.close()
        await link.close()
        with pytest.raises(EngineGoneError, match="closed"):
            await waiting
        assert child.killed.is_set()

    played(work)


@in_a_loop
async def test_a_process_that_cannot_begin() -> None:
    with pytest.raises(AssetError, match="cannot be opened"):
        await ChildLink.open("tiny", "no_such_module", {}, open_seconds=60, quiet_seconds=60)
