"""Layers of StyleGAN2 (Karras et al., CVPR 2020): equalised rates, modulated convolutions, filters.

Weights are drawn from N(0, 1) and divided by sqrt(fan-in) as they are used, so that a step of the
optimiser is of the same relative size in every layer (equalised rate). All activations are leaky
ReLU with slope .2, times sqrt 2.

Modulation, per image, by a style s (of C numbers), with output channels o:

    w'_oik = s_i w_oik        w''_oik = w'_oik / sqrt(sum_ik w'_oik^2 + 1e-8)

is computed as: scale the input's channels by s, convolve all images at once, scale the output's
channels by the square root, which is the same and needs no convolution of its own per image.

For the processor's sake pictures lie in memory with their channels last, and a filter is two
products with banded matrices: several times as fast as convolutions of each channel, most of all
where the gradient is differentiated again.

The generator of StyleGAN2 (Karras et al., CVPR 2020): noise to latents to pictures.

    generator = Generator(GeneratorConfig(side=32))
    latents = generator.latents(z)              # w [B, D] of z [B, D]
    pictures = generator.pictures(latents)      # [B, 3, side, side], about -1 to 1

z is divided by its root mean square; the mapping's layers learn at .01 of the rate. A learned 4 x 4
constant grows by blocks; block r has a convolution that doubles, one that does not, and one of
1 x 1 that adds colours to the doubled picture of the block before (skips).

W+ has a row of D numbers for each place that reads a latent: rows = 2 log2(side) - 2. The
convolution at 4 pixels reads row 0, block r rows 2 k - 3 and 2 k - 2 for side 2^k, and its colours
the row after them, which the next block's first convolution reads as well.

The discriminator of StyleGAN2 (Karras et al., CVPR 2020): is it one of the real pictures?

From the picture down to 4 x 4 pixels by residual blocks, each with two convolutions beside one of
1 x 1, together times sqrt .5; then a channel that tells how much the pictures of a group differ
(mini-batch standard deviation), a convolution, and two dense layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Ge, Lt, settings
from adwright.core.errors import ConfigError

_SLOPE = 0.2
_EPS = 1e-8
#: The filter of all changes of resolution, of each axis, with sum 1.
_FILTER = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def leaky(x: Tensor, *, gain: float = math.sqrt(2)) -> Tensor:
    """Leaky ReLU with slope .2, times gain; sqrt 2 keeps the variance of N(0, 1)."""
    made = functional.leaky_relu(x, _SLOPE)
    return made if gain == 1 else made * gain


def channels_last(x: Tensor) -> Tensor:
    """The same numbers [B, C, H, W], with the channels of a pixel side by side in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def blurred(x: Tensor, pad: tuple[int, int], gain: float = 1.0, *, step: int = 1) -> Tensor:
    """[B, C, H, W] filtered by [1, 3, 3, 1] along both axes, times gain, with `pad` zeros before
    and after each: [B, C, H + sum(pad) - 3, W + sum(pad) - 3]. step: keep each step-th pixel."""
    return _filtered(x, pad, gain, step, 1)


def doubled(x: Tensor) -> Tensor:
    """[B, C, H, W] to [B, C, 2 H, 2 W]: a zero after each pixel, filtered, times 4."""
    return _filtered(x, (2, 1), 4.0, 1, 2)


def _filtered(x: Tensor, pad: tuple[int, int], gain: float, step: int, up: int) -> Tensor:
    batch, channels, height, width = x.shape
    down, across = (
        _band(size, pad, math.sqrt(gain), step, up).to(x.device, x.dtype)
        for size in (height, width)
    )
    made = across @ channels_last(x).permute(0, 2, 3, 1)  # [B, H, W', C]
    made = down @ made.reshape(batch, height, -1)  # [B, H', W' C]
    return made.view(batch, len(down), len(across), channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _band(size: int, pad: tuple[int, int], gain: float, step: int, up: int) -> Tensor:
    """[outputs, size]: output o is the sum over inputs i of filter[up i + pad - step o]."""
    outputs = (size * up + sum(pad) - len(_FILTER)) // step + 1
    tap = up * torch.arange(size)[None] + pad[0] - step * torch.arange(outputs)[:, None]
    inside = (tap >= 0) & (tap < len(_FILTER))
    return gain * torch.tensor(_FILTER)[tap.clamp(0, len(_FILTER) - 1)] * inside


class EqualLinear(nn.Module):
    """y = x (W r / sqrt(i))^T + b r, then `leaky` where activate.

    i, o: numbers in and out. rate: r, of learning; weights begin at N(0, 1) / r. bias: its start.
    """

    def __init__(
        self, i: int, o: int, *, bias: float = 0.0, rate: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i) / rate)
        self.bias = nn.Parameter(torch.full((o,), bias / rate))
        self.scale, self.rate, self.activate = rate / math.sqrt(i), rate, activate

    def forward(self, x: Tensor) -> Tensor:
        """[..., i] to [..., o]."""
        made = functional.linear(x, self.weight * self.scale, self.bias * self.rate)
        return leaky(made) if self.activate else made


