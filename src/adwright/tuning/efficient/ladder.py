"""Ladder side-tuning: a small network beside the backbone, and no gradient through the backbone.

Sung, Cho & Bansal, NeurIPS 2022, arXiv 2206.06522. With h_l [T, D] the output of decoder layer
l (h_0 the embedding), detached from the graph, and a side width S = D / reduction:

    z_0 = D_0 h_0        z_l = block_l(a_l D_l h_l + (1 - a_l) z_{l-1}),  a_l = sigma(mu_l / T)
    hidden = h_final + U norm(z_N)                   D_l [S, D], U [D, S] = 0 at first, T = 0.1
    count = N (S D + 1 + 4 S^2 + 3 S M + 2 S) + 2 S D + S,  M = 2 S

Memory: activations of width S instead of D, and the hidden states, but not the backbone's
activations. The backward pass is that of the side network alone.

Ours: blocks of causal attention without positions (the states contain them) and a gated MLP; the
side network is random, not pruned out of the backbone; its output is added to the backbone's, so
the model is at first what it was. Decoding reads the whole text again for each token: the side
network has no cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, settings
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import Inputs, ones, zeros
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["Ladder", "LadderTuning", "visible"]

_TEMPERATURE = 0.1
_EPS = 1e-6


@settings
class LadderTuning(TuningMethod):
    """reduction: D / S. Applies to any backbone that returns its hidden states."""

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("LST", "efficient: memory"),)
    packable: ClassVar[bool] = True
    reduction: Count = 8

    def count(self, sizes: Sizes) -> int:
        """See the module."""
        side = max(1, sizes.width // self.reduction)
        block = 4 * side**2 + 6 * side**2 + 2 * side
        rungs = sizes.layers * (side * sizes.width + 1 + block)
        return rungs + 2 * side * sizes.width + side

    def attach(self, tuned: Tuned) -> None:
        """Put a `Ladder` around the backbone."""
        tuned.outer = Ladder(tuned, max(1, tuned.sizes.width // self.reduction))


class Ladder(nn.Module):
    """The side network. side: S."""

    def __init__(self, tuned: Tuned, side: int) -> None:
        super().__init__()
        width, layers = tuned.sizes.width, tuned.sizes.layers
        self.foot = tuned.uniform(side, width)
        self.down = nn.ParameterList(tuned.uniform(side, width) for _ in range(layers))
        self.mu = nn.ParameterList(zeros(1) for _ in range(layers))
        self.blocks = nn.ModuleList(_SideBlock(tuned, side) for _ in range(layers))
        self.norm, self.up = ones(side), zeros(width, side)

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Hidden states [B, T, D]."""
        with torch.no_grad():
            output = backbone(
                input_ids=inputs.ids,
                attention_mask=inputs.mask,
                position_ids=inputs.positions,
                output_hidden_states=True,
                use_cache=False,
            )
        first, *states = (state.detach() for state in output.hidden_states)
        # The last state is after the final norm, and serves as h_N too.
        seen = visible(inputs)
        z = functional.linear(first, self.foot.to(first.dtype))
        for state, down, mu, block in zip(states, self.down, self.mu, self.blocks, strict=True):
            a = torch.sigmoid(mu / _TEMPERATURE).to(state.dtype)
            z = block(a * functional.linear(state, down.to(state.dtype)) + (1 - a) * z, seen)
        last: Tensor = output.last_hidden_state.detach()
        z = functional.rms_norm(z, z.shape[-1:], self.norm.to(z.dtype), _EPS)
        return last + functional.linear(z, self.up.to(z.dtype))


class _SideBlock(nn.Module):
    """z + attention(norm(z)), then z + MLP(norm(z)), all S wide."""

    def __init__(self, tuned: Tuned, side: int) -> None:
        super().__init__()
        self.heads = max(heads for heads in (1, 2, 4) if side % heads == 0)
        self.norms = nn.ParameterList([ones(side), ones(side)])
        self.qkv, self.o = tuned.uniform(3 * side, side), tuned.uniform(side, side)
        self.gate_up, self.down = tuned.uniform(4 * side, side), tuned.uniform(side, 2 * side)

    def forward(self, z: Tensor, seen: Tensor) -> Tensor:
        qkv, o, gate_up, down, *norms = (
            each.to(z.dtype) for each in (self.qkv, self.o, self.gate_up, self.down, *self.norms)
        )
        x = functional.rms_norm(z, z.shape[-1:], norms[0], _EPS)
        heads = functional.linear(x, qkv).view(*z.shape[:-1], 3, self.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each [B, heads, T, S / heads]
        made = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        z = z + functional.linear(made.transpose(1, 2).flatten(2), o)
        x = functional.rms_norm(z, z.shape[-1:], norms[1], _EPS)
        gate, up = functional.linear(x, gate_up).chunk(2, -1)
        return z + functional.linear(functional.silu(gate) * up, down)


def visible(inputs: Inputs) -> Tensor:
    """Say whether query t sees key s, bool [B or 1, 1, T, T]: earlier, no padding, the same text.

    A text starts wherever a position is not one more than the one before. Every token sees itself,
    also padding, or its softmax would be over nothing.
    """
    input_ids, attention_mask, position_ids = inputs
    tokens = input_ids.shape[1]
    seen = torch.ones(tokens, tokens, dtype=torch.bool, device=input_ids.device).tril()[None]
    if attention_mask is not None:
        seen = seen & (attention_mask[:, None, :] > 0)
    if position_ids is not None:
        text = functional.pad((position_ids.diff(dim=1) != 1).cumsum(1), (1, 0))
        if attention_mask is None:
            seen = seen & (text[:, :, None] == text[:, None, :])
    itself = torch.eye(tokens, dtype=torch.bool, device=input_ids.device)
    return (seen | itself)[:, None]
