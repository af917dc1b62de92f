"""The tiny Llama with a tokeniser that splits numbers into digits, as those of real models do."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.torch_engine.model import TorchModel
from tests.support.lm.tiny_llama import TEMPLATE, tiny_llama, tiny_tokenizer


@cache
def digit_tokenizer() -> PreTrainedTokenizerFast:
    """`tiny_tokenizer`, but each digit is a word of its own."""
    tokenizer = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.chat_template = TEMPLATE
    return fast


def digit_model(seed: int = 0) -> TorchModel:
    """A model of random weights."""
    return TorchModel(tiny_llama(seed), HuggingFaceTokens(digit_tokenizer()), name="digits")
