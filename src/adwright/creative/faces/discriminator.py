"""The discriminator of StyleGAN2 (Karras et al., CVPR 2020): is it one of the real pictures?

From the picture down to 4 x 4 pixels by residual blocks, each with two convolutions beside one of
1 x 1, together times sqrt .5; then a channel that tells how much the pictures of a group differ
(mini-batch standard deviation), a convolution, and two dense layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adwright.creative.faces.generator import GeneratorConfig, channels_at
from adwright.creative.faces.layers import EqualConv, EqualLinear, channels_last

__all__ = ["Discriminator", "group_deviation"]

_GROUP = 4


def group_deviation(x: Tensor, group: int = _GROUP) -> Tensor:
    """[B, C, H, W] to [B, C + 1, H, W]: the standard deviation over each group of pictures, whose
    members lie B / group apart, averaged over channels and pixels.

    group: pictures of one; a divisor of B nearest below it is taken.
    """
    batch, _, height, width = x.shape
    size = next(some for some in range(min(group, batch), 0, -1) if batch % some == 0)
    spread = x.float().reshape(size, batch // size, -1).var(0, unbiased=False)
    said = (spread + 1e-8).sqrt().mean(1).repeat(size)
    return torch.cat([x, said.view(batch, 1, 1, 1).expand(-1, 1, height, width).to(x.dtype)], 1)


class _Residual(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        half = math.sqrt(0.5)
        self.first = EqualConv(i, i, 3)
        self.second = EqualConv(i, o, 3, down=True, gain=half)
        self.skip = EqualConv(i, o, 1, down=True, activate=False, gain=half)

    def forward(self, x: Tensor) -> Tensor:
        """[B, i, H, W] to [B, o, H / 2, W / 2]."""
        made: Tensor = self.second(self.first(x)) + self.skip(x)
        return made


class Discriminator(nn.Module):
    """See the module; its channels are those of the generator of `config`."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        i = channels_at(config.side, config.base, config.most)
        self.colours = EqualConv(3, i, 1)
        blocks, side = [], config.side
        while side > 4:
            side //= 2
            o = channels_at(side, config.base, config.most)
            blocks.append(_Residual(i, o))
            i = o
        self.blocks = nn.ModuleList(blocks)
        self.last = EqualConv(i + 1, i, 3)
        self.dense = EqualLinear(16 * i, i, activate=True)
        self.out = EqualLinear(i, 1)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """What each block makes of pictures [B, 3, side, side], the finest first."""
        made, x = [], self.colours(channels_last(pictures))
        for block in self.blocks:
            x = block(x)
            made.append(x)
        return made

    def forward(self, pictures: Tensor, *, group: int = _GROUP) -> Tensor:
        """float [B]: the higher, the more real. group: of `group_deviation`; with 1 each picture is
        judged by itself, as one of a group of copies would be."""
        x = self.last(group_deviation(self.features(pictures)[-1], group))
        said: Tensor = self.out(self.dense(x.flatten(1)))
        return said[:, 0].float()
