"""Tiny random models of the families whose attention or logits differ from a Llama's."""

from __future__ import annotations

from typing import Any

import torch
import transformers

#: Tokens that a window spans: fewer than the texts of the tests have.
WINDOW = 4
_SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_WIDE = {"head_dim": 8}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "gemma2": (
        "Gemma2",
        _WIDE
        | _MIXED
        | {
            "query_pre_attn_scalar": 8,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": ("Gemma3", _WIDE | _MIXED | {"query_pre_attn_scalar": 8}),
    "mistral": ("Mistral", _WIDE | {"sliding_window": WINDOW}),
    "qwen2": ("Qwen2", _MIXED | {"use_sliding_window": True}),
    "qwen3": ("Qwen3", _WIDE | _MIXED | {"use_sliding_window": True}),
    "olmo3": ("Olmo3", _MIXED),
    "cohere2": ("Cohere2", _WIDE | _MIXED | {"logit_scale": 0.25}),
    "granite": ("Granite", {"logits_scaling": 4.0, "embedding_multiplier": 3.0}),
}


def tiny_of(family: str) -> Any:
    """A frozen model of 20,000 weights; the same weights in each call."""
    name, more = FAMILIES[family]
    config_name = f"{name}TextConfig" if family == "gemma3" else f"{name}Config"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, config_name)(**_SIZES | more)
        model = getattr(transformers, f"{name}ForCausalLM")(config)
    return model.eval().requires_grad_(False)
