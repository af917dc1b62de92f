"""e4e: the encoder of pictures into W+ near W (Tov et al., SIGGRAPH 2021).

    encoder = FaceEncoder(generator.config)
    plus = encoder(pictures, mean=generator.mean)       # [B, rows, D]

Of each picture the encoder finds w_0 and an offset for each further row:

    W+ row i = mean + w_0 + delta_i,        delta_0 = 0

Small offsets keep W+ near W, where edits do what they say. In training the offsets are let in one
by one (`unlocked` rows; the others have none).

The paper's encoder is a residual network with a pyramid of three resolutions; ours has the same
form at the size of small portraits (our choice): residual blocks from the picture down to 4 pixels,
a top-down pyramid, and a head a row: rows of coarse layers read 4 pixels, those after them 8, the
finest 16.

How far pictures made of latents are from real ones.

A few optimisation steps on W+ after the encoder, against one picture each.

    found = refine(generator, pictures, plus, steps=30)
    found.plus, found.before, found.after        # W+ and the L2 of each picture

What is lowered, of each picture for itself: L2, `features` times the distance of the
discriminator's features where one is given, and `stay` times the mean squared way from the start.
Of all steps the one with the lowest L2 is kept, so no picture is worse than before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.creative.faces.stylegan import (
    Discriminator,
    EqualLinear,
    Generator,
    GeneratorConfig,
    leaky,
)

_WIDTH = 64
_SIDES = (4, 8, 16)


class _EncoderBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.one, self.two = nn.BatchNorm2d(o), nn.BatchNorm2d(o)
        self.second = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        same = i == o and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, i, H, W] to [B, o, H / stride, W / stride]."""
        made = leaky(self.one(self.first(x)))
        return leaky((self.two(self.second(made)) + self.skip(x)) * math.sqrt(0.5))


class _RowHead(nn.Module):
    """A feature map to one row: halved down to a pixel, then linear."""

    def __init__(self, channels: int, side: int, wide: int) -> None:
        super().__init__()
        steps = int(math.log2(side))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(steps))
        self.out = EqualLinear(channels, wide)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, side, side] to [B, wide]."""
        for conv in self.convs:
            x = leaky(conv(x))
        made: Tensor = self.out(x.flatten(1))
        return made


class FaceEncoder(nn.Module):
    """See the module. width: channels of the finest pyramid level and of the heads."""

    def __init__(self, config: GeneratorConfig, *, width: int = _WIDTH) -> None:
        super().__init__()
        if config.side < _SIDES[-1]:
            raise ConfigError(
                f"side {config.side} is below {_SIDES[-1]}", where="side", hint="take 32"
            )
        self.config = config
        self.stem = nn.Conv2d(3, width // 2, 3, 1, 1)
        sides = [_SIDES[min(2, row // 3)] for row in range(config.rows)]
        blocks, side, i = [], config.side, width // 2
        self.taken: dict[int, int] = {}
        lateral = {}
        while side > 4:
            o = min(2 * i, 4 * width)
            blocks += [_EncoderBlock(i, o, 2), _EncoderBlock(o, o, 1)]
            i, side = o, side // 2
            if side in sides:
                self.taken[len(blocks) - 1] = side
                lateral[str(side)] = nn.Conv2d(o, width, 1)
        self.blocks = nn.ModuleList(blocks)
        self.lateral = nn.ModuleDict(lateral)
        self.heads = nn.ModuleList(_RowHead(width, side, config.wide) for side in sides)
        self.sides = sides

    def forward(self, pictures: Tensor, *, mean: Tensor, unlocked: int | None = None) -> Tensor:
        """W+ [B, rows, D] of pictures [B, 3, side, side], -1 to 1. mean: of w, [D]. unlocked: rows
        that may have an offset, counted from row 1; None for all."""
        maps = self._maps(pictures)
        w = self.heads[0](maps[self.sides[0]])
        free = self.config.rows - 1 if unlocked is None else unlocked
        rows = [w]
        for row in range(1, self.config.rows):
            offset = self.heads[row](maps[self.sides[row]]) if row <= free else torch.zeros_like(w)
            rows.append(w + offset)
        return mean + torch.stack(rows, 1)

    def _maps(self, pictures: Tensor) -> dict[int, Tensor]:
        """Of each side of the pyramid [B, width, side, side], coarse ones added to finer ones."""
        x, found = leaky(self.stem(pictures)), {}
        for at, block in enumerate(self.blocks):
            x = block(x)
            if at in self.taken:
                found[self.taken[at]] = self.lateral[str(self.taken[at])](x)
        for coarse, fine in pairwise(sorted(found)):
            found[fine] = found[fine] + functional.interpolate(found[coarse], scale_factor=2.0)
        return found


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
