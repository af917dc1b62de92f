"""Which attributes a direction moves: a reader trained on labelled portraits, hits and leaks.

    reader = fit_reader(pictures, labels)             # a small network; says how well it reads
    found = moved_attributes(generator, directions, reader, seed=0)
    found.named[0], found.hit[0], found.leak[0]       # of the first direction

For each direction n latents are drawn, and moved by `step` standard deviations both ways. The
change of an attribute is the mean difference of what the reader sees, divided by the attribute's
standard deviation over the portraits that were not moved. A direction is named after the attribute
that changes most; it is a *hit* where that change is at least 3 times the median of the others, and
its *leak* is the largest other change over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import DataError
from adwright.creative.faces.directions import Directions
from adwright.creative.faces.generator import Generator
from adwright.training.run_settings import seeded

__all__ = ["AttributeReader", "MovedAttributes", "fit_reader", "moved_attributes"]

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
