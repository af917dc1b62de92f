from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf", reason="the extra lm is not installed")

import gguf

from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import Message
from adwright.lm.native_engines.llamacpp_tokens import XllamacppTokens, gguf_fields

FIELDS = {
    "tokenizer.ggml.tokens": ["a", "b", "<|im_end|>", "<|begin|>", "<|endoftext|>"],
    "tokenizer.ggml.token_type": [1, 1, 3, 3, 3],
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.bos_token_id": 3,
}


def ask(path: str, body: Mapping[str, Any]) -> Any:
    """One token a letter."""
    match path:
        case "/tokenize":
            ids = [ord(one) - ord("a") for one in body["content"]]
            return {"tokens": [3, *ids] if body["add_special"] else ids}
        case "/detokenize":
            return {"content": "".join(chr(ord("a") + one) for one in body["tokens"])}
        case _:
            if body["messages"][0]["role"] == "system":
                raise ConfigError("no system here")
            return {"prompt": "".join(one["content"] for one in body["messages"])}


def test_text_to_tokens_and_back() -> None:
    tokens = XllamacppTokens(ask, FIELDS)
    assert tokens.encode("ab") == [3, 0, 1]
    assert tokens.encode("ab", special=False) == [0, 1]
    assert tokens.encode("") == []
    assert tokens.count("ab") == 2
    assert tokens.decode([3, 0, 1, 2]) == "ab"
    assert tokens.decode([2]) == ""
    assert tokens.end_ids == {2, 4}
    assert tokens.begin_id == 3
    assert tokens.vocabulary == 5
    assert XllamacppTokens(ask, {}).begin_id is None
    assert tokens.chat([Message("user", "ba")]) == [1, 0]
    with pytest.raises(ConfigError, match="do not fit"):
        tokens.chat([Message("system", "a")])


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
