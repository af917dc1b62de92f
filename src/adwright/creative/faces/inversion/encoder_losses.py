"""Losses of the encoder's training (e4e; Tov et al., SIGGRAPH 2021), each of it for itself.

    L2                mean over pixels of (x - G(E(x)))^2, pictures of -1 to 1
    perceptual        mean over layers and pixels of |f / |f| - f' / |f'||^2, f a pixel's features
    identity          mean of 1 - cos(e(x), e(G(E(x)))), e an embedding of faces
    offsets           sum over rows of the mean length of their offset, `encoder.delta_size`
    adversarial       mean over unlocked rows of softplus(-D_w(row))
    D_w               mean softplus(D_w(made)) + mean softplus(-D_w(w)), and R1 on w
    pairs             mean of (W+ - w)^2 / variance of w, where the latent is known

The paper's perceptual term is LPIPS, whose weights may not be shipped. Ours takes features of
EfficientNet-Lite0 and of our own discriminator, and is called after them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, softplus

__all__ = [
    "adversarial_loss",
    "feature_distance",
    "identity_loss",
    "latent_loss",
    "latent_r1",
    "pair_loss",
    "pixel_error",
]

_EPS = 1e-10


def pixel_error(made: Tensor, real: Tensor) -> Tensor:
    """[B], the L2 of each: of pictures [B, 3, H, W], the mean over colours and pixels."""
    return (made - real).square().mean((1, 2, 3))


def feature_distance(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """[B] of feature maps [B, C, H, W], one of each layer."""
    found = []
    for one, other in zip(made, real, strict=True):
        a, b = (some / (some.square().sum(1, keepdim=True) + _EPS).sqrt() for some in (one, other))
        found.append((a - b).square().sum(1).mean((1, 2)))
    return torch.stack(found).mean(0)


def identity_loss(made: Tensor, real: Tensor) -> Tensor:
    """[] of embeddings [B, E]."""
    return (1 - cosine_similarity(made, real, dim=1)).mean()


def adversarial_loss(said: Tensor) -> Tensor:
    """[] of what D_w says [B, rows] of the rows that are unlocked."""
    return softplus(-said).mean()


def latent_loss(of_made: Tensor, of_real: Tensor) -> Tensor:
    """[] of what D_w says [B] of made latents and [B] of real ones."""
    return softplus(of_made).mean() + softplus(-of_real).mean()


def latent_r1(of_real: Tensor, real: Tensor, gamma: float) -> Tensor:
    """[]: gamma / 2 mean |grad_w D_w(w)|^2; of_real [B] was computed from real [B, D]."""
    (found,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
    return gamma / 2 * found.square().sum(1).mean()


def pair_loss(plus: Tensor, w: Tensor, variance: Tensor) -> Tensor:
    """[] of W+ [B, rows, D] found and w [B, D] true; variance: of w, [D] or []."""
    return ((plus - w[:, None]).square() / variance).mean()
