"""Sparse updates: single weights of the frozen maps are trained, wherever they are.

FishMask, PaFi and LT-SFT are `SparseMethod`s that differ in the scores by which they choose the k
weights; a pruned diff vector is such an update too:

    W' = W + scatter(index, values)        count = k = round(fraction * weights of the targets)

Positions and values are kept, so optimizer and file hold k values. In a step the dense weight and
its gradient exist for one map at a time: W' is formed again in the backward pass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.modules import TunedLinear
from adwright.tuning.sizes import LinearPlace, Sizes, Target
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["SparseLinear", "SparseMethod", "calibration_losses", "kept", "plant_highest"]


class SparseMethod(TuningMethod):
    """A method that trains the k weights with the highest scores of all maps together. It declares
    these settings as fields, in its own order.

    fraction: of the targets' weights that are trained. Memory and place: see the module.
    """

    default_rate: ClassVar[float] = 3e-3
    mergeable: ClassVar[bool] = True
    fraction: float
    targets: tuple[Target, ...]

    def count(self, sizes: Sizes) -> int:
        """k."""
        return kept(sizes, self.targets, self.fraction)

    def attach(self, tuned: Tuned) -> None:
        """Score the weights, and train the k with the highest scores.

        Raises ConfigError where the method needs calibration losses and has none.
        """
        places = tuned.places(self.targets)
        weights: list[Tensor] = [place.linear.weight for place in places]
        if tuned.blank:
            scores = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        else:
            scores = self.scores(tuned, weights)
        tuned.model.requires_grad_(False)
        plant_highest(places, scores, self.count(tuned.sizes))

    @abstractmethod
    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        """Score each weight [out, in] of each map; the weights themselves stay as they are."""


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
        """Take the length of a saved state: how many trained weights this map has.

        Where it is the same the parameter stays, since an optimizer may hold it already.
        """
        index, values = tensors.get("index"), tensors.get("values")
        if index is None or values is None or index.shape != values.shape:
            return
        if values.shape != self.values.shape:
            self.index = index.new_zeros(index.shape)
            self.values = nn.Parameter(torch.zeros(values.shape))

    def check_loaded(self, where: str) -> None:
        """Raise ArtifactError where positions are out of range or occur twice."""
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
                "a position of a sparse update occurs twice", where=where, hint="save it again"
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
    """Count the weights that are trained, k, at least one."""
    return max(
        1, round(fraction * sum(rows * columns for rows, columns in sizes.of_linear(targets)))
    )


def plant_highest(places: list[LinearPlace], scores: list[Tensor], k: int) -> None:
    """Train the k weights with the highest scores of all maps together.

    scores: one per place, each [out, in]. Of equal scores the earlier weight is taken.
    """
    flat = torch.cat([score.reshape(-1) for score in scores])
    order = torch.sort(flat, descending=True, stable=True).indices[:k]
    chosen, positions, start = order.sort().values, [], 0
    for score in scores:
        inside = chosen[(chosen >= start) & (chosen < start + score.numel())]
        positions.append(inside - start)
        start += score.numel()
    for place, position in zip(places, positions, strict=True):
        place.put(SparseLinear(place.linear, position))


def calibration_losses(tuned: Tuned, most: int, *, again: bool = False) -> Iterator[Tensor]:
    """Yield the first `most` calibration losses, or all where there are fewer.

    again: where there are fewer, go through them anew, computed by the model as it is then, until
    there were `most`. Raises ConfigError where the caller gave none, or the stream is empty.
    """
    if tuned.losses is None:
        raise ConfigError(
            "the method looks at data before it trains",
            where=type(tuned.method).__name__,
            hint="pass `losses` to `apply`: a function that yields losses of the model",
        )
    left = most
    while left:
        before = left
        for loss in tuned.losses(tuned):
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
