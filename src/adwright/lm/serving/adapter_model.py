"""One adapter as a `LanguageModel`: its calls become rows of the batch that all adapters share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError
from adwright.lm.engine.base import AnswerWriter, Pair, TokenEngine, Vectors, cancelled_score
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    GenerationConfig,
    Health,
    ModelInfo,
    Prompt,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.serving.scheduler import AnswerRow, EmbeddingRow, Row, ScoreRow
from adwright.lm.torch_engine.decode import Grammars
from adwright.lm.torch_engine.model import TorchModel
from adwright.lm.torch_engine.network import Network, network_of, tuned_over
from adwright.tuning.storage import read_tuned

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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


# --------------------------------------------------------------------------------------------------
# Adapters that no batch holds: each is a network of its own over the weights of the one base.
#
# They compute in turns: one token of one of them at a time, beside the passes of the batch. A
# network is made when it is first asked for, and the least recently used ones are dropped when
# their own tensors (what the adapter adds, and copies of what it trained of the base) exceed a
# bound; the last one stays. The folder is then read again.


@dataclass(frozen=True)
class AloneState:
    """One adapter. bytes: of its own tensors, 0 where it is on disk alone. hits: calls that found
    it in memory. loads: times that it was read."""

    name: str
    method: str
    bytes: int
    hits: int
    loads: int


@dataclass
class _Entry:
    folder: Path
    method: str
    model: AloneModel
    bytes: int = 0
    hits: int = 0
    loads: int = 0


class AloneAdapters:
    """The adapters of one base that are served alone. base: plain, in eval mode; its weights are
    shared and never written to. most_bytes: see the module. All methods are safe from any thread.
    """

    def __init__(
        self, base: PreTrainedModel, tokens: HuggingFaceTokens, most_bytes: int, note: str = ""
    ) -> None:
        self._base, self._tokens, self._most, self._note = base, tokens, most_bytes, note
        self._known: dict[str, _Entry] = {}
        #: Least recently used first.
        self._made: OrderedDict[str, Network] = OrderedDict()
        self._loading = threading.Lock()
        self.turn = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Registered adapters, in the order they came."""
        return tuple(self._known.copy())

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> AloneModel:
        """The model with that adapter; KeyError where there is none of that name."""
        return self._known[name].model

    def check(self, folder: str | Path) -> None:
        """Load an adapter, and keep nothing of it; raises as `load_tuned` and `Network` do."""
        network_of(tuned_over(self._base, folder))

    def register(self, name: str, folder: str | Path) -> None:
        """Take a folder that was checked."""
        method = read_tuned(folder).method
        model = AloneModel(self, name, self._base, self._tokens, f"{self._note}; {method}")
        self._known[name] = _Entry(Path(folder), method, model)

    def remove(self, name: str) -> None:
        """Forget an adapter; answers that are being written go on. KeyError where there is none."""
        with self._loading:
            del self._known[name]
            self._made.pop(name, None)

    def network(self, name: str) -> Network:
        """The network of an adapter, made where it is not there.

        Raises ConfigError where it was removed, and as `check`.
        """
        with self._loading:
            entry = self._known.get(name)
            if entry is None:
                raise ConfigError("the adapter was removed", where=name, hint="ask another model")
            made = self._made.pop(name, None)
            if made is None:
                tuned = tuned_over(self._base, entry.folder)
                made = network_of(tuned)
                state = tuned.state().values()
                entry.bytes = sum(each.numel() * each.element_size() for each in state)
                entry.loads += 1
            else:
                entry.hits += 1
            self._made[name] = made
            self._drop()
            return made

    def states(self) -> Sequence[AloneState]:
        """Say where each adapter is."""
        return [
            AloneState(
                name, one.method, one.bytes if name in self._made else 0, one.hits, one.loads
            )
            for name, one in self._known.copy().items()
        ]

    def _drop(self) -> None:
        while len(self._made) > 1:
            if sum(self._known[name].bytes for name in self._made) <= self._most:
                return
            self._made.popitem(last=False)


class AloneModel(TorchModel):
    """The base with one of these adapters. Closing it calls `on_close`, which does nothing
    where it is one of several models: its owner forgets it."""

    def __init__(
        self,
        owner: AloneAdapters,
        name: str,
        base: PreTrainedModel,
        tokens: HuggingFaceTokens,
        note: str,
    ) -> None:
        super().__init__(base, tokens, name=name, note=note)
        self._owner = owner
        # One lock for all of them: that is what makes them take turns.
        self._lock = owner.turn
        self.on_close: Callable[[], object] | None = None

    def close(self) -> None:
        """See the class."""
        if self.on_close is not None:
            self.on_close()

    def _open(self) -> Network:
        return self._owner.network(self._info.name)
