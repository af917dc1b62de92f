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
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.creative.faces.stylegan import EqualLinear, GeneratorConfig, leaky

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
