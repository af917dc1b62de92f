"""OpenVINO in its process, on a tiny random model."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

pytest.importorskip("openvino_genai", reason="the extra lm is not installed")
pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import EngineGoneError, GenerationConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.programs.engines.model_engine import openvino_engine
from tests.support.lm.tiny_gguf import save_tiny_gguf

FIXED = GenerationConfig(ignore_eos=True)


def test_its_capabilities() -> None:
    caches = openvino_engine(OpenVinoConfig(), domain="tenant", name="small")
    can = caches.capabilities
    assert (can.models, can.prefix_cache, can.in_flight_prefix) == (("small",), True, False)
    assert (can.salt, can.fork, can.grammar, can.max_batch) == (False, False, True, 64)
    assert can.kv_tokens == (1 << 30) // 23_040
    for engine in (
        openvino_engine(domain=None),
        openvino_engine(OpenVinoConfig(prefix_caching=False), domain="tenant"),
    ):
        assert not engine.capabilities.prefix_cache


def test_in_its_process(tmp_path: Path) -> None:
    """Many at once, cancelled, and killed: it comes back, and answers the same."""
    config = OpenVinoConfig(str(save_tiny_gguf(tmp_path / "tiny.gguf")), threads=1, max_running=8)

    async def main() -> None:
        async with openvino_engine(config, domain="a", name="tiny") as engine:

            async def text(at: int, tokens: int = 12) -> str:
                asked = engine.generate(
                    f"{at}", f"the best tea {at}", max_tokens=tokens, salt="a", settings=FIXED
                )
                reports = [report async for report in asked]
                assert reports[-1].tokens == tokens
                return "".join(report.text for report in reports)

            assert engine.capabilities.context_length == 256
            assert await engine.fill("fill", "the best tea", salt="a") == 0
            await asyncio.gather(*(text(at) for at in range(6)))
            with pytest.raises(ConfigError, match="domain"):
                await engine.fill("fill", "the best tea", salt="b")
            reports = engine.generate("x", "the", max_tokens=200, salt="a", settings=FIXED)
            async with aclosing(reports):
                await anext(reports)
                await engine.cancel("x")
                assert [report.over async for report in reports][-1]
            assert (await engine.stats()).running == 0
            pid = engine.model.processes[0].pid  # type: ignore[attr-defined]
            # Held still, so that no text is whole before the process ends.
            os.kill(pid, signal.SIGSTOP)
            waiting = [asyncio.create_task(text(at, 230)) for at in range(4)]
            await asyncio.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            for found in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(found, EngineGoneError)
            with pytest.raises(EngineGoneError):
                await engine.stats()
            await engine.restart()
            assert (await engine.stats()).running == 0
            assert await text(1)

    asyncio.run(asyncio.wait_for(main(), 300))
