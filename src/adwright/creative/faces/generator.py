"""The generator of StyleGAN2 (Karras et al., CVPR 2020): noise to latents to pictures.

    generator = Generator(GeneratorConfig(side=32))
    latents = generator.latents(z)              # w [B, D] of z [B, D]
    pictures = generator.pictures(latents)      # [B, 3, side, side], about -1 to 1

z is divided by its root mean square; the mapping's layers learn at .01 of the rate. A learned 4 x 4
constant grows by blocks; block r has a convolution that doubles, one that does not, and one of
1 x 1 that adds colours to the doubled picture of the block before (skips).

W+ has a row of D numbers for each place that reads a latent: rows = 2 log2(side) - 2. The
convolution at 4 pixels reads row 0, block r rows 2 k - 3 and 2 k - 2 for side 2^k, and its colours
the row after them, which the next block's first convolution reads as well.

Truncation: w' = mean + psi (w - mean), with a running mean of w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.creative.faces.layers import EqualLinear, ModulatedConv, Noise, doubled, leaky

__all__ = ["Generator", "GeneratorConfig", "channels_at"]

_ROOT = math.sqrt(2)


@dataclass(frozen=True)
class GeneratorConfig:
    """side: pixels, a power of 2 from 8 on. wide: D, of z and w. layers: of the mapping. base,
    most: a layer at side s has min(base / s, most) channels. mean_decay: of the running mean of w.
    noise: added to what each convolution makes. Without it the latent alone makes the picture: for
    drawings, which have no texture of chance (our choice).
    """

    side: int = 32
    wide: int = 256
    layers: int = 2
    base: int = 2048
    most: int = 192
    mean_decay: float = 0.995
    noise: bool = True

    def __post_init__(self) -> None:
        if self.side < 8 or self.side & (self.side - 1):
            raise ConfigError(
                f"side {self.side} is no power of 2 from 8 on", where="side", hint="take 32 or 64"
            )
        for name in ("wide", "layers", "most"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is below 1", where=name, hint="take the default")
        if self.base < self.side:
            raise ConfigError("base is below side", where="base", hint="take 2,048")
        if not 0 <= self.mean_decay < 1:
            raise ConfigError("mean_decay is not in [0, 1)", where="mean_decay", hint="take .995")

    @property
    def rows(self) -> int:
        """Rows of W+."""
        return 2 * int(math.log2(self.side)) - 2


def channels_at(side: int, base: int, most: int) -> int:
    """Channels of a layer with side x side pixels."""
    return max(1, min(base // side, most))


class _StyledConv(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU."""

    def __init__(
        self, i: int, o: int, side: int, wide: int, *, noise: bool, up: bool = False
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv(i, o, 3, wide, up=up)
        self.noise = Noise(side) if noise else None
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x: Tensor, latent: Tensor, noise: Tensor | None) -> Tensor:
        """[B, i, h, w] to [B, o, side, side]."""
        # sqrt 2 is multiplied before the leaky ReLU, where that costs nothing: see `layers.leaky`.
        x = self.conv(x, latent, gain=_ROOT)
        if self.noise is not None:
            x = self.noise(x, noise, gain=_ROOT)
        return leaky(x + (_ROOT * self.bias)[:, None, None].to(x.dtype), gain=1.0)


class _ToColours(nn.Module):
    def __init__(self, i: int, wide: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(i, 3, 1, wide, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """[B, i, h, w] to float [B, 3, h, w]."""
        made: Tensor = self.conv(x, latent).float() + self.bias[:, None, None]
        return made


class Generator(nn.Module):
    """See the module."""

    mean: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config, wide, noise = config, config.wide, config.noise
        self.mapping = nn.ModuleList(
            EqualLinear(wide, wide, rate=0.01, activate=True) for _ in range(config.layers)
        )
        self.register_buffer("mean", torch.zeros(wide))
        i = channels_at(4, config.base, config.most)
        self.constant = nn.Parameter(torch.randn(i, 4, 4))
        self.convs = nn.ModuleList([_StyledConv(i, i, 4, wide, noise=noise)])
        self.colours = nn.ModuleList([_ToColours(i, wide)])
        side = 8
        while side <= config.side:
            o = channels_at(side, config.base, config.most)
            self.convs.append(_StyledConv(i, o, side, wide, noise=noise, up=True))
            self.convs.append(_StyledConv(o, o, side, wide, noise=noise))
            self.colours.append(_ToColours(o, wide))
            i, side = o, 2 * side

    def latents(self, z: Tensor, *, truncation: float = 1.0) -> Tensor:
        """w [B, D] of z [B, D]. truncation: psi; below 1 nearer to the mean."""
        w = z * (z.square().mean(-1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = layer(w)
        return w if truncation == 1 else self.mean + truncation * (w - self.mean)

    def follow_mean(self, w: Tensor) -> None:
        """Move the running mean towards the mean of w [B, D]."""
        with torch.no_grad():
            self.mean.lerp_(w.detach().float().mean(0), 1 - self.config.mean_decay)

    def rows_of(self, w: Tensor) -> Tensor:
        """W+ [B, rows, D] with equal rows."""
        return w[:, None].expand(-1, self.config.rows, -1)

    def pictures(
        self, w: Tensor, noise: torch.Generator | Sequence[Tensor] | None = None
    ) -> Tensor:
        """float [B, 3, side, side] of w [B, D] or of W+ [B, rows, D].

        noise: a generator of random numbers, or of each convolution [B, 1, s, s]; None for the
        fixed noise, with which the same latents give the same picture.
        """
        plus = self.rows_of(w) if w.dim() == 2 else w
        if plus.shape[1] != self.config.rows:
            raise ConfigError(
                f"W+ has {plus.shape[1]} rows", where="w", hint=f"pass {self.config.rows} rows"
            )
        drawn = self._noise(len(w), noise)
        x = self.constant[None].expand(len(w), -1, -1, -1)
        x = self.convs[0](x, plus[:, 0], drawn[0])
        picture: Tensor = self.colours[0](x, plus[:, 1])
        for block in range(1, len(self.colours)):
            row = 2 * block - 1
            x = self.convs[row](x, plus[:, row], drawn[row])
            x = self.convs[row + 1](x, plus[:, row + 1], drawn[row + 1])
            picture = doubled(picture) + self.colours[block](x, plus[:, row + 2])
        return picture

    def _noise(
        self, batch: int, noise: torch.Generator | Sequence[Tensor] | None
    ) -> Sequence[Tensor | None]:
        if noise is None or not self.config.noise:
            return [None] * len(self.convs)
        if not isinstance(noise, torch.Generator):
            return noise
        sides = [4] + [4 * 2 ** (1 + at // 2) for at in range(len(self.convs) - 1)]
        return [torch.randn(batch, 1, side, side, generator=noise) for side in sides]

    def forward(self, z: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Pictures of z [B, D]."""
        return self.pictures(self.latents(z), noise)
