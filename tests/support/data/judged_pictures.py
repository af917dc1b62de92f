"""Drawn pictures whose click rate grows with their light and warmth, and judges trained on them:
runs of `train_clicks`, made in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adwright.core.assets import cache_folder
from adwright.creative.judging import IMAGE
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import ImageEncoder, VectorStore
from adwright.creative.response.fit import ClickRateConfig, train_clicks
from adwright.creative.response.inputs import encoded_texts
from adwright.creative.response.outcomes import CreativeOutcomes
from tests.support.creative.drawn_ads import saved

_SIDE = 64
_SHOWN = 20_000


@dataclass
class Brightness:
    """A stand-in of the encoder of pictures: the mean of each colour, and how much they vary. It
    costs nothing, and says what it looked at."""

    looked: int = 0

    def encode_pictures(self, pictures: object, count: int) -> NDArray[np.float32]:
        """float32 [B, 6]."""
        self.looked += count
        values = [np.asarray(one, np.float32) / 255 for one in pictures]  # type: ignore[attr-defined]
        means = [(*one.mean((0, 1)), *one.std((0, 1))) for one in values]
        return np.array(means, np.float32).reshape(count, 6)


def shop_window(rng: np.random.Generator, side: int = _SIDE) -> NDArray[np.uint8]:
    """uint8 [side, side, 3]: boxes on a ground, under a light of its own."""
    made = np.empty((side, side, 3))
    made[:] = rng.integers(40, 160, 3)
    for _ in range(4):
        left, top = rng.integers(0, side * 3 // 4, 2)
        made[top : top + side // 4, left : left + side // 4] = rng.integers(0, 256, 3)
    light = rng.uniform(0.5, 1.3) * (1 + rng.uniform(-0.3, 0.3) * np.array([1, 0, -1]))
    return np.clip(np.rint(made * light), 0, 255).astype(np.uint8)


def shop_windows(count: int, *, seed: int) -> NDArray[np.uint8]:
    """uint8 [N, side, side, 3]."""
    rng = np.random.default_rng(seed)
    return np.stack([shop_window(rng) for _ in range(count)])


def true_rates(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64 [N]: grows with light and with warmth."""
    values = pictures.astype(float) / 255
    light, warm = values.mean((1, 2, 3)), (values[..., 0] - values[..., 2]).mean((1, 2))
    return np.asarray(0.02 * np.exp(2.5 * (light - 0.4) + 1.5 * warm))


def picture_judges(
    folder: Path,
    names: tuple[str, ...] = ("a", "b", "c"),
    *,
    count: int = 80,
    encoder: Brightness | None = None,
) -> dict[str, Path]:
    """Runs in the folder, of each name one that was trained on pictures of its own. encoder: None
    for adwright's, whose vectors are kept from one test to the next."""
    made = {}
    for at, name in enumerate(names):
        pictures = shop_windows(count, seed=100 + at)
        rates = true_rates(pictures)
        rng = np.random.default_rng(at)
        outcomes = CreativeOutcomes(
            records=tuple(
                AdRecord(kind="image", title=f"Window {at} {row}") for row in range(count)
            ),
            ids=tuple(f"{name}{row}" for row in range(count)),
            impressions=np.full(count, _SHOWN, np.int64),
            clicks=rng.binomial(_SHOWN, rates).astype(np.int64),
            tests=np.full(count, -1, np.int64),
        )
        images = [Image.fromarray(one) for one in pictures]
        if encoder is None:
            store = VectorStore(cache_folder() / "vectors")
            found = store.vectors([saved(one) for one in images], ImageEncoder())
        else:
            found = encoder.encode_pictures(images, count)
        vectors = {IMAGE: found}
        config = ClickRateConfig(seed=at)
        texts = encoded_texts("hashed")
        train_clicks(outcomes, folder / name, config, texts=texts, vectors=vectors)
        made[name] = folder / name
    return made
