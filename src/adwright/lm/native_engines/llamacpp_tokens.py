"""The tokeniser of a GGUF file as llama.cpp runs it, behind the Protocol `Tokenizer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Message
from adwright.lm.engine.prompts import unfit_messages

__all__ = ["XllamacppTokens"]

#: Asks llama.cpp's server at a path.
Ask = Callable[[str, Mapping[str, Any]], Any]

_CONTROL = 3
#: llama.cpp ends an answer at any of these, whatever the file calls its end.
_ENDS = frozenset(
    (
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>"),
        *("<|endoftext|>", "<|eom_id|>", "<EOT>", "_<EOT>", "<｜end▁of▁sentence｜>"),
        *("<end_of_utterance>", "<eos>", "<|end_of_text|>", "</s>"),
    )
)


class XllamacppTokens:
    """Text to tokens and back as llama.cpp does it.

    ask: of the process. fields: of the file, those of `tokenizer.ggml`. It may be used from
    several threads.
    """

    def __init__(self, ask: Ask, fields: Mapping[str, Any]) -> None:
        self._ask = ask
        texts = fields.get("tokenizer.ggml.tokens", [])
        kinds = fields.get("tokenizer.ggml.token_type", [])
        self._control = frozenset(at for at, kind in enumerate(kinds) if kind == _CONTROL)
        named = (fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
        ends = {int(one) for one in named if one is not None}
        self._ends = frozenset(
            ends | {one for one in self._control if one < len(texts) and texts[one] in _ENDS}
        )
        bos = fields.get("tokenizer.ggml.bos_token_id")
        self._begin = int(bos) if bos is not None else min(ends, default=None)
        self.vocabulary = len(texts)

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: those of the file, and those that llama.cpp knows by name."""
        return self._ends

    @property
    def begin_id(self) -> int | None:
        """The token in front of a text that has nothing before it; None where there is none."""
        return self._begin

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`; special: with those that the model wants around it."""
        if not text:
            return []
        body = {"content": text, "add_special": special, "parse_special": True}
        return [int(one) for one in self._ask("/tokenize", body)["tokens"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens."""
        shown = [one for one in ids if one not in self._control]
        return str(self._ask("/detokenize", {"tokens": shown})["content"]) if shown else ""

    def count(self, text: str) -> int:
        """How many tokens `text` has by itself."""
        return len(self.encode(text, special=False))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat in the model's template, up to where its answer begins.

        Raises ConfigError where the template refuses the messages. A file without a template gets
        llama.cpp's own, ChatML.
        """
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            text = self._ask("/apply-template", {"messages": turns})["prompt"]
        except ConfigError as error:
            raise unfit_messages(error.what) from error
        return self.encode(str(text), special=False)
