"""Changes of the colours of pictures that a discriminator is shown, as matrices [B, 4, 4].

A colour (red, green, blue, 1), of -1 to 1, is multiplied by the matrix of its picture; several
changes are one product. The luma axis is (1, 1, 1) / sqrt 3.

    brightness    adds b to all channels
    contrast      multiplies all by c
    luma flip     mirrors at the plane through 0 that is orthogonal to the luma axis
    hue           turns around the luma axis by an angle
    saturation    multiplies what is orthogonal to the luma axis by s
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["brightness", "coloured", "contrast", "hue", "luma_flip", "saturation"]

_AXIS = 1 / math.sqrt(3)


def coloured(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], the colours of each multiplied by its matrix [B, 4, 4]."""
    mixed = torch.einsum("bij,bjhw->bihw", matrices[:, :3, :3], pictures)
    return mixed + matrices[:, :3, 3, None, None]


def brightness(added: Tensor) -> Tensor:
    """[B, 4, 4] of numbers [B]."""
    made = torch.eye(4).repeat(len(added), 1, 1)
    made[:, :3, 3] = added[:, None]
    return made


def contrast(factors: Tensor) -> Tensor:
    """[B, 4, 4] of factors [B]."""
    made = torch.eye(4).repeat(len(factors), 1, 1)
    made[:, :3, :3] *= factors[:, None, None]
    return made


def luma_flip(flips: Tensor) -> Tensor:
    """[B, 4, 4]; flips: bool [B]."""
    return _three(torch.eye(3) - 2 * _luma() * flips.float()[:, None, None])


def hue(angles: Tensor) -> Tensor:
    """[B, 4, 4] of angles [B] in radians; Rodrigues' formula."""
    cross = _AXIS * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return _three(cos * torch.eye(3) + sin * cross + (1 - cos) * _luma())


def saturation(factors: Tensor) -> Tensor:
    """[B, 4, 4] of factors [B]; 0 leaves grey."""
    return _three(_luma() + factors[:, None, None] * (torch.eye(3) - _luma()))


def _luma() -> Tensor:
    return torch.full((3, 3), _AXIS * _AXIS)


def _three(matrices: Tensor) -> Tensor:
    made = torch.eye(4).repeat(len(matrices), 1, 1)
    made[:, :3, :3] = matrices
    return made
