"""Serial adapters: a small bottleneck after a sublayer.

Houlsby et al., 2019, arXiv 1902.00751, after attention and after the MLP; Pfeiffer et al., 2020,
arXiv 2005.00247, after the MLP alone. With h [D] the output of the sublayer:

    h <- h + W_up f(W_down h + c) + e      W_down [m, D], W_up [D, m], c [m], e [D]
    count = places * (2 m D + m + D)       places: 2 N (Houlsby) or N (Pfeiffer)

W_up, c and e are 0 at first. Ours: on a Llama the place is the output of o_proj or down_proj,
before the residual is added; the norms of the base stay frozen.

Parallel adapter: a bottleneck beside a sublayer, reading what the sublayer reads.

He et al., "Towards a Unified View of Parameter-Efficient Transfer Learning", ICLR 2022, arXiv
2110.04366. With x [D] the input of the sublayer and h its output:

    h <- h + s (W_up relu(W_down x + c) + e)
    count = places * (2 m D + m + D)         places: N, or 2 N for "both"

W_up, c and e are 0 at first. The paper finds beside the MLP best and takes s = 4.

AdaMix: several adapters in each place, one drawn per step, their mean at inference.

Wang et al., EMNLP 2022, arXiv 2205.12410. With M down and M up matrices in each place:

    training:  h <- h + up_j(f(down_i(h))), i and j drawn per place and step, twice:
               loss = -log p(y) + c (KL(p || q) + KL(q || p)) / 2, p and q of the two draws
    inference: h <- h + up(f(down(h))), each matrix the mean of its M

    count = N M (2 m D + m + D)        serving costs what one adapter costs

The second term keeps the matrices close enough to be averaged. `tune` reads each text twice in one
pass, the second draw behind the first; as in the paper, c = 1.

AdapterFusion: attention over several trained adapters, which stay frozen.

Pfeiffer et al., EACL 2021, arXiv 2005.00247. After each MLP, with h [D] its output, a_n(h) what
adapter n adds, and z_n = h + a_n(h):

    s = softmax_n((Q h) . (K z_n))        h <- sum_n s_n V z_n        Q, K, V [D, D]
    loss += c sum over layers |I - V|^2        the squares of all entries, summed
    count = 3 N D^2

V is the identity at first and is kept near it, as in the paper, so the output is a mean of the
adapters' outputs, and h where they do nothing. c = 0.01 is that of the authors' code.
Memory: n adapters, and n D activations per token and layer.

`sources` names folders of serial adapters on this base, placed as Pfeiffer does and of one size.

SSF: the output of a linear map is scaled and shifted.

Lian et al., "Scaling & Shifting Your Features", NeurIPS 2022, arXiv 2210.08823:

    y = g * (W x + b) + v        g = 1, v = 0 at first        count = 2 * sum over maps of out

Ours: after linear maps only. After a norm g would be the norm's own weight once more.

(IA)3: keys, values and the hidden layer of the MLP are rescaled by learned vectors.

Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
Learning", NeurIPS 2022, arXiv 2205.05638:

    softmax(Q (l_k * K)^T / sqrt(d)) (l_v * V)        W_down (l_f * (f(W_gate x) * W_up x))
    count = N (2 K + F)        K: width of all keys, F: of the MLP's hidden layer

All l are 1 at first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Ge, settings
from adwright.tuning.modules import (
    LINEAR,
    Sizes,
    Target,
    TunedLinear,
    Variant,
    Variants,
    ones,
    zeros,
)
from adwright.tuning.selective import foresee_biases, with_bias
from adwright.tuning.tuned import Tuned, TuningMethod, under

Activation = Literal["relu", "gelu", "silu"]
Placement = Literal["houlsby", "pfeiffer"]


@settings
class SerialAdapter(TuningMethod):
    """A bottleneck after sublayers. size: m. Memory: 2 m D parameters per place, and m activations
    per token. Applies to any sublayer; it cannot be merged, as f is not linear.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (
        Variant("serial adapter (Houlsby)", "additive: adapters", "placement houlsby"),
        Variant(
            "serial adapter (Pfeiffer)",
            "additive: adapters",
            "placement pfeiffer",
            (("placement", "pfeiffer"),),
        ),
    )
    packable: ClassVar[bool] = True
    size: Count = 16
    placement: Placement = "houlsby"
    activation: Activation = "relu"

    @property
    def targets(self) -> tuple[Target, ...]:
        """The maps whose output is adapted."""
        return ("o_proj", "down_proj") if self.placement == "houlsby" else ("down_proj",)

    def count(self, sizes: Sizes) -> int:
        """places * (2 m D + m + D)."""
        return sizes.layers * len(self.targets) * bottleneck_count(sizes.width, self.size)

    def attach(self, tuned: Tuned) -> None:
        """Put an `AdapterLinear` in the place of each map."""
        for place in tuned.places(self.targets):
            inner = Bottleneck(tuned, tuned.sizes.width, self.size, self.activation)
            place.put(AdapterLinear(place.linear, inner))


