"""What adapters of each kind do to the base that they share, so that one engine serves all."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from adwright.core.config import settings
from adwright.core.errors import ArtifactError
from adwright.lm.torch_engine.network import tuned_over
from adwright.tuning.additive.adapters import (
    IA3,
    SSF,
    Activation,
    AdaMix,
    ParallelAdapter,
    SerialAdapter,
)
from adwright.tuning.additive.prompts import MAM, Prefix, PrefixTuning, PromptTuning
from adwright.tuning.efficient import AdapterDrop, LoRAFA
from adwright.tuning.methods import PROMPTS, PeftKind, Wrapped
from adwright.tuning.modules import Ahead, Sizes, Target
from adwright.tuning.reparameterised.factors import LoRAHub, VeRA
from adwright.tuning.reparameterised.lora import (
    ActivatedLoRA,
    DoRA,
    DyLoRA,
    LoRA,
    MoSLoRA,
    SoRA,
    invoked_from,
)
from adwright.tuning.selective import BitFit
from adwright.tuning.tuned import Tuned

_LowRank = LoRA | LoRAFA | DoRA | DyLoRA | SoRA | MoSLoRA | LoRAHub | VeRA | ActivatedLoRA
_Bottleneck = SerialAdapter | AdapterDrop | AdaMix | ParallelAdapter | MAM
_Vectors = IA3 | BitFit | SSF
GatheredMethod = _LowRank | _Bottleneck | _Vectors | PrefixTuning | PromptTuning | Wrapped
#: The kinds that a batch may hold, by name; of peft's only the prompts, see `is_gathered`.
GATHERED: dict[str, type[GatheredMethod]] = {
    kind.__name__: kind for kind in get_args(GatheredMethod)
}


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
    device = "meta" if base.weight.is_meta else "cpu"
    return {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}


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
    method: _LowRank, target: Target, o: int, i: int, layer: int | None
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
                r = max(method.ranks)
                if layer is not None:
                    r = method.ranks[layer * len(method.targets) + at]
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


def _targets(method: Any) -> tuple[Target, ...]:
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
            found: tuple[Target, ...] = method.targets
            return found


# --------------------------------------------------------------------------------------------------
# Adapters that act from a token of their row on, and leave what is before it to the base.
#
# The keys and values of those tokens are the base's: their pages are shared with everybody who has
# read them (`paging.block_keys`), and a pass computes them without the adapter (`passes`). Where in
# a row an adapter begins is looked for once, in what is asked; what is written then calls nothing.


def acts_everywhere(method: GatheredMethod) -> bool:
    """Whether an adapter with these settings acts on every token."""
    return not isinstance(method, ActivatedLoRA)


def first_acted(method: GatheredMethod, prompt: Sequence[int]) -> int | None:
    """The first token of a prompt on which an adapter acts; None where the base answers it."""
    match method:
        case ActivatedLoRA():
            return invoked_from(prompt, method.tokens)
        case _:
            return 0


# --------------------------------------------------------------------------------------------------
# Keys and values that stand before every text: what a prefix is, and what a prompt becomes.
#
# A prefix is keys and values already. Learned vectors before the text pass through the base once,
# at positions 0 ... L - 1; the words of every text then stand L positions later. Both end as pages
# that a row begins with, so a pass costs what L more tokens in the cache cost, and nothing else.


class AheadTokens(NamedTuple):
    """tokens: L, whose keys and values stand before a text. moved: by how many positions its own
    words stand later."""

    tokens: int = 0
    moved: int = 0


#: Of an adapter that is all at the maps.
NOTHING_AHEAD = AheadTokens()


def ahead_of(method: GatheredMethod) -> AheadTokens:
    """What stands before the text with these settings."""
    match method:
        case PrefixTuning() | MAM():
            return AheadTokens(method.length, 0)
        case PromptTuning():
            return AheadTokens(method.length, method.length)
        case Wrapped():
            length = len(method.tokens) if method.kind is PeftKind.CPT else method.length
            return AheadTokens(length, length)
        case _:
            return NOTHING_AHEAD


@torch.inference_mode()
def keys_ahead(model: nn.Module, folder: str | Path) -> Tensor:
    """Keys and values [N, 2, G, L, D] of N layers, float32. model: the plain base.

    Raises ArtifactError as `load_tuned` does, and where the adapter has none that are the same
    for every text.
    """
    tuned = tuned_over(model, folder)
    if isinstance(tuned.outer, Ahead):
        return _of_vectors(tuned, tuned.outer.ahead())
    found = []
    for layer in tuned.layers():
        prefix: Any = getattr(layer.self_attn, "prefix", None)
        if not isinstance(prefix, Prefix) or prefix.gate is not None:
            raise ArtifactError(
                "its prefix is not the same for every text",
                where=str(folder),
                hint="serve it alone",
            )
        found.append(prefix.maker().float())
    return torch.stack(found)


def _of_vectors(tuned: Tuned, vectors: Tensor) -> Tensor:
    from transformers import DynamicCache

    causal = tuned.causal
    kept: Any = DynamicCache(config=causal.config.get_text_config())
    # Renamed in transformers 5.x, where the old name warns.
    names = inspect.signature(causal.model.forward).parameters
    where = {"cache" if "cache" in names else "past_key_values": kept}
    kind = causal.lm_head.weight.dtype
    causal.model(inputs_embeds=vectors.to(kind)[None], use_cache=True, **where)
    return torch.stack([torch.cat([each.keys, each.values]).float() for each in kept.layers])


# --------------------------------------------------------------------------------------------------
# What an adapter does at one map, in the one form that all gathered kinds have.
#
# The form stands in `gathered_adapters`. Methods of low rank are A and B whatever they train:
#
#     DyLoRA    (alpha / b) B[:, :b] A[:b]          SoRA      s B diag(g) A
#     MoSLoRA   s B (M A)                           LoRAHub   s (sum w_i B_i) (sum w_i A_i)
#     VeRA      diag(b) B diag(d) A                 DoRA      f s B A, with f as a factor
#
# AdaMix is the mean of its matrices, AdapterDrop nothing in the layers that it leaves out.


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
            found = MapUpdate(after=_updates_bottleneck(own), activation=method.activation)
        case AdaMix():
            means = {name: tensor.mean(0) for name, tensor in own.items()}
            found = MapUpdate(after=_updates_bottleneck(means), activation=method.activation)
        case ParallelAdapter():
            down, inner, up, outer = _updates_bottleneck(own, "beside.")
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
            a, b = _updates_low_rank(method, base, own)
            found = MapUpdate(low=(a.T, b.T))
    return found


def _updates_low_rank(
    method: _LowRank, base: nn.Linear, own: dict[str, Tensor]
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
        case LoRAFA() | DoRA():
            return a, b * (method.alpha / method.rank)


def _dora(method: DoRA, base: nn.Linear, own: dict[str, Tensor]) -> MapUpdate:
    update = (method.alpha / method.rank) * own["b"]
    moved = base.weight.float().to(update.device) + update @ own["a"]
    factor = own["magnitude"] / torch.linalg.vector_norm(moved, dim=1)
    bias = None if base.bias is None else base.bias.float().to(update.device) * (1 - factor)
    return MapUpdate(low=(own["a"].T, (factor[:, None] * update).T), factor=factor, shift=bias)


def _updates_bottleneck(own: dict[str, Tensor], where: str = "") -> tuple[Tensor, ...]:
    names = ("down", "inner_bias", "up", "outer_bias")
    down, inner, up, outer = (own[f"{where}adapter.{name}"] for name in names)
    return down.T, inner[None], up.T, outer[None]
