"""What adapters of different kinds do at the maps of one base, in one form, read and checked.

The form of PetS (Zhou et al., USENIX ATC 2022): every method here is the base's map, run once for
all rows of a batch, and small operations that differ by row. For row i of x [B, T, in] at one map,

    y_i = f_i * (W (g_i * x_i) + bias) + (x_i A_i) B_i + v_i;    y_i <- y_i + c_i(y_i)

g, f, v vectors, A [in, r] and B [r, out] small matrices, c a bottleneck. LoRA is A, B; DoRA is A,
B and f; (IA)3 is g or f; BitFit is v; SSF is f and v; a serial adapter is c. What a row does not
have costs it nothing. `adapter_layout` puts these operations into pages, `adapter_ops` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from adwright.core.config import check_literals, from_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.additive.ia3 import IA3
from adwright.tuning.additive.serial import Activation, SerialAdapter
from adwright.tuning.additive.ssf import SSF
from adwright.tuning.efficient.lora_fa import LoRAFA
from adwright.tuning.reparameterised.dora import DoRA
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective.bitfit import BitFit
from adwright.tuning.sizes import LINEAR, Sizes, Target, places
from adwright.tuning.storage import fill, fingerprint, read_tuned

__all__ = [
    "GATHERED",
    "BaseMaps",
    "GatheredMethod",
    "MapUpdate",
    "StoredAdapter",
    "update_of",
    "zeros_of",
]

GatheredMethod = LoRA | LoRAFA | DoRA | SerialAdapter | IA3 | BitFit | SSF
#: The kinds that a batch may hold, by name.
GATHERED: dict[str, type[GatheredMethod]] = {
    kind.__name__: kind for kind in (LoRA, LoRAFA, DoRA, SerialAdapter, IA3, BitFit, SSF)
}


@dataclass(frozen=True)
class MapUpdate:
    """What one adapter does at one map, in the form of the module.

    low: A [in, r], B [r, out]. before: g [in]. factor: f [out]. shift: v [out]. after: down
    [out, m], its bias [1, m], up [m, out], its bias [1, out]; activation: between them.
    """

    low: tuple[Tensor, ...] | None = None
    before: Tensor | None = None
    factor: Tensor | None = None
    shift: Tensor | None = None
    after: tuple[Tensor, ...] | None = None
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter as it was saved, checked. tensors: by name of the map and name in the method."""

    method: GatheredMethod
    tensors: dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class BaseMaps:
    """The linear maps of a plain base, by dotted name, and what an adapter is checked against.

    base: its fingerprint. linears: the target that a map is, and the map.
    """

    base: str
    sizes: Sizes
    linears: dict[str, tuple[Target, nn.Linear]]

    @staticmethod
    def of(model: nn.Module) -> BaseMaps:
        """Read them off a causal LM; ConfigError where it is tuned already, or of another type."""
        found = {place.name: (place.target, place.linear) for place in places(model, LINEAR)}
        for name, (_, linear) in found.items():
            if not isinstance(linear, nn.Linear):
                raise ConfigError(
                    "the base is not plain: another module stands in the place of a map",
                    where=name,
                    hint="open the base anew, or merge what it was tuned with",
                )
        return BaseMaps(fingerprint(model), Sizes.of(model), found)

    def read(self, folder: str | Path) -> StoredAdapter:
        """What `Tuned.save` wrote.

        Raises ArtifactError where the method is not one of `GATHERED`, the base is another, or
        tensors do not fit; and as `read_tuned` does.
        """
        stored = read_tuned(folder)
        where = str(folder)
        kind = GATHERED.get(stored.method)
        if kind is None:
            raise ArtifactError(
                f"{stored.method} cannot be gathered",
                where=where,
                hint=f"serve it alone, or tune with one of {sorted(GATHERED)}",
            )
        if stored.base != self.base:
            raise ArtifactError(
                "the adapter belongs to another base model",
                where=where,
                hint="register it with the base that it was tuned on",
            )
        try:
            method = from_jsonable(kind, stored.config)
        except ConfigError as error:
            raise ArtifactError(
                f"the stored method cannot be read: {error.what}", where=where, hint=error.hint
            ) from error
        if method.count(self.sizes) > sum(tensor.numel() for tensor in stored.tensors.values()):
            raise ArtifactError("its settings ask for more numbers than are stored", where=where)
        tensors = self.expected(method)
        flat = {f"model.{at}.{key}": t for at, own in tensors.items() for key, t in own.items()}
        fill(flat, stored.tensors, where)
        return StoredAdapter(method, tensors)

    def expected(self, method: GatheredMethod) -> dict[str, dict[str, Tensor]]:
        """Zeros of the shapes that an adapter with these settings has, by map and name."""
        found = {name: zeros_of(method, *at) for name, at in self.linears.items()}
        return {name: own for name, own in found.items() if own}

    def updates(self, adapter: StoredAdapter) -> dict[str, MapUpdate]:
        """The operations of an adapter at each map that it touches, scales folded in."""
        return {
            name: update_of(adapter.method, *self.linears[name], own)
            for name, own in adapter.tensors.items()
        }


