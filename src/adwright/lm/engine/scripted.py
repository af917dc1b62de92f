"""A language model that gives replies written beforehand: for tests, dry runs and examples.

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
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import InitVar, dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError
from adwright.lm.engine.base import AnswerWriter, Pair, TokenEngine, Vectors
from adwright.lm.engine.generation import (
    FURTHER,
    Cancellation,
    Capabilities,
    GenerationConfig,
    Message,
    ModelInfo,
    Top,
)

_END = 256
_D = 16


@dataclass(frozen=True)
class ScriptedConfig:
    """What it answers.

    replies: given in turn, one per prompt, and then again from the first.
    name: of the model. seconds_per_token: how long each token takes.

    Raises ConfigError without a reply.
    """

    engine: ClassVar[str] = "scripted"
    package: ClassVar[str] = ""
    extra: ClassVar[str] = "lm"
    capabilities: ClassVar[Capabilities] = Capabilities(
        title="scripted", models="none", score="a constant", embed="from a hash"
    )

    replies: tuple[str, ...] = ("ok",)
    name: str = "scripted"
    seconds_per_token: float = 0.0
    seconds_a_token: InitVar[float | None] = None  # its name before

    def __post_init__(self, seconds_a_token: float | None) -> None:
        if seconds_a_token is not None:
            told = "seconds_a_token is now called seconds_per_token"
            warnings.warn(told, DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "seconds_per_token", seconds_a_token)
        if isinstance(self.replies, str) or not self.replies:
            raise ConfigError(
                "replies must be a tuple of at least one string",
                where=f"replies {self.replies!r}",
                hint="correct it",
            )


class ByteTokens:
    """One token per byte of UTF-8; token 256 ends an answer."""

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
        return self.bytes_of(ids).decode("utf-8", "replace")

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        """Return the bytes that `ids` stand for, without the end token."""
        return bytes(one for one in ids if one != _END)

    def count(self, text: str) -> int:
        """Bytes of `text`."""
        return len(text.encode("utf-8"))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Each turn in a line, `role: content`, then the role that answers."""
        lines = [f"{turn.role}: {turn.content}\n" for turn in messages]
        return self.encode("".join(lines) + "assistant: ")


class ScriptedModel(TokenEngine):
    """Gives the replies of its config, cut to max_tokens and stop strings.

    Every token has the log-probability of a fair draw among 256, and the embedding of a text
    follows from its hash. Constraints, temperature and what else chooses a token change nothing.
    """

    _vocabulary = _END + 1

    def __init__(self, config: ScriptedConfig) -> None:
        self._config = config
        self._tokens: ByteTokens = ByteTokens()
        note = "replies written beforehand"
        self._info = ModelInfo(config.name, "scripted", 0, note, FURTHER)
        self._given = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing to free."""

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        for answer, reply in [(answer, self._next_reply()) for answer in answers]:
            tokens = iter((*self._tokens.encode(reply), _END))
            while answer.finish_reason is None:
                if self._config.seconds_per_token:
                    time.sleep(self._config.seconds_per_token)
                if cancel is not None and cancel.cancelled:
                    answer.end("cancelled")
                else:
                    token = next(tokens)
                    answer.add(token, -math.log(256), _likeliest(token, config.top_logprobs))
                yield

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> Iterator[npt.NDArray[np.float64]]:
        return (np.full(len(after), -math.log(256)) for _, after in pairs)

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        digests = [hashlib.sha256(self._tokens.bytes_of(ids)).digest()[:_D] for ids in rows]
        found = np.array([list(one) for one in digests], dtype=np.float32) - 127.5
        unit: Vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit.astype(np.float32)

    def _next_reply(self) -> str:
        with self._lock:
            self._given += 1
            return self._config.replies[(self._given - 1) % len(self._config.replies)]


def _likeliest(token: int, count: int) -> Top:
    """The token, and others that are as likely."""
    if not count:
        return ()
    others = [one for one in range(256) if one != token]
    return tuple((one, -math.log(256)) for one in [token, *others][:count])
