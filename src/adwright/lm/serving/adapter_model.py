"""One tuned part as a `LanguageModel`: its calls become rows of the batch that all parts share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Protocol

import numpy as np
import numpy.typing as npt

from adwright.lm.engine.answer import Answer
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completions,
    GenerationConfig,
    ModelInfo,
    Prompt,
    Scores,
    TokenPrompt,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.prompts import (
    cancelled_score,
    continuation_ids,
    prompts_ids,
    require_room,
)
from adwright.lm.serving.rows import Embedding, Job, Scoring, Writing
from adwright.lm.torch_engine.constraint import Grammars

__all__ = ["AdapterModel", "Batching"]


class Batching(Protocol):
    """What a view needs of the engine."""

    @property
    def tokens(self) -> HuggingFaceTokens:
        """Of the base."""

    @property
    def grammars(self) -> Grammars:
        """Constraints over its vocabulary."""

    @property
    def vocabulary(self) -> int:
        """Words that the head knows."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Until all are over; raises the error of the first that has one."""

    def streamed(self, job: Writing, chunks: SimpleQueue[Chunk | None]) -> Iterator[Chunk]:
        """What comes into `chunks`, until the job is over; it is given up with the iterator."""


class AdapterModel:
    """The base with one part, or none (`adapter` None). Closing it changes nothing: the engine
    belongs to whoever opened it."""

    def __init__(self, engine: Batching, adapter: str | None, info: ModelInfo) -> None:
        self._engine, self._adapter, self._info = engine, adapter, info

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._info

    @property
    def tokens(self) -> HuggingFaceTokens:
        """The base's tokeniser."""
        return self._engine.tokens

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig = GenerationConfig(),  # noqa: B008 - frozen
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        """An answer to each of B prompts. Raises ValueInvalidError, with its row, where one has
        no room in the context or the pool."""
        rows = prompts_ids(
            self.tokens, prompts, self._info.context, vocabulary=self._engine.vocabulary
        )
        jobs = [self.job(ids, config, row, cancel) for row, ids in enumerate(rows)]
        self._engine.run(jobs)
        return Completions(tuple(job.answer.completion() for job in jobs))

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig = GenerationConfig(),  # noqa: B008 - frozen
        *,
        cancel: Cancellation | None = None,
    ) -> Iterator[Chunk]:
        """The answer piece by piece; errors as `generate`."""
        (ids,) = prompts_ids(
            self.tokens, [prompt], self._info.context, vocabulary=self._engine.vocabulary
        )
        chunks: SimpleQueue[Chunk | None] = SimpleQueue()
        # Closing the iterator gives the row up, whether the caller has a cancellation or not.
        job = self.job(ids, config, 0, cancel or Cancellation(), chunks)
        return self._engine.streamed(job, chunks)

    def score(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        *,
        cancel: Cancellation | None = None,
    ) -> Scores:
        """Log-likelihood of B continuations. Each pair is a row: prompts are not shared."""
        pairs = continuation_ids(
            self.tokens, prompts, continuations, vocabulary=self._engine.vocabulary
        )
        require_room([before + after for before, after in pairs], self._info.context, room=0)
        jobs = [Scoring(self._adapter, before, after, cancel) for before, after in pairs]
        self._engine.run(jobs)
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        return Scores(tuple(job.logprobs for job in jobs))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Mean of the last hidden states over the tokens of each text, of length 1: [B, D]."""
        rows = prompts_ids(
            self.tokens, list(texts), self._info.context, vocabulary=self._engine.vocabulary, room=0
        )
        jobs = [Embedding(self._adapter, ids) for ids in rows]
        self._engine.run(jobs)
        if not jobs:
            return np.empty((0, 0), dtype=np.float32)
        return np.stack([job.vector for job in jobs])

    def close(self) -> None:
        """Nothing: see the class."""

    def job(
        self,
        ids: list[int],
        config: GenerationConfig,
        row: int = 0,
        cancel: Cancellation | None = None,
        chunks: SimpleQueue[Chunk | None] | None = None,
    ) -> Writing:
        """A row of the batch, for whoever drives the engine himself; arguments as `Writing`'s.
        ids: of the prompt, not empty."""
        context = self._info.context
        answer = Answer(self.tokens, ids, config, context=context)
        most = len(ids) + config.max_tokens
        return Writing(
            self._adapter,
            answer,
            config,
            row,
            min(most, context) if context else most,
            vocabulary=self._engine.vocabulary,
            constraint=self._engine.grammars.constraint(config, 1),
            chunks=chunks,
            cancel=cancel,
        )
