"""Tokenisers of Hugging Face behind the Protocol `Tokenizer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.lm.engine.generation import Message
from adwright.lm.engine.grammar import check_template
from adwright.lm.engine.prompts import unfit_messages
from adwright.lm.engine.templates import check_settings
from adwright.lm.hf_load import load_hf_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["HuggingFaceTokens"]


class HuggingFaceTokens:
    """The tokeniser of a transformers model.

    tokenizer: as transformers loads it. end_ids: further tokens that end an answer, beside the
    tokeniser's own; a model's generation settings may name some.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, end_ids: frozenset[int] = frozenset()
    ) -> None:
        self.tokenizer = tokenizer
        own = tokenizer.eos_token_id
        self._end_ids = end_ids | ({int(own)} if isinstance(own, int) else set())

    @classmethod
    def load(cls, folder: str | Path, end_ids: frozenset[int] = frozenset()) -> HuggingFaceTokens:
        """Load from a folder in the layout of Hugging Face, or a hub name; no code in it is run.

        Raises AssetError where there is no tokeniser, MissingExtraError without transformers.
        """
        return cls(load_hf_tokenizer(folder), end_ids)

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self._end_ids

    @property
    def begin_id(self) -> int | None:
        """The token in front of a text that has nothing before it; None where there is none."""
        for found in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if isinstance(found, int):
                return found
        return None

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`; special: with those that the model wants around it."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens."""
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def count(self, text: str) -> int:
        """How many tokens `text` has by itself."""
        return len(self.encode(text, special=False))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat in the model's template, up to where its answer begins.

        Raises ConfigError where there is no template, it refuses the messages, or it takes too
        long or writes far too much for others.
        """
        return self.chat_with(messages, {})

    def chat_with(self, messages: Sequence[Message], settings: Mapping[str, object]) -> list[int]:
        """As `chat`, and the template reads these settings too. Raises as `chat` and
        `check_settings` do."""
        return self.encode(self.chat_text(messages, settings), special=False)

    def chat_text(self, messages: Sequence[Message], settings: Mapping[str, object]) -> str:
        """The text that those are the tokens of. Raises as `chat_with`."""
        from jinja2 import TemplateError

        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            template = str(self.tokenizer.get_chat_template())
            check_template(template)
            check_settings(template, settings)
            told: dict[str, Any] = dict(settings)
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **told
            )
        except (ValueError, TypeError, TemplateError, ArithmeticError, MemoryError) as error:
            raise unfit_messages(str(error).strip().split("\n", 1)[0]) from error
        return str(text)
