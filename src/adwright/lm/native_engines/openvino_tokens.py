"""The tokeniser of an OpenVINO pipeline behind the Protocol `Tokenizer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adwright.lm.engine.generation import Message
from adwright.lm.engine.prompts import unfit_messages

if TYPE_CHECKING:
    import openvino_genai

__all__ = ["OpenVinoTokens"]


class OpenVinoTokens:
    """Text to tokens and back as the pipeline does it.

    tokenizer: of the pipeline; it may be used from several threads.
    """

    def __init__(self, tokenizer: openvino_genai.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._end = tokenizer.get_eos_token_id()
        self._begin = tokenizer.get_bos_token_id()

    @property
    def vocabulary(self) -> int:
        """One more than the highest token that it knows."""
        return max(self._tokenizer.get_vocab().values(), default=-1) + 1

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return frozenset((self._end,)) if self._end >= 0 else frozenset()

    @property
    def begin_id(self) -> int | None:
        """The token in front of a text that has nothing before it; None where there is none."""
        return next((one for one in (self._begin, self._end) if one >= 0), None)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`; special: with those that the model wants around it."""
        if not text:
            return []
        found = self._tokenizer.encode(text, add_special_tokens=special)
        return [int(one) for one in found.input_ids.data.reshape(-1)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)) if ids else ""

    def count(self, text: str) -> int:
        """How many tokens `text` has by itself."""
        return len(self.encode(text, special=False))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat in the model's template, up to where its answer begins.

        Raises ConfigError where there is no template, or it refuses the messages.
        """
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True)
        except RuntimeError as error:
            raise unfit_messages(str(error).strip().splitlines()[-1]) from error
        return self.encode(text, special=False)
