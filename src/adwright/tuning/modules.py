"""What the modules of methods have in common: linear maps that replace the base's, and what a
module may do beside its forward pass.

`Tuned` finds the protocols at run time: a module that has `penalty` adds to the loss, one that has
`before_step` and `after_step` follows the training, and so on.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ConfigError

__all__ = [
    "Ahead",
    "DeltaLinear",
    "Inputs",
    "Penalised",
    "Remembering",
    "Resizable",
    "Scheduled",
    "TunedLinear",
    "ones",
    "zeros",
]


class Inputs(NamedTuple):
    """What a backbone reads. ids: tokens, int64 [B, T]. mask: [B, T], 0 at padding, or None.
    positions: [B, T], 0 where a text begins, or None for one text per row.
    """

    ids: Tensor
    mask: Tensor | None
    positions: Tensor | None


@runtime_checkable
class Penalised(Protocol):
    """A module that adds a scalar to the loss."""

    def penalty(self) -> Tensor:
        """The scalar, already weighted."""


@runtime_checkable
class Scheduled(Protocol):
    """A module that changes with the steps of the training."""

    def before_step(self, step: int, steps: int) -> None:
        """Prepare the forward pass of step `step` of `steps`, counted from 0."""

    def after_step(self, step: int, steps: int) -> None:
        """Follow the optimizer's step, while the gradients are still there."""


@runtime_checkable
class Remembering(Protocol):
    """A module whose schedule depends on what it saw in earlier steps. A resumed run needs that
    memory; a saved adapter does not."""

    def memory(self) -> dict[str, Tensor]:
        """What it saw, by name."""

    def recall(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `memory` returned."""


@runtime_checkable
class Resizable(Protocol):
    """A module whose tensors have a length that a saved state decides."""

    def resize(self, tensors: dict[str, Tensor]) -> None:
        """Take the lengths of the module's own tensors in a saved state."""

    def check_loaded(self, where: str) -> None:
        """Raise ArtifactError where the loaded values make no sense."""


@runtime_checkable
class Ahead(Protocol):
    """A module around the backbone that does no more than put vectors before each text, and
    perhaps move its embedded words: whoever keeps keys and values can do the same by themselves."""

    def ahead(self) -> Tensor:
        """The vectors [L, D]."""

    def shift(self, places: Tensor) -> Tensor | None:
        """What is added to the embedded words at `places` int64 [..., T] of their text: [..., T,
        D]; None for nothing."""


class TunedLinear(nn.Module):
    """Replaces a linear map. base: the frozen map itself."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base

    def weight_update(self) -> Tensor:
        """What the adapter adds to the base's weight [out, in]; ConfigError where no such update
        gives the same function."""
        raise ConfigError(
            "this module cannot be folded into the base's weights",
            where=type(self).__name__,
            hint="keep it beside the base, or tune with a mergeable method",
        )

    def merged(self) -> nn.Linear:
        """The base with the adapter in its weight: a plain map of the same function."""
        with torch.no_grad():
            self.base.weight.add_(self.weight_update().to(self.base.weight.dtype))
        return self.base


class DeltaLinear(TunedLinear):
    """A linear map whose weight [out, in] is computed in each forward pass."""

    def weight_now(self) -> Tensor:
        """The weight [out, in], adapter included."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        return functional.linear(x, self.weight_now().to(x.dtype), self.base.bias)

    def merged(self) -> nn.Linear:
        """The base with its present weight."""
        with torch.no_grad():
            self.base.weight.copy_(self.weight_now())
        return self.base


def zeros(*shape: int) -> nn.Parameter:
    """Make a parameter of zeros."""
    return nn.Parameter(torch.zeros(shape))


def ones(*shape: int) -> nn.Parameter:
    """Make a parameter of ones."""
    return nn.Parameter(torch.ones(shape))
