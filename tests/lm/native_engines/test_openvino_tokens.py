from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Message, Tokenizer
from adwright.lm.native_engines.openvino_model import OpenVinoTokens


class Refusing:
    """A tokeniser of a model without a chat template."""

    def get_eos_token_id(self) -> int:
        return -1

    def get_bos_token_id(self) -> int:
        return -1

    def get_vocab(self) -> dict[str, int]:
        return {"a": 3, "b": 7}

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        raise RuntimeError("somewhere:12\nthe template is empty\n")


def test_a_model_without_a_template_or_special_tokens() -> None:
    tokens = OpenVinoTokens(Refusing())  # type: ignore[arg-type]
    assert isinstance(tokens, Tokenizer)
    assert (tokens.end_ids, tokens.begin_id) == (frozenset(), None)
    assert tokens.vocabulary == 8
    assert (tokens.encode(""), tokens.decode([])) == ([], "")
    with pytest.raises(ConfigError, match="the template is empty"):
        tokens.chat([Message("user", "a")])
