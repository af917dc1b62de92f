"""A model whose answers follow from what it reads: text to text by a hash, failures included."""

from __future__ import annotations

import hashlib
import json

from adwright.core.errors import ValueInvalidError
from adwright.lm.engine.generation import GenerationConfig

_WORDS = ("tea", "Tea", "green", "mild", "fresh", "cup", "now", "leaf")


def digest(*parts: object) -> bytes:
    """A hash of the parts, in which no two lists of parts are one text."""
    return hashlib.sha256(json.dumps([str(one) for one in parts]).encode()).digest()


def answer(model: str, adapter: str | None, prompt: str, settings: GenerationConfig) -> str:
    """What the model writes behind a prompt.

    One prompt in 16 is a failure; of answers that should be JSON of a schema with the field "a",
    one in four is none. Others are lines, or a list in JSON, so that steps succeed and fail.
    Raises ValueInvalidError, or KeyError as an engine with a mistake would.
    """
    found = digest(model, adapter, prompt, settings.max_tokens, settings.seed)
    words = [_WORDS[byte % len(_WORDS)] for byte in found[1:4]]
    name = found.hex()[:6]
    if found[0] < 12:
        raise ValueInvalidError(f"the model broke on {name}")
    if found[0] < 16:
        raise KeyError(name)
    if settings.json_schema is not None:
        match found[4] % 8:
            case 0:
                return '{"b": 1}'
            case 1:
                return "{" + words[0]
            case _:
                return json.dumps({"a": words[0], "name": name})
    match found[4] % 3:
        case 0:
            return json.dumps(words)
        case 1:
            return "\n".join(f"{at}. {word}" for at, word in enumerate(words))
        case _:
            return f"{words[0]} {name}"
