"""Two ways to save memory in tuning: layers computed again, and a base that is divided.

`recomputing`: a decoder layer keeps its input alone and computes the rest anew in the backward
pass (Chen et al., 2016, arXiv 1604.06174), so of N layers with K kept tensors per token each

    kept = N * K  becomes  N + K,  for one more forward pass per step

The input of the first layer is not made to ask for a gradient, as transformers' own switch makes
it: below the lowest tuned module nothing is computed, with and without the switch.

`sharding`: each process keeps 1/P of the frozen weights of every decoder layer, and a layer is
made whole for as long as it computes (FSDP: Zhao et al., 2023, arXiv 2304.11277, by torch's
`fully_shard`). What is tuned stays whole in each process, its gradients are summed by the loop as
they are without; so do embedding, last norm and head, which the loss reads directly. A layer is a
message to all, so all processes must compute as many passes, see `tune`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from adwright.core.errors import ConfigError
from adwright.training.loop.distributed import world_size
from adwright.tuning.tuned import Tuned

__all__ = ["recomputing", "sharding"]


@contextmanager
def recomputing(tuned: Tuned) -> Iterator[None]:
    """Within, decoder layers in train mode are computed again in the backward pass, from the same
    state of torch's random generator. Forward and backward passes both belong inside.

    Raises ConfigError where the layers cannot do so.
    """
    layers: list[Any] = list(tuned.layers())
    if not all(hasattr(layer, "gradient_checkpointing") for layer in layers):
        raise ConfigError(
            "the decoder layers of this model cannot be computed again",
            where=type(layers[0]).__name__,
            hint="leave --checkpoint-layers (checkpoint_layers) out",
        )
    again = partial(checkpoint, use_reentrant=False)
    for layer in layers:
        layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, again
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = False


@contextmanager
def sharding(tuned: Tuned) -> Iterator[None]:
    """Within, each process of the group holds its share of the frozen layers; afterwards all of
    them are whole again, and no process waits for another. An error leaves them divided.

    With one process nothing is divided. Every process needs the whole base once, before.
    Raises ConfigError where no layer has frozen weights, or the model was divided before.
    """
    if world_size() == 1:
        yield
        return
    layers = list(tuned.layers())
    _require_divisible(tuned, layers)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (world_size(),))
    for layer in layers:
        kept = {parameter for parameter in layer.parameters() if parameter.requires_grad}
        # Said outright: a layer is its own root here, and a root would stay whole by default.
        fully_shard(layer, mesh=mesh, ignored_params=kept, reshard_after_forward=True)
    _still_base(tuned, layers)
    yield
    whole: list[Any] = layers
    for layer in whole:
        layer.set_reshard_after_forward(False)
        layer.set_reshard_after_backward(False)
        layer.unshard()
    _still_base(tuned, layers)


def _require_divisible(tuned: Tuned, layers: list[nn.Module]) -> None:
    frozen = [p for layer in layers for p in layer.parameters() if not p.requires_grad]
    if not frozen:
        what, hint = "no decoder layer has frozen weights to divide", "leave shard off"
    elif any(hasattr(layer, "unshard") for layer in layers):
        what, hint = "the model was divided before", "load it again"
    else:
        return
    raise ConfigError(what, where=type(tuned.method).__name__, hint=hint)


def _still_base(tuned: Tuned, layers: list[nn.Module]) -> None:
    """Tell `tuned` which tensors are the frozen base now."""
    frozen = [p for layer in layers for p in layer.parameters() if not p.requires_grad]
    tuned.note_base(frozen)
