"""The tensors of a run under flat names, as a checkpoint keeps them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["Stateful", "pack", "unpack"]


class Stateful(Protocol):
    """What has a state to keep: a network, or what stands for a part of one."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """Take them over; RuntimeError where they are of something else."""
        ...


def pack(
    model: Stateful, best: Mapping[str, Tensor], optimisers: Mapping[str, Optimizer]
) -> dict[str, Tensor]:
    """All tensors of a run under flat names, "PART/NAME" with the parts model, best and the
    names of the optimisers.

    best: the best weights so far; kept are those that differ from the present ones, which the
    catalogue in a model's buffers never does.
    """
    now = model.state_dict()
    tensors = {f"model/{name}": value for name, value in now.items()}
    tensors |= {
        f"best/{name}": value for name, value in best.items() if not torch.equal(value, now[name])
    }
    for part, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{part}/{index}/{name}": _wide(value) for name, value in state.items()}
    return tensors


def _wide(value: Tensor) -> Tensor:
    """numpy has no bfloat16; an optimiser that keeps it takes float32 back without a loss."""
    return value.float() if value.dtype == torch.bfloat16 else value


def unpack(
    tensors: Mapping[str, Tensor],
    model: Stateful,
    optimisers: Mapping[str, Optimizer],
) -> dict[str, Tensor]:
    """The inverse of `pack`: fills the model and the optimisers, returns the best weights.

    Raises ValueError where the tensors are of another model.
    """
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
    for name, value in tensors.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = value
    try:
        model.load_state_dict(parts["model"])
    except RuntimeError as error:
        raise ValueError(f"the run is of another model: {' '.join(str(error).split())}") from error
    for part, optimiser in optimisers.items():
        nested: dict[int, dict[str, Tensor]] = {}
        for key, value in parts.get(part, {}).items():
            index, name = key.split("/", 1)
            nested.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": nested})
    # Copies: the model goes on in its own.
    return {name: value.clone() for name, value in (parts["model"] | parts["best"]).items()}
