"""Movements of pictures that a discriminator is shown, with their gradients.

`blitted` moves whole pixels: flips, quarter turns and shifts, and changes no colour. `warped`
scales and turns by any amount: at twice the resolution, between the four nearest pixels, filtered
by [1, 3, 3, 1] on the way up and down (the authors filter with a wavelet; this is our choice). What
lies beyond the edge is the picture in a mirror.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from adwright.creative.faces.layers import blurred, doubled

__all__ = ["blitted", "mirrored", "rotations", "scalings", "warped"]

_MARGIN = 2


def mirrored(at: Tensor, side: int) -> Tensor:
    """Whole places, brought to 0 to side - 1 as if the picture went on in mirrors, whose edge pixel
    is not repeated."""
    if side == 1:
        return torch.zeros_like(at)
    period = 2 * (side - 1)
    folded = at.remainder(period)
    return torch.minimum(folded, period - folded)


def blitted(pictures: Tensor, flips: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
    """Pictures [B, C, S, S], each flipped from left to right where flips [B] says so, then turned
    counter-clockwise by turns [B] quarters, then moved by shifts [B, 2] pixels (right, down)."""
    batch, channels, side = pictures.shape[:3]
    line = 2 * torch.arange(side) - (side - 1)  # twice the distance from the middle
    y = (line[:, None] - 2 * shifts[:, 1, None, None]).expand(batch, side, side)
    x = (line[None, :] - 2 * shifts[:, 0, None, None]).expand(batch, side, side)
    for quarter in range(3):
        # Where a pixel comes from is found by turning it back, clockwise.
        more = (turns > quarter)[:, None, None]
        y, x = torch.where(more, x, y), torch.where(more, -y, x)
    x = torch.where(flips[:, None, None], -x, x)
    row, column = (mirrored((some + side - 1) // 2, side) for some in (y, x))
    index = (row * side + column).flatten(1)[:, None].expand(-1, channels, -1)
    return pictures.flatten(2).gather(2, index).view_as(pictures)


def warped(pictures: Tensor, sources: Tensor) -> Tensor:
    """Pictures [B, C, S, S] whose pixel at (x, y) from the middle shows what was at sources [B, 2,
    2] times (x, y).

    Its gradient cannot be differentiated again, which torch's sampling does not offer.
    """
    side = pictures.shape[-1]
    wide = functional.pad(pictures, (_MARGIN,) * 4, mode="reflect")
    fine = doubled(wide)[..., 2 * _MARGIN : -2 * _MARGIN, 2 * _MARGIN : -2 * _MARGIN]
    theta = torch.cat([sources, sources.new_zeros(len(sources), 2, 1)], 2)
    grid = functional.affine_grid(
        theta, [len(pictures), pictures.shape[1], 2 * side, 2 * side], align_corners=False
    )
    moved = functional.grid_sample(fine, grid, padding_mode="reflection", align_corners=False)
    return blurred(functional.pad(moved, (1, 1, 1, 1), mode="reflect"), (0, 0))[..., ::2, ::2]


def rotations(angles: Tensor) -> Tensor:
    """[B, 2, 2] of angles [B] in radians: times (x, y) turns it from the x axis to the y axis."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def scalings(x: Tensor, y: Tensor) -> Tensor:
    """[B, 2, 2] of factors [B] of both axes."""
    return torch.diag_embed(torch.stack([x, y], -1))
