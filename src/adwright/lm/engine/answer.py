"""Build one answer from its tokens, in the same way for every engine."""

from __future__ import annotations

from collections.abc import Sequence

from adwright.lm.engine.generation import (
    Chunk,
    Completion,
    FinishReason,
    GenerationConfig,
    Top,
    Usage,
)
from adwright.lm.engine.language_model import Tokenizer
from adwright.lm.engine.stopping import AnswerText

__all__ = ["AnswerWriter"]


class AnswerWriter:
    """Collects the tokens of one answer, and knows when it ends.

    tokens: of the model. ids: the prompt. context: the most tokens of prompt and answer; 0 where it
    is not known.
    """

    def __init__(
        self,
        tokens: Tokenizer,
        ids: Sequence[int],
        config: GenerationConfig,
        *,
        context: int = 0,
    ) -> None:
        self.prompt = list(ids)
        self.finish_reason: FinishReason | None = None
        #: Tokens of the prompt that were not read anew; None before it is known.
        self.cached: int | None = None
        own: frozenset[int] = frozenset() if config.ignore_eos else tokens.end_ids
        #: Tokens that end it.
        self.end_ids: frozenset[int] = own | frozenset(config.stop_token_ids)
        self._text = AnswerText(tokens.decode, config.stop)
        self._most = config.max_tokens
        if context:
            self._most = min(self._most, context - len(self.prompt))
        self._ids: list[int] = []
        self._logprobs: list[float] | None = [] if config.logprobs else None
        self._tops: list[Top] | None = [] if config.top_logprobs else None
        self._generated = 0
        self._pieces: list[str] = []
        self._given = 0

    def add(self, token: int, logprob: float | None = None, top: Top | None = None) -> None:
        """Add the next token; top: the likeliest in its place. Sets `finish_reason` where it was
        the last."""
        self._generated += 1
        if token in self.end_ids:
            self.end("stop")
            return
        self._ids.append(token)
        if self._logprobs is not None and logprob is not None:
            self._logprobs.append(logprob)
        if self._tops is not None and top is not None:
            self._tops.append(top)
        self._pieces.append(self._text.add(token))
        if self._text.stopped:
            self.end("stop")
        elif self._generated >= self._most:
            self.end("length")

    def end(self, reason: FinishReason) -> None:
        """End the answer; called again, it changes nothing."""
        if self.finish_reason is None:
            self._pieces.append(self._text.finish())
            # The rest of the text may hold a stop string, for example after half a character.
            self.finish_reason = "stop" if self._text.stopped else reason

    def chunk(self) -> Chunk:
        """Return what came since the last chunk."""
        text, self._pieces = "".join(self._pieces), []
        last = self._text.kept if self.finish_reason else len(self._ids)
        new = slice(self._given, max(self._given, last))
        self._given = new.stop
        return Chunk(
            text,
            tuple(self._ids[new]),
            None if self._logprobs is None else tuple(self._logprobs[new]),
            self.finish_reason,
            self.usage if self.finish_reason else None,
            None if self._tops is None else tuple(self._tops[new]),
        )

    def completion(self) -> Completion:
        """Return the whole answer, once it has ended."""
        kept = self._text.kept
        return Completion(
            self._text.text,
            tuple(self._ids[:kept]),
            None if self._logprobs is None else tuple(self._logprobs[:kept]),
            self.finish_reason or "cancelled",
            self.usage,
            None if self._tops is None else tuple(self._tops[:kept]),
        )

    @property
    def usage(self) -> Usage:
        """Tokens of the prompt, tokens that were generated, and those of the prompt that were
        there."""
        return Usage(len(self.prompt), self._generated, self.cached or 0)
