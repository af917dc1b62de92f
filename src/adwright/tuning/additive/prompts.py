"""Prompt tuning: learned vectors stand before the text as if they were words.

Lester et al., EMNLP 2021, arXiv 2104.08691. With E(x) [T, D] the embedded text:

    input = [p_1 ... p_L, E(x)]        count = L D

The vectors start as embeddings of words drawn from the vocabulary, as the paper advises. The model
reads L words more, so it is not at first what it was. Memory: L positions in every layer.

Prefix tuning: learned keys and values that every position of every layer attends to.

Li & Liang, ACL 2021, arXiv 2101.00190. With P_k, P_v [L, d] of each layer and head:

    attention(q) = softmax(q [P_k, K]^T / sqrt(d)) [P_v, V]

Li & Liang compute them by an MLP from a small table while training, P = W_2 tanh(W_1 E + b_1) +
b_2, "mlp" here; P-tuning v2 (Liu et al., 2021, arXiv 2110.07602) learns them directly, "direct".
With K the width of all keys of a layer, and m of the MLP's hidden layer:

    direct: count = 2 N L K        mlp: count = L D + m D + m + 2 N K (m + 1)

The model is not at first what it was: attention goes to the prefix. Memory: L keys and values.

Ours: the prefix joins K and V where a cache would, after the rotation by position, so packed texts
and cached decoding work, and the base's attention is used unchanged.

DePT: a short soft prompt, and a low-rank update of the embedded text.

Shi & Lipani, "DePT: Decomposed Prompt Tuning", ICLR 2024, arXiv 2309.05173. At position t,

    input = [p_1 ... p_L, E(x_t) + (A B)_t]        A [S, r] random, B [r, D] = 0 at first
    count = L D + S r + r D

S is the longest text. The parameters of a long prompt are spent so that fewer positions are read.

The method has two learning rates: the paper trains the prompt at 3e-1 and more, A and B at rates
such as 5e-4. Here the prompt's rate is `rate_ratio` times the other. Ours: 60, where the paper has
some hundreds. A step of Adam is as long as the rate, and embeddings of a Llama-type model are far
smaller than those of T5; at the default rate, 5e-4, the prompt has 3e-2, which is best for prompt
tuning on the default model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Ge, settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.tuning.additive.adapters import (
    AdapterLinear,
    Bottleneck,
    ParallelAdapter,
    bottleneck_count,
)
from adwright.tuning.modules import Inputs, Sizes, TunedLinear, Variant, Variants, zeros
from adwright.tuning.tuned import Tuned, TuningMethod


@settings
class PromptTuning(TuningMethod):
    """L learned input vectors. length: L. Applies to any model that takes embeddings."""

    default_rate: ClassVar[float] = 3e-2
    variants: ClassVar[Variants] = (
        Variant("prompt tuning", "additive: soft prompts"),
        Variant(
            "SPoT",
            "additive: soft prompts",
            "`load_tuned` the prompt of another task, and `tune` it on",
            instead="--method PromptTuning; from Python, `load_tuned` another prompt and `tune` it",
        ),
    )
    packable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    length: Count = 20

    def count(self, sizes: Sizes) -> int:
        """L D."""
        return self.length * sizes.width

    def attach(self, tuned: Tuned) -> None:
        """A `Prompt` around the backbone."""
        table = tuned.causal.model.embed_tokens.weight
        words = torch.randint(len(table), (self.length,), generator=tuned.generator)
        tuned.outer = Prompt(nn.Parameter(table.detach()[words].float()))


class Prompt(nn.Module):
    """Runs a backbone on [vectors, text]. vectors: [L, D]."""

    def __init__(self, vectors: nn.Parameter) -> None:
        super().__init__()
        self.vectors = vectors

    def ahead(self) -> Tensor:
        """The vectors [L, D]."""
        return self.vectors

    def shift(self, places: Tensor) -> Tensor | None:
        """Nothing."""
        return None

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Hidden states [B, T, D] of the text alone."""
        return run_with_prompt(backbone, self.vectors.expand(len(inputs.ids), -1, -1), inputs)


