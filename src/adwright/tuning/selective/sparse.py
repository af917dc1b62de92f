"""A sparse update: single weights of the frozen maps are trained, wherever they lie.

What FishMask, PaFi, LT-SFT and pruned diff vectors have in common. They differ in the scores by
which the k weights are chosen:

    W' = W + scatter(index, values)        count = k = round(fraction * weights of the targets)

Kept are positions and values, so optimizer and file hold k numbers. In a step the dense weight
and its gradient exist for one map at a time: W' is formed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.modules import TunedLinear
from adwright.tuning.sizes import Place, Sizes, Target
from adwright.tuning.tuned import Losses, Tuned

__all__ = ["SparseLinear", "given_losses", "kept", "looked_at", "plant", "plant_highest"]


class SparseLinear(TunedLinear):
    """W' x + bias. index: int64 [k], flat positions in W [out, in]. values: [k], 0 at first."""

    index: Tensor

    def __init__(self, base: nn.Linear, index: Tensor) -> None:
        super().__init__(base)
        self.register_buffer("index", index)
        self.values = nn.Parameter(torch.zeros(len(index)))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        arguments = (x, self.base.weight, self.base.bias, self.index, self.values)
        return _Sparse.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]

    def merged(self) -> nn.Linear:
        """The base with W'."""
        with torch.no_grad():
            self.base.weight.copy_(_added(self.base.weight, self.index, self.values))
        return self.base

    def resize(self, tensors: dict[str, Tensor]) -> None:
        """Take the length that a stored state has: how many weights lie in this map.

        Where it is the same the parameter stays: an optimizer may hold it already.
        """
        index, values = tensors.get("index"), tensors.get("values")
        if index is None or values is None or index.shape != values.shape:
            return
        if values.shape != self.values.shape:
            self.index = index.new_zeros(index.shape)
            self.values = nn.Parameter(torch.zeros(values.shape))

    def check_loaded(self, where: str) -> None:
        """ArtifactError where positions are out of range or stand twice."""
        index = self.index
        size = self.base.weight.numel()
        if len(index) and not (int(index.min()) >= 0 and int(index.max()) < size):
            raise ArtifactError(
                f"a position of a sparse update is outside a map of {size} weights",
                where=where,
                hint="the file was made for another base or tampered with",
            )
        if bool((index.sort().values.diff() == 0).any()):
            raise ArtifactError(
                "a position of a sparse update stands twice", where=where, hint="save it again"
            )


class _Sparse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, index: Tensor, values: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, index, values)
        return functional.linear(x, _added(weight, index, values).to(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, index, values = ctx.saved_tensors
        near = above.reshape(-1, above.shape[-1])
        d_x = d_values = None
        if ctx.needs_input_grad[0]:
            d_x = (near @ _added(weight, index, values).to(near.dtype)).view(x.shape)
        if ctx.needs_input_grad[4]:
            dense = near.T @ x.reshape(-1, x.shape[-1]).to(near.dtype)
            d_values = dense.reshape(-1)[index].to(values.dtype)
        return d_x, None, None, None, d_values


def kept(sizes: Sizes, targets: tuple[Target, ...], fraction: float) -> int:
    """k: how many weights are trained, at least one."""
    return max(
        1, round(fraction * sum(rows * columns for rows, columns in sizes.of_linear(targets)))
    )


def plant(places: list[Place], positions: list[Tensor]) -> None:
    """A `SparseLinear` in each place, with its positions int64 [k_i]."""
    for place, position in zip(places, positions, strict=True):
        place.put(SparseLinear(place.linear, position))


def plant_highest(places: list[Place], scores: list[Tensor], k: int) -> None:
    """Train the k weights with the highest scores of all maps together.

    scores: as many as places, each [out, in]. Equal scores: the earlier weight.
    """
    flat = torch.cat([score.reshape(-1) for score in scores])
    order = torch.sort(flat, descending=True, stable=True).indices[:k]
    chosen, positions, start = order.sort().values, [], 0
    for score in scores:
        inside = chosen[(chosen >= start) & (chosen < start + score.numel())]
        positions.append(inside - start)
        start += score.numel()
    plant(places, positions)


def given_losses(tuned: Tuned) -> Losses:
    """The calibration losses; ConfigError where the caller gave none."""
    if tuned.losses is None:
        raise ConfigError(
            "the method looks at data before it trains",
            where=type(tuned.method).__name__,
            hint="pass `losses` to `apply`: a function that yields losses of the model",
        )
    return tuned.losses


def looked_at(tuned: Tuned, most: int, *, again: bool = False) -> Iterator[Tensor]:
    """The first `most` calibration losses, or all where there are fewer.

    again: where there are fewer, go through them anew, computed by the model as it is then, until
    `most` were given. Raises ConfigError where the caller gave none, or the stream is empty.
    """
    losses, left = given_losses(tuned), most
    while left:
        before = left
        for loss in losses(tuned):
            yield loss
            left -= 1
            if not left:
                return
        if left == before:
            raise ConfigError(
                "there are no calibration losses",
                where=type(tuned.method).__name__,
                hint="let `losses` yield a loss for each text, each time that it is called",
            )
        if not again:
            return


def _added(weight: Tensor, index: Tensor, values: Tensor) -> Tensor:
    flat = weight.reshape(-1).index_add(0, index, values.to(weight.dtype))
    return flat.view_as(weight)
