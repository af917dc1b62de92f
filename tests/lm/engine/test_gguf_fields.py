from __future__ import annotations

import struct
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason="the extra lm is not installed")

import gguf

from adwright.core.errors import AssetError
from adwright.lm.engine.weights import gguf_fields


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