class Bottleneck(nn.Module):
    """h [..., D] to W_up f(W_down h + c) + e, without the residual. 0 at first."""

    def __init__(self, tuned: Tuned, width: int, size: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.down, self.inner_bias = tuned.uniform(size, width), zeros(size)
        self.up, self.outer_bias = zeros(width, size), zeros(width)

    def forward(self, h: Tensor) -> Tensor:
        """h [..., D] to what is added to it."""
        inner = functional.linear(h, self.down.to(h.dtype), self.inner_bias.to(h.dtype))
        inner = activated(inner, self.activation)
        return functional.linear(inner, self.up.to(h.dtype), self.outer_bias.to(h.dtype))


class AdapterLinear(TunedLinear):
    """The base's map and an adapter after it. active: whether the adapter is used."""

    def __init__(self, base: nn.Linear, adapter: nn.Module) -> None:
        super().__init__(base)
        self.adapter, self.active = adapter, True

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., D]."""
        h: Tensor = self.base(x)
        return h + self.adapter(h) if self.active else h


def activated(x: Tensor, activation: Activation) -> Tensor:
    """f(x), elementwise."""
    match activation:
        case "relu":
            return functional.relu(x)
        case "gelu":
            return functional.gelu(x)
        case "silu":
            return functional.silu(x)


def bottleneck_count(width: int, size: int) -> int:
    """2 m D + m + D."""
    return 2 * size * width + size + width


@settings
class ParallelAdapter(TuningMethod):
    """A bottleneck beside sublayers. size: m. scale: s. beside: which sublayers.

    Memory: 2 m D parameters per place, m activations per token. Applies to any sublayer; not
    mergeable.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("parallel adapter", "additive: adapters"),)
    packable: ClassVar[bool] = True
    size: Count = 16
    beside: Literal["mlp", "attention", "both"] = "mlp"
    scale: float = 4.0
    activation: Activation = "relu"

    def count(self, sizes: Sizes) -> int:
        """places * (2 m D + m + D)."""
        places = sizes.layers * (2 if self.beside == "both" else 1)
        return places * bottleneck_count(sizes.width, self.size)

    def attach(self, tuned: Tuned) -> None:
        """Put a hook on each sublayer."""
        names = {"mlp": ["mlp"], "attention": ["self_attn"], "both": ["self_attn", "mlp"]}
        for layer in tuned.layers():
            for name in names[self.beside]:
                inner = Bottleneck(tuned, tuned.sizes.width, self.size, self.activation)
                ParallelModule(inner, self.scale).on(getattr(layer, name))


