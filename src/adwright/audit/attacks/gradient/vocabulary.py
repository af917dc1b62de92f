"""Which tokens an attack may use: what a shop's form would take, and a record keeps as it is.

    allowed = allowed_tokens(tokens, vocabulary)     # bool [V]

As in the released code of "Manipulating LLMs to Increase Product Visibility", tokens that are not
ASCII and special ones are forbidden. So are quotes and backslashes, which a record of JSON would
show with a backslash before them, as other tokens (our choice).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Tokenizer

_ESCAPED = frozenset('"\\')


def allowed_tokens(tokens: Tokenizer, vocabulary: int) -> NDArray[np.bool_]:
    """bool [V]: whether a token by itself is printable ASCII that JSON does not escape.

    Special tokens have no text. Raises ConfigError where no token is allowed.
    """
    found = np.zeros(vocabulary, dtype=np.bool_)
    for token in range(vocabulary):
        text = tokens.decode([token])
        found[token] = bool(text.strip()) and _is_plain(text)
    if not found.any():
        raise ConfigError(
            "no token of this model is plain ASCII text",
            where=f"{vocabulary} tokens",
            hint="attack it by search, which needs no tokens",
        )
    return found


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and not _ESCAPED & set(text)
