"""The tiny Llama of `tiny_llama` as a GGUF file in float32, for llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf", reason="the extra lm is not installed")

import gguf
import numpy as np
from transformers import LlamaForCausalLM

from adwright.tuning.formats.gguf import to_rotary
from tests.support.lm.tiny_llama import TEMPLATE, tiny_llama, tiny_tokenizer

_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def save_tiny_gguf(path: Path, model: LlamaForCausalLM | None = None, *, context: int = 0) -> Path:
    """Weights and tokeniser; the embedding is tied. model: another one of the same sizes. context:
    tokens that it is said to read; 0 for the model's own."""
    model = tiny_llama() if model is None else model
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, model.config, context)
    _tokenise(writer, model.config.vocab_size)
    tensors = {name: one.detach().float().numpy() for name, one in model.named_parameters()}
    writer.add_tensor("token_embd.weight", tensors["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", tensors["model.norm.weight"])
    heads = {"attn_q": model.config.num_attention_heads}
    heads["attn_k"] = model.config.num_key_value_heads
    for layer in range(model.config.num_hidden_layers):
        for theirs, ours in _LAYER.items():
            values = tensors[f"model.layers.{layer}.{theirs}.weight"]
            values = to_rotary(values, heads[ours]) if ours in heads else values
            writer.add_tensor(f"blk.{layer}.{ours}.weight", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: Any, config: Any, context: int) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(context or config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(0)


def _tokenise(writer: Any, size: int) -> None:
    told = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    by_id = {at: text for text, at in told["model"]["vocab"].items()}
    special = {one["id"] for one in told["added_tokens"]}
    texts, kinds = [], []
    for at in range(size):
        texts.append(by_id.get(at, f"[unused {at}]"))
        kinds.append(3 if at in special else 1 if at in by_id else 5)
    merges = [one if isinstance(one, str) else " ".join(one) for one in told["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
