"""MeZO: tuning by forward passes alone, in the memory of inference.

Malladi et al., "Fine-Tuning Language Models with Just Forward Passes", NeurIPS 2023, arXiv
2305.17333, after SPSA (Spall, 1992). With z normal, drawn from its seed whenever it is needed:

    g = (L(w + e z) - L(w - e z)) / (2 e)        w <- w - rate * g * z
    count = all parameters, or those of LoRA where rank > 0

Two forward passes per step; no activations, gradients or moments are kept, and the weights are
changed in place. The price is many steps, as g is one number for all parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from adwright.core.config import Ge, Natural, settings
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.sizes import LINEAR, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["MeZO"]


@settings
class MeZO(TuningMethod):
    """epsilon: e. rank: 0 for all parameters, or r of the LoRA that is tuned instead; alpha and
    targets are LoRA's. There is no optimizer: each step is a `search`.
    """

    variants: ClassVar[Variants] = (Variant("MeZO", "efficient: memory"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    gradient_free: ClassVar[bool] = True
    mixed_precision: ClassVar[bool] = False
    epsilon: Annotated[float, Ge(0)] = 1e-3
    rank: Natural = 0
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    @property
    def default_rate(self) -> float:  # type: ignore[override]
        """Far less where all weights are moved at once."""
        return 1e-3 if self.rank else 9e-6

    def count(self, sizes: Sizes) -> int:
        """All, or those of LoRA."""
        return self._low().count(sizes) if self.rank else sizes.parameters

    def attach(self, tuned: Tuned) -> None:
        """Unfreeze everything, or attach LoRA."""
        if self.rank:
            self._low().attach(tuned)
        else:
            tuned.model.requires_grad_(True)

    @torch.no_grad()
    def search(self, tuned: Tuned, loss: Callable[[], Tensor], *, rate: float, seed: int) -> float:
        """Take one step; returns the mean of both losses. loss: of `tuned` on the batch of this
        step, a scalar. seed: of z; another one for each step. Dropout must be the same in both
        passes: use eval mode.
        """
        _move(tuned, seed, self.epsilon)
        above = float(loss())
        _move(tuned, seed, -2 * self.epsilon)
        below = float(loss())
        gradient = (above - below) / (2 * self.epsilon)
        # Back to w and on to the new w at once.
        _move(tuned, seed, self.epsilon - rate * gradient)
        return (above + below) / 2

    def _low(self) -> LoRA:
        return LoRA(rank=self.rank, alpha=self.alpha, targets=self.targets)


def _move(tuned: Tuned, seed: int, scale: float) -> None:
    for parameter, z in _draws(tuned, seed):
        parameter.add_(z, alpha=scale)


def _draws(tuned: Tuned, seed: int) -> Iterator[tuple[nn.Parameter, Tensor]]:
    generator: torch.Generator | None = None
    for parameter in tuned.parameters():
        if generator is None:
            generator = torch.Generator(parameter.device).manual_seed(seed)
        z = torch.randn(
            parameter.shape, generator=generator, device=parameter.device, dtype=parameter.dtype
        )
        yield parameter, z
