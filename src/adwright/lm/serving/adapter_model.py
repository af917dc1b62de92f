"""One tuned part as a `LanguageModel`: its calls become rows of the batch that all parts share."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from queue import SimpleQueue
from typing import Protocol

import numpy as np
import numpy.typing as npt

from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.base import Pair, TokenEngine, Vectors
from adwright.lm.engine.generation import Cancellation, Chunk, GenerationConfig, ModelInfo
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.prompts import cancelled_score
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


class AdapterModel(TokenEngine):
    """The base with one part, or none (`adapter` None). Closing it changes nothing: the engine
    belongs to whoever opened it."""

    def __init__(self, engine: Batching, adapter: str | None, info: ModelInfo) -> None:
        self._engine, self._adapter, self._info = engine, adapter, info
        self._vocabulary = engine.vocabulary

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._info

    @property
    def tokens(self) -> HuggingFaceTokens:
        """The base's tokeniser."""
        return self._engine.tokens

    def close(self) -> None:
        """Nothing: see the class."""

    def job(self, ids: Sequence[int], config: GenerationConfig, row: int = 0) -> Writing:
        """A row that answers the prompt `ids`, for whoever drives the engine himself.

        row: of its call, which its random numbers follow from.
        """
        answer = AnswerWriter(self.tokens, ids, config, context=self._info.context)
        return self._job(answer, config, row, None)

    def _job(
        self,
        answer: AnswerWriter,
        config: GenerationConfig,
        row: int,
        cancel: Cancellation | None,
        chunks: SimpleQueue[Chunk | None] | None = None,
    ) -> Writing:
        most = len(answer.prompt) + config.max_tokens
        context = self._info.context
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

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        self._engine.run([self._job(one, config, row, cancel) for row, one in enumerate(answers)])
        yield

    def _pieces(
        self, answer: AnswerWriter, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        chunks: SimpleQueue[Chunk | None] = SimpleQueue()
        # Closing the iterator gives the row up, whether the caller has a cancellation or not.
        job = self._job(answer, config, 0, cancel or Cancellation(), chunks)
        return self._engine.streamed(job, chunks)

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> list[npt.NDArray[np.float64]]:
        """Each pair is a row: prompts are not shared."""
        jobs = [Scoring(self._adapter, before, after, cancel) for before, after in pairs]
        self._engine.run(jobs)
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        return [job.logprobs for job in jobs]

    def _embed_ids(self, rows: Sequence[list[int]]) -> Vectors:
        jobs = [Embedding(self._adapter, ids) for ids in rows]
        self._engine.run(jobs)
        return np.stack([job.vector for job in jobs])
