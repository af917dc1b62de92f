"""A random Llama of 60,000 weights with a tokeniser of its own: made in a moment, no download."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.torch_engine.model import TorchModel

CORPUS = (
    "the best tea in the world is a cup of tea with a friend",
    "buy two packs of coffee and get the third for free",
    "fresh bread, ripe cheese and red apples every morning",
    "a warm coat for cold days, a light shirt for warm ones",
    '{"category": "tea", "price": 12.50, "words": ["good", "cheap"]}',
    "user assistant system: name three teas. green, black, white.",
)
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' and not loop.first %}"
    "{{ raise_exception('the system speaks first') }}{% endif %}"
    "<|begin|>{{ m['role'] }}\n{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant\n{% endif %}"
)
#: Nothing but the bytes and merges that 400 entries hold.
VOCABULARY = 400
CONTEXT = 256


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that can write any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.chat_template = TEMPLATE
    return fast


def tiny_llama(seed: int = 0, *, tied: bool = True) -> LlamaForCausalLM:
    """Three layers, grouped heads; weights so large that its answers wander."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=tied,
        initializer_range=0.15,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def tiny_tokens() -> HuggingFaceTokens:
    """Its tokeniser as `Tokenizer`."""
    return HuggingFaceTokens(tiny_tokenizer())


def tiny_model(*, batch_size: int = 32, seed: int = 0) -> TorchModel:
    """The engine on it."""
    return TorchModel(tiny_llama(seed), tiny_tokens(), name="tiny", batch_size=batch_size)


def save_tiny(folder: Path) -> Path:
    """Model and tokeniser in the layout of Hugging Face."""
    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
