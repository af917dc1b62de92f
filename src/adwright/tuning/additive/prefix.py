"""Prefix tuning: learned keys and values that every position of every layer attends to.

Li & Liang, ACL 2021, arXiv 2101.00190. With P_k, P_v [L, d] of each layer and head:

    attention(q) = softmax(q [P_k, K]^T / sqrt(d)) [P_v, V]

Li & Liang compute them by an MLP from a small table while training, P = W_2 tanh(W_1 E + b_1) +
b_2, "mlp" here; P-tuning v2 (Liu et al., 2021, arXiv 2110.07602) learns them directly, "direct".
With K the width of all keys of a layer, and m of the MLP's hidden layer:

    direct: count = 2 N L K        mlp: count = L D + m D + m + 2 N K (m + 1)

The model is not at first what it was: attention goes to the prefix. Memory: L keys and values.

Ours: the prefix joins K and V where a cache would, after the rotation by position, so packed texts
and cached decoding work, and the base's attention is used unchanged.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import zeros
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["Prefix", "PrefixTuning"]

_STD = 0.02


@settings
class PrefixTuning(TuningMethod):
    """Learned keys and values in each layer. length: L. made_by: see the module. hidden: m.

    Applies to softmax attention that takes a mask (sdpa, eager).
    """

    default_rate: ClassVar[float] = 9e-2
    variants: ClassVar[Variants] = (
        Variant("prefix tuning", "additive: soft prompts", "made_by mlp", (("made_by", "mlp"),)),
        Variant("p-tuning v2", "additive: soft prompts", "made_by direct"),
    )
    packable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    length: Count = 20
    made_by: Literal["direct", "mlp"] = "direct"
    hidden: Count = 128

    def count(self, sizes: Sizes) -> int:
        """See the module."""
        keys = sizes.kv_heads * sizes.head_width
        if self.made_by == "direct":
            return 2 * sizes.layers * self.length * keys
        table = self.length * sizes.width + self.hidden * (sizes.width + 1)
        return table + 2 * sizes.layers * keys * (self.hidden + 1)

    def attach(self, tuned: Tuned) -> None:
        """Put a `Prefix` into each attention."""
        for prefix, layer in zip(self.prefixes(tuned), tuned.layers(), strict=True):
            prefix.on(layer.self_attn)  # type: ignore[arg-type]

    def prefixes(self, tuned: Tuned) -> list[Prefix]:
        """Make one per layer; those of an MLP share all but its last map.

        Raises ConfigError for an attention that takes no mask.
        """
        kernel = getattr(tuned.causal.config, "_attn_implementation", "eager")
        if kernel not in ("sdpa", "eager"):
            raise ConfigError(
                "a prefix needs an attention that takes a mask",
                where=f"attn_implementation = {kernel}",
                hint='call model.set_attn_implementation("sdpa") first',
            )
        sizes = tuned.sizes
        heads, width = sizes.kv_heads, sizes.head_width
        makers: list[nn.Module] = []
        if self.made_by == "direct":
            shape = (2, heads, self.length, width)
            makers = [_Direct(tuned.normal(*shape, std=_STD)) for _ in range(sizes.layers)]
        else:
            table = tuned.normal(self.length, sizes.width, std=1.0)
            first, bias = tuned.uniform(self.hidden, sizes.width), zeros(self.hidden)
            for _ in range(sizes.layers):
                last = tuned.uniform(2 * heads * width, self.hidden)
                makers.append(_Made(table, first, bias, last, heads))
        return [Prefix(maker) for maker in makers]


class _Direct(nn.Module):
    def __init__(self, values: nn.Parameter) -> None:
        super().__init__()
        self.values = values

    def forward(self) -> Tensor:
        return self.values


class _Made(nn.Module):
    def __init__(
        self,
        table: nn.Parameter,
        first: nn.Parameter,
        first_bias: nn.Parameter,
        last: nn.Parameter,
        heads: int,
    ) -> None:
        super().__init__()
        self.table, self.first, self.first_bias, self.last = table, first, first_bias, last
        self.last_bias, self.heads = zeros(len(last)), heads

    def forward(self) -> Tensor:
        inner = torch.tanh(functional.linear(self.table, self.first, self.first_bias))
        made = functional.linear(inner, self.last, self.last_bias)  # [L, 2 K]
        return made.view(len(made), 2, self.heads, -1).permute(1, 2, 0, 3)


class Prefix(nn.Module):
    """Puts keys and values before those of an attention. maker: returns [2, heads, L, d].

    gate: from the attention's input [B, T, D] to the log of a factor [B, T, 1] on the
    probability mass of the prefix before the softmax is normed; None for 1.
    """

    def __init__(self, maker: nn.Module, gate: nn.Module | None = None) -> None:
        super().__init__()
        self.maker, self.gate = maker, gate

    def on(self, attention: nn.Module) -> None:
        """Attach to `attention`."""
        attention.add_module("prefix", self)
        attention.register_forward_pre_hook(self._join, with_kwargs=True)

    def _join(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x: Tensor = args[0] if args else kwargs["hidden_states"]
        keys, values = self.maker().to(x.dtype)  # each [heads, L, d]
        # The argument was renamed between versions of transformers.
        name = "cache" if "cache" in kwargs else "past_key_values"
        inner = kwargs.get(name)
        cached = 0 if inner is None else int(inner.get_seq_length(module.layer_idx))
        mask = kwargs.get("attention_mask")
        if mask is None:
            # Without a mask the attention would be causal by itself, and whether the prefix counts
            # as its past would depend on the kernel.
            tokens = x.shape[1]
            mask = x.new_ones(tokens, tokens + cached, dtype=torch.bool).tril(cached)[None, None]
        wide = self._widened(mask, x, keys.shape[1])
        return args, kwargs | {name: _Before(inner, keys, values), "attention_mask": wide}

    def _widened(self, mask: Tensor, x: Tensor, length: int) -> Tensor:
        """Put L columns before the mask [B, 1, T, S], which is boolean or added to logits."""
        if self.gate is None:
            seen = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
            return torch.cat([seen(*mask.shape[:-1], length), mask], -1)
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, -torch.inf)
        opened = self.gate(x).to(mask.dtype)[:, None].expand(-1, -1, -1, length)
        return torch.cat([opened, mask.expand(len(x), -1, -1, -1)], -1)


class _Before:
    """Stands in for the cache of an attention: returns prefix, cached past, and present."""

    def __init__(self, inner: Any, keys: Tensor, values: Tensor) -> None:
        self.inner, self.keys, self.values = inner, keys, values

    def update(
        self,
        keys: Tensor,
        values: Tensor,
        layer: int,
        cache_kwargs: object = None,
        kwargs: object = None,
    ) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, heads, L + S, d]."""
        if self.inner is not None:
            keys, values = self.inner.update(keys, values, layer)
        before = (len(keys), -1, -1, -1)
        return (
            torch.cat([self.keys.expand(before), keys], 2),
            torch.cat([self.values.expand(before), values], 2),
        )
