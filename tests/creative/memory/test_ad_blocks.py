from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.errors import ConfigError
from adwright.creative.memory import ad_blocks
from adwright.creative.memory.ad_blocks import AdBlocks, BlockConfig
from adwright.creative.memory.text_numbers import SURPRISALS
from adwright.creative.records.encoders.store import VectorStore
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.lm.torch_engine.config import TorchConfig
from tests.support.lm.digit_llama import digit_model

ADS = (
    AdRecord(brand="Mill Lane", title="Fresh bread", words="Baked at six"),
    AdRecord(brand="", title=""),
    AdRecord(kind="image", brand="Mill Lane", scenes=(Scene(caption="tea", words=("Tea",)),)),
)
PLAIN = BlockConfig("hashed", language="")


def opened(monkeypatch: pytest.MonkeyPatch, made: list[TorchConfig]) -> None:
    def open_tiny(config: TorchConfig) -> object:
        made.append(config)
        return digit_model()

    monkeypatch.setattr(ad_blocks, "open_model", open_tiny)


def test_blocks_without_a_language_model() -> None:
    found = AdBlocks(PLAIN).of(ADS)
    assert set(found) == {"sentence", "surface", "brand", "scenes", "facts"}
    assert all(block.shape[0] == 3 and block.dtype == np.float32 for block in found.values())
    assert np.isnan(found["sentence"][1]).all()
    assert np.isfinite(found["facts"]).all(axis=1).tolist() == [False, False, True]
    assert np.isfinite(found["sentence"][2]).all(), (
        "what a picture shows is read where there is no title"
    )
    assert (found["brand"][0] == found["brand"][2]).all()
    assert set(AdBlocks(PLAIN).of(ADS[:1])) == {"sentence", "surface", "brand"}
    assert AdBlocks(PLAIN).of([]) == {}


def test_an_ad_is_read_by_itself() -> None:
    whole = AdBlocks(PLAIN).of(ADS)
    alone = AdBlocks(PLAIN).of(ADS[2:])
    for name, block in alone.items():
        np.testing.assert_allclose(block[0], whole[name][2])


def test_a_language_model_gives_surprisals_and_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TorchConfig] = []
    opened(monkeypatch, made)
    encoders = AdBlocks(BlockConfig("hashed", language="some/model", layer=2, longest=11))
    found = encoders.of(ADS)
    assert [config.model for config in made] == ["some/model"]
    assert found["surprisal"].shape == (3, len(SURPRISALS))
    assert found["state"].shape[1] == 48
    assert np.isnan(found["state"][1]).all()
    other = AdBlocks(BlockConfig("hashed", language="some/model", layer=1, longest=11)).of(ADS)
    assert not np.allclose(other["state"][0], found["state"][0])
    longer = AdBlocks(BlockConfig("hashed", language="some/model", layer=2)).of(ADS)
    assert not np.allclose(longer["state"][0], found["state"][0])
    encoders.close()
    encoders.close()


def test_vectors_are_kept_between_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[TorchConfig] = []
    opened(monkeypatch, made)
    config, store = BlockConfig("hashed", layer=2), VectorStore(tmp_path)
    first = AdBlocks(config, store).of(ADS)
    assert len(list(tmp_path.iterdir())) == 2
    again = AdBlocks(config, VectorStore(tmp_path)).of(ADS)
    for name, block in again.items():
        np.testing.assert_array_equal(block, first[name])
    plain = AdBlocks(config).of(ADS)
    np.testing.assert_allclose(plain["state"], first["state"], atol=0.01, rtol=0.01)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 character"):
        BlockConfig(longest=0)
    with pytest.raises(ConfigError, match="sentences"):
        BlockConfig("words")  # type: ignore[arg-type]
