from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")

import gguf
from safetensors.numpy import load_file

from adwright.core.errors import AssetError
from adwright.lm.engine.weights import (
    SMOLLM2,
    SMOLLM2_NOTE,
    folder_of_gguf,
    gguf_rewritten,
    locate,
    quiet,
    smollm2_folder,
    smollm2_gguf,
)
from tests.support.lm.smollm2 import smollm2
from tests.support.lm.tiny_gguf import save_tiny_gguf


def tensors(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    from gguf.quants import dequantize

    return {
        one.name: (one.tensor_type.name, dequantize(one.data, one.tensor_type))
        for one in gguf.GGUFReader(path).tensors
    }


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file with one matrix in Q4_1 and one vector."""
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_key_value("llama.context_length", 64, gguf.GGUFValueType.UINT32)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    values = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q4_1
    writer.add_tensor("w", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.add_tensor("norm", np.ones(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "small.gguf"


@pytest.mark.parametrize(("kind", "atol"), [("f16", 2e-3), ("q8_0", 2e-2)])
def test_rewriting_keeps_the_numbers(small: Path, kind: str, atol: float, tmp_path: Path) -> None:
    made = gguf_rewritten(small, kind, cache=tmp_path / "cache")  # type: ignore[arg-type]
    before, after = tensors(small), tensors(made)
    assert (before["w"][0], after["w"][0]) == ("Q4_1", kind.upper())
    np.testing.assert_allclose(after["w"][1], before["w"][1], atol=atol)
    np.testing.assert_array_equal(after["norm"][1], before["norm"][1])
    fields = gguf.GGUFReader(made).fields
    assert fields["llama.context_length"].contents() == 64
    assert fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    stamp = made.stat().st_mtime_ns
    assert gguf_rewritten(small, kind, cache=tmp_path / "cache").stat().st_mtime_ns == stamp  # type: ignore[arg-type]


def test_what_is_no_gguf(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"something else" * 10)
    for read in (
        lambda: gguf_rewritten(wrong, "f16", cache=tmp_path),
        lambda: folder_of_gguf(wrong, cache=tmp_path),
    ):
        with pytest.raises(AssetError, match="cannot be read"):
            read()
    assert not list(tmp_path.glob("wrong-*"))


def test_where_models_are(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == (str(tmp_path), "")
    assert locate("owner/name") == ("owner/name", "")
    for wrong in ("nowhere", str(tmp_path / "no.gguf"), "a/b/c"):
        with pytest.raises(AssetError, match="no such model"):
            locate(wrong)


def test_the_bars_of_transformers_come_back() -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    with quiet():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled() == before


def test_the_default_model_is_plain_float32_without_a_memory_of_its_quantisation() -> None:
    assert locate(smollm2()) == (str(smollm2_folder()), SMOLLM2_NOTE)
    folder = smollm2_folder()
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert str(folder.parent) not in (folder / "config.json").read_text()
    theirs = tensors(smollm2_gguf())
    ours = load_file(folder / "model.safetensors")
    assert {one.dtype.name for one in ours.values()} == {"float32"}
    np.testing.assert_array_equal(
        ours["model.layers.3.mlp.up_proj.weight"], theirs["blk.3.ffn_up.weight"][1]
    )
    assert locate(str(folder))[1] == SMOLLM2_NOTE
    assert SMOLLM2 in folder.name


def test_reading_a_gguf_shows_no_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = save_tiny_gguf(tmp_path / "tiny.gguf")
    folder_of_gguf(file, cache=tmp_path / "cache")
    told = capfd.readouterr()
    assert "de-quantizing" not in told.err + told.out
    assert "Loading weights" not in told.err + told.out
