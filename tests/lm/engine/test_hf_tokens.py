from __future__ import annotations

import copy
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import Message, TemplateTokenizer, Tokenizer
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from tests.support.lm.tiny_llama import tiny_tokenizer, tiny_tokens


def test_there_and_back() -> None:
    tokens = tiny_tokens()
    assert isinstance(tokens, Tokenizer)
    text = "the best tea , isn't it? é€😀"
    ids = tokens.encode(text)
    assert tokens.decode(ids) == text
    assert tokens.count(text) == len(ids)
    assert tokens.decode([0, *ids, 1]) == text
    assert (tokens.end_ids, tokens.begin_id) == ({1}, 0)


def test_chat() -> None:
    tokens = tiny_tokens()
    ids = tokens.chat([Message("user", "tea?")])
    assert tokens.tokenizer.decode(ids) == "<|begin|>user\ntea?<|end|><|begin|>assistant\n"
    with pytest.raises(ConfigError, match="the system speaks first"):
        tokens.chat([Message("user", "a"), Message("system", "b")])


def test_settings_of_the_template() -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = "{{ messages[0].content }}{% if loud %}!{{ loud * 2 }}{% endif %}"
    tokens = HuggingFaceTokens(tokenizer)
    assert isinstance(tokens, TemplateTokenizer)
    turns = [Message("user", "tea")]
    assert tokens.decode(tokens.chat(turns)) == "tea"
    assert tokens.decode(tokens.chat_with(turns, {"loud": 2})) == "tea!4"
    with pytest.raises(ConfigError, match="no such setting"):
        tokens.chat_with(turns, {"messages": "x"})
    tokenizer.chat_template = "{{ loud + 'a' }}"
    with pytest.raises(ConfigError, match="do not fit the chat template"):
        HuggingFaceTokens(tokenizer).chat_with(turns, {"loud": 2})


def test_a_template_that_never_ends() -> None:
    loops = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = loops
    with pytest.raises(ConfigError, match="more than 1 s of computing"):
        HuggingFaceTokens(tokenizer).chat([Message("user", "tea?")])


def test_load(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    loaded = HuggingFaceTokens.load(tmp_path / "tiny", frozenset((7,)))
    assert loaded.encode("tea") == tiny_tokens().encode("tea")
    assert loaded.end_ids == {1, 7}
    with pytest.raises(AssetError, match="no tokeniser"):
        HuggingFaceTokens.load(tmp_path / "nothing")
