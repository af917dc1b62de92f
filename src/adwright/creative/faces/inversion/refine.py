"""A few optimisation steps on W+ after the encoder, against one picture each.

    found = refine(generator, pictures, plus, steps=30)
    found.plus, found.before, found.after        # W+ and the L2 of each picture

What is lowered, of each picture for itself: L2, `features` times the distance of the
discriminator's features where one is given, and `stay` times the mean squared way from the start.
Of all steps the one with the lowest L2 is kept, so no picture is worse than before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.creative.faces.discriminator import Discriminator
from adwright.creative.faces.generator import Generator
from adwright.creative.faces.inversion.encoder_losses import feature_distance, pixel_error

__all__ = ["Refined", "refine"]


@dataclass(frozen=True, eq=False)
class Refined:
    """W+ plus [N, rows, D], and the L2 [N] of each picture before and after."""

    plus: Tensor
    before: Tensor
    after: Tensor


@torch.enable_grad()  # type: ignore[no-untyped-call,untyped-decorator,unused-ignore]
def refine(
    generator: Generator,
    pictures: Tensor,
    plus: Tensor,
    *,
    steps: int = 30,
    rate: float = 0.02,
    stay: float = 0.01,
    discriminator: Discriminator | None = None,
    features: float = 0.4,
) -> Refined:
    """See the module. pictures: [N, 3, side, side], -1 to 1. plus: W+ [N, rows, D] to start from.
    rate: of Adam. Raises ConfigError for fewer than no steps, and for a rate that is not above 0.
    """
    if steps < 0 or not rate > 0:
        raise ConfigError(
            f"{steps} steps at rate {rate}", where="steps", hint="take 30 steps at .02"
        )
    start, found = plus.detach(), plus.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([found], lr=rate)
    with torch.no_grad():
        wanted = None if discriminator is None else discriminator.features(pictures)
    best, before, lowest = start.clone(), torch.empty(0), torch.full((len(start),), torch.inf)
    for step in range(steps + 1):
        made = generator.pictures(found)
        error = pixel_error(made, pictures)
        with torch.no_grad():
            before = error.detach().clone() if step == 0 else before
            better = error < lowest
            best[better], lowest[better] = found.detach()[better], error.detach()[better]
        if step == steps:
            break
        loss = error + stay * (found - start).square().mean((1, 2))
        if discriminator is not None and wanted is not None:
            loss = loss + features * feature_distance(discriminator.features(made), wanted)
        (found.grad,) = torch.autograd.grad(loss.sum(), found)
        optimiser.step()
    return Refined(best, before, lowest)