class EqualConv(nn.Module):
    """A convolution of the discriminator, `kernel` odd; down: filtered and halved.

    bias and activation belong together: a skip has neither. gain: times what comes out. Weights and
    bias are multiplied by it and by the sqrt 2 of `leaky`, which are fewer numbers than the output.
    """

    def __init__(
        self,
        i: int,
        o: int,
        kernel: int,
        *,
        down: bool = False,
        activate: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(o)) if activate else None
        self.gain = gain * math.sqrt(2) if activate else gain
        self.scale, self.down = self.gain / math.sqrt(i * kernel * kernel), down

    def forward(self, x: Tensor) -> Tensor:
        """[B, i, H, W] to [B, o, H, W], or half of it."""
        kernel = self.weight.shape[-1]
        weight = channels_last(self.weight * self.scale)
        bias = None if self.bias is None else self.bias * self.gain
        if self.down and kernel == 1:
            made = functional.conv2d(blurred(x, (1, 1), step=2), weight, bias)
        elif self.down:
            made = functional.conv2d(blurred(x, (2, 2)), weight, bias, stride=2)
        else:
            made = functional.conv2d(x, weight, bias, padding=kernel // 2)
        return made if bias is None else leaky(made, gain=1.0)


class ModulatedConv(nn.Module):
    """A convolution whose weights each image scales by its style, see the module.

    i, o: channels. wide: of the latent. demodulate: off for the layers that make colours, whose
    style is divided by sqrt(fan-in) instead. up: the output is twice as large.
    """

    def __init__(
        self, i: int, o: int, kernel: int, wide: int, *, demodulate: bool = True, up: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i, kernel, kernel))
        self.affine = EqualLinear(wide, i, bias=1.0)
        self.scale, self.demodulate, self.up = 1 / math.sqrt(i * kernel * kernel), demodulate, up

    def forward(self, x: Tensor, latent: Tensor, *, gain: float = 1.0) -> Tensor:
        """[B, i, H, W] and latents [B, wide] to [B, o, H, W], or [B, o, 2 H, 2 W]. gain: times what
        comes out of a layer that demodulates."""
        style = self.affine(latent)
        weight = channels_last(self.weight * self.scale)
        x = channels_last(x) * style[:, :, None, None].to(x.dtype)
        if self.up:
            turned = channels_last(weight.flip(2, 3).transpose(0, 1))
            x = blurred(functional.conv_transpose2d(x, turned, stride=2), (1, 1), 4.0)
        else:
            x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = (style.float() ** 2) @ weight.float().square().sum((2, 3)).T
            x = x * (gain * (power + _EPS).rsqrt())[:, :, None, None].to(x.dtype)
        return x


class Noise(nn.Module):
    """Noise of one layer times a learned strength, which begins at 0; side: pixels.

    The fixed noise is drawn once and saved with the weights.
    """

    fixed: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("fixed", torch.randn(side, side))

    def forward(self, x: Tensor, noise: Tensor | None, *, gain: float = 1.0) -> Tensor:
        """x [B, C, side, side] with noise [B, 1, side, side], or with the fixed one, times gain."""
        drawn = self.fixed if noise is None else noise
        return x + (drawn * (gain * self.strength)).to(x.dtype)


_ROOT = math.sqrt(2)


@settings
class GeneratorConfig:
    """side: pixels, a power of 2 from 8 on. wide: D, of z and w. layers: of the mapping. base,
    most: a layer at side s has min(base / s, most) channels. mean_decay: of the running mean of w.
    noise: added to what each convolution makes. Without it the latent alone makes the picture: for
    drawings, which have no texture of chance (our choice).
    """

    side: int = 32
    wide: Count = 256
    layers: Count = 2
    base: int = 2048
    most: Count = 192
    mean_decay: Annotated[float, Ge(0), Lt(1)] = 0.995
    noise: bool = True

    def __post_init__(self) -> None:
        if self.side < 8 or self.side & (self.side - 1):
            raise ConfigError(
                f"side {self.side} is no power of 2 from 8 on", where="side", hint="take 32 or 64"
            )
        if self.base < self.side:
            raise ConfigError("base is below side", where="base", hint="take 2,048")

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

    def latents(self, z: Tensor) -> Tensor:
        """w [B, D] of z [B, D]."""
        w = z * (z.square().mean(-1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = layer(w)
        return w

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
