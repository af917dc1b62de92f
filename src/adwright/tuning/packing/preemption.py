"""Where a tuning step can be preempted: between its decoder layers.

A tuning step computes for seconds. Its forward and backward pass go layer by layer, so at some
points nothing is half done: before a layer's forward pass, before the head, and before the
gradient of a layer's output is taken further. What runs there, in the same thread, may read the
base's weights but must not change them, nor draw from torch's global random numbers; then the step
ends with the same bits.

Points have names ("forward 0", ..., "head", "head 1", ..., "backward 29", ...): what follows one
takes about as long in each step, so a scheduler can predict when it will be called again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adwright.tuning.sizes import decoder_layers

__all__ = ["PreemptionHook", "between_layers"]

#: Called with the name of the point.
PreemptionHook = Callable[[str], None]


@contextmanager
def between_layers(model: nn.Module, call: PreemptionHook) -> Iterator[None]:
    """Within the context, run `call` before each decoder layer of a forward pass, after the last
    one, and before each layer of a backward pass; outside autocast and without gradients.

    model: a causal LM of the Llama type, plain or tuned. Raises ConfigError where it is none.
    """
    layers = decoder_layers(model)
    decoder: Any = model.model
    handles = [_after(decoder, "head", call, "backward head")]
    for number, layer in enumerate(layers):
        handles.append(_before(layer, f"forward {number}", call))
        handles.append(_after(layer, "", call, f"backward {number}"))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _aside(call: PreemptionHook, place: str) -> None:
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        call(place)


def _before(module: nn.Module, place: str, call: PreemptionHook) -> Any:
    return module.register_forward_pre_hook(lambda *_: _aside(call, place))


def _after(module: nn.Module, place: str, call: PreemptionHook, backward: str) -> Any:
    """Call with `place`, unless it is empty, after a module's forward pass, and with `backward`
    when the gradient of its output is there."""

    def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        first = getattr(output, "last_hidden_state", None)
        hidden = first if first is not None else output
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(lambda slope: _aside(call, backward))  # type: ignore[no-untyped-call]
        if place:
            _aside(call, place)

    return module.register_forward_hook(hook)
