"""Attention of many candidates to the keys and values of one prompt, which is never copied.

    with attends_in_branches(model):
        decoder(input_ids=ids, position_ids=positions, use_cache=False, branches=Branches(...))

B candidates change a few tokens of a prompt of K tokens. The queries of all of them meet the kept
keys in one product of matrices, and each its own R new keys:

    scores = [ Q K_kept^T + mask ;  q_b k_b^T + causal ] s        [H, B R, K + R]
    output = softmax(scores) [ V_kept ; v_b ]

A cache of transformers would hold B copies of the prompt, and making them takes longer than all
products of a short candidate.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adwright.tuning.packing.attention import attending

#: Under which transformers knows this attention.
_NAME = "adwright_branches"
#: Up to so many new tokens of a candidate, scores are made for all candidates at once.
_SHORT = 64


@dataclass(frozen=True)
class Branches:
    """keys, values: [G, K, D] of the kept tokens, a pair a layer. hidden: added to the scores of
    the kept tokens [R, K], minus infinity where a token may not look; None where all may."""

    layers: list[tuple[Tensor, Tensor]]
    hidden: Tensor | None = None


def attends_in_branches(model: Any) -> AbstractContextManager[None]:
    """Within the context, the decoder takes `branches=` with the tokens and positions of B
    candidates, and no cache; each sees the kept tokens and its own. Without `branches` it attends
    as ever. Raises MissingExtraError without transformers."""
    return attending(model, _NAME, _attend)


def branch_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    kept: tuple[Tensor, Tensor] | None = None,
    hidden: Tensor | None = None,
) -> Tensor:
    """Attention of B candidates: query [B, H, R, D], key and value [B, G, R, D] -> [B, R, H, D].

    The R tokens of a candidate are in the order of their positions, so that each sees those before
    it. kept: keys and values [G, K, D] of tokens that all see. hidden: as in `Branches`.
    """
    if kept is None or query.shape[2] > _SHORT:
        return _copied(query, key, value, kept, hidden, scale)
    return _shared(query * scale, key, value, kept, hidden)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    branches: Branches | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    kept = None if branches is None else branches.layers[int(layer)]
    hidden = None if branches is None else branches.hidden
    return branch_attention(query, key, value, scale, kept, hidden), None


def _shared(
    query: Tensor, key: Tensor, value: Tensor, kept: tuple[Tensor, Tensor], hidden: Tensor | None
) -> Tensor:
    B, H, R, D = query.shape
    keys, values = kept  # [G, K, D]
    G, K, _ = keys.shape
    F = H // G
    # The heads of a group side by side: [G, F, B, R, D].
    queries = query.view(B, G, F, R, D).permute(1, 2, 0, 3, 4).contiguous()
    flat = queries.view(G, F * B * R, D)
    # Products with a matrix that is stored transposed take twice as long.
    seen = torch.bmm(flat, keys.transpose(1, 2).contiguous()).view(G, F, B, R, K)
    if hidden is not None:
        seen += hidden
    own = torch.matmul(queries, key.permute(1, 0, 3, 2)[:, None])  # [G, F, B, R, R]
    later = torch.ones(R, R, dtype=torch.bool, device=query.device).triu(1)
    own.masked_fill_(later, float("-inf"))
    shares = torch.cat([seen, own], dim=-1).softmax(-1)  # [G, F, B, R, K + R]
    found = torch.bmm(shares.view(G, F * B * R, K + R)[..., :K], values).view(G, F, B, R, D)
    found += torch.matmul(shares[..., K:], value.transpose(0, 1)[:, None])
    return found.permute(2, 3, 0, 1, 4).reshape(B, R, H, D)


def _copied(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kept: tuple[Tensor, Tensor] | None,
    hidden: Tensor | None,
    scale: float,
) -> Tensor:
    """The same by torch's kernel, over a copy of the kept keys for each candidate: faster where
    many tokens of a candidate are new, since no scores are stored."""
    B, _, R, _ = query.shape
    mask = torch.full((R, R), float("-inf"), dtype=query.dtype, device=query.device).triu_(1)
    if kept is not None:
        keys, values = (one[None].expand(B, -1, -1, -1) for one in kept)
        key, value = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        before = mask.new_zeros(R, keys.shape[2]) if hidden is None else hidden
        mask = torch.cat([before, mask], dim=1)
    found = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=True
    )
    return found.transpose(1, 2)
