"""Losses of StyleGAN2's training (Karras et al., CVPR 2020), and its augmentation's control.

    generator      mean softplus(-D(G(z)))
    discriminator  mean softplus(D(G(z))) + mean softplus(-D(x))
    R1             gamma / 2 times the mean over x of |grad_x D(x)|^2
    path length    y ~ N(0, 1) / sqrt(H W), J = grad_w sum(G(w) y), of W+ with rows r and numbers d:
                   length = sqrt(mean_r sum_d J_rd^2), penalty = weight mean (length - running)^2

A penalty that is added every k steps counts k times, and its optimiser's rate is multiplied by
k / (k + 1), its betas raised to that power (`lazy_adam`), so that time runs as it would with one
step for the loss and 1 / k for the penalty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

__all__ = [
    "discriminator_loss",
    "generator_loss",
    "lazy_adam",
    "path_lengths",
    "r1_penalty",
    "usual_gamma",
]

_EPS = 1e-8


def generator_loss(of_made: Tensor) -> Tensor:
    """[] of what the discriminator says [B] of made pictures."""
    return softplus(-of_made).mean()


def discriminator_loss(of_made: Tensor, of_real: Tensor) -> Tensor:
    """[] of what it says [B] of made and [B] of real pictures."""
    return softplus(of_made).mean() + softplus(-of_real).mean()


def r1_penalty(of_real: Tensor, real: Tensor, gamma: float) -> Tensor:
    """[]; of_real [B] was computed from real [B, 3, H, W], which requires its gradient."""
    (found,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
    return gamma / 2 * found.square().sum((1, 2, 3)).mean()


def path_lengths(pictures: Tensor, plus: Tensor, direction: Tensor) -> Tensor:
    """[B]; pictures [B, 3, H, W] were made of W+ plus [B, rows, D]; direction like the pictures,
    from N(0, 1)."""
    height, width = pictures.shape[2:]
    summed = (pictures * (direction / math.sqrt(height * width))).sum()
    (found,) = torch.autograd.grad(summed, plus, create_graph=True)
    return (found.square().sum(2).mean(1) + _EPS).sqrt()


def usual_gamma(side: int, batch: int) -> float:
    """gamma of R1 for pictures of side x side and so large a batch: .0002 side^2 / batch, from the
    authors' set-ups."""
    return 0.0002 * side * side / batch


def lazy_adam(
    parameters: Iterable[nn.Parameter], rate: float, every: int, *, fused: bool = True
) -> torch.optim.Adam:
    """Adam with betas (0, .99) and epsilon 1e-8 for a loss with a penalty every so many steps; 0
    for none."""
    share = every / (every + 1) if every else 1.0
    # Floats both: torch refuses an integer beside a float.
    betas = (0.0, 0.99**share)
    return torch.optim.Adam(parameters, lr=rate * share, betas=betas, eps=1e-8, fused=fused)
