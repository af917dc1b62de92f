"""A language model that answers what it was told to: for tests, dry runs and examples.

    model = ScriptedModel(ScriptedConfig(("Fresh tea, every morning.",)))
    assert model.generate(["Write a headline."]).texts == ["Fresh tea, every morning."]

Its tokens are the bytes of UTF-8, so that limits, stop strings and half characters behave as with
a real model. It costs nothing and is the same everywhere.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError
from adwright.lm.engine.answer import Answer
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completions,
    GenerationConfig,
    Message,
    ModelInfo,
    Prompt,
    Scores,
    TokenPrompt,
)
from adwright.lm.engine.prompts import cancelled_score, continuation_ids, prompts_ids

__all__ = ["ByteTokens", "ScriptedConfig", "ScriptedModel"]

_END = 256
_VOCABULARY = 257
_D = 16


@dataclass(frozen=True)
class ScriptedConfig:
    """What it answers.

    replies: given one after another, one a prompt, and then again from the first.
    name: under which it goes. seconds_a_token: how long each token takes.

    Raises ConfigError without a reply.
    """

    replies: tuple[str, ...] = ("ok",)
    name: str = "scripted"
    seconds_a_token: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.replies, str) or not self.replies:
            raise ConfigError(
                "replies must be a tuple of at least one string",
                where=f"replies {self.replies!r}",
                hint="correct it",
            )


class ByteTokens:
    """One token a byte of UTF-8; token 256 ends an answer."""

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return frozenset((_END,))

    @property
    def begin_id(self) -> int | None:
        """The end token also begins."""
        return _END

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The bytes of `text`; there are no special tokens around it."""
        return list(text.encode("utf-8"))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; an incomplete character is U+FFFD."""
        return bytes(one for one in ids if one != _END).decode("utf-8", "replace")

    def count(self, text: str) -> int:
        """Bytes of `text`."""
        return len(text.encode("utf-8"))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Each turn in a line, `role: content`, then the role that answers."""
        lines = [f"{turn.role}: {turn.content}\n" for turn in messages]
        return self.encode("".join(lines) + "assistant: ")


class ScriptedModel:
    """Gives the replies of its config, cut to max_tokens and stop strings.

    Every token has the log-probability of a fair draw among 256, and the embedding of a text
    follows from its hash. Constraints and temperature change nothing.
    """

    def __init__(self, config: ScriptedConfig) -> None:
        self._config = config
        self._tokens = ByteTokens()
        self._given = 0
        self._lock = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return ModelInfo(self._config.name, "scripted", 0, "replies written beforehand")

    @property
    def tokens(self) -> ByteTokens:
        """Its tokeniser."""
        return self._tokens

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig = GenerationConfig(),  # noqa: B008 - frozen
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        """The next B replies."""
        answers = [self._begin(prompt, config) for prompt in prompts]
        for answer, reply in answers:
            for _ in self._write(answer, reply, cancel):
                pass
        return Completions(tuple(answer.completion() for answer, _ in answers))

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig = GenerationConfig(),  # noqa: B008 - frozen
        *,
        cancel: Cancellation | None = None,
    ) -> Iterator[Chunk]:
        """The next reply, byte by byte."""
        answer, reply = self._begin(prompt, config)
        return (answer.chunk() for _ in self._write(answer, reply, cancel))

    def score(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        *,
        cancel: Cancellation | None = None,
    ) -> Scores:
        """- log 256 for each byte."""
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        rows = continuation_ids(self._tokens, prompts, continuations, vocabulary=_VOCABULARY)
        return Scores(tuple(np.full(len(after), -math.log(256)) for _, after in rows))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of length 1 from the hashes of the texts: [B, 16]."""
        digests = [hashlib.sha256(text.encode("utf-8")).digest()[:_D] for text in texts]
        found = np.array([list(one) for one in digests], dtype=np.float32).reshape(-1, _D) - 127.5
        unit: npt.NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit.astype(np.float32)

    def close(self) -> None:
        """Nothing to free."""

    def _begin(self, prompt: Prompt, config: GenerationConfig) -> tuple[Answer, str]:
        (ids,) = prompts_ids(self._tokens, [prompt], 0, vocabulary=_VOCABULARY)
        with self._lock:
            reply = self._config.replies[self._given % len(self._config.replies)]
            self._given += 1
        return Answer(self._tokens, ids, config), reply

    def _write(self, answer: Answer, reply: str, cancel: Cancellation | None) -> Iterator[None]:
        for token in [*self._tokens.encode(reply), _END]:
            if self._config.seconds_a_token:
                time.sleep(self._config.seconds_a_token)
            if cancel is not None and cancel.cancelled:
                answer.end("cancelled")
            else:
                answer.add(token, -math.log(256))
            yield
            if answer.finish_reason is not None:
                return
