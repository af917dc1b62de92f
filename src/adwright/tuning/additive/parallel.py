"""Parallel adapter: a bottleneck beside a sublayer, reading what the sublayer reads.

He et al., "Towards a Unified View of Parameter-Efficient Transfer Learning", ICLR 2022, arXiv
2110.04366. With x [D] the input of the sublayer and h its output:

    h <- h + s (W_up relu(W_down x + c) + e)
    count = places * (2 m D + m + D)         places: N, or 2 N for "both"

W_up, c and e are 0 at first. The paper finds beside the MLP best and takes s = 4.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from adwright.core.config import Count, settings
from adwright.tuning.additive.serial import Activation, Bottleneck, bottleneck_count
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["ParallelAdapter", "ParallelModule"]


@settings
class ParallelAdapter(TuningMethod):
    """A bottleneck beside sublayers. size: m. scale: s. beside: which sublayers.

    Memory: 2 m D parameters per place, m activations per token. Applies to any sublayer; not
    mergeable.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("parallel adapter", "additive: adapters"),)
    packable: ClassVar[bool] = True
    size: Count = 16
    beside: Literal["mlp", "attention", "both"] = "mlp"
    scale: float = 4.0
    activation: Activation = "relu"

    def count(self, sizes: Sizes) -> int:
        """places * (2 m D + m + D)."""
        places = sizes.layers * (2 if self.beside == "both" else 1)
        return places * bottleneck_count(sizes.width, self.size)

    def attach(self, tuned: Tuned) -> None:
        """Put a hook on each sublayer."""
        names = {"mlp": ["mlp"], "attention": ["self_attn"], "both": ["self_attn", "mlp"]}
        for layer in tuned.layers():
            for name in names[self.beside]:
                inner = Bottleneck(tuned, tuned.sizes.width, self.size, self.activation)
                ParallelModule(inner, self.scale).on(getattr(layer, name))


class ParallelModule(nn.Module):
    """Adds s adapter(x) to the output of a sublayer for x."""

    def __init__(self, adapter: nn.Module, scale: float) -> None:
        super().__init__()
        self.adapter, self.scale = adapter, scale

    def on(self, sublayer: nn.Module) -> None:
        """Attach to `sublayer`: attention, whose output is a tuple, or MLP."""
        sublayer.add_module("beside", self)
        sublayer.register_forward_hook(self._add, with_kwargs=True)

    def _add(
        self, _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        update = self.scale * self.adapter(x)
        if isinstance(output, tuple):
            return (output[0] + update, *output[1:])
        return output + update
