"""Methods that combine others: MAM and UniPELT.

MAM, mix and match (He et al., ICLR 2022, arXiv 2110.04366), is a prefix in the attention and a
parallel adapter beside the MLP: of all mixtures that the paper tries the best is a short prefix
(L = 30) and a large adapter (m = 512, s = 4).

    count = 2 N L K + N (2 m D + m + D)

Ours: keys and values of the prefix are learned directly; the paper's prefix is made by an MLP
while it trains (`PrefixTuning` with made_by="mlp").

UniPELT (Mao et al., ACL 2022, arXiv 2110.07577) is LoRA, a prefix and an adapter together, each
behind a gate that the input opens. In each layer, with gates sigma(w . x + b):

    q, v: y = W x + g s B A x        attention: prefix behind g        MLP: h + g adapter(h)
    count = N (r (in + out of q and v) + 2 L K + 2 m D + m + D + 4 (D + 1))

Ours: the paper's gates average over all tokens of a text, which in a causal model would tell a
token about the ones after it, so here each token has its own. The prefix's gate multiplies its
mass in the softmax, exp(q . p), so that 0 closes it exactly; the paper scales keys and values.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, settings
from adwright.tuning.additive.adapters import (
    AdapterLinear,
    Bottleneck,
    ParallelAdapter,
    bottleneck_count,
)
from adwright.tuning.additive.prompts import PrefixTuning
from adwright.tuning.modules import Sizes, TunedLinear, Variant, Variants, zeros
from adwright.tuning.reparameterised.lora import low_rank_count
from adwright.tuning.tuned import Tuned, TuningMethod


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
        low = low_rank_count(sizes, ("q_proj", "v_proj"), self.rank)
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
