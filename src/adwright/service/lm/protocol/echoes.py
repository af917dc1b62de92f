"""Prompts told again in front of their answers, with the log-probabilities of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adwright.lm.engine.base import AnswerText, cancelled_score, prompt_ids, require_room
from adwright.lm.engine.generation import (
    Cancellation,
    Completion,
    Completions,
    LanguageModel,
    Prompt,
    Tokenizer,
    TokenPrompt,
    Usage,
)


@dataclass(frozen=True)
class Echo:
    """A prompt. offsets: of the characters that its tokens begin at. logprobs: of its tokens, None
    for the first, which nothing stands before; None where they were not asked for."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[int, ...]
    logprobs: tuple[float | None, ...] | None = None


def echoes_of(
    model: LanguageModel, prompts: Sequence[Prompt], cancel: Cancellation, *, scored: bool
) -> list[Echo]:
    """Tell B prompts again. scored: with the log-probabilities of their tokens.

    Raises ValueInvalidError where the context has no room for one, or a token is none of the
    model's; ResourceError where it is cancelled.
    """
    rows = [
        prompt_ids(model.tokens, prompt, vocabulary=model.vocabulary, row=row)
        for row, prompt in enumerate(prompts)
    ]
    require_room(rows, model.info.context, room=0)
    logprobs: list[tuple[float | None, ...] | None] = [None] * len(rows)
    if scored:
        logprobs = [(None,)] * len(rows)
        several = [row for row, ids in enumerate(rows) if len(ids) > 1]
        scores = model.score(
            [TokenPrompt(tuple(rows[row][:1])) for row in several],
            [TokenPrompt(tuple(rows[row][1:])) for row in several],
            cancel=cancel,
        )
        for row, found in zip(several, scores.token_logprobs, strict=True):
            logprobs[row] = (None, *found.tolist())
    echoes = []
    for ids, values in zip(rows, logprobs, strict=True):
        text, offsets = spelled(model.tokens, ids, cancel)
        echoes.append(Echo(text, tuple(ids), offsets, values))
    return echoes


def spelled(
    tokens: Tokenizer, ids: Sequence[int], cancel: Cancellation | None = None
) -> tuple[str, tuple[int, ...]]:
    """The text of tokens, and the character that each of them begins at.

    Raises ResourceError where it is cancelled.
    """
    text, offsets = AnswerText(tokens.decode), list[int]()
    for one in ids:
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        offsets.append(len(text.text))
        text.add(one)
    text.finish()
    return text.text, tuple(offsets)


def silent(echoes: Sequence[Echo]) -> Completions:
    """Answers of no token, for who asks for the prompts alone."""
    return Completions(
        tuple(
            Completion("", (), None if one.logprobs is None else (), "length", Usage(len(one.ids)))
            for one in echoes
        )
    )
