"""?"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from adwright.core.errors import AssetError
from adwright.lm.engine.weights import (
    SMOLLM2,
    SMOLLM2_NOTE,
    folder_of_gguf,
    gguf_fields,
    gguf_rewritten,
    locate,
    quiet,
    smollm2_folder,
    smollm2_gguf,
)
from tests.support.lm.smollm2 import smollm2
from tests.support.lm.tiny_gguf import save_tiny_gguf

pytest.importorskip("gguf", reason="the extra lm is not installed")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a field of every kind."""
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_uint8("a.u8", 7)
    writer.add_int64("a.i64", -7)
    writer.add_float32("a.f32", 0.5)
    writer.add_float64("a.f64", 0.25)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "née")
    writer.add_array("a.texts", ["x", "", "née"])
    writer.add_array("a.numbers", [3, 1, 2])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "a.gguf"


def test_fields_are_those_that_the_package_reads(file: Path) -> None:
    theirs = {
        key: one.contents()
        for key, one in gguf.GGUFReader(file).fields.items()
        if not key.startswith("GGUF.")
    }
    assert gguf_fields(file, lambda key: True) == theirs
    assert gguf_fields(file, lambda key: key == "a.numbers") == {"a.numbers": [3, 1, 2]}


def test_what_is_no_file_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    bad = tmp_path / "bad.gguf"
    nested = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 1)
    endless = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 4, 2**60)
    cuts = [whole[:at] for at in range(0, 200, 7)]
    for content in (b"GGUFnot really a file at all", nested, endless, *cuts):
        bad.write_bytes(content)
        with pytest.raises(AssetError, match="cannot be read"):
            gguf_fields(bad, lambda key: True)
    with pytest.raises(AssetError, match="cannot be read"):
        gguf_fields(tmp_path / "nowhere.gguf", lambda key: True)


pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")


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