class ParallelModule(nn.Module):
    """Adds s adapter(x) to the output of a sublayer for x."""

    def __init__(self, adapter: nn.Module, scale: float) -> None:
        super().__init__()
        self.adapter, self.scale = adapter, scale

    def on(self, sublayer: nn.Module) -> None:
        """Attach to `sublayer`: attention, whose output is a tuple, or MLP."""
        sublayer.add_module("beside", self)
        sublayer.register_forward_hook(self._add, with_kwargs=True)

    def _add(
        self, _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        update = self.scale * self.adapter(x)
        if isinstance(output, tuple):
            return (output[0] + update, *output[1:])
        return output + update


@settings
class AdaMix(TuningMethod):
    """experts: M. size: m. agreement: c; at 0 a step has one draw, and half the work. Placed after
    each MLP. Memory: M adapters, the activations of two draws.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (
        Variant("AdaMix", "additive: adapters", "both draws in one pass"),
    )
    packable: ClassVar[bool] = True
    experts: Count = 4
    size: Count = 16
    activation: Activation = "relu"
    agreement: Annotated[float, Ge(0)] = 1.0

    def count(self, sizes: Sizes) -> int:
        """N M (2 m D + m + D)."""
        return sizes.layers * self.experts * bottleneck_count(sizes.width, self.size)

    def attach(self, tuned: Tuned) -> None:
        """Put a `Mixture` after each down_proj."""
        for place in tuned.places(("down_proj",)):
            mixture = Mixture(tuned, self.experts, self.size, self.activation, place.layer)
            place.put(AdapterLinear(place.linear, mixture))

    def reads_twice(self, tuned: Tuned) -> bool:
        """Give the second half of the tokens the second draw, unless c = 0."""
        if self.agreement:
            reads_twice(tuned)
        return self.agreement > 0

    def disagreement(self, first: Tensor, second: Tensor) -> Tensor:
        """c A times the `consistency` of both draws [A, V]."""
        return self.agreement * len(first) * consistency(first, second)


class Mixture(nn.Module):
    """down [M, m, D], up [M, D, m] and their biases. drawn: (i, j) of both draws, or None for the
    means. both: the second half of the tokens uses the second draw; else all use the first.
    """

    def __init__(
        self, tuned: Tuned, experts: int, size: int, activation: Activation, layer: int
    ) -> None:
        super().__init__()
        width = tuned.sizes.width
        self.down, self.inner_bias = tuned.uniform(experts, size, width), zeros(experts, size)
        self.up, self.outer_bias = zeros(experts, width, size), zeros(experts, width)
        self.activation, self.seed, self.layer = activation, tuned.seed, layer
        self.drawn: tuple[tuple[int, int], tuple[int, int]] | None = None
        self.both = False

    def forward(self, h: Tensor) -> Tensor:
        """h [..., T, D] to what is added to it."""
        if self.drawn is None:
            return self._one(h, [each.mean(0) for each in self._matrices()])
        first, second = ([each[at] for each, at in self._of(draw)] for draw in self.drawn)
        if not self.both:
            return self._one(h, first)
        halves = zip(h.chunk(2, -2), (first, second), strict=True)
        return torch.cat([self._one(half, own) for half, own in halves], -2)

    def before_step(self, step: int, steps: int) -> None:
        """Draw i and j twice, from seed, step and layer: a resumed training draws the same."""
        seed = (self.seed * 1_000_003 + step) * 1009 + self.layer
        generator = torch.Generator().manual_seed(seed)
        i, j, k, n = torch.randint(len(self.down), (4,), generator=generator).tolist()
        self.drawn, self.both = ((i, j), (k, n)), False

    def after_step(self, step: int, steps: int) -> None:
        """Restore the means, which inference uses."""
        self.drawn, self.both = None, False

    def _matrices(self) -> tuple[Tensor, ...]:
        return self.down, self.inner_bias, self.up, self.outer_bias

    def _of(self, draw: tuple[int, int]) -> Iterator[tuple[Tensor, int]]:
        i, j = draw
        return zip(self._matrices(), (i, i, j, j), strict=True)

    def _one(self, h: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        down, inner_bias, up, outer_bias = (each.to(h.dtype) for each in matrices)
        inner = activated(functional.linear(h, down, inner_bias), self.activation)
        return functional.linear(inner, up, outer_bias)


def reads_twice(tuned: Tuned) -> None:
    """Give the second half of the tokens of a pass the second draw until the step ends."""
    for module in tuned.modules():
        if isinstance(module, Mixture):
            module.both = True


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """Compute (KL(p || q) + KL(q || p)) / 2 of logits [..., V], a mean over positions."""
    p, q = (logits.flatten(0, -2).log_softmax(-1) for logits in (first, second))
    forth = functional.kl_div(q, p, log_target=True, reduction="batchmean")
    back = functional.kl_div(p, q, log_target=True, reduction="batchmean")
    return (forth + back) / 2


@settings
class AdapterFusion(TuningMethod):
    """adapters: how many sources. size, activation: of each of them. identity: c, 0 for a V
    without a penalty. Not mergeable.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("AdapterFusion", "additive: adapters"),)
    exact_start: ClassVar[bool] = False
    adapters: Count = 2
    size: Count = 16
    activation: Activation = "relu"
    identity: Annotated[float, Ge(0)] = 0.01

    def count(self, sizes: Sizes) -> int:
        """3 N D^2."""
        return 3 * sizes.layers * sizes.width**2

    def attach(self, tuned: Tuned) -> None:
        """Put a `FusedLinear` in the place of each down_proj."""
        settings = {"size": self.size, "placement": "pfeiffer", "activation": self.activation}
        states = tuned.source_states(SerialAdapter, self.adapters, settings)
        for place in tuned.places(("down_proj",)):
            adapters = nn.ModuleList(
                Bottleneck(tuned, tuned.sizes.width, self.size, self.activation)
                for _ in range(self.adapters)
            )
            for adapter, state in zip(adapters, states, strict=False):
                adapter.load_state_dict(under(f"model.{place.name}.adapter.", state))
            adapters.requires_grad_(False)
            place.put(FusedLinear(place.linear, adapters, tuned, self.identity))


