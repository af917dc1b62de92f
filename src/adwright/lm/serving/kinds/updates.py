"""What an adapter does at one map, in the one form that all gathered kinds have.

The form stands in `gathered_adapters`. Methods of low rank are A and B whatever they train:

    DyLoRA    (alpha / b) B[:, :b] A[:b]          SoRA      s B diag(g) A
    MoSLoRA   s B (M A)                           LoRAHub   s (sum w_i B_i) (sum w_i A_i)
    VeRA      diag(b) B diag(d) A                 DoRA      f s B A, with f as a factor

AdaMix is the mean of its matrices, AdapterDrop nothing in the layers that it leaves out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adwright.core.config import settings
from adwright.lm.serving.kinds.shapes import GatheredMethod
from adwright.tuning.additive.adapters import (
    IA3,
    SSF,
    Activation,
    AdaMix,
    ParallelAdapter,
    SerialAdapter,
)
from adwright.tuning.additive.prompts import PrefixTuning, PromptTuning
from adwright.tuning.efficient.memory import AdapterDrop, LoRAFA
from adwright.tuning.hybrid import MAM
from adwright.tuning.modules import Target
from adwright.tuning.peft_kinds import Wrapped
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.reparameterised.factors import VeRA
from adwright.tuning.reparameterised.lora import DoRA, DyLoRA, LoRA, MoSLoRA, SoRA
from adwright.tuning.reparameterised.lora_hub import LoRAHub
from adwright.tuning.selective.masks import BitFit

__all__ = ["MapUpdate", "update_of"]


@settings
class MapUpdate:
    """What one adapter does at one map, in the form of `gathered_adapters`.

    low: A [in, r], B [r, out]. before: g [in]. factor: f [out]. shift: v [out]. after: down
    [out, m], its bias [1, m], up [m, out], its bias [1, out]; activation: between them. beside: as
    `after`, of the sublayer that this map ends.
    """

    low: tuple[Tensor, ...] | None = None
    before: Tensor | None = None
    factor: Tensor | None = None
    shift: Tensor | None = None
    after: tuple[Tensor, ...] | None = None
    beside: tuple[Tensor, ...] | None = None
    activation: Activation = "relu"

    @property
    def empty(self) -> bool:
        """Whether it leaves the map as it is."""
        all_of = (self.low, self.before, self.factor, self.shift, self.after, self.beside)
        return all(one is None for one in all_of)


def update_of(
    method: GatheredMethod,
    target: Target,
    base: nn.Linear,
    own: dict[str, Tensor],
    layer: int | None = None,
) -> MapUpdate:
    """The operations of one adapter at one map, scales folded in.

    own: its tensors there, and those that all of its maps share. layer: of the map; None for any.
    """
    found = MapUpdate()
    match method:
        case _ if not own:
            pass
        case PrefixTuning() | PromptTuning() | Wrapped():
            pass
        case MAM():
            found = update_of(method.methods[1], target, base, own, layer)
        case AdapterDrop():
            if layer is None or layer >= method.serve:
                found = update_of(method.serial, target, base, own, layer)
        case SerialAdapter():
            found = MapUpdate(after=_bottleneck(own), activation=method.activation)
        case AdaMix():
            means = {name: tensor.mean(0) for name, tensor in own.items()}
            found = MapUpdate(after=_bottleneck(means), activation=method.activation)
        case ParallelAdapter():
            down, inner, up, outer = _bottleneck(own, "beside.")
            scaled = (down, inner, up * method.scale, outer * method.scale)
            found = MapUpdate(beside=scaled, activation=method.activation)
        case IA3():
            g = own["factor"]
            found = MapUpdate(before=g) if target == "down_proj" else MapUpdate(factor=g)
        case BitFit():
            found = MapUpdate(shift=own["shift"])
        case SSF():
            found = MapUpdate(factor=own["factor"], shift=own["shift"])
        case DoRA():
            found = _dora(method, base, own)
        case _:
            a, b = _low_rank(method, base, own)
            found = MapUpdate(low=(a.T, b.T))
    return found


def _low_rank(
    method: LoRA | ActivatedLoRA | LoRAFA | DyLoRA | SoRA | MoSLoRA | LoRAHub | VeRA,
    base: nn.Linear,
    own: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """A [r, in] and B [out, r], whose product is what is added to the base's weight."""
    a, b = own["a"], own["b"]
    match method:
        case DyLoRA():
            used = method.serve or method.rank
            return a[:used], b[:, :used] * (method.alpha / used)
        case SoRA():
            return a, b * own["gate"] * method.scale
        case MoSLoRA():
            return own["mixer"] @ a, b * method.scale
        case LoRAHub():
            a, b = (torch.tensordot(own["weights"], each, 1) for each in (a, b))
            return a, b * (method.alpha / method.rank)
        case VeRA():
            a, b = a[:, : base.in_features], b[: base.out_features]
            return own["inner"][:, None] * a, own["outer"][:, None] * b
        case LoRA() | ActivatedLoRA():
            return a, b * method.scale
        case LoRAFA():
            return a, b * (method.alpha / method.rank)


def _dora(method: DoRA, base: nn.Linear, own: dict[str, Tensor]) -> MapUpdate:
    update = (method.alpha / method.rank) * own["b"]
    moved = base.weight.float().to(update.device) + update @ own["a"]
    factor = own["magnitude"] / torch.linalg.vector_norm(moved, dim=1)
    bias = None if base.bias is None else base.bias.float().to(update.device) * (1 - factor)
    return MapUpdate(low=(own["a"].T, (factor[:, None] * update).T), factor=factor, shift=bias)


def _bottleneck(own: dict[str, Tensor], where: str = "") -> tuple[Tensor, ...]:
    names = ("down", "inner_bias", "up", "outer_bias")
    down, inner, up, outer = (own[f"{where}adapter.{name}"] for name in names)
    return down.T, inner[None], up.T, outer[None]
