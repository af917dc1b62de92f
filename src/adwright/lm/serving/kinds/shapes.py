"""The kinds of adapters that a batch may hold, and the shapes of their stored tensors.

A tensor is named by the map that it belongs to and by its name in the method. What stands at a
sublayer is named by the map that ends it, o_proj or down_proj: `beside.` and what follows. What
all maps of an adapter share (VeRA's pair, LoRAHub's weights) is stored once, at one of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adwright.tuning.additive.adapters import IA3, SSF, AdaMix, ParallelAdapter, SerialAdapter
from adwright.tuning.additive.prompts import PrefixTuning, PromptTuning
from adwright.tuning.efficient.memory import AdapterDrop, LoRAFA
from adwright.tuning.hybrid import MAM
from adwright.tuning.modules import Sizes, Target
from adwright.tuning.peft_kinds import PROMPTS, Wrapped
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.reparameterised.factors import VeRA
from adwright.tuning.reparameterised.lora import DoRA, DyLoRA, LoRA, MoSLoRA, SoRA
from adwright.tuning.reparameterised.lora_hub import LoRAHub
from adwright.tuning.selective.masks import BitFit

__all__ = ["GATHERED", "GatheredMethod", "is_gathered", "shared_of", "stored_as", "zeros_of"]

GatheredMethod = (
    LoRA
    | LoRAFA
    | DoRA
    | DyLoRA
    | SoRA
    | MoSLoRA
    | LoRAHub
    | VeRA
    | ActivatedLoRA
    | SerialAdapter
    | AdapterDrop
    | AdaMix
    | ParallelAdapter
    | MAM
    | IA3
    | BitFit
    | SSF
    | PrefixTuning
    | PromptTuning
    | Wrapped
)
_OURS: tuple[type[GatheredMethod], ...] = (
    LoRA,
    LoRAFA,
    DoRA,
    DyLoRA,
    SoRA,
    MoSLoRA,
    LoRAHub,
    VeRA,
    ActivatedLoRA,
    SerialAdapter,
    AdapterDrop,
    AdaMix,
    ParallelAdapter,
    MAM,
    IA3,
    BitFit,
    SSF,
    PrefixTuning,
    PromptTuning,
)
#: The kinds that a batch may hold, by name; of peft's only the prompts, see `is_gathered`.
GATHERED: dict[str, type[GatheredMethod]] = {kind.__name__: kind for kind in (*_OURS, Wrapped)}


def is_gathered(method: GatheredMethod) -> bool:
    """Whether a batch may hold an adapter with these settings."""
    return not isinstance(method, Wrapped) or method.kind in PROMPTS


def zeros_of(
    method: GatheredMethod, target: Target, base: nn.Linear, layer: int | None = None
) -> dict[str, Tensor]:
    """Zeros of the shapes that an adapter has at one map, by name; none where it has nothing.

    layer: of the map; None for shapes that are large enough for every layer.
    """
    shapes = _shapes(method, target, base.out_features, base.in_features, layer)
    return _zeros(shapes, base)


def shared_of(method: GatheredMethod, sizes: Sizes) -> dict[str, Tensor]:
    """Zeros of the shapes of what all maps share, by name."""
    match method:
        case LoRAHub():
            return {"weights": torch.zeros(method.adapters)}
        case VeRA():
            shapes = sizes.of_linear(method.targets)
            o = max((rows for rows, _ in shapes), default=0)
            i = max((columns for _, columns in shapes), default=0)
            return {"a": torch.zeros(method.rank, i), "b": torch.zeros(o, method.rank)}
        case _:
            return {}


def stored_as(at: str, name: str) -> str:
    """The name in the file of the tensor `name` of the map with the dotted name `at`."""
    return f"model.{at.rpartition('.')[0] if name.startswith('beside.') else at}.{name}"


def _shapes(
    method: GatheredMethod, target: Target, o: int, i: int, layer: int | None
) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    match method:
        case MAM():
            found = _shapes(method.methods[1], target, o, i, layer)
        case AdapterDrop():
            found = _shapes(method.serial, target, o, i, layer)
        case PrefixTuning() | PromptTuning() | Wrapped():
            pass
        case _ if target not in _targets(method):
            pass
        case IA3():
            found = {"factor": (i if target == "down_proj" else o,)}
        case ParallelAdapter():
            found = {f"beside.{name}": at for name, at in _bottleneck(o, method.size).items()}
        case AdaMix():
            one = _bottleneck(o, method.size)
            found = {name: (method.experts, *shape) for name, shape in one.items()}
        case SerialAdapter():
            found = _bottleneck(o, method.size)
        case BitFit():
            found = {"shift": (o,)}
        case SSF():
            found = {"factor": (o,), "shift": (o,)}
        case VeRA():
            found = {"inner": (method.rank,), "outer": (o,)}
        case LoRAHub():
            n, r = method.adapters, method.rank
            found = {"a": (n, r, i), "b": (n, o, r)}
        case _:
            found = _low_rank(method, target, o, i, layer)
    return found


def _low_rank(
    method: LoRA | ActivatedLoRA | LoRAFA | DoRA | DyLoRA | SoRA | MoSLoRA,
    target: Target,
    o: int,
    i: int,
    layer: int | None,
) -> dict[str, tuple[int, ...]]:
    r = method.rank
    extra: dict[str, tuple[int, ...]] = {}
    match method:
        case DoRA():
            extra = {"magnitude": (o,)}
        case MoSLoRA():
            extra = {"mixer": (r, r)}
        case SoRA():
            if method.ranks:
                at = method.targets.index(target)
                r = (
                    max(method.ranks)
                    if layer is None
                    else method.ranks[layer * len(method.targets) + at]
                )
            extra = {"gate": (r,)}
        case _:
            pass
    return {"a": (r, i), "b": (o, r), **extra}


def _bottleneck(width: int, size: int) -> dict[str, tuple[int, ...]]:
    return {
        "adapter.down": (size, width),
        "adapter.inner_bias": (size,),
        "adapter.up": (width, size),
        "adapter.outer_bias": (width,),
    }


def _targets(
    method: IA3
    | ParallelAdapter
    | AdaMix
    | SerialAdapter
    | BitFit
    | SSF
    | VeRA
    | LoRAHub
    | LoRA
    | ActivatedLoRA
    | LoRAFA
    | DoRA
    | DyLoRA
    | SoRA
    | MoSLoRA,
) -> tuple[Target, ...]:
    """The maps at which it has something; of a sublayer, the map that ends it."""
    match method:
        case IA3():
            return ("k_proj", "v_proj", "down_proj")
        case ParallelAdapter():
            both: tuple[Target, ...] = ("o_proj", "down_proj")
            return {"attention": both[:1], "mlp": both[1:], "both": both}[method.beside]
        case AdaMix():
            return ("down_proj",)
        case _:
            return method.targets


def _zeros(shapes: dict[str, tuple[int, ...]], base: nn.Linear) -> dict[str, Tensor]:
    device = "meta" if base.weight.is_meta else "cpu"
    return {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}
