"""Prompts and continuations as tokens, checked, for every engine that has a tokeniser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import Chat, Message, Prompt, TokenPrompt
from adwright.lm.engine.language_model import TemplateTokenizer, Tokenizer

__all__ = [
    "cancelled_embedding",
    "cancelled_score",
    "continuation_ids",
    "paired",
    "prompt_ids",
    "prompts_ids",
    "require_known",
    "require_room",
    "require_text",
    "runs",
    "unfit_messages",
]

_MOST_TOKENS = 2**31


def prompt_ids(
    tokens: Tokenizer, prompt: Prompt, *, vocabulary: int, row: int | None = None
) -> list[int]:
    """The tokens of one prompt, never none: an empty one begins as a text does.

    vocabulary: tokens that the network knows, 0 where nothing tells. row: of the prompt among
    others, for errors.
    Raises ConfigError where messages do not fit the model's template; ValueInvalidError where the
    prompt is empty and the model has no token to begin with, a token is none of the network's, or
    a text has half a character.
    """
    match prompt:
        case TokenPrompt():
            ids = list(prompt.ids)
        case str():
            require_text(prompt, row=row)
            ids = tokens.encode(prompt)
        case _:
            for turn in prompt:
                require_text(turn.content, row=row)
            ids = _chat_ids(tokens, prompt)
    if not ids:
        if tokens.begin_id is None:
            raise ValueInvalidError(
                "the prompt is empty",
                row=row,
                hint="this model has no token to begin with: add text",
            )
        ids = [tokens.begin_id]
    require_known(ids, vocabulary, row=row)
    return ids


def _chat_ids(tokens: Tokenizer, prompt: Sequence[Message]) -> list[int]:
    if not isinstance(prompt, Chat) or not prompt.settings:
        return tokens.chat(prompt)
    if not isinstance(tokens, TemplateTokenizer):
        raise ConfigError(
            "this engine tells the chat template nothing but the messages",
            where="chat_template_kwargs",
            hint="leave them out, or open the model on torch",
        )
    return tokens.chat_with(prompt.turns, prompt.settings)


def prompts_ids(
    tokens: Tokenizer, prompts: Sequence[Prompt], context: int, *, vocabulary: int, room: int = 1
) -> list[list[int]]:
    """The tokens of B prompts, all of them below `vocabulary`, with room for so many more in the
    context; 0 is no known vocabulary and no known context.

    Raises ValueInvalidError that names the row.
    """
    rows = [
        prompt_ids(tokens, prompt, vocabulary=vocabulary, row=row)
        for row, prompt in enumerate(prompts)
    ]
    require_room(rows, context, room=room)
    return rows


def continuation_ids(
    tokens: Tokenizer,
    prompts: Sequence[Prompt],
    continuations: Sequence[str | TokenPrompt],
    *,
    vocabulary: int,
) -> list[tuple[list[int], list[int]]]:
    """The tokens of B prompts and of their continuations, all of them below `vocabulary`, where
    that is not 0.

    Raises ValueInvalidError where a continuation has no tokens, or a token is none of the
    network's.
    """
    rows = []
    for row, (prompt, after) in enumerate(zip(prompts, continuations, strict=True)):
        if isinstance(after, TokenPrompt):
            ids = list(after.ids)
        else:
            require_text(after, row=row)
            ids = tokens.encode(after, special=False)
        if not ids:
            raise ValueInvalidError("the continuation is empty", row=row, hint="give it a text")
        require_known(ids, vocabulary, row=row)
        rows.append((prompt_ids(tokens, prompt, vocabulary=vocabulary, row=row), ids))
    return rows


def paired(prompts: Sequence[Prompt], continuations: Sequence[str | TokenPrompt]) -> None:
    """Raise ValueInvalidError unless there is one continuation for each prompt."""
    if len(prompts) != len(continuations):
        raise ValueInvalidError(
            f"{len(prompts)} prompts cannot be paired with {len(continuations)} continuations",
            hint="give one continuation for each prompt",
        )


def require_room(rows: Sequence[Sequence[int]], context: int, *, room: int) -> None:
    """Raise ValueInvalidError, with its row, for one that the context has no room for."""
    for row, ids in enumerate(rows):
        if context and len(ids) + room > context:
            raise ValueInvalidError(
                f"{len(ids)} tokens leave no room in a context of {context}",
                row=row,
                hint="shorten the prompt, or take a model with a longer context",
            )


def require_known(ids: Sequence[int], vocabulary: int, *, row: int | None = None) -> None:
    """Raises ValueInvalidError for a token outside a vocabulary of so many; 0 is no known one, and
    then tokens have 31 bits."""
    most = vocabulary or _MOST_TOKENS
    wrong = next((one for one in ids if not 0 <= one < most), None)
    if wrong is not None:
        raise ValueInvalidError(
            "the model has no such token",
            row=row,
            value=wrong,
            hint=f"its tokens are 0 to {vocabulary - 1}" if vocabulary else "tokens begin at 0",
        )


def require_text(text: str, *, row: int | None = None) -> None:
    """Raises ValueInvalidError for a text with half a character, which has no bytes in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueInvalidError(
            "the text has half a character",
            row=row,
            value=text[error.start],
            hint=f"leave out the surrogate at character {error.start}",
        ) from error


def runs(lengths: Sequence[int], most: int) -> Iterator[slice]:
    """Cut rows of these many tokens into runs of at most `most` together, or of a single row."""
    first, tokens = 0, 0
    for at, length in enumerate(lengths):
        if at > first and tokens + length > most:
            yield slice(first, at)
            first, tokens = at, 0
        tokens += length
    yield slice(first, len(lengths))


def unfit_messages(why: str) -> ConfigError:
    """Make the error of a tokeniser whose chat template refuses the messages."""
    return ConfigError(
        f"the messages do not fit the chat template of the model: {why}",
        where="messages",
        hint="take an instruction-tuned model, or pass the prompt as text",
    )


def cancelled_score() -> ResourceError:
    """Make the error that `score` raises when it is cancelled."""
    return ResourceError("the score was cancelled", hint="half a score is none; ask again")


def cancelled_embedding() -> ResourceError:
    """Make the error that `embed` raises when it is cancelled."""
    return ResourceError("the embedding was cancelled", hint="ask again")
