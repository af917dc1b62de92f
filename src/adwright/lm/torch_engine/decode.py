"""The loop that writes answers, token by token, for a batch of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.generation import Cancellation, GenerationConfig
from adwright.lm.torch_engine.constraint import Constraint
from adwright.lm.torch_engine.network import Network, PromptBatch
from adwright.lm.torch_engine.sampling import SeenTokens, generator, log_probability, next_tokens

__all__ = ["decode"]


def decode(
    network: Network,
    answers: Sequence[AnswerWriter],
    call_rows: Sequence[int],
    config: GenerationConfig,
    *,
    constraint: Constraint | None = None,
    cancel: Cancellation | None = None,
) -> Iterator[None]:
    """Write all answers; yields after each token. Nothing is held once it is closed.

    call_rows: the row of each answer in its call, which its random numbers follow from.
    constraint: on as many rows as there are answers.
    """
    live = list(answers)
    randoms = [generator(config.seed, row) for row in call_rows]
    with torch.inference_mode():
        rows = PromptBatch(network, [answer.prompt for answer in live])
    seen = None
    if config.repetition_penalty != 1:
        seen = SeenTokens([answer.prompt for answer in live], network.vocabulary)
    while live:
        if cancel is not None and cancel.cancelled:
            for answer in live:
                answer.end("cancelled")
            yield
            return
        # Never across a yield: the caller's thread would be left in this mode.
        with torch.inference_mode():
            tokens, logprobs = _choose(rows, config, constraint, seen, randoms)
        _add(live, tokens, logprobs, constraint)
        yield
        going = [row for row, answer in enumerate(live) if answer.finish_reason is None]
        if not going:
            return
        with torch.inference_mode():
            if len(going) < len(live):
                kept = torch.tensor(going)
                rows.keep(kept)
                tokens = tokens[kept]
                if seen is not None:
                    seen.keep(kept)
                if constraint is not None:
                    constraint.keep(going)
                live = [live[row] for row in going]
                randoms = [randoms[row] for row in going]
            if seen is not None:
                seen.add(tokens)
            rows.step(tokens)


def _choose(
    rows: PromptBatch,
    config: GenerationConfig,
    constraint: Constraint | None,
    seen: SeenTokens | None,
    randoms: Sequence[torch.Generator],
) -> tuple[torch.Tensor, list[float] | None]:
    """The next token of each row, int64 [B], and its log-probability where asked for."""
    raw = rows.logits.cpu()  # [B, V]
    logits = raw if seen is None else seen.penalise(raw, config.repetition_penalty)
    if constraint is not None:
        logits = constraint.apply(logits)
    tokens = next_tokens(logits, config, randoms)
    if not config.logprobs:
        return tokens, None
    return tokens, log_probability(raw, tokens).tolist()


def _add(
    live: Sequence[AnswerWriter],
    tokens: torch.Tensor,
    logprobs: list[float] | None,
    constraint: Constraint | None,
) -> None:
    numbers = tokens.tolist()
    for row, answer in enumerate(live):
        answer.add(numbers[row], None if logprobs is None else logprobs[row])
    if constraint is not None:
        for answer, complete in zip(live, constraint.take(numbers), strict=True):
            if complete:
                answer.end("stop")
