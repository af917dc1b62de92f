"""The tokeniser of a GGUF file as llama.cpp runs it, behind the Protocol `Tokenizer`."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import Message

__all__ = ["XllamacppTokens", "gguf_fields"]

#: Asks llama.cpp's server at a path.
Ask = Callable[[str, Mapping[str, Any]], Any]

_CONTROL = 3
_STRING, _ARRAY = 8, 9
#: The numbers of GGUF by their code: their letter in `struct`.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"} | {
    12: "d"
}
#: llama.cpp ends an answer at any of these, whatever the file calls its end.
_ENDS = frozenset(
    (
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>"),
        *("<|endoftext|>", "<|eom_id|>", "<EOT>", "_<EOT>", "<｜end▁of▁sentence｜>"),
        *("<end_of_utterance>", "<eos>", "<|end_of_text|>", "</s>"),
    )
)


def gguf_fields(path: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """The fields of a GGUF file whose keys are `wanted`; arrays are lists.

    The package gguf reads every field of a file into arrays of their own, which takes seconds for
    a vocabulary; this passes over what is not asked for.

    Raises AssetError where it is no GGUF file of version 2 or 3, or is cut off.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, version, _, count = struct.unpack_from("<4sIQQ", data, 0)
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError("it does not begin as one of version 2 or 3")
        at, found = 24, {}
        for _ in range(count):
            key, at = _string(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            value, at = _value(data, at + 4, kind, keep=wanted(key))
            if wanted(key):
                found[key] = value
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise AssetError(
            f"the GGUF file cannot be read: {error}",
            where=str(path),
            hint="name a GGUF file; where it was downloaded, download it again",
        ) from error
    return found


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
            raise ConfigError(
                f"the messages do not fit the chat template of the model: {error.what}",
                where="messages",
                hint="take an instruction-tuned model, or pass the prompt as text",
            ) from error
        return self.encode(str(text), special=False)


def _string(data: memoryview, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise ValueError("it is cut off")
    return str(data[at + 8 : end], "utf-8", "replace"), end


def _value(data: memoryview, at: int, kind: int, *, keep: bool) -> tuple[Any, int]:
    """The value at `at`, None where it is not kept, and where the next one begins."""
    if kind == _STRING:
        return _string(data, at)
    if kind != _ARRAY:
        form = f"<{_NUMBERS[kind]}"
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", data, at)
    if inner == _ARRAY:
        raise ValueError("it has an array of arrays")
    at += 12
    if inner in _NUMBERS:
        form = f"<{count}{_NUMBERS[inner]}"
        end = at + struct.calcsize(form)
        return (list(struct.unpack_from(form, data, at)) if keep else None), end
    found = []
    for _ in range(count):
        if inner == _STRING and not keep:
            (length,) = struct.unpack_from("<Q", data, at)
            at += 8 + length
        else:
            one, at = _value(data, at, inner, keep=keep)
            found.append(one)
    return found, at
