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
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "EqualConv",
    "EqualLinear",
    "ModulatedConv",
    "Noise",
    "blurred",
    "channels_last",
    "doubled",
    "leaky",
]

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