def zeros_of(method: GatheredMethod, target: Target, base: nn.Linear) -> dict[str, Tensor]:
    """Zeros of the shapes that an adapter has at one map, by name; none where it has nothing."""
    o, i = base.out_features, base.in_features
    shapes: dict[str, tuple[int, ...]] = {}
    match method:
        case IA3():
            if target in ("k_proj", "v_proj", "down_proj"):
                shapes = {"factor": (i if target == "down_proj" else o,)}
        case _ if target not in method.targets:
            pass
        case LoRA() | LoRAFA() | DoRA():
            shapes = {"a": (method.rank, i), "b": (o, method.rank)}
            if isinstance(method, DoRA):
                shapes["magnitude"] = (o,)
        case SerialAdapter():
            m = method.size
            shapes = {"adapter.down": (m, o), "adapter.inner_bias": (m,)}
            shapes |= {"adapter.up": (o, m), "adapter.outer_bias": (o,)}
        case BitFit():
            shapes = {"shift": (o,)}
        case SSF():
            shapes = {"factor": (o,), "shift": (o,)}
    return {
        name: torch.zeros(shape, device="meta" if base.weight.is_meta else "cpu")
        for name, shape in shapes.items()
    }


def update_of(
    method: GatheredMethod, target: Target, base: nn.Linear, own: dict[str, Tensor]
) -> MapUpdate:
    """The operations of one adapter at one map, scales folded in. own: its tensors there."""
    if not own:
        return MapUpdate()
    match method:
        case LoRA():
            return MapUpdate(low=(own["a"].T, own["b"].T * method.scale))
        case LoRAFA():
            return MapUpdate(low=(own["a"].T, own["b"].T * (method.alpha / method.rank)))
        case DoRA():
            update = (method.alpha / method.rank) * own["b"]
            moved = base.weight.float().to(update.device) + update @ own["a"]
            factor = own["magnitude"] / torch.linalg.vector_norm(moved, dim=1)
            bias = None if base.bias is None else base.bias.float().to(update.device) * (1 - factor)
            return MapUpdate(
                low=(own["a"].T, (factor[:, None] * update).T), factor=factor, shift=bias
            )
        case SerialAdapter():
            names = ("down", "inner_bias", "up", "outer_bias")
            down, inner, up, outer = (own[f"adapter.{name}"] for name in names)
            after = (down.T, inner[None], up.T, outer[None])
            return MapUpdate(after=after, activation=method.activation)
        case IA3():
            is_input = target == "down_proj"
            return MapUpdate(before=own["factor"]) if is_input else MapUpdate(factor=own["factor"])
        case BitFit():
            return MapUpdate(shift=own["shift"])
        case SSF():
            return MapUpdate(factor=own["factor"], shift=own["shift"])
