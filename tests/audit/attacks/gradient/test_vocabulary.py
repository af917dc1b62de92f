from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.audit.attacks.gradient_reading import allowed_tokens
from adwright.core.errors import ConfigError
from tests.support.lm.tiny_llama import VOCABULARY, tiny_tokens


def test_allowed_tokens_are_plain_text_that_json_shows_as_it_is() -> None:
    tokens = tiny_tokens()
    allowed = allowed_tokens(tokens, VOCABULARY)
    texts = [tokens.decode([token]) for token in np.flatnonzero(allowed)]
    assert " tea" in texts
    assert all(text.isascii() and text.isprintable() and text.strip() for text in texts)
    assert not any(char in text for text in texts for char in '"\\\n')
    forbidden = {tokens.decode([token]) for token in np.flatnonzero(~allowed)}
    assert {"", '"', "\\", "\n", "\ufffd"} <= forbidden


def test_special_tokens_are_forbidden() -> None:
    tokens = tiny_tokens()
    allowed = allowed_tokens(tokens, VOCABULARY)
    assert not allowed[tokens.tokenizer.bos_token_id]
    assert not allowed[tokens.tokenizer.eos_token_id]


def test_a_model_without_plain_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match="no token"):
        allowed_tokens(tiny_tokens(), 2)  # the special ones alone