def run_with_prompt(
    backbone: Callable[..., Any],
    vectors: Tensor,
    inputs: Inputs,
    *,
    shift: Tensor | None = None,
) -> Tensor:
    """Compute the hidden states [B, T, D] of tokens after vectors [B, L, D].

    inputs: where a row has several texts, the vectors go before each of them, and it has to be the
    only row. shift: [T, D], added to the embedded tokens.

    Raises ConfigError for several rows of several texts.
    """
    input_ids, attention_mask, position_ids = inputs
    text = backbone.embed_tokens(input_ids)  # type: ignore[attr-defined]
    if shift is not None:
        text = text + shift.to(text.dtype)
    vectors = vectors.to(text.dtype)
    if position_ids is not None and bool((position_ids[:, 1:] == 0).any()):
        return _before_each(backbone, vectors, text, position_ids)
    length = vectors.shape[1]
    if position_ids is not None:
        ahead = torch.arange(length, device=position_ids.device).expand(len(input_ids), -1)
        position_ids = torch.cat([ahead, position_ids + length], 1)
    if attention_mask is not None:
        seen = attention_mask.new_ones(len(input_ids), length)
        attention_mask = torch.cat([seen, attention_mask], 1)
    output = backbone(
        inputs_embeds=torch.cat([vectors, text], 1),
        attention_mask=attention_mask,
        position_ids=position_ids,
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state[:, length:]
    return hidden


def _before_each(
    backbone: Callable[..., Any], vectors: Tensor, text: Tensor, position_ids: Tensor
) -> Tensor:
    """The same for texts end to end in one row: vectors [1, L, D], text [1, T, D]."""
    if len(text) != 1:
        raise ConfigError(
            "several rows hold several texts each",
            where=f"position_ids {list(position_ids.shape)}",
            hint="lay all texts end to end in one row",
        )
    length, tokens = vectors.shape[1], text.shape[1]
    first = position_ids[0] == 0
    device = position_ids.device
    number, place = torch.arange(tokens, device=device), torch.arange(length, device=device)
    at = number + length * first.cumsum(0)  # [T], where each token goes
    # Each text begins later by the vectors of those before it.
    starts = first.nonzero()[:, 0]
    before = length * torch.arange(len(starts), device=device)
    slots = (starts + before)[:, None] + place  # [S, L]
    source = torch.empty(tokens + slots.numel(), dtype=torch.int64, device=device)
    places = torch.empty_like(source)
    source[slots], places[slots] = place, place
    source[at], places[at] = length + number, position_ids[0] + length
    output = backbone(
        inputs_embeds=torch.cat([vectors[0], text[0]]).index_select(0, source)[None],
        position_ids=places[None],
        use_cache=False,
    )
    hidden: Tensor = output.last_hidden_state.index_select(1, at)
    return hidden


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


@settings
class DePT(TuningMethod):
    """length: L. longest: S. rank: r. rate_ratio: see the module; 1 for one rate.

    Memory: L positions in each layer. Applies to any model that takes embeddings.
    """

    variants: ClassVar[Variants] = (Variant("DePT", "additive: soft prompts"),)
    packable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    length: Count = 10
    longest: Count = 512
    rank: Count = 8
    rate_ratio: Annotated[float, Ge(0)] = 60.0

    def count(self, sizes: Sizes) -> int:
        """L D + S r + r D."""
        return self.length * sizes.width + self.rank * (self.longest + sizes.width)

    def attach(self, tuned: Tuned) -> None:
        """Put a `DecomposedPrompt` around the backbone."""
        table = tuned.causal.model.embed_tokens.weight
        words = torch.randint(len(table), (self.length,), generator=tuned.generator)
        vectors = nn.Parameter(table.detach()[words].float())
        a = tuned.normal(self.longest, self.rank, std=self.rank**-0.5)
        tuned.outer = DecomposedPrompt(vectors, a, zeros(self.rank, tuned.sizes.width))

    def rate(self, name: str) -> float:
        """`rate_ratio` for the prompt, 1 for A and B."""
        return self.rate_ratio if name.endswith(".vectors") else 1.0


class DecomposedPrompt(nn.Module):
    """vectors: p [L, D]. a: A [S, r]. b: B [r, D]."""

    def __init__(self, vectors: nn.Parameter, a: nn.Parameter, b: nn.Parameter) -> None:
        super().__init__()
        self.vectors, self.a, self.b = vectors, a, b

    def ahead(self) -> Tensor:
        """The vectors [L, D]."""
        return self.vectors

    def shift(self, places: Tensor) -> Tensor:
        """A B at `places` [..., T]: [..., T, D]. ValueInvalidError where one is beyond S."""
        tokens = int(places.max()) + 1
        if tokens > len(self.a):
            raise ValueInvalidError(
                f"a text of {tokens} tokens is longer than the {len(self.a)} of the update",
                value=tokens,
                hint="raise DePT.longest, or cut the texts",
            )
        return self.a[places] @ self.b

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Compute the hidden states [B, T, D] of the text; errors as `shift`."""
        rows, tokens = inputs.ids.shape
        places = inputs.positions
        if places is None:
            places = torch.arange(tokens, device=inputs.ids.device)
        vectors = self.vectors.expand(rows, -1, -1)
        return run_with_prompt(backbone, vectors, inputs, shift=self.shift(places))


# --------------------------------------------------------------------------------------------------
# Methods that combine others: MAM and UniPELT.
#
# MAM, mix and match (He et al., ICLR 2022, arXiv 2110.04366), is a prefix in the attention and a
# parallel adapter beside the MLP: of all mixtures that the paper tries the best is a short prefix
# (L = 30) and a large adapter (m = 512, s = 4).
#
#     count = 2 N L K + N (2 m D + m + D)
#
# Ours: keys and values of the prefix are learned directly; the paper's prefix is made by an MLP
# while it trains (`PrefixTuning` with made_by="mlp").
#
# UniPELT (Mao et al., ACL 2022, arXiv 2110.07577) is LoRA, a prefix and an adapter together, each
# behind a gate that the input opens. In each layer, with gates sigma(w . x + b):
#
#     q, v: y = W x + g s B A x        attention: prefix behind g        MLP: h + g adapter(h)
#     count = N (r (in + out of q and v) + 2 L K + 2 m D + m + D + 4 (D + 1))
#
# Ours: the paper's gates average over all tokens of a text, which in a causal model would tell a
# token about the ones after it, so here each token has its own. The prefix's gate multiplies its
# mass in the softmax, exp(q . p), so that 0 closes it exactly; the paper scales keys and values.


@settings
class MAM(TuningMethod):
    """length: L. size: m. scale: s. The defaults are the paper's, except m: 512 is too large for
    a small model. Memory and place: those of `PrefixTuning` and `ParallelAdapter` together.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("MAM", "hybrid"),)
    packable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    length: Count = 30
    size: Count = 64
    scale: float = 4.0

    @property
    def methods(self) -> tuple[PrefixTuning, ParallelAdapter]:
        """The two methods that it is made of."""
        return (
            PrefixTuning(length=self.length),
            ParallelAdapter(size=self.size, scale=self.scale),
        )

    def count(self, sizes: Sizes) -> int:
        """The sum of both."""
        return sum(method.count(sizes) for method in self.methods)

    def attach(self, tuned: Tuned) -> None:
        """Attach both, one after the other."""
        for method in self.methods:
            method.attach(tuned)


