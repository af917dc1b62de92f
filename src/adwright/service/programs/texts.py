"""What the service knows of a model beside its engines: how many tokens a text has, and what the
prompt of a chat is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adwright.lm.engine.generation import Message
from adwright.lm.engine.weights import locate
from adwright.programs.graph import about_tokens


@dataclass(frozen=True)
class ServedText:
    """What the service knows of a model beside its engines. count: tokens of a text. chat: the
    prompt of a chat with what its template is told; None where the model has no template here.
    engine, context: for who lists the models."""

    count: Callable[[str], int]
    chat: Callable[[Sequence[Message], Mapping[str, Any]], str] | None = None
    engine: str = ""
    context: int = 0


def text_of_model(model: str, *, engine: str, offline: bool = False) -> ServedText:
    """What the tokeniser of a model says, which is loaded without its weights.

    Raises AssetError where there is no such model or it has no tokeniser, MissingExtraError
    without transformers.
    """
    from adwright.lm.engine.hf_tokens import HuggingFaceTokens

    where, _ = locate(model, offline=offline)
    tokens = HuggingFaceTokens.load(where)
    return ServedText(tokens.count, tokens.chat_text, engine)


def guessed_text(*, engine: str) -> ServedText:
    """Of a model that is elsewhere: a token is four characters, and no template is known."""
    return ServedText(about_tokens, None, engine)
