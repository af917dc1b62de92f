"""Which engines run programs, by the options."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adwright.cli.programs.engines import EngineChoice
from adwright.core.errors import AssetError, ConfigError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model as a folder."""
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


def test_engines_and_their_tokeniser(tiny: str) -> None:
    choice = EngineChoice("paged", tiny, name="tiny", engines=3)
    assert (choice.called, EngineChoice("paged", tiny).called) == ("tiny", tiny)
    room, text = choice.room()
    assert room.ready() == {"e0": False, "e1": False, "e2": False}
    assert text.count("tea") > 0
    with pytest.raises(ConfigError, match="OpenVINO does not read"):
        EngineChoice("openvino", tiny).room()
    with pytest.raises(AssetError):
        EngineChoice("paged", str(Path(tiny) / "none")).room()


def test_servers_elsewhere(tiny: str) -> None:
    urls = ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")
    room, text = EngineChoice("paged", "llama", urls=urls, dialect="vllm").room()
    assert len(room.ready()) == 2
    assert (text.chat, text.count("a" * 8)) == (None, 2)
    _, text = EngineChoice("paged", "llama", urls=urls, tokenizer=tiny).room()
    assert text.chat is not None
    one = EngineChoice("paged", f"{urls[0]}#llama")
    assert (one.called, one.urls) == ("llama", urls[:1])


def test_a_cache_without_salts_is_one_tenants() -> None:
    urls = ("http://127.0.0.1:1/v1",)

    async def opened(*tenants: str) -> bool:
        room, _ = EngineChoice("paged", "llama", urls=urls, tenants=tenants).room()
        async with room:
            assert room.dispatcher is not None
            (engine,) = room.dispatcher.carrier.scheduler.engines.values()
            return engine.capabilities.prefix_cache

    assert asyncio.run(opened("shop"))
    assert not asyncio.run(opened("shop", "other"))