@settings
class UniPELT(TuningMethod):
    """rank: r, alpha: r s. length: L. size: m. Memory: that of the three together.

    The model is not at first what it was, because of the prefix; the gates cannot be merged.
    """

    default_rate: ClassVar[float] = 3e-3
    variants: ClassVar[Variants] = (Variant("UniPELT", "hybrid", "gates of tokens, not of texts"),)
    packable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    rank: Count = 8
    alpha: float = 16.0
    length: Count = 10
    size: Count = 16

    def count(self, sizes: Sizes) -> int:
        """See the module."""
        shapes = sizes.of_linear(("q_proj", "v_proj"))
        low = self.rank * sum(rows + columns for rows, columns in shapes)
        prefix = PrefixTuning(length=self.length).count(sizes)
        rest = bottleneck_count(sizes.width, self.size) + 4 * (sizes.width + 1)
        return low + prefix + sizes.layers * rest

    def attach(self, tuned: Tuned) -> None:
        """Put gated maps for q, v and down, and a gated prefix."""
        width = tuned.sizes.width
        for place in tuned.places(("q_proj", "v_proj", "down_proj")):
            if place.target == "down_proj":
                inner = Bottleneck(tuned, width, self.size, "relu")
                place.put(AdapterLinear(place.linear, _GatedAdapter(inner, width)))
            else:
                a = tuned.uniform(self.rank, width)
                place.put(_GatedLoRA(place.linear, a, self.alpha / self.rank))
        prefixes = PrefixTuning(length=self.length).prefixes(tuned)
        for prefix, layer in zip(prefixes, tuned.layers(), strict=True):
            prefix.gate = _Gate(width, log=True)
            prefix.on(layer.self_attn)  # type: ignore[arg-type]


class _Gate(nn.Module):
    """x [..., D] to sigma(w . x + b) [..., 1], or its log. One half at first."""

    def __init__(self, width: int, *, log: bool = False) -> None:
        super().__init__()
        self.weight, self.bias, self.log = zeros(1, width), zeros(1), log

    def forward(self, x: Tensor) -> Tensor:
        score = functional.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))
        return functional.logsigmoid(score) if self.log else score.sigmoid()


class _GatedAdapter(nn.Module):
    def __init__(self, inner: Bottleneck, width: int) -> None:
        super().__init__()
        self.inner, self.gate = inner, _Gate(width)

    def forward(self, h: Tensor) -> Tensor:
        update: Tensor = self.gate(h) * self.inner(h)
        return update


class _GatedLoRA(TunedLinear):
    def __init__(self, base: nn.Linear, a: nn.Parameter, scale: float) -> None:
        super().__init__(base)
        self.a, self.b, self.scale = a, zeros(base.out_features, len(a)), scale
        self.gate = _Gate(base.in_features)

    def forward(self, x: Tensor) -> Tensor:
        low = functional.linear(x, self.a.to(x.dtype)) * self.scale * self.gate(x)
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(x.dtype))
        return y
