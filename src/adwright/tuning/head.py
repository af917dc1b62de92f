"""From what a head's map gives to logits: some families scale the product, or bound it.

With h [D] the last hidden state, W [V, D] the head, c the bound:

    z = f h W'        logits = z, or c tanh(z / c) where there is a bound

f: `logit_scale` of Cohere, 1 / `logits_scaling` of Granite. c: `final_logit_softcapping` of Gemma.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["HeadLogits", "head_logits"]


@dataclass(frozen=True)
class HeadLogits:
    """factor: f. cap: c, 0 for none."""

    factor: float = 1.0
    cap: float = 0.0

    def __call__(self, products: Tensor) -> Tensor:
        """Compute the logits of products h W', both [..., V]."""
        z = products if self.factor == 1 else products * self.factor
        return torch.tanh(z / self.cap) * self.cap if self.cap else z

    def slope(self, logits: Tensor) -> Tensor | float:
        """Compute the derivative of the logits by the products, at these logits [..., V]."""
        if not self.cap:
            return self.factor
        return self.factor * (1 - (logits / self.cap).square())


def head_logits(config: Any) -> HeadLogits:
    """Read factor and bound from a config of transformers."""
    factor = float(getattr(config, "logit_scale", None) or 1.0)
    factor /= float(getattr(config, "logits_scaling", None) or 1.0)
    return HeadLogits(factor, float(getattr(config, "final_logit_softcapping", None) or 0.0))
