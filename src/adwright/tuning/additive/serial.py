"""Serial adapters: a small bottleneck after a sublayer.

Houlsby et al., 2019, arXiv 1902.00751, after attention and after the MLP; Pfeiffer et al., 2020,
arXiv 2005.00247, after the MLP alone. With h [D] the output of the sublayer:

    h <- h + W_up f(W_down h + c) + e      W_down [m, D], W_up [D, m], c [m], e [D]
    count = places * (2 m D + m + D)       places: 2 N (Houlsby) or N (Pfeiffer)

W_up, c and e are 0 at first. Ours: on a Llama the place is the output of o_proj or down_proj,
before the residual is added; the norms of the base stay frozen.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, settings
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear, zeros
from adwright.tuning.sizes import Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = [
    "Activation",
    "AdapterLinear",
    "Bottleneck",
    "Placement",
    "SerialAdapter",
    "activated",
    "bottleneck_count",
]

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