class FusedLinear(TunedLinear):
    """The base's map and the fusion after it. adapters: frozen. identity: c of the penalty."""

    def __init__(
        self, base: nn.Linear, adapters: nn.ModuleList, tuned: Tuned, identity: float
    ) -> None:
        super().__init__(base)
        width = base.out_features
        self.adapters, self.identity = adapters, identity
        self.query, self.key = tuned.uniform(width, width), tuned.uniform(width, width)
        self.value = nn.Parameter(torch.eye(width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., D]."""
        h: Tensor = self.base(x)
        query, key, value = (each.to(h.dtype) for each in (self.query, self.key, self.value))
        z = torch.stack([h + adapter(h) for adapter in self.adapters], -2)  # [..., n, D]
        # (Q h) . (K z) = (K^T Q h) . z: one product instead of n.
        asked = functional.linear(h, query) @ key
        weights = (z @ asked[..., None]).softmax(-2)  # [..., n, 1]
        return functional.linear((weights * z).sum(-2), value)

    def penalty(self) -> Tensor:
        """c |I - V|^2, a scalar."""
        eye = torch.eye(len(self.value), device=self.value.device)
        return self.identity * (eye - self.value).square().sum()


@dataclass(frozen=True)
class SSF(TuningMethod):
    """A learned factor and shift of each output of the maps in `targets`.

    Memory: two vectors per map. Mergeable; for the biases of a merged model see `foresee_biases`.
    """

    default_rate: ClassVar[float] = 3e-3
    variants: ClassVar[Variants] = (Variant("SSF", "additive: other", "after linear maps only"),)
    packable: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """2 * sum of out."""
        return 2 * sum(rows for rows, _ in sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `ScaledShifted` in the place of each map."""
        for place in tuned.places(self.targets):
            place.put(ScaledShifted(place.linear))

    def fold(self, tuned: Tuned) -> nn.Module:
        """As `BitFit`."""
        return foresee_biases(super().fold(tuned))


class ScaledShifted(TunedLinear):
    """g * (W x + b) + v."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.factor, self.shift = ones(base.out_features), zeros(base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        y: Tensor = self.base(x) * self.factor.to(x.dtype) + self.shift.to(x.dtype)
        return y

    def merged(self) -> nn.Linear:
        """A map with weight diag(g) W and bias g * b + v."""
        return with_bias(self.base, self.factor, self.shift)


@dataclass(frozen=True)
class IA3(TuningMethod):
    """Learned factors on keys, values and the MLP's hidden layer.

    Memory: three vectors per layer. Applies to k_proj, v_proj and down_proj; merges into them.
    """

    default_rate: ClassVar[float] = 3e-2
    variants: ClassVar[Variants] = (Variant("(IA)3", "additive: other"),)
    packable: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """N (2 K + F)."""
        keys, hidden = sizes.shapes["k_proj"][0], sizes.shapes["down_proj"][1]
        return sizes.layers * (2 * keys + hidden)

    def attach(self, tuned: Tuned) -> None:
        """Put a `Rescaled` in the place of each of the three maps."""
        for place in tuned.places(("k_proj", "v_proj", "down_proj")):
            side: Literal["in", "out"] = "in" if place.target == "down_proj" else "out"
            place.put(Rescaled(place.linear, side))


class Rescaled(TunedLinear):
    """l * (W x + b), or W (l * x) + b. side: which of the two."""

    def __init__(self, base: nn.Linear, side: Literal["in", "out"]) -> None:
        super().__init__(base)
        self.side = side
        self.factor = ones(base.in_features if side == "in" else base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        factor = self.factor.to(x.dtype)
        y: Tensor = self.base(x * factor) if self.side == "in" else self.base(x) * factor
        return y

    def merged(self) -> nn.Linear:
        """The base with its columns or rows, and bias, scaled."""
        with torch.no_grad():
            factor = self.factor.to(self.base.weight.dtype)
            self.base.weight.mul_(factor if self.side == "in" else factor[:, None])
            if self.base.bias is not None and self.side == "out":
                self.base.bias.mul_(factor)
        return self.base
