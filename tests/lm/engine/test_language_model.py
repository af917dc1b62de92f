from __future__ import annotations

import inspect

from adwright.lm.engine.base import Engine
from adwright.lm.engine.generation import LanguageModel, Tokenizer
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.scripted import ByteTokens
from adwright.lm.native_engines.llamacpp_model import XllamacppTokens
from adwright.lm.native_engines.openvino_model import OpenVinoTokens


def names_of(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def test_engines_have_what_the_protocol_asks_for() -> None:
    assert names_of(LanguageModel) <= set(dir(Engine))
    for name in ("generate", "stream", "score", "embed"):
        wanted = inspect.signature(getattr(LanguageModel, name)).parameters
        assert list(inspect.signature(getattr(Engine, name)).parameters) == list(wanted)


def test_tokenizers_have_what_the_protocol_asks_for() -> None:
    for tokens in (HuggingFaceTokens, OpenVinoTokens, XllamacppTokens, ByteTokens):
        assert names_of(Tokenizer) <= set(dir(tokens))
