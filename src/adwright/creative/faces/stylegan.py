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

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.artifacts import Artifact
from adwright.core.assets import shipped
from adwright.core.config import Count, Ge, Lt, from_jsonable, settings
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.training.model_artifacts import load_trained, load_weights, weights_of

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


# --------------------------------------------------------------------------------------------------
# e4e: the encoder of pictures into W+ near W (Tov et al., SIGGRAPH 2021).
#
#     encoder = FaceEncoder(generator.config)
#     plus = encoder(pictures, mean=generator.mean)       # [B, rows, D]
#
# Of each picture the encoder finds w_0 and an offset for each further row:
#
#     W+ row i = mean + w_0 + delta_i,        delta_0 = 0
#
# Small offsets keep W+ near W, where edits do what they say. In training the offsets are let in one
# by one (`unlocked` rows; the others have none).
#
# The paper's encoder is a residual network with a pyramid of three resolutions; ours has the same
# form at the size of small portraits (our choice): residual blocks from the picture down to 4
# pixels,
# a top-down pyramid, and a head a row: rows of coarse layers read 4 pixels, those after them 8, the
# finest 16.

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


# --------------------------------------------------------------------------------------------------
# Pictures as networks read them.
#
# A trained generator of portraits with its discriminator: an artifact of kind "faces".
#
#     faces = FittedFaces.load("runs/faces/model")
#
# manifest.json         the generator's config, the training's, its records, what it was trained on
# tensors.safetensors   weights in float32 or float16
#
# A trained encoder of portraits into W+: an artifact of kind "faces_encoder".
#
#     encoder = FittedEncoder.load("runs/encoder/model")
#     plus = encoder.invert(faces, pictures)               # W+ [N, rows, D]
#
# Pictures are aligned as those that it was trained on: an unaligned face comes back as another
# person. An encoder belongs to one generator, whose weights it knows by their hash.
#
# manifest.json         the encoder's config, the training's, and the generator's hash
# tensors.safetensors   weights in float32 or float16


def as_pictures(pixels: NDArray[np.uint8]) -> Tensor:
    """float [N, 3, S, S], -1 to 1, of uint8 [N, S, S, 3]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


FACES_KIND = "faces"
#: The folder of the portraits that ship with the package: "faces", and "encoder" where it is there.
DRAWN = shipped("drawn_faces")


@dataclass(frozen=True, eq=False)
class FittedFaces:
    """generator: with the mean weights of the training. discriminator: None where it was left out.

    config: of the training, plain values. records: one mapping a validation. data_hash: of the
    pictures. about: of what it was trained on, in words.
    """

    generator: Generator
    discriminator: Discriminator | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    records: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    data_hash: str = ""
    about: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        self.generator.eval()

    @cached_property
    def weights_hash(self) -> str:
        """Of the generator's weights as float16, which half of an artifact keeps. Taken once: a
        search asks a thousand times over whether an encoder belongs to it."""
        weights = weights_of(self.generator).items()
        halves = {name: value.astype(np.float16).tobytes() for name, value in weights}
        return content_hash({name: sha256_bytes(half) for name, half in halves.items()})

    @classmethod
    def load(cls, source: str | Path | Artifact) -> FittedFaces:
        """The model of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _faces_of, kind=FACES_KIND, name="generator of faces")


def _faces_of(artifact: Artifact) -> FittedFaces:
    config = artifact.config
    shape = from_jsonable(GeneratorConfig, config["generator"])
    tensors = {name: value.astype(np.float32) for name, value in artifact.tensors.items()}
    generator, discriminator = Generator(shape), None
    load_weights(generator, tensors, "generator.")
    if "discriminator" in config["parts"]:
        discriminator = Discriminator(shape)
        load_weights(discriminator, tensors, "discriminator.")
    return FittedFaces(
        generator,
        discriminator,
        config=config["fit"],
        records=tuple(json.loads(artifact.text("records.json"))),
        data_hash=artifact.data_hash,
        about=config["about"],
        seed=artifact.seed,
    )


ENCODER_KIND = "faces_encoder"
_AT_A_TIME = 64


@dataclass(frozen=True, eq=False)
class FittedEncoder:
    """encoder: of pictures. generator_hash: see `FittedFaces.weights_hash`. width: of the encoder.
    unlocked: rows that have an offset, those that its training had let in; None for all.

    config: of the training, plain values. records: one mapping a validation. data_hash: of the
    pictures. about: of what it was trained on, in words.
    """

    encoder: FaceEncoder
    generator_hash: str
    width: int
    unlocked: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    records: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    data_hash: str = ""
    about: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        self.encoder.eval()

    @torch.no_grad()
    def invert(self, faces: FittedFaces, pictures: Tensor) -> Tensor:
        """W+ [N, rows, D] of pictures [N, 3, side, side], -1 to 1.

        Raises ConfigError for another generator than it was trained on, and for pictures of another
        size.
        """
        if faces.weights_hash != self.generator_hash:
            raise ConfigError(
                "the encoder was trained on another generator",
                where="faces",
                hint="pass the generator that it was trained on, or train it again",
            )
        side = self.encoder.config.side
        if pictures.dim() != 4 or pictures.shape[1:] != (3, side, side) or not len(pictures):
            raise ConfigError(
                f"pictures have shape {tuple(pictures.shape)}",
                where="pictures",
                hint=f"pass one or more of 3 x {side} x {side}",
            )
        mean, unlocked = faces.generator.mean, self.unlocked
        each = torch.split(pictures, _AT_A_TIME)
        return torch.cat([self.encoder(some, mean=mean, unlocked=unlocked) for some in each])

    @classmethod
    def load(cls, source: str | Path | Artifact) -> FittedEncoder:
        """The model of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _encoder_of, kind=ENCODER_KIND, name="encoder of faces")


def _encoder_of(artifact: Artifact) -> FittedEncoder:
    config = artifact.config
    encoder = FaceEncoder(
        from_jsonable(GeneratorConfig, config["generator"]), width=config["width"]
    )
    tensors = {
        name: value.astype(np.float32) if value.dtype == np.float16 else value
        for name, value in artifact.tensors.items()
    }
    load_weights(encoder, tensors)
    return FittedEncoder(
        encoder,
        config["generator_hash"],
        config["width"],
        config["unlocked"],
        config=config["fit"],
        records=tuple(json.loads(artifact.text("records.json"))),
        data_hash=artifact.data_hash,
        about=config["about"],
        seed=artifact.seed,
    )
