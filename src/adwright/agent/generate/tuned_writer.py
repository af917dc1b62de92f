"""A small model that has learned to write scripts, as a `LanguageModel` like any other.

    with closing(open_tuned_writer()) as model:          # the adapter that ships, if it does
        ScriptLadder(document, models=(model,), config=WRITER_BEAM)

It knows the language, so the help is taken out of what it is asked (`prompts.brief_messages`), as
it was when it learned; nothing else is changed. It is to be asked about as many elements as it has
learned on, and by the grammar: `WRITER_BEAM` is set so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adwright.agent.generate.retrieve import RetrieveConfig
from adwright.agent.generate.writing import BeamConfig, brief_messages
from adwright.core.assets import shipped
from adwright.core.errors import AssetError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completions,
    GenerationConfig,
    Health,
    LanguageModel,
    Message,
    ModelInfo,
    Prompt,
    Scores,
    Tokenizer,
    TokenPrompt,
)
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm

#: The adapter that ships with the package.
WRITER_ADAPTER = shipped("agent_writer")
#: How many elements the writer is shown, in training and when it is asked.
WRITER_RETRIEVE = RetrieveConfig(best=14, most=26)
WRITER_BEAM = BeamConfig(scripts=2, max_tokens=220, retrieve=WRITER_RETRIEVE)


class ScriptWriter:
    """A model whose prompts of scripts are told briefly."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        return self._model.info

    @property
    def tokens(self) -> Tokenizer:
        """Its tokeniser."""
        return self._model.tokens

    @property
    def vocabulary(self) -> int:
        """It knows the tokens below this."""
        return self._model.vocabulary

    def generate(
        self,
        prompts: Sequence[Prompt],
        config: GenerationConfig | None = None,
        *,
        cancel: Cancellation | None = None,
    ) -> Completions:
        """See `LanguageModel`."""
        asked = [_brief(one) for one in prompts]
        return self._model.generate(asked, config or GenerationConfig(), cancel=cancel)

    def stream(
        self,
        prompt: Prompt,
        config: GenerationConfig | None = None,
        *,
        cancel: Cancellation | None = None,
    ) -> Iterator[Chunk]:
        """See `LanguageModel`."""
        return self._model.stream(_brief(prompt), config or GenerationConfig(), cancel=cancel)

    def score(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        *,
        cancel: Cancellation | None = None,
    ) -> Scores:
        """See `LanguageModel`."""
        return self._model.score([_brief(one) for one in prompts], continuations, cancel=cancel)

    def embed(
        self, texts: Sequence[str | TokenPrompt], *, cancel: Cancellation | None = None
    ) -> npt.NDArray[np.float32]:
        """See `LanguageModel`."""
        return self._model.embed(texts, cancel=cancel)

    def health(self) -> Health:
        """See `LanguageModel`."""
        return self._model.health()

    def close(self) -> None:
        """See `LanguageModel`."""
        self._model.close()


def has_tuned_writer() -> bool:
    """Whether this package ships with an adapter."""
    return WRITER_ADAPTER.is_dir()


def open_tuned_writer(
    adapter: str | Path = "", *, model: str = SMOLLM2, threads: int = 0, offline: bool = False
) -> ScriptWriter:
    """A model with an adapter of `benchmarks.agent.train_writer`; with that which ships where none
    is named. model: what the adapter was trained on. offline: never download.

    Raises AssetError where there is none, and as `open_lm`.
    """
    folder = Path(adapter) if adapter else WRITER_ADAPTER
    if not folder.is_dir():
        raise AssetError(
            "there is no adapter for writing scripts",
            where=str(folder),
            hint="name one, or use a model without one",
        )
    spec = LmSpec(model, "torch", str(folder), threads=threads, offline=offline)
    return ScriptWriter(open_lm(spec))


def _brief(prompt: Prompt) -> Prompt:
    if isinstance(prompt, str | TokenPrompt) or not prompt:
        return prompt
    turns: list[Message] = list(prompt)
    return brief_messages(turns)
