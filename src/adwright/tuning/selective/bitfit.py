"""BitFit: only biases are trained, and a model without biases gets some.

Ben Zaken et al., ACL 2022, arXiv 2106.10199. The paper's models have a bias in each linear map
and norm. A Llama has none, so here each map in `targets` gets one of zeros:

    y = W x + b + v        count = sum over maps of out

Where the base has a bias b of its own, v is the change of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import TunedLinear, ones, zeros
from adwright.tuning.sizes import ATTENTION, LINEAR, MLP, Sizes, Target, places
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["Biased", "BitFit", "foresee_biases", "with_bias"]

_LOG = logging.getLogger("adwright")


@dataclass(frozen=True)
class BitFit(TuningMethod):
    """A learned bias on the maps in `targets`.

    Memory: one vector per map. Merged, the maps have biases, see `foresee_biases`.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (
        Variant("BitFit", "selective: structured", "adds the biases that a Llama lacks"),
    )
    mergeable: ClassVar[bool] = True
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of out."""
        return sum(rows for rows, _ in sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `Biased` in the place of each map."""
        for place in tuned.places(self.targets):
            place.put(Biased(place.linear))

    def fold(self, tuned: Tuned) -> nn.Module:
        """Put the biases into the maps, and into the model's config that there are some."""
        return foresee_biases(super().fold(tuned))


class Biased(TunedLinear):
    """W x + b + v. shift: v [out]."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.shift = zeros(base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        shift = self.shift.to(x.dtype)
        bias = shift if self.base.bias is None else self.base.bias + shift
        return functional.linear(x, self.base.weight, bias)

    def merged(self) -> nn.Linear:
        """A map with the bias b + v."""
        return with_bias(self.base, ones(len(self.shift)), self.shift)


def foresee_biases(model: nn.Module) -> nn.Module:
    """Tell the config of `model`, a plain causal LM, of biases that its maps have got, or
    transformers would load the saved model without them; returns the model.

    A config speaks of all maps of an attention, or of an MLP, at once: those that have no bias get
    one of zeros. Where a config has no such setting it is said in a warning.
    """
    config = cast(Any, model).config
    for setting, targets in (("attention_bias", ATTENTION), ("mlp_bias", MLP)):
        maps = [place.linear for place in places(model, targets)]
        if all(one.bias is None for one in maps) or getattr(config, setting, False):
            continue
        if not hasattr(config, setting):
            _LOG.warning(
                "%s has no setting %s: transformers may load the merged model without its biases",
                type(config).__name__,
                setting,
            )
            continue
        setattr(config, setting, True)
        for one in maps:
            if one.bias is None:
                one.bias = nn.Parameter(one.weight.new_zeros(one.out_features))
    return model


def with_bias(base: nn.Linear, factor: Tensor, shift: Tensor) -> nn.Linear:
    """Write the map factor * (W x + b) + shift into `base`; factor, shift: [out]."""
    with torch.no_grad():
        bias = shift.to(base.weight.dtype)
        if base.bias is not None:
            bias = bias + base.bias * factor.to(base.weight.dtype)
        base.weight *= factor.to(base.weight.dtype)[:, None]
        base.bias = nn.Parameter(bias.clone())
    return base
