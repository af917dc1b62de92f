"""The engine in a real process, on the tiny model."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.errors import AssetError, ConfigError, ValueInvalidError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.config import TorchConfig
from adwright.programs.engines.engine_errors import EngineGoneError
from adwright.programs.engines.paged_engine import PagedEngine, PagedEngineConfig
from adwright.programs.scheduling.engine import EngineReport, ExecutionEngine
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import saved_parts
from tests.support.lm.tiny_llama import save_tiny

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


def test_public_texts_are_shared_by_all_salts_and_nothing_behind_them(
    config: PagedEngineConfig,
) -> None:
    async def cached(engine: PagedEngine, prompt: str, salt: str) -> int:
        job = f"{salt} {prompt}"
        (first, *_) = await all_of(engine.generate(job, prompt, max_tokens=2, salt=salt))
        return first.cached_tokens or 0

    async def main() -> None:
        async with PagedEngine(replace(config, public=(RULES,))) as engine:
            secret = f"{RULES} and the secret of the shop is the water of the well"
            assert await cached(engine, secret, "one") == 0
            public = await cached(engine, f"{RULES} in the morning", "two")
            assert public >= 8
            # Another tenant's secret is found as far as it is public, and no further.
            assert await cached(engine, secret, "two") - public < 8
            assert await cached(engine, secret, "one") > public + 8

    asyncio.run(main())


def test_a_model_that_is_not_there() -> None:
    async def main() -> None:
        engine = PagedEngine(PagedEngineConfig(TorchConfig("/no/model", offline=True)))
        with pytest.raises(ConfigError, match="not open"):
            engine.capabilities  # noqa: B018
        with pytest.raises(AssetError, match="no such model"):
            await engine.restart()
        with pytest.raises(EngineGoneError, match="no process"):
            await engine.stats()
        await engine.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["rows", "block", "quiet_seconds"])
def test_settings_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        PagedEngineConfig(**dict[str, Any]({name: 0}))
    with pytest.raises(ConfigError, match="prefix_bytes"):
        PagedEngineConfig(prefix_bytes=-1)
