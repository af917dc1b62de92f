"""Directions in W+ that a trained generator knows: SeFa in closed form, and one fitted to labels.

SeFa (Shen and Zhou, CVPR 2021): what a direction n, |n| = 1, changes first is A n, with A the
affine weights of the chosen layers. The directions that change most are the eigenvectors of

    M = sum over layers of A_l^T A_l, each row of A_l scaled to length 1

with the largest eigenvalues. M is symmetric, so `eigh` is exact, and sorted. The sign is free; ours
makes the largest number of a direction positive.

A layer is named by the row of W+ that its convolution reads, see `generator`: AdSEE's layers 3 to 5
are the rows 3 to 5, two of 16 pixels and the first of 32. Rows of colours are left out.

`fitted_direction` is what labels would give: the slope of a ridge regression of an attribute on
latents. It is the upper bound beside which unsupervised directions stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.creative.faces.generator import Generator

__all__ = ["Directions", "fitted_direction", "random_directions", "sefa"]


@dataclass(frozen=True, eq=False)
class Directions:
    """K directions. vectors: float [K, D], each of length 1. rows: of W+ that an edit moves.
    strength: float [K], how much each changes the styles, the largest first; 0 where unknown."""

    vectors: Tensor
    rows: tuple[int, ...]
    strength: Tensor

    def __len__(self) -> int:
        """K."""
        return len(self.vectors)

    def edited(self, plus: Tensor, amounts: Tensor) -> Tensor:
        """W+ [B, rows, D] moved by amounts [B, K] along the directions, in `rows` alone.

        Raises ConfigError for amounts of another shape.
        """
        if amounts.shape != (len(plus), len(self)):
            raise ConfigError(
                f"amounts have shape {tuple(amounts.shape)}",
                where="amounts",
                hint=f"pass {len(plus)} times {len(self)}",
            )
        moved = plus.clone()
        moved[:, list(self.rows)] += (amounts @ self.vectors)[:, None]
        return moved


def sefa(generator: Generator, count: int, rows: Sequence[int] | None = None) -> Directions:
    """The first `count` directions of the convolutions that read these rows; None takes all.

    Raises ConfigError for a row that is none, and for more directions than there are.
    """
    chosen = tuple(range(len(generator.convs))) if rows is None else tuple(rows)
    if not chosen or not all(0 <= row < len(generator.convs) for row in chosen):
        raise ConfigError(
            f"rows {chosen} are not all of convolutions",
            where="rows",
            hint=f"choose among 0 to {len(generator.convs) - 1}",
        )
    wide = generator.config.wide
    if not 1 <= count <= wide:
        raise ConfigError(f"{count} directions", where="count", hint=f"take 1 to {wide}")
    state = generator.state_dict()
    summed = torch.zeros(wide, wide, dtype=torch.float64)
    for row in chosen:
        affine = state[f"convs.{row}.conv.affine.weight"].double()
        affine = affine / affine.norm(dim=1, keepdim=True).clamp_min(1e-12)
        summed += affine.T @ affine
    values, vectors = torch.linalg.eigh(summed)
    order = torch.arange(wide - 1, wide - 1 - count, -1)
    found = vectors[:, order].T
    return Directions(_signed(found).float(), chosen, values[order].clamp_min(0).sqrt().float())


def random_directions(wide: int, count: int, rows: Sequence[int], *, seed: int) -> Directions:
    """Directions drawn evenly from all of them: what a direction is worth that knows nothing."""
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, wide, generator=random)
    return Directions(drawn / drawn.norm(dim=1, keepdim=True), tuple(rows), torch.zeros(count))


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


def _signed(vectors: Tensor) -> Tensor:
    largest = vectors.abs().argmax(1, keepdim=True)
    turned: Tensor = vectors * vectors.gather(1, largest).sign()
    return turned
