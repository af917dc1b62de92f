"""Prompts and continuations as tokens, checked, for every engine that has a tokeniser."""

from __future__ import annotations

from collections.abc import Sequence

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import Prompt, TokenPrompt
from adwright.lm.engine.language_model import Tokens

__all__ = [
    "cancelled_score",
    "continuation_ids",
    "paired",
    "prompt_ids",
    "prompts_ids",
    "require_room",
]


def prompt_ids(tokens: Tokens, prompt: Prompt) -> list[int]:
    """The tokens of one prompt, never none: an empty one begins as a text does.

    Raises ConfigError where messages do not fit the model's template; ValueInvalidError where the
    prompt is empty and the model has no token to begin with.
    """
    match prompt:
        case TokenPrompt():
            ids = list(prompt.ids)
        case str():
            ids = tokens.encode(prompt)
        case _:
            ids = tokens.chat(prompt)
    if not ids:
        if tokens.begin_id is None:
            raise ValueInvalidError(
                "the prompt is empty", hint="this model has no token to begin with: add text"
            )
        ids = [tokens.begin_id]
    return ids


def prompts_ids(
    tokens: Tokens, prompts: Sequence[Prompt], context: int, *, room: int = 1
) -> list[list[int]]:
    """The tokens of B prompts, with room for so many more in the context; 0 is no known context.

    Raises ValueInvalidError that names the row.
    """
    if isinstance(prompts, str):
        raise ConfigError(
            "prompts is one string", where="prompts", hint="pass a list with the string in it"
        )
    rows = [prompt_ids(tokens, prompt) for prompt in prompts]
    require_room(rows, context, room=room)
    return rows


def continuation_ids(
    tokens: Tokens, prompts: Sequence[Prompt], continuations: Sequence[str | TokenPrompt]
) -> list[tuple[list[int], list[int]]]:
    """The tokens of B prompts and of their continuations.

    Raises ValueInvalidError where the numbers differ or a continuation has no tokens.
    """
    paired(prompts, continuations)
    rows = []
    for row, (prompt, after) in enumerate(zip(prompts, continuations, strict=True)):
        ids = list(after.ids) if isinstance(after, TokenPrompt) else None
        ids = tokens.encode(str(after), special=False) if ids is None else ids
        if not ids:
            raise ValueInvalidError("the continuation is empty", row=row, hint="give it a text")
        rows.append((prompt_ids(tokens, prompt), ids))
    return rows


def paired(prompts: Sequence[Prompt], continuations: Sequence[str | TokenPrompt]) -> None:
    """Raises ValueInvalidError unless there is one continuation for each prompt."""
    if len(prompts) != len(continuations):
        raise ValueInvalidError(
            f"{len(prompts)} prompts cannot be paired with {len(continuations)} continuations",
            hint="give one continuation for each prompt",
        )


def require_room(rows: Sequence[Sequence[int]], context: int, *, room: int) -> None:
    """Raises ValueInvalidError, with its row, for one too long for a context of so many tokens."""
    for row, ids in enumerate(rows):
        if context and len(ids) + room > context:
            raise ValueInvalidError(
                f"{len(ids)} tokens leave no room in a context of {context}",
                row=row,
                hint="shorten the prompt, or take a model with a longer context",
            )


def cancelled_score() -> ResourceError:
    """What `score` raises when it is cancelled."""
    return ResourceError("the score was cancelled", hint="half a score is none; ask again")
