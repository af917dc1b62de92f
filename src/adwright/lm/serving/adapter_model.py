"""One adapter as a `LanguageModel`: its calls become rows of the batch that all adapters share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from queue import SimpleQueue
from typing import Protocol

import numpy as np
import numpy.typing as npt

from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.base import Pair, TokenEngine, Vectors
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    GenerationConfig,
    ModelInfo,
    Prompt,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.language_model import Health
from adwright.lm.engine.prompts import cancelled_score
from adwright.lm.serving.rows import AnswerRow, EmbeddingRow, Row, ScoreRow
from adwright.lm.torch_engine.constraint import Grammars

__all__ = ["AdapterModel", "Batching"]


class Batching(Protocol):
    """What an `AdapterModel` needs of the engine."""

    @property
    def tokens(self) -> HuggingFaceTokens:
        """Tokenizer of the base."""

    @property
    def grammars(self) -> Grammars:
        """Constraints over its vocabulary."""

    @property
    def vocabulary(self) -> int:
        """Size of the vocabulary."""

    def health(self) -> Health:
        """Whether it computes."""

    def run(self, rows: Sequence[Row]) -> None:
        """Compute until all are over; raise the error of the first that has one."""

    def streamed(self, row: AnswerRow, chunks: SimpleQueue[Chunk | None]) -> Iterator[Chunk]:
        """Yield what comes into `chunks` until the row is over; closing it cancels the row."""


class AdapterModel(TokenEngine):
    """The base with one adapter, or none (`adapter` None). Closing it calls
    `on_close`, which does nothing where it is one of several models: close the engine."""

    def __init__(self, engine: Batching, adapter: str | None, info: ModelInfo) -> None:
        self._engine, self._adapter, self._info = engine, adapter, info
        self._tokens, self._vocabulary = engine.tokens, engine.vocabulary
        self.on_close: Callable[[], object] | None = None

    def health(self) -> Health:
        """How the engine is."""
        return self._engine.health()

    def close(self) -> None:
        """See the class."""
        if self.on_close is not None:
            self.on_close()

    def row(
        self,
        ids: Sequence[int],
        config: GenerationConfig,
        index: int = 0,
        *,
        cancel: Cancellation | None = None,
        chunks: SimpleQueue[Chunk | None] | None = None,
        salt: str = "",
    ) -> AnswerRow:
        """A row that answers the prompt `ids`, for a caller that drives the engine itself.

        index: of its call, which its random numbers follow from. chunks: where its pieces go. salt:
        whom it shares its beginning with, see `block_keys`.
        """
        answer = AnswerWriter(self.tokens, ids, config, context=self._info.context)
        row = self._row(answer, config, index, cancel, chunks)
        row.salt = salt
        return row

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The tokens of one prompt. Raises ValueInvalidError where it has no room in the context,
        with one token of an answer."""
        return self._ids([prompt], room=1)[0]

    def _row(
        self,
        answer: AnswerWriter,
        config: GenerationConfig,
        index: int,
        cancel: Cancellation | None,
        chunks: SimpleQueue[Chunk | None] | None = None,
    ) -> AnswerRow:
        most = len(answer.prompt) + config.max_tokens
        context = self._info.context
        return AnswerRow(
            self._adapter,
            answer,
            config,
            index,
            min(most, context) if context else most,
            vocabulary=self._engine.vocabulary,
            constraint=self._engine.grammars.constraint(config, 1, cancel=cancel),
            chunks=chunks,
            cancel=cancel,
        )

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        self._engine.run(
            [self._row(one, config, index, cancel) for index, one in enumerate(answers)]
        )
        yield

    def _pieces(
        self, answer: AnswerWriter, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        chunks: SimpleQueue[Chunk | None] = SimpleQueue()
        # Closing the iterator cancels the row, so that it always needs a cancellation.
        row = self._row(answer, config, 0, cancel or Cancellation(), chunks)
        return self._engine.streamed(row, chunks)

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> list[npt.NDArray[np.float64]]:
        """Each pair is a row; what the prompts begin with is read once."""
        rows = [ScoreRow(self._adapter, before, after, cancel) for before, after in pairs]
        self._engine.run(rows)
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        return [row.logprobs for row in rows]

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        own = [EmbeddingRow(self._adapter, ids, cancel) for ids in rows]
        self._engine.run(own)
        return np.stack([row.vector for row in own])
