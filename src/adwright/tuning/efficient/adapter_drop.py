"""AdapterDrop: serial adapters that are left out of the lower layers.

Rueckle et al., EMNLP 2021, arXiv 2010.11918. In each step of training the first n layers have
no adapter, n drawn from 0 ... `drop`, by default from 0 ... N - 1 as in the paper, so that
adapters are trained which can be served with any number of layers left out. At inference the
first `serve` layers have none:

    count = that of the serial adapter: all of them are trained

Below the first adapter nothing needs a gradient, so the backward pass ends there: it saves n of N
layers, and serving saves as many adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from adwright.core.config import Count, Natural, settings
from adwright.core.errors import ConfigError
from adwright.tuning.additive.serial import Activation, AdapterLinear, Placement, SerialAdapter
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["AdapterDrop", "DropSchedule"]


@settings
class AdapterDrop(TuningMethod):
    """drop: the most layers that training leaves out; None for all but the last one, 0 for a
    plain serial adapter. serve: how many are left out at inference.

    size, placement, activation: of the adapters. Memory: that of serial adapters at most.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("AdapterDrop", "efficient: pruning"),)
    packable: ClassVar[bool] = True
    drop: Natural | None = None
    serve: Natural = 0
    size: Count = 16
    placement: Placement = "houlsby"
    activation: Activation = "relu"

    @property
    def serial(self) -> SerialAdapter:
        """The adapters without dropping."""
        return SerialAdapter(self.size, self.placement, self.activation)

    def count(self, sizes: Sizes) -> int:
        """That of the serial adapter."""
        return self.serial.count(sizes)

    def attach(self, tuned: Tuned) -> None:
        """Put serial adapters and their schedule; ConfigError where no adapter would be left."""
        drop = tuned.sizes.layers - 1 if self.drop is None else self.drop
        if max(drop, self.serve) >= tuned.sizes.layers:
            raise ConfigError(
                f"at most {tuned.sizes.layers - 1} layers can be left out",
                where=f"AdapterDrop.drop = {self.drop}, serve = {self.serve}",
                hint="lower both below the number of layers",
            )
        places = tuned.places(self.serial.targets)
        self.serial.attach(tuned)
        adapters = [(place.layer, place.linear) for place in places]
        tuned.schedule = DropSchedule(adapters, drop, self.serve, tuned.seed)


class DropSchedule(nn.Module):
    """Switches adapters on and off. adapters: layer and module of each."""

    def __init__(
        self, adapters: Sequence[tuple[int, nn.Module]], drop: int, serve: int, seed: int
    ) -> None:
        super().__init__()
        # In a tuple torch does not register them: they are modules of the model already.
        self.adapters = tuple(adapters)
        self.drop, self.serve, self.seed = drop, serve, seed
        self.leave_out(serve)

    def leave_out(self, layers: int) -> None:
        """Switch off the adapters of the first `layers` layers, and the others on."""
        for layer, module in self.adapters:
            if isinstance(module, AdapterLinear):
                module.active = layer >= layers

    def before_step(self, step: int, steps: int) -> None:
        """Draw n from the seed and the step, so that a resumed training draws the same."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        self.leave_out(int(torch.randint(self.drop + 1, (1,), generator=generator)))

    def after_step(self, step: int, steps: int) -> None:
        """Leave out the layers that inference leaves out."""
        self.leave_out(self.serve)
