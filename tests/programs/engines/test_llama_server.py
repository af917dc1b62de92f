"""llama.cpp's server in its process, on a tiny random model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp", reason="the extra lm is not installed")
pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.native_engines.llamacpp_config import XllamacppConfig
from adwright.programs.engines.llama_server import llama_server_engine
from tests.support.lm.tiny_gguf import save_tiny_gguf

FIXED = GenerationConfig(ignore_eos=True)


def test_in_its_process(tmp_path: Path) -> None:
    model = str(save_tiny_gguf(tmp_path / "tiny.gguf"))
    config = XllamacppConfig(model, threads=1, cache_tokens=1024, max_running=4)

    async def main() -> None:
        async with llama_server_engine(config, name="tiny") as engine:
            can = engine.capabilities
            assert (can.models, can.max_batch, can.kv_tokens) == (("tiny",), 4, 1024)
            assert (can.prefix_cache, can.in_flight_prefix, can.salt) == (True, False, False)

            async def tokens(at: int) -> int | None:
                asked = engine.generate(
                    f"{at}", f"the best tea {at}", max_tokens=9, salt="a", settings=FIXED
                )
                return [report async for report in asked][-1].tokens

            # A token that is half a character is not told.
            told = await asyncio.gather(*(tokens(at) for at in range(6)))
            assert all(5 <= (one or 0) <= 9 for one in told)
            with pytest.raises(ConfigError, match="domain"):
                await engine.fill("fill", "the best tea", salt="b")
            assert (await engine.stats()).running == 0

    asyncio.run(asyncio.wait_for(main(), 300))


def test_without_a_cache_it_is_everybodys() -> None:
    assert not llama_server_engine(XllamacppConfig(prefix_caching=False)).capabilities.prefix_cache
