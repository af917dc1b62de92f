"""The face that all engines share; an engine adds the small core behind it.

    class Reversed(TokenEngine):
        def _write(self, answers, config, cancel):
            for answer in answers:
                for token in reversed(answer.prompt):
                    answer.add(token)
                    yield

`Engine` checks the arguments of `generate`, `stream` and `score`. `TokenEngine` also tokenizes,
checks that prompts fit into the context and collects the answers; all engines but those behind
HTTP, which see no tokens, derive from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError
from adwright.lm.engine.answer import AnswerWriter
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completion,
    Completions,
    GenerationConfig,
    ModelInfo,
    Prompt,
    Scores,
    TokenPrompt,
)
from adwright.lm.engine.language_model import Health, Tokenizer
from adwright.lm.engine.prompts import (
    cancelled_embedding,
    cancelled_score,
    continuation_ids,
    paired,
    prompts_ids,
    require_known,
    require_room,
)

__all__ = ["Engine", "Pair", "TokenEngine", "Vectors"]

#: Tokens of a prompt and of its continuation.
Pair = tuple[list[int], list[int]]
#: float32 [B, D].
Vectors = npt.NDArray[np.float32]
_DEFAULT = GenerationConfig()


class Engine(ABC):
    """A `LanguageModel` whose arguments are checked in one place.

    An engine gives `_complete`, `_chunks`, `_log_probabilities` and `_vectors`, and where they
    have something to refuse, `_check` and `_require_open`. Its `__init__` sets `_info`.
    """

    _info: ModelInfo

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._info

    @property
    @abstractmethod
    def tokens(self) -> Tokenizer:
        """Its tokenizer."""

    @property
    def vocabulary(self) -> int:
        """It knows the tokens below this; 0 where nothing tells."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Free what the model holds. Any number of times."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig = _DEFAULT,
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        """Answer each of B prompts, as one batch. Errors as `LanguageModel`."""
        if isinstance(prompts, str):
            raise ConfigError(
                "prompts is one string", where="prompts", hint="pass a list with the string in it"
            )
        self._require_open()
        self._require_settings(config)
        self._check(config, cancel)
        return Completions(tuple(self._complete(prompts, config, cancel)))

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig = _DEFAULT,
        *,
        cancel: Cancellation | None = None,
    ) -> Iterator[Chunk]:
        """Answer one prompt piece by piece; closing the iterator ends the computation."""
        self._require_open()
        self._require_settings(config)
        self._check(config, cancel)
        return self._chunks(prompt, config, cancel)

    def score(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        *,
        cancel: Cancellation | None = None,
    ) -> Scores:
        """Return the log-likelihood of continuation i after prompt i, for B pairs."""
        self._require_open()
        paired(prompts, continuations)
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        return Scores(tuple(self._log_probabilities(prompts, continuations, cancel)))

    def embed(
        self, texts: Sequence[str | TokenPrompt], *, cancel: Cancellation | None = None
    ) -> Vectors:
        """Return vectors of length 1, float32 [B, D]; [0, 0] for no text."""
        self._require_open()
        if cancel is not None and cancel.cancelled:
            raise cancelled_embedding()
        return self._vectors(list(texts), cancel) if texts else np.empty((0, 0), dtype=np.float32)

    def health(self) -> Health:
        """What computes in the threads of its callers is ready for as long as it is open."""
        try:
            self._require_open()
        except ConfigError:
            return "dead"
        return "ready"

    def _require_settings(self, config: GenerationConfig) -> None:
        """Raise ConfigError for a setting that this engine would ignore."""
        missing = sorted(config.further - self.info.further)
        if missing:
            raise ConfigError(
                f"this engine has no {', '.join(missing)}",
                where=f"{missing[0]} {getattr(config, missing[0])!r}"[:80],
                hint="leave it out, or open the model on torch",
            )

    def _check(  # noqa: B027 - most refuse nothing
        self, config: GenerationConfig, cancel: Cancellation | None
    ) -> None:
        """Raise ConfigError where the engine cannot do what `config` asks for."""

    def _require_open(self) -> None:  # noqa: B027 - the core of most tells by itself
        """Raise ConfigError where the model is closed."""

    @abstractmethod
    def _complete(
        self, prompts: Sequence[Prompt], config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterable[Completion]:
        """One answer per prompt."""

    @abstractmethod
    def _chunks(
        self, prompt: Prompt, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        """The pieces of one answer. What is wrong with the prompt is raised at once."""

    @abstractmethod
    def _log_probabilities(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        cancel: Cancellation | None,
    ) -> Iterable[npt.NDArray[np.float64]]:
        """Log-probability of each token of each continuation: B times float64 [tokens]."""

    @abstractmethod
    def _vectors(self, texts: list[str | TokenPrompt], cancel: Cancellation | None) -> Vectors:
        """Vectors of length 1 of at least one text: float32 [B, D]."""


class TokenEngine(Engine):
    """An engine that computes on token ids.

    It gives `_write`, `_score_pairs` and `_embed_ids`; what it does not give, it refuses. Its
    `__init__` sets `_tokens` as well.
    """

    _tokens: Tokenizer
    #: Tokens that the network knows; others are refused. 0 where nothing tells.
    _vocabulary: int = 0

    @property
    def tokens(self) -> Tokenizer:
        """Its tokeniser."""
        return self._tokens

    @property
    def vocabulary(self) -> int:
        """It knows the tokens below this; 0 where nothing tells."""
        return self._vocabulary

    @abstractmethod
    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        """Add tokens to all answers until each has ended; yield after each step.

        Answer i draws from `seed + i`. Closing the generator ends the computation.
        """

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> Iterable[npt.NDArray[np.float64]]:
        """Log-probability of each token of B continuations, each after its prompt."""
        raise self._cannot("scores")

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        """Mean of the last hidden states over the tokens of each row, of length 1: [B, D].

        Raises `cancelled_embedding` between two pieces of work.
        """
        raise self._cannot("embeddings")

    def _cannot(self, what: str) -> ConfigError:
        return ConfigError(
            f"this engine has no {what}", where=self.info.engine, hint="open the model on torch"
        )

    def _writers(self, prompts: Sequence[Prompt], config: GenerationConfig) -> list[AnswerWriter]:
        """An empty answer per prompt."""
        context = self.info.context
        rows = self._ids(prompts, room=1)
        named = [*config.stop_token_ids, *(token for token, _ in config.logit_bias)]
        require_known(named, self._vocabulary)
        return [AnswerWriter(self.tokens, ids, config, context=context) for ids in rows]

    def _complete(
        self, prompts: Sequence[Prompt], config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterable[Completion]:
        answers = self._writers(prompts, config)
        with closing(self._write(answers, config, cancel)) as steps:
            for _ in steps:
                pass
        return (answer.completion() for answer in answers)

    def _chunks(
        self, prompt: Prompt, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        (answer,) = self._writers([prompt], config)
        return self._pieces(answer, config, cancel)

    def _pieces(
        self, answer: AnswerWriter, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        with closing(self._write([answer], config, cancel)) as steps:
            for _ in steps:
                yield answer.chunk()

    def _log_probabilities(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        cancel: Cancellation | None,
    ) -> Iterable[npt.NDArray[np.float64]]:
        pairs = continuation_ids(self.tokens, prompts, continuations, vocabulary=self._vocabulary)
        require_room([before + after for before, after in pairs], self.info.context, room=0)
        return self._score_pairs(pairs, cancel)

    def _vectors(self, texts: list[str | TokenPrompt], cancel: Cancellation | None) -> Vectors:
        return self._embed_ids(self._ids(texts, room=0), cancel)

    def _ids(self, prompts: Sequence[Prompt], *, room: int) -> list[list[int]]:
        context, vocabulary = self.info.context, self._vocabulary
        return prompts_ids(self.tokens, prompts, context, vocabulary=vocabulary, room=room)
