"""AdapterFusion: attention over several trained adapters, which stay frozen.

Pfeiffer et al., EACL 2021, arXiv 2005.00247. After each MLP, with h [D] its output, a_n(h) what
adapter n adds, and z_n = h + a_n(h):

    s = softmax_n((Q h) . (K z_n))        h <- sum_n s_n V z_n        Q, K, V [D, D]
    loss += c sum over layers |I - V|^2        the squares of all entries, summed
    count = 3 N D^2

V is the identity at first and is kept near it, as in the paper, so the output is a mean of the
adapters' outputs, and h where they do nothing. c = 0.01 is that of the authors' code.
Memory: n adapters, and n D activations per token and layer.

`sources` names folders of serial adapters on this base, placed as Pfeiffer does and of one size.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Ge, settings
from adwright.tuning.additive.serial import Activation, Bottleneck, SerialAdapter
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear
from adwright.tuning.sizes import Sizes
from adwright.tuning.storage import under
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["AdapterFusion", "FusedLinear"]


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
