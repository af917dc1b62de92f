from __future__ import annotations

from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.http import HttpModel
from adwright.lm.engine.language_model import LanguageModel, Tokenizer
from adwright.lm.engine.scripted import ByteTokens, ScriptedModel
from adwright.lm.native_engines.openvino_model import OpenVinoModel
from adwright.lm.native_engines.openvino_tokens import OpenVinoTokens


def names_of(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def test_every_engine_has_what_the_protocol_asks_for() -> None:
    for engine in (OpenVinoModel, HttpModel, ScriptedModel):
        assert names_of(LanguageModel) <= set(dir(engine))
    for tokens in (HuggingFaceTokens, OpenVinoTokens, ByteTokens):
        assert names_of(Tokenizer) <= set(dir(tokens))
