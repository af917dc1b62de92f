from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Message
from adwright.lm.native_engines.llamacpp_model import XllamacppTokens

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
