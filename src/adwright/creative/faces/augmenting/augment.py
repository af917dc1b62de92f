"""What adaptive discriminator augmentation does to pictures (ADA; Karras et al., NeurIPS 2020).

    shown = augmented(pictures, p)          # [B, 3, S, S], with their gradients

Each change is made with probability p, of each picture for itself:

    flip           from left to right, in half of the cases
    turn           by 0 to 3 quarters
    shift          by whole pixels, up to an eighth of the side each way
    scale          by 2^(.2 n), n ~ N(0, 1), both axes alike
    stretch        by 2^(.2 n), one axis, and the other by its inverse
    rotation       by any angle; before and after the stretch, so that either happens with p
    brightness     adds .2 n
    contrast       by 2^(.5 n)
    luma flip      in half of the cases
    hue            by any angle
    saturation     by 2^n

These are the paper's pixel blitting, geometric and colour changes; fractional shifts are left out,
which its scales and rotations make up for (our choice). Pictures of which nothing is scaled or
rotated keep their pixels to the bit. All numbers are drawn from torch's own generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.creative.faces.augmenting.colour import (
    brightness,
    coloured,
    contrast,
    hue,
    luma_flip,
    saturation,
)
from adwright.creative.faces.augmenting.geometry import blitted, rotations, scalings, warped

__all__ = ["augmented"]

_SHIFT = 1 / 8
_SCALE, _STRETCH = 0.2, 0.2
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0


def augmented(pictures: Tensor, p: float) -> Tensor:
    """Pictures [B, 3, S, S], -1 to 1, changed as the module says; as they are where p is 0.

    Raises ConfigError for p outside of 0 to 1.
    """
    if not 0 <= p <= 1:
        raise ConfigError(f"p is {p}", where="p", hint="pass a probability")
    if p == 0:
        return pictures
    return _recoloured(_moved(_blitted(pictures, p), p), p)


def _hit(batch: int, p: float) -> Tensor:
    return torch.rand(batch) < p


def _normal(batch: int, p: float, spread: float) -> Tensor:
    """N(0, spread^2) with probability p, else 0."""
    return torch.where(_hit(batch, p), spread * torch.randn(batch), torch.zeros(batch))


def _angle(batch: int, p: float) -> Tensor:
    drawn = (2 * torch.rand(batch) - 1) * math.pi
    return torch.where(_hit(batch, p), drawn, torch.zeros(batch))


def _blitted(pictures: Tensor, p: float) -> Tensor:
    batch, side = len(pictures), pictures.shape[-1]
    flips = _hit(batch, p) & (torch.rand(batch) < 0.5)
    turns = torch.where(_hit(batch, p), torch.randint(4, (batch,)), torch.tensor(0))
    far = ((2 * torch.rand(batch, 2) - 1) * _SHIFT * side).round().long()
    shifts = torch.where(_hit(batch, p)[:, None], far, torch.tensor(0))
    return blitted(pictures, flips, turns, shifts)


def _moved(pictures: Tensor, p: float) -> Tensor:
    batch = len(pictures)
    scale = _normal(batch, p, _SCALE).exp2()
    stretch = _normal(batch, p, _STRETCH).exp2()
    # Either of two rotations happens with probability p.
    each = 1 - math.sqrt(1 - p)
    before, after = _angle(batch, each), _angle(batch, each)
    # Where a pixel comes from: the inverse of what is done.
    sources = scalings(1 / scale, 1 / scale) @ rotations(before)
    sources = sources @ scalings(1 / stretch, stretch) @ rotations(after)
    still = (scale == 1) & (stretch == 1) & (before == 0) & (after == 0)
    if bool(still.all()):
        return pictures
    (chosen,) = torch.where(~still)
    return pictures.index_copy(0, chosen, warped(pictures[chosen], sources[chosen]))


def _recoloured(pictures: Tensor, p: float) -> Tensor:
    batch = len(pictures)
    changes = (
        brightness(_normal(batch, p, _BRIGHTNESS)),
        contrast(_normal(batch, p, _CONTRAST).exp2()),
        luma_flip(_hit(batch, p) & (torch.rand(batch) < 0.5)),
        hue(_angle(batch, p)),
        saturation(_normal(batch, p, _SATURATION).exp2()),
    )
    every = torch.eye(4).repeat(batch, 1, 1)
    for change in changes:
        every = change @ every
    same = torch.isclose(every, torch.eye(4), atol=1e-6).flatten(1).all(1)
    return torch.where(same[:, None, None, None], pictures, coloured(pictures, every))
