"""The tensors of a whole model by the names and in the order of GGUF, for a merged model.

Matrices and vectors are those of transformers, but for the rows of q and k in the architecture
`llama`, see `gguf_lora`, and those of their biases. A head that is the embedding is not there
twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.formats.gguf_lora import GGUF_NAMES, PERMUTED, architecture_of, to_rotary
from adwright.tuning.sizes import ATTENTION, LINEAR, Sizes

__all__ = ["gguf_tensors"]

_ENDS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_INSIDE = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
} | {
    f"{'self_attn' if target in ATTENTION else 'mlp'}.{target}": GGUF_NAMES[target]
    for target in LINEAR
}


def gguf_tensors(model: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Name the tensors of `model`, a plain causal LM, as GGUF does; float32.

    Raises ConfigError for a family or a parameter that is not known here.
    """
    architecture, sizes = architecture_of(model), Sizes.of(model)
    heads = {"attn_q": sizes.heads, "attn_k": sizes.kv_heads}
    found = {}
    for name, value in model.named_parameters():
        owner, _, part = name.rpartition(".")
        theirs = _named(owner)
        if not theirs:
            raise ConfigError(
                f"the parameter {name} has no place in GGUF here",
                where=type(model).__name__,
                hint="write a folder, and let llama.cpp's own script convert it",
            )
        values = _array(value)
        last = theirs.rpartition(".")[2]
        if architecture in PERMUTED and last in heads:
            values = to_rotary(values, heads[last])
        found[f"{theirs}.{part}"] = values
    return found


def _named(owner: str) -> str:
    """The name of a module, empty where it is not known."""
    if owner in _ENDS:
        return _ENDS[owner]
    head, _, inner = owner.removeprefix("model.layers.").partition(".")
    return f"blk.{head}.{_INSIDE[inner]}" if head.isdigit() and inner in _INSIDE else ""


def _array(value: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = value.detach().float().cpu().numpy()
    return np.ascontiguousarray(found)
