"""What every language model can do, whatever runs it.

A program is written against these two Protocols and never against an engine; `open_model` opens
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

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

__all__ = ["Health", "LanguageModel", "TemplateTokenizer", "Tokenizer"]

#: Whether a model answers now. starting: again, after its process died. stuck: it has work, and
#: nothing comes of it. dead: it is closed, or its process cannot be started.
Health = Literal["ready", "starting", "stuck", "dead"]


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back."""

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    @property
    def begin_id(self) -> int | None:
        """The token in front of a text that has nothing before it; None where there is none."""

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`.

        special: with the tokens that the model wants around a text, such as one that begins it.
        Words such as <|im_end|> in the text become the special tokens of that name in any case:
        never put text of strangers into a prompt without `Message`s and a check.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens; an incomplete character is U+FFFD."""

    def count(self, text: str) -> int:
        """How many tokens `text` has, without special ones around it."""

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat in the template of the model, up to where its answer begins.

        Raises ConfigError where the model has no template, or it refuses these messages.
        """


@runtime_checkable
class TemplateTokenizer(Tokenizer, Protocol):
    """One that tells the chat template more than the turns."""

    def chat_with(self, messages: Sequence[Message], settings: Mapping[str, object]) -> list[int]:
        """As `chat`, and the template reads these settings too.

        Raises ConfigError for a setting that it does not read, or that is not for a caller to set.
        """


@runtime_checkable
class LanguageModel(Protocol):
    """A model that continues text and says how likely text is.

    Calls from several threads are allowed; the engine decides whether they run together or in turn.
    Raises, beside what each method says: ValueInvalidError where a prompt has no
    room in the context, with its row; ConfigError where the engine cannot do what is asked.
    """

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""

    @property
    def tokens(self) -> Tokenizer:
        """Its tokeniser. Raises ConfigError where the engine has none at hand."""

    @property
    def vocabulary(self) -> int:
        """It knows the tokens below this; 0 where nothing tells."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig = ...,
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        """An answer to each of B prompts, as one batch."""

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig = ...,
        *,
        cancel: Cancellation | None = None,
    ) -> Iterator[Chunk]:
        """The answer to one prompt, piece by piece.

        Closing the iterator, or losing it, ends the computation and frees its memory.
        """

    def score(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        *,
        cancel: Cancellation | None = None,
    ) -> Scores:
        """Log-likelihood of continuation i after prompt i, for B pairs.

        Prompt and continuation are turned into tokens each by itself, so that the prompt has the
        same tokens before every continuation; where a space separates the two, it belongs to the
        continuation.

        Raises ValueInvalidError where the numbers differ or a continuation has no tokens;
        ResourceError where it was cancelled, since half a score is none.
        """

    def embed(
        self, texts: Sequence[str | TokenPrompt], *, cancel: Cancellation | None = None
    ) -> npt.NDArray[np.float32]:
        """Vectors of length 1, float32 [B, D]: the mean of the last hidden states over the tokens
        of each text.

        Raises ResourceError where it was cancelled.
        """

    def health(self) -> Health:
        """Whether it would answer now, as far as this can be told at once, without asking it."""

    def close(self) -> None:
        """Free what the model holds; it cannot be used afterwards. Any number of times."""
